"""The gate takes quota along the whole chain: from authorization's own check, settled by what succeeds, free again by what fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from msgspec.structs import replace

from creto.app import running
from creto.common.errors import OversightRequired, QuotaExceeded, Unauthorized
from creto.common.ids import AgentId, PolicyId
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.gate import Effect
from creto.metering import Ask, Limit, Quota, Quotas, Rate, Window, WindowUnit
from creto.platform.nhi import DelegationChain, PrincipalKind, delegate
from creto.store import open_store
from tests.layers import settings
from tests.unit.test_gate import Town

DAY = Window(WindowUnit.DAY)


class Metered(Town):
    quotas: Quotas


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Metered]:
    async with running(settings(tmp_path)) as app:
        made = Metered(app)
        store = open_store(f"sqlite:///{tmp_path}/creto.db", parts=("creto.store", "creto.metering"))
        made.quotas = Quotas(store, app.parts.clock, folder=tmp_path / "quotas")
        app.parts.authz.use_quota(made.quotas.book)
        yield made
        app.parts.authz.use_quota(None)
        made.quotas.close()
        store.close()


async def used(town: Metered, *agents: str) -> dict[tuple[str | None, str], int]:
    town.quotas.upkeep.close()
    rows = await town.quotas.usage(town.app.tenant, agents)  # type: ignore[arg-type]
    return {(row.agent, row.quota_id): row.used for row in rows}


async def developer(town: Metered) -> AgentId:
    bot, _ = await town.person(PrincipalKind.AGENT)
    await town.parts.authz.assign_role(town.app.tenant, bot, "developer", actor=town.app.operator)
    return bot


async def test_an_owner_is_stopped_by_what_their_agents_did(town: Metered) -> None:
    owner, key = await town.person()
    bots = [await developer(town) for _ in range(2)]
    quota = Quota(quota_id="spawns", counts=("sandbox.*",), limits=(Limit(3, DAY),))
    await town.quotas.put_quota(town.app.tenant, quota, by=town.app.operator)
    chains = [town.chain(key, bot) for bot in bots]

    for turn in range(3):
        async with town.gate.performed(
            town.operation(agent=bots[turn % 2], chain=chains[turn % 2]), Effect.NONE
        ):  # fmt: skip
            pass
    with pytest.raises(QuotaExceeded) as refused:
        await town.gate.authorized_operation(town.operation(agent=bots[0], chain=chains[0]))

    assert (refused.value.code, refused.value.limit, refused.value.used) == ("RT-429", 3, 3)
    assert owner in refused.value.message
    assert await used(town, owner, bots[0]) == {(owner, "spawns"): 3, (bots[0], "spawns"): 2}


async def test_what_fails_costs_nothing_and_what_takes_less_costs_less(town: Metered) -> None:
    agent = town.app.operator
    await town.quotas.put_quota(town.app.tenant, Quota(quota_id="q", limits=(Limit(100, DAY),)), by=agent)
    with pytest.raises(RuntimeError):
        async with town.gate.performed(town.operation(amount=80), Effect.NONE):
            raise RuntimeError
    async with town.gate.performed(town.operation(amount=80), Effect.NONE) as act:
        act.amount = 30

    assert await used(town, agent) == {(agent, "q"): 30}


async def test_the_budget_of_a_link_is_spent_by_the_price_of_what_is_done(town: Metered) -> None:
    _, key = await town.person()
    bot = await developer(town)
    await town.quotas.put_rate(town.app.tenant, Rate(counts="sandbox.spawn", micros=400_000), by=town.app.operator)
    chain = town.chain(key, bot, budget_micros=1_000_000, currency="USD")

    for _ in range(2):
        town.gate.settle(await town.gate.authorized_operation(town.operation(agent=bot, chain=chain)))
    with pytest.raises(QuotaExceeded):
        await town.gate.authorized_operation(town.operation(agent=bot, chain=chain))

    now = town.parts.clock.now()
    again = delegate(
        key, None, bot, actions=["*"], resources=["*"], tenant=town.app.tenant, not_before=now,
        not_after=ConsensusTimestamp(now + HOUR), budget_micros=1_000_000, currency="USD",
    )  # fmt: skip
    await town.gate.authorized_operation(town.operation(agent=bot, chain=DelegationChain((again,))))  # a new grant


async def test_beyond_its_quota_an_act_waits_for_a_human(town: Metered) -> None:
    asking = Quota(quota_id="q", counts=("sandbox.spawn",), limits=(Limit(0, DAY),), overflow=Ask())
    await town.quotas.put_quota(town.app.tenant, asking, by=town.app.operator)
    with pytest.raises(OversightRequired) as asked:
        await town.gate.authorized_operation(town.operation())
    assert (asked.value.code, asked.value.policy_id) == ("RT-202", "quota_approval_policy")

    token = await town.approval(town.operation(), PolicyId("quota_approval_policy"))
    admitted = await town.gate.authorized_operation(town.operation(override_token=token))
    assert admitted.overridden == "quota_approval_policy"


async def test_where_policies_ask_too_an_approval_is_good_under_both_alone(town: Metered) -> None:
    """given a policy and a quota that ask under two names / when each is approved alone / then nothing passes and nothing is taken; under both it does."""
    await town.ask_about_transfers()
    mine = Ask(policy_id=PolicyId("above-budget"))
    quota = Quota(quota_id="q", counts=("funds.transfer",), limits=(Limit(0, DAY),), overflow=mine)
    await town.quotas.put_quota(town.app.tenant, quota, by=town.app.operator)
    act = town.operation("funds.transfer", resource="bank:acme")
    with pytest.raises(OversightRequired) as asked:
        await town.gate.authorized_operation(act)
    both = "above-budget + large-transfer"
    assert (asked.value.policy_id, await used(town, town.app.operator)) == (both, {(town.app.operator, "q"): 0})
    for alone in ("large-transfer", "above-budget"):
        token = await town.approval(act, PolicyId(alone))
        with pytest.raises(Unauthorized, match="PL-706"):
            await town.gate.authorized_operation(replace(act, override_token=token))
    token = await town.approval(act, PolicyId(both))
    assert (await town.gate.authorized_operation(replace(act, override_token=token))).overridden == both


async def test_what_the_body_finds_is_not_let_through_by_what_was_asked_before(town: Metered) -> None:
    """given an act that began with an approval / when its body finds a quota that asks under another policy / then that is asked, with the first."""
    await town.ask_about_transfers()
    act = town.operation("funds.transfer", resource="bank:acme")
    found = OversightRequired("MT-202", policy_id="above-budget")
    taken: list[frozenset[str]] = []

    async def take(approved: frozenset[str]) -> None:
        taken.append(approved)

    for name, passes in (("large-transfer", False), ("above-budget + large-transfer", True)):
        ready = replace(act, override_token=await town.approval(act, PolicyId(name)))
        with nullcontext() if passes else pytest.raises(OversightRequired, match=r"above-budget \+ large-transfer"):
            async with town.gate.performed(ready, Effect.NONE):
                await town.gate.agreed(found, take, take)
        assert taken == ([frozenset({"above-budget", "large-transfer"})] if passes else [])
