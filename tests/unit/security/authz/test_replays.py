"""A dry run over what the gate recorded: what would change, how often, and what cannot be told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from creto.app import App, running
from creto.common.errors import EnablementError, InvalidInput, ProductId
from creto.common.limits import GATE_CONTEXT_BYTES_MAX
from creto.edge.api.dispatch import Call
from creto.gate import Operation
from creto.security.authz import Allow, Deny, Replay, RequiresOversight
from creto.store.types import Entry, EntryId, Grade, Outcome
from tests.layers import settings

BIG = '@id("big") @oversight("two-eyes") forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > 100 };'
ASK = '@id("ask") @oversight("two-eyes") forbid (principal, action == Action::"funds.transfer", resource);'


class Desk:
    def __init__(self, app: App) -> None:
        self.app, self.parts = app, app.parts

    async def act(self, resource: str, context: dict[str, Any] | None = None, action: str = "funds.transfer") -> None:
        operation = Operation(
            tenant=self.app.tenant, agent=self.app.operator, action=action, resource=resource,
            product=ProductId.RUNTIME, context=context,
        )  # fmt: skip
        with suppress(EnablementError):
            async with self.parts.gate.audited_operation(operation):
                pass

    async def replay(self, text: str, **options: Any) -> Replay:
        await self.parts.audit.sequence_once()
        return await self.parts.authz.dry_run_recorded(self.parts.audit, self.app.tenant, text, **options)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(settings(tmp_path)) as app:
        yield Desk(app)


async def test_recorded_operations_are_decided_again_with_their_context(desk: Desk) -> None:
    await desk.act("bank:a", {"amount": 50})
    await desk.act("bank:a", {"amount": 500})
    await desk.act("bank:a", {"amount": 500})
    await desk.act("bank:b")
    found = await desk.replay(BIG)
    (item,) = found.items
    assert (item.request.resource, item.request.context, item.times) == ("bank:a", {"amount": 500}, 2)
    assert (item.outcome, item.doubtful) == (Outcome.INTENT, False)
    assert item.now == Allow(("creto.operator",))
    assert item.then == RequiresOversight("two-eyes", ("big",))
    assert (found.requests, found.changed, found.doubtful) == (4, 2, 0)
    assert found.entries > 4  # the ends of operations, and what the parts record, are no decisions


async def test_refusals_count_too(desk: Desk) -> None:
    await desk.parts.authz.upload_policies(desk.app.tenant, ASK, actor=desk.app.operator, activate=True)
    await desk.act("bank:a", {"amount": 5})
    (item,) = (await desk.replay(BIG)).items
    assert (item.outcome, item.code) == (Outcome.PENDING, "RT-202")
    assert isinstance(item.now, RequiresOversight)
    assert isinstance(item.then, Allow)


async def test_the_newest_so_many_and_since(desk: Desk) -> None:
    await desk.act("bank:old")
    since = desk.parts.clock.now()
    await desk.act("bank:new")
    assert [i.request.resource for i in (await desk.replay(ASK)).items] == ["bank:new", "bank:old"]
    assert [i.request.resource for i in (await desk.replay(ASK, limit=1)).items] == ["bank:new"]
    assert [i.request.resource for i in (await desk.replay(ASK, since=since)).items] == ["bank:new"]
    for limit in (0, 1_000_000):
        with pytest.raises(InvalidInput, match="limit"):
            await desk.replay(ASK, limit=limit)


async def test_what_was_recorded_without_its_context_is_said_to_be_doubtful(desk: Desk) -> None:
    long = {"purpose": "x" * GATE_CONTEXT_BYTES_MAX, "amount": 500}
    await desk.act("bank:a", long)
    await desk.parts.audit.append(
        Entry(
            event_id=EntryId("told-by-an-agent"), tenant=desk.app.tenant, product=ProductId.PLATFORM,
            agent_nhi=desk.app.operator, action="funds.transfer", resource="bank:b", outcome=Outcome.SUCCESS,
            timestamp=desk.parts.clock.now(), grade=Grade.GATEWAY,
        )
    )  # fmt: skip
    found = await desk.replay(BIG)
    assert [(i.request.resource, i.changed, i.doubtful) for i in found.items] == [
        ("bank:b", False, True),
        ("bank:a", False, True),
    ]
    assert (found.changed, found.doubtful) == (0, 2)
    assert [i.doubtful for i in (await desk.replay(ASK)).items] == [False, False]  # nothing reads the context


async def test_a_request_that_was_no_request_stays_refused(desk: Desk) -> None:
    await desk.act("bank:a", {"amount": 1.5})
    await desk.act("bank:b", {"amount": object()})
    found = await desk.replay(ASK)
    assert [i.request.resource for i in found.items] == ["bank:b"]  # recorded without its context
    assert isinstance((await desk.replay("forbid (principal, action, resource);")).items[0].then, Deny)


async def test_policies_that_do_not_validate_are_refused_and_nothing_changes(desk: Desk) -> None:
    with pytest.raises(InvalidInput, match="line 1, column 9"):
        await desk.replay("permit (a, action, resource);")
    assert (await desk.parts.authz.policies(desk.app.tenant)).version == 0


async def test_over_the_wire(desk: Desk) -> None:
    from creto.edge.api import policies

    await desk.act("bank:a")
    await desk.parts.audit.sequence_once()
    call = Call(None, desk.app.tenant)
    found = await policies.dry_run_recorded(desk.parts, call, policies.TryRecorded(text=ASK, limit=10))
    assert [(i.request.resource, i.changed, i.times) for i in found.items] == [("bank:a", True, 1)]
