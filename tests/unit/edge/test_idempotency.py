"""Idempotency-Key at the dispatcher: one effect, one answer, and a crash between the two is told."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from creto.app import App, running
from creto.common.errors import EnablementError, IdempotencyConflict, NotFound
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.edge.api import agents, memory, overrides
from creto.edge.api import time as times
from creto.edge.api.dispatch import HANDLERS, Call, Dispatcher
from creto.edge.upkeep import prune_keys, tidied
from creto.platform.nhi import Caller, PrincipalKind
from creto.store.types import ReadTx
from tests.layers import settings


class Desk:
    """The dispatcher, asked as the operator."""

    def __init__(self, app: App) -> None:
        self.app, self.parts = app, app.parts
        self.ask = Dispatcher(app.parts)

    def call(self, key: str | None = None, token: str | None = None) -> Call:
        until = ConsensusTimestamp(self.parts.clock.now() + HOUR)
        caller = Caller(self.app.tenant, self.app.operator, PrincipalKind.HUMAN, ("*",), until)
        return Call(caller, self.app.tenant, idempotency_key=key, override_token=token)

    async def remembered(self) -> int:
        return len((await self.ask(memory.RECENT, self.call(), memory.RecentContexts(agent=self.app.operator))).items)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(settings(tmp_path)) as app:
        yield Desk(app)


def note(desk: Desk, content: str = "once") -> memory.StoreContext:
    return memory.StoreContext(agent=desk.app.operator, kind="note", content=content)


async def test_the_same_key_has_the_same_answer_and_one_effect(desk: Desk) -> None:
    first = await desk.ask(memory.STORE, desk.call("k"), note(desk))
    second = await desk.ask(memory.STORE, desk.call("k"), note(desk))
    assert second == first
    assert await desk.remembered() == 1
    await desk.ask(memory.STORE, desk.call("other"), note(desk))
    await desk.ask(memory.STORE, desk.call(), note(desk))
    assert await desk.remembered() == 3


async def test_what_is_kept_of_an_answer_says_nothing_without_the_request(desk: Desk) -> None:
    def kept(tx: ReadTx) -> list[bytes]:
        return [row[0] for row in tx.all("SELECT result FROM store_idempotency WHERE result IS NOT NULL")]

    await desk.ask(memory.STORE, desk.call("k"), note(desk, "the patient is pregnant"))
    answers = [bytes(answer) for answer in await desk.parts.store.read(kept) if answer]

    assert answers
    hidden = b"the patient is pregnant"
    assert not [a for a in answers if hidden in a or b64encode(hidden)[:20] in a]


async def test_another_payload_under_the_same_key_is_a_conflict(desk: Desk) -> None:
    await desk.ask(memory.STORE, desk.call("k"), note(desk))
    with pytest.raises(IdempotencyConflict) as caught:
        await desk.ask(memory.STORE, desk.call("k"), note(desk, "twice"))
    assert caught.value.code == "PL-410"
    assert await desk.remembered() == 1


async def test_fifty_at_once_have_one_effect(desk: Desk) -> None:
    tries = await asyncio.gather(
        *(desk.ask(memory.STORE, desk.call("k"), note(desk)) for _ in range(50)), return_exceptions=True
    )
    answers = [t for t in tries if not isinstance(t, BaseException)]
    assert answers
    assert all(a == answers[0] for a in answers)
    assert {t.code for t in tries if isinstance(t, EnablementError)} <= {"PL-411"}
    assert await desk.remembered() == 1
    assert await desk.ask(memory.STORE, desk.call("k"), note(desk)) == answers[0]


async def test_a_crash_between_effect_and_answer_is_told(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """given an effect whose answer was lost / when it is asked again / then PL-411, and no second effect."""
    real = HANDLERS[memory.STORE.name]

    async def dies(*args: Any) -> Any:
        await real(*args)
        raise RuntimeError("the process ends here")

    monkeypatch.setitem(HANDLERS, memory.STORE.name, dies)
    with pytest.raises(RuntimeError):
        await desk.ask(memory.STORE, desk.call("k"), note(desk))
    monkeypatch.undo()
    with pytest.raises(IdempotencyConflict) as caught:
        await desk.ask(memory.STORE, desk.call("k"), note(desk))
    assert caught.value.code == "PL-411"
    assert await desk.remembered() == 1


async def test_a_request_that_failed_has_not_used_its_key(desk: Desk) -> None:
    unknown = agents.ChangeAgent(agent="agent:nhi:ed25519:11111111111111111111111111111111")  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(NotFound):
            await desk.ask(agents.SUSPEND, desk.call("k"), unknown)
    await desk.ask(memory.STORE, desk.call("k"), note(desk))


async def test_an_approved_operation_can_be_repeated_under_its_key(desk: Desk) -> None:
    """The approval is used up by the first; the repetition has its answer all the same."""
    from creto.common import wire
    from creto.common.ids import PolicyId
    from creto.platform.crypto import digest

    text = '@id("ask") @oversight("leases") forbid (principal, action == Action::"leases:write", resource);'
    await desk.parts.authz.upload_policies(desk.app.tenant, text, actor=desk.app.operator, activate=True)
    request = times.AcquireLease(name="approved", ttl_s=600)
    token = await desk.parts.authz.issue_override(
        tenant=desk.app.tenant, agent=desk.app.operator, action="leases:write", resource="lease:approved",
        args_digest=digest(wire.encode(request)), policy_id=PolicyId("leases"), actor=desk.app.operator,
    )  # fmt: skip
    first = await desk.ask(times.ACQUIRE, desk.call("k", token), request)
    assert await desk.ask(times.ACQUIRE, desk.call("k", token), request) == first
    with pytest.raises(EnablementError, match="PL-704"):
        await desk.ask(times.ACQUIRE, desk.call("other", token), request)


async def test_a_key_means_nothing_where_the_answer_is_a_secret(desk: Desk) -> None:
    request = agents.IssueToken(agent=desk.app.operator, scopes=("time:read",))
    first, second = [await desk.ask(agents.ISSUE, desk.call("k"), request) for _ in range(2)]
    assert first.token != second.token


async def test_nobody_approves_their_own_operation(desk: Desk) -> None:
    mine = overrides.IssueOverride(
        agent=desk.app.operator, action="a", resource="r", args_digest=bytes(33), policy_id="p"
    )
    with pytest.raises(EnablementError, match="OV-403"):
        await desk.ask(overrides.ISSUE, desk.call(), mine)


async def test_upkeep_forgets_old_keys_and_survives_what_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.ask(memory.STORE, desk.call("k"), note(desk))
    now = desk.parts.clock.now()
    count = "SELECT COUNT(*) FROM store_idempotency"
    await prune_keys(desk.parts)
    assert await desk.parts.store.read(lambda tx: tx.value(count)) == 2
    monkeypatch.setattr(type(desk.parts.clock), "now", lambda self: ConsensusTimestamp(now + 25 * HOUR))
    await prune_keys(desk.parts)
    assert await desk.parts.store.read(lambda tx: tx.value(count)) == 0
    monkeypatch.undo()
    monkeypatch.setattr(type(desk.parts.memory), "sweep", None)
    assert await tidied(desk.parts, desk.app.operator) == ["memory"]
