"""Reach: a chain that ends in nobody, or in too few, is known before it is needed."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from creto.common.ids import PolicyId, TenantId
from creto.oversight import BreakGlassTerms, Channel, GroupNeed, OversightPolicy, Quorum
from tests.unit.oversight.test_scenarios import refused
from tests.unit.oversight.test_separation import one
from tests.unit.oversight.world import TENANT, World, id_of

ONE = Quorum()


async def put(world: World, *approvers: str, quorum: Quorum = ONE) -> PolicyId:
    policy: OversightPolicy = await world.policy(one("h", *approvers, quorum=quorum))
    return policy.policy_id


async def test_who_can_be_told_has_to_be_enough(world: World) -> None:
    await world.contact("alice", "U1")
    policy = await put(world, "alice", "bob", quorum=Quorum(approvals=2))
    assert policy not in world.oversight.unreachable(TENANT)
    assert world.oversight.short(TENANT)[policy] == "2 have to agree, 1 can be told"
    await world.contact("bob", "U2")
    assert policy not in world.oversight.short(TENANT)


async def test_who_sits_has_to_have_an_address(world: World) -> None:
    await world.contact("alice", "U1")
    policy = await put(world, "alice")
    assert policy not in world.oversight.unreachable(TENANT)
    await world.absent("alice", "bob")
    assert world.oversight.unreachable(TENANT)[policy] == ("tier",)
    await world.contact("bob", "U2")
    assert policy not in world.oversight.unreachable(TENANT)


async def test_a_circle_reaches_nobody(world: World) -> None:
    for number, name in enumerate(("alice", "bob")):
        await world.contact(name, f"U{number}")
    policy = await put(world, "alice")
    await world.absent("alice", "bob")
    await world.absent("bob", "alice")
    assert world.oversight.unreachable(TENANT)[policy] == ("tier",)
    assert world.oversight.short(TENANT)[policy] == "1 have to agree, 0 sit"


async def test_a_delegate_who_left_does_not_silence_the_seat(world: World) -> None:
    await world.contact("alice", "U1")
    policy = await put(world, "alice")
    await world.absent("alice", "bob")
    await world.nhi.revoke(TENANT, id_of("bob"), reason="left")
    assert policy not in world.oversight.unreachable(TENANT)
    await world.nhi.revoke(TENANT, id_of("alice"), reason="left")
    assert world.oversight.unreachable(TENANT)[policy] == ("tier",)


async def test_a_group_that_is_not_there_is_said(world: World) -> None:
    await world.contact("alice", "U1")
    policy = await put(world, "alice", quorum=Quorum(groups=(GroupNeed(group="finanse"),)))
    assert world.oversight.short(TENANT)[policy] == "1 have to agree, 1 sit, and too few for finanse"


async def test_who_writes_a_policy_hears_whom_it_does_not_find(world: World) -> None:
    terms = BreakGlassTerms(armers=("group:oncall", id_of("alice"), "ghost@acme.example"))
    policy = replace(one("h", "group:cashiers", "bob", quorum=Quorum(approvals=2)), break_glass=terms)
    others = ("there is no group oncall", "ghost@acme.example is no registered human")
    few = "it cannot be met: 2 have to agree, 1 sit"
    assert world.oversight.doubts(TENANT, policy) == ("there is no group cashiers", *others, few)
    await world.group("cashiers")
    assert world.oversight.doubts(TENANT, policy) == ("nobody is in the group cashiers", *others, few)
    await world.group("cashiers", "alice")
    assert world.oversight.doubts(TENANT, policy) == others
    needs = replace(policy, quorum=Quorum(groups=(GroupNeed(group="finanse"),)))
    assert "there is no group finanse" in world.oversight.doubts(TENANT, needs)


async def test_who_writes_a_group_hears_whom_it_does_not_find(world: World) -> None:
    await world.contact("bob", "bob@acme.example", Channel.EMAIL)
    await world.group("empty")
    members = (id_of("alice"), "bob@acme.example", "bob", "group:oncall", "group:empty", "bob")
    nowhere = ("bob is no registered human", "there is no group oncall", "nobody is in the group empty")
    assert world.oversight.lost(TENANT, members) == nowhere
    assert world.oversight.lost(TENANT, ()) == ()


async def test_another_tenants_channel_does_not_count(world: World) -> None:
    await world.contact("alice", "U1")
    policy = await put(world, "alice")
    world.oversight.served = {Channel.SLACK: (TenantId("other"),)}
    assert world.oversight.unreachable(TENANT)[policy] == ("tier",)
    world.oversight.served = {Channel.SLACK: (TENANT,)}
    assert policy not in world.oversight.unreachable(TENANT)


@pytest.mark.parametrize(
    ("channel", "address"),
    [(Channel.SLACK, "@ann"), (Channel.SLACK, "ann"), (Channel.EMAIL, "not an address"), (Channel.EMAIL, "a@b@c")],
)
async def test_an_address_has_the_form_of_its_channel(world: World, channel: Channel, address: str) -> None:
    assert "address" in (await refused("OV-400", world.contact("alice", address, channel))).message
