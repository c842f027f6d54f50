"""Who asks decides neither under which policy, nor how risky it is, nor what arguments are."""

from __future__ import annotations

from typing import Any

import pytest

from creto.common.errors import Unauthorized
from creto.platform.crypto import digest
from tests.unit.oversight.world import P1, P2, TENANT, World, consume, token_of

ASKS = '@id("big") @oversight("P2") forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > 100 };'


async def test_nobody_picks_a_weaker_policy_than_the_act_needs(world: World) -> None:
    await world.permit_all(ASKS)
    with pytest.raises(Unauthorized, match="POLICY") as caught:
        await world.request(P1, {"amount": 500})
    assert (caught.value.code, caught.value.got, caught.value.expected) == ("OV-403", "P1", "P2")
    await world.request(P2, {"amount": 500})
    await world.request(P1, {"amount": 50})  # nobody has to be asked about it: whom one asks is one's own affair


async def test_a_token_answers_the_policy_it_was_given_under_alone(world: World) -> None:
    record = await world.request(P1)
    await world.approve(record, "alice")
    text = await token_of(world, record)
    act: dict[str, Any] = {
        "tenant": TENANT,
        "agent": record.ask.agent,
        "action": record.ask.action,
        "resource": record.ask.resource,
    }
    for policy in ("P2", ""):
        with pytest.raises(Unauthorized, match="PL-706"):
            await world.authz.consume_durable(text, **act, args_digest=digest(record.ask.arguments), policy_id=policy)
    await consume(world, record, text)
