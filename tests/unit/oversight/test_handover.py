"""Out of office: who begins to sit in somebody's seats learns what waits there."""

from __future__ import annotations

import pytest

from creto.common.timestamps import DAY, HOUR, SECOND, ConsensusTimestamp
from creto.oversight import NotificationKind, Record, handover
from tests.unit.oversight.test_separation import one
from tests.unit.oversight.world import P2, TENANT, World, id_of, person


async def told(world: World, record: Record) -> list[tuple[str, NotificationKind]]:
    sent = await world.oversight.notifications(TENANT, record.ask.request_id)
    return [(one.address, one.kind) for one in sent]


async def test_what_waits_goes_with_the_seat(world: World) -> None:
    for name in ("alice", "trudy", "bob"):
        await world.contact(name, f"U{name.upper()}")
    mine = await world.request(await world.policy(one("mine", "alice")))
    others = await world.request(await world.policy(one("others", "bob")))
    await world.absent("alice", "trudy")
    assert await told(world, mine) == [("UALICE", NotificationKind.ASKED), ("UTRUDY", NotificationKind.ASKED)]
    assert await told(world, others) == [("UBOB", NotificationKind.ASKED)]
    await world.timer.advance_once(world.clock.now())
    assert len(await told(world, mine)) == 2


async def test_who_sits_for_the_delegate_is_told(world: World) -> None:
    await world.contact("carol", "UCAROL")
    await world.absent("bob", "carol")
    record = await world.request(await world.policy(one("mine", "alice")))
    await world.absent("alice", "bob")
    assert await told(world, record) == [("UCAROL", NotificationKind.ASKED)]


async def test_however_much_waits_all_of_it_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "OVERSIGHT_TIMER_BATCH", 2)
    await world.contact("bob", "UBOB")
    policy = await world.policy(one("mine", "alice"))
    records = [await world.request(policy, {"n": number}) for number in range(5)]
    await world.absent("alice", "bob")
    assert [await told(world, record) for record in records] == 5 * [[("UBOB", NotificationKind.ASKED)]]


async def test_who_was_asked_already_is_not_asked_again(world: World) -> None:
    await world.contact("bob", "UBOB")
    record = await world.request(await world.policy(one("both", "alice", "bob")))
    await world.absent("alice", "bob")
    assert await told(world, record) == [("UBOB", NotificationKind.ASKED)]


async def test_an_absence_to_come_hands_over_when_it_begins(world: World) -> None:
    await world.contact("trudy", "UTRUDY")
    policy = await world.policy(one("later", "alice"))
    begins = ConsensusTimestamp(world.clock.now() + HOUR)
    await world.oversight.delegate(
        TENANT, of=id_of("alice"), to=id_of("trudy"), starts_at=begins, ends_at=ConsensusTimestamp(begins + DAY),
        by=id_of("alice"),
    )  # fmt: skip
    world.clock.advance(HOUR - 60 * SECOND)
    record = await world.request(policy)
    assert await told(world, record) == []
    await world.pass_s(61)
    await world.pass_s(1)
    assert await told(world, record) == [("UTRUDY", NotificationKind.ASKED)]


async def test_a_circle_is_said_when_it_is_made(world: World) -> None:
    now = world.clock.now()
    ends = ConsensusTimestamp(now + DAY)
    made = []
    for of, to, policies in (("alice", "bob", ()), ("bob", "carol", (P2.policy_id,)), ("carol", "alice", ())):
        made.append(
            await world.oversight.delegate(
                TENANT, of=id_of(of), to=id_of(to), starts_at=now, ends_at=ends, policies=policies, by=id_of(of)
            )
        )
    assert [one.circle for one in made] == [(), (), (person("carol"), person("alice"), person("bob"))]
