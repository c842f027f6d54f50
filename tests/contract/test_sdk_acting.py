"""Acting for another, and going through with an approval: the same in this process and over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from creto.common.errors import OversightRequired, Unauthorized
from creto.common.timestamps import HOUR
from creto.platform.crypto.jose import b64url_decode
from creto.platform.nhi import PrincipalKind
from creto.sdk import AgentKey, AsyncCreto, Creto
from creto.store.types import Outcome
from tests.layers import Layer

ASKING = '@id("ask") @oversight("deletions") forbid (principal is Agent, action == Action::"objects:write", resource == Object::"kept");'


def bot_of(creto: Creto) -> tuple[AgentKey, AgentKey, Any]:
    """A human, the bot that acts for her, and the chain."""
    ada = creto.register("ada", kind=PrincipalKind.HUMAN)
    bot = creto.register("bot")
    creto.policies.assign_role(agent=bot.nhi, role="operator")
    now = creto.time.get_timestamp().timestamps[0]
    chain = ada.delegate(bot.nhi, actions=("*",), not_before=now, not_after=type(now)(now + HOUR), tenant=creto.tenant)
    return ada, bot, chain


def approved(creto: Creto, bot: AgentKey, asked: OversightRequired) -> str:
    """A human's yes to exactly what was refused; the refusal says what that is."""
    assert asked.policy_id == "deletions"
    said = asked.details
    return creto.policies.issue_override(
        agent=bot.nhi, action=str(said["action"]), resource=str(said["resource"]),
        args_digest=b64url_decode(str(said["args_digest"])), policy_id=asked.policy_id,
    ).token  # fmt: skip


@pytest.mark.parametrize("world", ["local", "remote"])
def test_an_agent_acts_for_a_human_and_finishes_an_approval(world: str, served: Layer, tmp_path: Path) -> None:
    """given a policy that asks / when the agent comes back with the token / then it goes through, once, and the log names both."""
    operator = (
        Creto.local(tmp_path / "creto.db") if world == "local" else Creto.connect(served.rest, token=served.token)
    )
    with operator:
        ada, bot, chain = bot_of(operator)
        mine = operator if world == "local" else Creto.connect(served.rest, key=bot)
        operator.objects.put(key="kept", content=b"x")
        operator.policies.upload(text=ASKING, activate=True)
        acting = mine.acting(chain)
        assert acting.auth.whoami().agent == bot.nhi
        with pytest.raises(OversightRequired) as caught:
            acting.objects.delete(key="kept")
        token = approved(operator, bot, caught.value)
        acting.with_override(token).objects.delete(key="kept")
        with pytest.raises(Unauthorized, match="PL-704"):
            acting.with_override(token).objects.delete(key="kept")
        acting.close()  # closes nothing
        last = operator.audit.append(action="a", resource="b", outcome=Outcome.SUCCESS)
        operator.audit.prove(event_id=last.event_id, fresh=True)  # what came before is in the log too
        (entry,) = operator.audit.query(agent=bot.nhi, event="ObjectDeleted").items
        assert entry.delegation_chain == (ada.nhi, bot.nhi)
        if mine is not operator:
            mine.close()


async def test_the_same_awaited(tmp_path: Path) -> None:
    async with AsyncCreto.local(tmp_path / "creto.db") as creto:
        ada = await creto.register("ada", kind=PrincipalKind.HUMAN)
        bot = await creto.register("bot")
        now = (await creto.time.get_timestamp()).timestamps[0]
        until = type(now)(now + HOUR)
        chain = ada.delegate(bot.nhi, actions=("*",), not_before=now, not_after=until, tenant=creto.tenant)
        async with creto.acting(chain) as acting:
            assert (await acting.auth.whoami()).agent == bot.nhi
            await acting.memory.store_context(agent=bot.nhi, kind="note", content="mine")
            with pytest.raises(Unauthorized, match="PL-403"):
                await acting.agents.list()
        assert (await creto.auth.whoami()).agent != bot.nhi


def test_an_embedded_identity_is_itself(tmp_path: Path) -> None:
    with Creto.local(tmp_path / "creto.db") as creto:
        ada, bot, chain = bot_of(creto)
    with Creto.local(tmp_path / "creto.db", key=ada) as creto:
        assert creto.auth.whoami().agent == ada.nhi
    with Creto.local(tmp_path / "creto.db", key=bot, chain=chain) as creto:
        assert creto.auth.whoami().agent == bot.nhi
    with Creto.local(tmp_path / "creto.db", key=bot) as creto, pytest.raises(Unauthorized, match="PL-110"):
        creto.auth.whoami()
