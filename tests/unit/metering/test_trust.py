"""Who vouches for events: signatures, unknown agents, and what becomes of events from the bus that nobody vouches for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from creto.bus.types import Message
from creto.common import wire
from creto.common.errors import InvalidInput, NotFound, SignatureVerificationFailed, Unauthorized
from creto.common.ids import AgentId, new_id
from creto.contracts import (
    BillableEvent,
    MessageBillableEvent,
    MessageEventType,
    MessagePriority,
    MessageProperties,
    NetworkEgress,
    RuntimeUsageEvent,
)
from creto.metering import Allowed, EventForm, IngestStatus, Metering, NhiTrust, read_event, sign_event
from creto.platform.nhi import PrincipalKind
from creto.store import Store, open_store
from creto.store.types import Entry, Outcome, Position
from tests.unit.metering.examples import event
from tests.unit.platform.nhi.town import PARTS, TENANT, Person, Town, key


class Desk:
    def __init__(self, store: Store, town: Town, bot: Person) -> None:
        self.store, self.town, self.bot = store, town, bot
        self.allowed: dict[AgentId, Allowed] = {}
        trust = NhiTrust(town.nhi, lambda tenant, by: self.allowed.get(by, Allowed()))
        self.metering = Metering(store, town.clock, trust)

    def used(self, person: Person | None = None, value: int = 1) -> BillableEvent:
        who = (person or self.bot).nhi
        return event(self.town.clock.now(), id=new_id(), agent=who, chain=(who,), value=value)

    def message(self, body: bytes, deliveries: int = 1) -> Message:
        return Message(new_id(), "metering.events.runtime", TENANT, self.bot.nhi, body, {}, deliveries, Position())

    def entries(self) -> list[Entry]:
        rows = self.store.read_now(lambda tx: tx.ledger_tail(Position(), 1_000))
        return [wire.decode(row.body, Entry) for row in rows]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = open_store(f"sqlite:///{tmp_path}/creto.db", parts=("creto.store", *PARTS, "creto.metering"))
    town = await Town.open(store)
    yield Desk(store, town, await town.agent())
    store.close()


async def test_a_signed_event_counts_and_keeps_its_signature(desk: Desk) -> None:
    signed = sign_event(desk.bot.key, desk.used())
    assert isinstance(signed, BillableEvent)
    await desk.metering.ingest_event(TENANT, signed, by=desk.bot.nhi)

    stored = await desk.metering.event(TENANT, signed.event_id)
    assert stored.event == signed
    # Signed anew it is still the same event.
    again = sign_event(desk.bot.key, replace(signed, signature=None))
    assert (await desk.metering.ingest_event(TENANT, again, by=desk.bot.nhi)).status is IngestStatus.DUPLICATE


async def test_many_signed_events_are_verified_one_by_one_in_either_form(desk: Desk) -> None:
    batch = [sign_event(desk.bot.key, desk.used(value=n)) for n in range(6)]
    forged = replace(batch[0], event_id="f", idempotency_key="f")
    done = await desk.metering.ingest_batch(TENANT, [*batch, forged], by=desk.bot.nhi)
    again = await desk.metering.ingest_encoded(TENANT, [wire.encode(e) for e in [*batch, forged]], by=desk.bot.nhi)

    assert (done.accepted, done.rejected, again.duplicates, again.rejected) == (6, 1, 6, 1)


async def test_a_changed_or_foreign_signature_is_dropped_recorded_and_told(desk: Desk) -> None:
    signed = sign_event(desk.bot.key, desk.used())
    other = await desk.town.agent("other")
    assert isinstance(signed, BillableEvent)
    for forged in (
        replace(signed, properties={"value": 0}),
        sign_event(other.key, desk.used()),
        replace(signed, signature=b"\x03" + bytes(64)),
        replace(signed, signature=b""),
    ):
        with pytest.raises(SignatureVerificationFailed) as refused:
            await desk.metering.ingest_event(TENANT, forged, by=desk.bot.nhi)
        assert refused.value.code == "MT-401"
    denied = [e for e in desk.entries() if e.outcome is Outcome.DENIED]
    assert [e.code for e in denied] == ["MT-401"] * 4


async def test_the_signature_of_a_runtime_event_is_over_that_form(desk: Desk) -> None:
    used = desk.used()
    runtime = RuntimeUsageEvent(
        event_id=used.event_id,
        tenant=TENANT,
        agent_nhi=desk.bot.nhi,
        delegation_chain=(),
        event_type="network_egress",
        timestamp=used.timestamp,
        properties=NetworkEgress(sandbox_id="sb", destination="x", bytes_transferred=7),  # type: ignore[arg-type]
        idempotency_key="k",
    )
    body = wire.encode(sign_event(desk.bot.key, runtime))
    read, _ = read_event(body, TENANT)
    assert (await desk.metering.ingest_event(TENANT, read, by=desk.bot.nhi)).status is IngestStatus.ACCEPTED


async def test_an_unsigned_event_counts_only_where_that_is_allowed(desk: Desk) -> None:
    with pytest.raises(Unauthorized):
        await desk.metering.ingest_event(TENANT, desk.used(), by=desk.bot.nhi)
    desk.allowed[desk.bot.nhi] = Allowed(unsigned=True)
    assert (await desk.metering.ingest_event(TENANT, desk.used(), by=desk.bot.nhi)).status is IngestStatus.ACCEPTED


async def test_each_speaks_for_itself_and_for_what_belongs_to_it(desk: Desk) -> None:
    owner = await desk.town.human("owner")
    mine, gateway = (
        await desk.town.agent("mine", owner=owner.nhi),
        await desk.town.settle(PrincipalKind.SERVICE, "gate"),
    )
    for person in (owner, mine, desk.bot):
        desk.allowed[person.nhi] = Allowed(unsigned=True)
    desk.allowed[gateway.nhi] = Allowed(unsigned=True, vouch=True)
    signed = sign_event(mine.key, desk.used(mine))
    for reporter, reported in (
        (mine, desk.used(mine)),
        (owner, desk.used(mine)),
        (gateway, desk.used(mine)),
        (desk.bot, signed),
    ):
        done = await desk.metering.ingest_event(TENANT, reported, by=reporter.nhi)
        assert done.status is IngestStatus.ACCEPTED
    for stranger in (desk.bot, mine):
        other = desk.used(owner if stranger is mine else mine)
        with pytest.raises(Unauthorized, match="nobody vouches"):
            await desk.metering.ingest_event(TENANT, other, by=stranger.nhi)


async def test_nobody_puts_costs_on_who_it_does_not_act_for(desk: Desk) -> None:
    """given an agent of somebody's, and a stranger / when events name whom they acted under / then only what is shown counts."""
    owner, stranger = await desk.town.human("owner"), await desk.town.human("stranger")
    mine = await desk.town.agent("mine", owner=owner.nhi)
    desk.allowed[mine.nhi] = Allowed(unsigned=True)

    def under(*above: AgentId) -> BillableEvent:
        return replace(desk.used(mine), delegation_chain=(*above, mine.nhi))

    chain = (stranger.nhi, mine.nhi)
    for fine, proven in ((under(), ()), (under(owner.nhi), ()), (under(stranger.nhi), chain)):
        assert (
            await desk.metering.ingest_event(TENANT, fine, by=mine.nhi, under=proven)
        ).status is IngestStatus.ACCEPTED
    without_itself = replace(desk.used(mine), delegation_chain=(stranger.nhi,))
    for forged in (
        under(stranger.nhi),
        without_itself,
        under(stranger.nhi, owner.nhi),
        sign_event(mine.key, under(stranger.nhi)),
    ):
        with pytest.raises(Unauthorized) as refused:
            await desk.metering.ingest_event(TENANT, forged, by=mine.nhi)
        assert (refused.value.code, refused.value.field) == ("MT-403", "delegation_chain")
    many = await desk.metering.ingest_batch(TENANT, [under(), under(stranger.nhi)], by=mine.nhi)
    assert [(r.status, r.error and r.error.code) for r in many.results] == [("accepted", None), ("rejected", "MT-403")]
    assert many.results[1].event_id is not None
    desk.allowed[mine.nhi] = Allowed(unsigned=True, vouch=True)
    assert (await desk.metering.ingest_event(TENANT, under(stranger.nhi), by=mine.nhi)).status is IngestStatus.ACCEPTED


