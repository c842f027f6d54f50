"""What a request waits in spite of is told to whoever asked and whoever looks; and what became of votes."""

from __future__ import annotations

from creto.common import wire
from creto.common.ids import PolicyId
from creto.oversight import Channel, Oversight, Quorum, Record, render
from creto.platform.crypto import tagged_digest
from tests.unit.oversight.world import P1, P2, TENANT, World, tier


async def codes(world: World, record: Record) -> list[str]:
    return [one.code for one in await world.oversight.notices(await world.now_of(record))]


async def sent(oversight: Oversight, channel: Channel = Channel.SLACK) -> None:
    for one in await oversight.take_notifications(channel):
        await oversight.sent(one, reference="r")


async def test_a_channel_that_works_is_not_worth_a_word(world: World) -> None:
    await world.contact("alice", "U1")
    record = await world.request(P1)
    assert await codes(world, record) == []
    await sent(world.oversight)
    assert await codes(world, record) == []


async def test_a_notification_that_does_not_get_through_is_queued_and_said(world: World) -> None:
    """given a channel that is down / when an agent asks / then the request is made, the notice says so, until the message has left."""
    await world.contact("alice", "U1")
    record = await world.request(P1)
    (one,) = await world.oversight.take_notifications(Channel.SLACK)
    await world.oversight.failed(one, "connection refused", retry_after_s=5)
    (notice,) = await world.oversight.notices(await world.now_of(record))
    assert notice.code == "OV-202"
    assert "1 of 1" in notice.message
    assert "queued" in notice.message
    assert "refused" not in notice.message  # what the provider says is the operator's affair
    later = await world.request(P1, {"amount": 51})
    assert await codes(world, later) == ["OV-202"]  # known to be down before anything was tried
    await world.pass_s(6)
    await sent(world.oversight)
    assert await codes(world, record) == await codes(world, later) == []


async def test_an_address_that_takes_nothing_is_said_too(world: World) -> None:
    await world.contact("alice", "U1")
    record = await world.request(P1)
    (one,) = await world.oversight.take_notifications(Channel.SLACK)
    await world.oversight.failed(one, "gone", retry_after_s=None)
    (notice,) = await world.oversight.notices(await world.now_of(record))
    assert "no address of theirs takes it" in notice.message


async def test_a_channel_that_nobody_configured_is_said(world: World) -> None:
    world.oversight.offered = frozenset({Channel.EMAIL})
    await world.contact("alice", "U1")
    assert await codes(world, await world.request(P1)) == ["OV-202"]


async def test_what_is_over_waits_for_nothing(world: World) -> None:
    world.oversight.offered = frozenset()
    await world.contact("alice", "U1")
    record = await world.request(P1)
    await world.approve(record, "alice")
    assert await codes(world, record) == []


async def test_after_an_edit_everybody_sees_what_was_asked(world: World) -> None:
    await world.permit_all()
    record = await world.request(P2, {"amount": 500, "to": "ann"})
    assert render(record.ask).edited == ()
    await world.approve(record, "alice", arguments=b'{"amount":400,"to":"ann"}')
    await world.approve(record, "bob", arguments=b'{"amount":40,"to":"ann"}')
    shown = render((await world.now_of(record)).ask)
    assert shown.edited == ("changed amount: 500 → 40",)
    assert "Since the agent asked, by an approver's edit:\n  changed amount: 500 → 40" in shown.text()


async def test_a_display_without_an_edit_has_the_hash_it_always_had(world: World) -> None:
    """Requests that were open before there were edits to show keep what was signed."""
    record = await world.request(P1)
    assert render(record.ask).hash == record.display_hash
    encoded = wire.encode(render(record.ask))
    assert encoded.endswith(b',"edited":[]}')
    assert tagged_digest(encoded.removesuffix(b',"edited":[]}') + b"}") == record.display_hash


async def test_a_letter_tells_the_votes_that_count_no_more(world: World) -> None:
    await world.group("g", "alice", "bob", "carol")
    policy = await world.policy(P2, policy_id=PolicyId("g"), tiers=(tier("group:g"),), quorum=Quorum(approvals=2))
    await world.contact("bob", "U2")
    record = await world.request(policy)
    await world.approve(record, "alice")
    await world.group("g", "bob", "carol")
    (one,) = [one for one in await world.oversight.take_notifications(Channel.SLACK) if one.address == "U2"]
    letter = await world.oversight.letter(one)
    assert letter.votes == ("alice approved (own key) [counts no more: they have lost their seat]",)
    assert letter.tally.approvals == 0
    case = await world.oversight.case(TENANT, record.ask.request_id)
    assert [case.why_not(vote) for vote in case.votes] == ["they have lost their seat"]