async def test_what_the_layers_own_messaging_reports_needs_no_signature_and_counts_once(desk: Desk) -> None:
    sent = MessageBillableEvent(
        idempotency_key="m-1", tenant=TENANT, agent_nhi=desk.bot.nhi, delegation_chain=(desk.bot.nhi,),
        event_type=MessageEventType.MESSAGE_SENT, timestamp=desk.used().timestamp,
        properties=MessageProperties(
            message_size_bytes=1, recipient_count=1, priority=MessagePriority.NORMAL, encrypted=True, signature_algorithm="x"
        ),
    )  # fmt: skip
    first, again = [await desk.metering.track_message_event(TENANT, sent) for _ in range(2)]
    assert first == again
    assert (await desk.metering.event(TENANT, first)).form is EventForm.MESSAGE
    with pytest.raises(InvalidInput):
        await desk.metering.track_message_event(TENANT, replace(sent, idempotency_key="m-2", timestamp=0))


async def test_an_unknown_agent_is_tried_four_times_then_a_human_looks(desk: Desk) -> None:
    stranger = Person(key(77))
    body = wire.encode(sign_event(stranger.key, desk.used(stranger)))
    for tries in (1, 2, 3):
        with pytest.raises(NotFound):
            await desk.metering.consume(desk.message(body, tries))
    last = desk.message(body, 4)
    for _ in range(2):
        await desk.metering.consume(last)

    (letter,) = await desk.metering.dead_letters(TENANT)
    assert (letter.letter_id, letter.reason.code, letter.payload) == (last.id, "PL-102", body)
    with pytest.raises(NotFound):
        await desk.metering.retry_dead_letter(TENANT, letter.letter_id, by=desk.bot.nhi)
    desk.town.people = 76
    assert (await desk.town.agent("stranger")).nhi == stranger.nhi
    done = await desk.metering.retry_dead_letter(TENANT, letter.letter_id, by=desk.bot.nhi)
    assert done.status is IngestStatus.ACCEPTED
    assert await desk.metering.dead_letters(TENANT) == []


async def test_what_cannot_be_read_or_contradicts_is_laid_aside_and_can_be_discarded(desk: Desk) -> None:
    signed = sign_event(desk.bot.key, desk.used())
    assert isinstance(signed, BillableEvent)
    other = sign_event(desk.bot.key, replace(signed, signature=None, properties={"value": 2}))
    for body in (wire.encode(signed), b"\xff", wire.encode(other)):
        await desk.metering.consume(desk.message(body))
    await desk.metering.consume(desk.message(wire.encode(replace(signed, properties={"value": 3}))))  # forged: dropped

    letters = await desk.metering.dead_letters(TENANT)
    assert [letter.reason.code for letter in letters] == ["MT-400", "MT-409"]
    for letter in letters:
        await desk.metering.discard_dead_letter(TENANT, letter.letter_id, by=desk.bot.nhi, reason="nonsense")
    assert await desk.metering.dead_letters(TENANT) == []
    with pytest.raises(NotFound):
        await desk.metering.discard_dead_letter(TENANT, letters[0].letter_id, by=desk.bot.nhi, reason="x")
    assert [e.event for e in desk.entries()].count("EventDiscarded") == 2
