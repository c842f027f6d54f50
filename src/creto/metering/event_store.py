"""The rows of events: chains, batches, names, events and what was done to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain as chained
from typing import Any, Final, LiteralString

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, EventId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.metering.admission import Arrival, unpacked
from creto.metering.arrays import bytes_array, number_array
from creto.metering.attribution import Chain
from creto.metering.usage_types import EventAct, EventForm, EventState
from creto.store.types import EngineName, EntryId, ReadTx, Tx

CHUNK: Final = 150  # rows of one statement: some thousand parameters
BULK_MIN: Final = 20  # rows from which the engine's way for many pays

COLUMNS: LiteralString = (
    "e.batch, e.place, e.agent, e.chain, e.happened_at, e.changed_at, e.state, e.form, e.event_type, e.event_id,"
    " e.event_key, e.properties"
)
EVENT_COLUMNS: tuple[LiteralString, ...] = (
    "batch", "place", "agent", "tenant", "chain", "happened_at", "changed_at", "state", "form", "event_type",
    "event_id", "event_key", "properties",
)  # fmt: skip

Behind = tuple[AgentId, Chain]  # an agent and its delegation chain, as an event gave them

STATES, FORMS = tuple(EventState), tuple(EventForm)  # each at the place of its number

_properties = msgspec.json.Decoder(dict[str, str | int | bool])
_behind = msgspec.json.Decoder(tuple[AgentId, tuple[AgentId, ...]])


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where an event stands."""

    agent: int
    batch: int
    place: int


class Name(msgspec.Struct, frozen=True, gc=False):
    print: bytes
    at: Place
    state: EventState


class EventRow(msgspec.Struct, frozen=True, gc=False):
    at: Place
    chain: bytes
    happened_at: int
    changed_at: int
    state: EventState
    form: EventForm
    event_type: str
    event_id: bytes
    event_key: bytes
    properties: bytes

    def event(self, tenant: TenantId, behind: Behind) -> BillableEvent:
        """The event, byte for byte what came in."""
        agent, delegation_chain = behind
        return BillableEvent(
            event_id=EventId(unpacked(self.event_id)),
            tenant=tenant,
            agent_nhi=agent,
            delegation_chain=delegation_chain,
            event_type=self.event_type,
            timestamp=ConsensusTimestamp(self.happened_at),
            idempotency_key=unpacked(self.event_key or self.event_id),
            properties=_properties.decode(self.properties),
        )


class Batch(msgspec.Struct, frozen=True):
    batch: int
    entry: EntryId
    folded: bool


def event_row(row: Sequence[Any]) -> EventRow:
    batch, place, agent, chain, happened_at, changed_at, state, form, event_type, event_id, event_key, properties = row
    return EventRow(
        Place(agent, batch, place), chain, happened_at, changed_at, STATES[state], FORMS[form], event_type,
        event_id, event_key, properties,
    )  # fmt: skip


# Names


def take_names(tx: Tx, names: Sequence[tuple[bytes, bytes, int, int, int, int]]) -> dict[bytes, Name]:
    """Take those that are free; the others as they are. In their order, so that batches with the same names never wait in a circle."""
    ordered = sorted(names)
    batch = ordered[0][3]
    if _insert_names(tx, ordered) == len(ordered):
        return {}
    found = find_names(tx, [name for name, *_ in ordered])
    return {name: known for name, known in found.items() if known.at.batch != batch}


def _insert_names(tx: Tx, names: Sequence[tuple[bytes, bytes, int, int, int, int]]) -> int:
    if tx.engine is EngineName.POSTGRES:
        name, mark, *numbers = zip(*names, strict=True)
        return tx.run(TAKE_ARRAYS, bytes_array(name), bytes_array(mark), *map(number_array, numbers))
    chunks = (names[start : start + CHUNK] for start in range(0, len(names), CHUNK))
    return sum(tx.run(_take(len(chunk)), *chained.from_iterable(chunk)) for chunk in chunks)


def give_back(tx: Tx, names: Sequence[bytes]) -> None:
    if names:
        tx.many("DELETE FROM metering_name WHERE name = ?", [(name,) for name in names])


def find_names(tx: ReadTx, names: Sequence[bytes]) -> dict[bytes, Name]:
    found = {}
    for start in range(0, len(names), CHUNK):
        chunk = names[start : start + CHUNK]
        for name, mark, agent, batch, place, state in tx.all(_find(len(chunk)), *chunk):
            found[bytes(name)] = Name(bytes(mark), Place(agent, batch, place), EventState(state))
    return found


def move_names(tx: Tx, names: Iterable[bytes], at: Place, state: EventState) -> None:
    tx.many(
        "UPDATE metering_name SET agent = ?, batch = ?, place = ?, state = ? WHERE name = ?",
        [(at.agent, at.batch, at.place, int(state), name) for name in names],
    )


# Chains


def add_chains(tx: Tx, tenant: TenantId, chains: dict[bytes, Behind]) -> None:
    """Those that are there already stay."""
    ordered = sorted(chains)
    tx.many(
        "INSERT INTO metering_chain (tenant, chain, agents) VALUES (?, ?, ?) ON CONFLICT (tenant, chain) DO NOTHING",
        [(tenant, chain, wire.encode(chains[chain])) for chain in ordered],
    )
    members = sorted((agent, chain) for chain in ordered for agent in {chains[chain][0], *chains[chain][1]})
    tx.many(
        "INSERT INTO metering_member (tenant, agent, chain) VALUES (?, ?, ?) ON CONFLICT (tenant, agent, chain) DO NOTHING",
        [(tenant, agent, chain) for agent, chain in members],
    )


def chains_of(tx: ReadTx, tenant: TenantId, agent: AgentId) -> dict[bytes, Behind]:
    """Every chain in which an agent stands."""
    rows = tx.all(
        "SELECT c.chain, c.agents FROM metering_member m JOIN metering_chain c ON c.tenant = m.tenant AND c.chain = m.chain "
        "WHERE m.tenant = ? AND m.agent = ?",
        tenant, agent,
    )  # fmt: skip
    return {bytes(chain): behind_of(agents) for chain, agents in rows}


def acting_in(tx: ReadTx, tenant: TenantId, agent: AgentId, limit: int) -> list[bytes]:
    """The chains at whose end an agent stands, of the first so many in which it does anywhere."""
    rows = tx.all(
        "SELECT c.chain, c.agents FROM metering_member m JOIN metering_chain c ON c.tenant = m.tenant AND c.chain = m.chain "
        "WHERE m.tenant = ? AND m.agent = ? ORDER BY m.chain LIMIT ?",
        tenant, agent, limit,
    )  # fmt: skip
    return [bytes(chain) for chain, agents in rows if behind_of(agents)[0] == agent]


def behind_of(agents: bytes) -> Behind:
    return _behind.decode(agents)


def all_chains(tx: ReadTx, tenant: TenantId) -> dict[bytes, Behind]:
    rows = tx.all("SELECT chain, agents FROM metering_chain WHERE tenant = ?", tenant)
    return {bytes(chain): _behind.decode(agents) for chain, agents in rows}


def find_chain(tx: ReadTx, tenant: TenantId, chain: bytes) -> Behind:
    return _behind.decode(tx.value("SELECT agents FROM metering_chain WHERE tenant = ? AND chain = ?", tenant, chain))


# Batches


def add_batch(tx: Tx, tenant: TenantId, entry: EntryId, events: int, now: int) -> int:
    """A batch of so many events at most."""
    sql: LiteralString = (
        "INSERT INTO metering_batch (tenant, entry, came_at, events) VALUES (?, ?, ?, ?) RETURNING batch"
    )
    return int(tx.value(sql, tenant, entry, now, events))


def drop_batch(tx: Tx, batch: int) -> None:
    tx.run("DELETE FROM metering_batch WHERE batch = ?", batch)


def find_batch(tx: ReadTx, tenant: TenantId, batch: int) -> Batch:
    row = tx.one("SELECT entry, folded FROM metering_batch WHERE batch = ? AND tenant = ?", batch, tenant)
    assert row is not None
    return Batch(batch, EntryId(row[0]), bool(row[1]))


# Events


def add_events(
    tx: Tx, tenant: TenantId, batch: int, arrivals: Sequence[tuple[int, Arrival, EventState]], now: int
) -> None:
    rows = [
        (
            batch, place, a.agent, tenant, a.chain, a.event.timestamp, now, int(state), int(a.form), a.event.event_type,
            a.event_id, a.event_key, a.properties,
        )
        for place, a, state in arrivals
    ]  # fmt: skip
    if not rows:
        return
    if len(rows) < BULK_MIN:
        tx.many(_insert_event(), rows)
    else:
        tx.bulk("metering_event", EVENT_COLUMNS, rows)
    signed = [(batch, place, tenant, a.signature) for place, a, _ in arrivals if a.signature is not None]
    if signed:
        tx.many("INSERT INTO metering_signature (batch, place, tenant, signature) VALUES (?, ?, ?, ?)", signed)


def drop_events(tx: Tx, batch: int, places: Sequence[int]) -> None:
    """Those of the transaction's own batch that do not come in after all."""
    if places:
        tx.many("DELETE FROM metering_event WHERE batch = ? AND place = ?", [(batch, place) for place in places])
        tx.many("DELETE FROM metering_signature WHERE batch = ? AND place = ?", [(batch, place) for place in places])


def find_event(tx: ReadTx, tenant: TenantId, at: Place) -> EventRow:
    sql: LiteralString = (
        f"SELECT {COLUMNS} FROM metering_event e WHERE e.batch = ? AND e.place = ? AND e.agent = ? AND e.tenant = ?"
    )
    row = tx.one(sql, at.batch, at.place, at.agent, tenant)
    assert row is not None
    return event_row(row)


def batch_events(tx: ReadTx, tenant: TenantId, batch: int) -> list[EventRow]:
    """All events of a batch, as its tree has them."""
    sql: LiteralString = f"SELECT {COLUMNS} FROM metering_event e WHERE e.batch = ? AND e.tenant = ? ORDER BY e.place"
    return [event_row(row) for row in tx.all(sql, batch, tenant)]


def set_state(tx: Tx, tenant: TenantId, at: Place, state: EventState, now: int) -> None:
    tx.run(
        "UPDATE metering_event SET state = ?, changed_at = ? WHERE batch = ? AND place = ? AND agent = ? AND tenant = ?",
        int(state), now, at.batch, at.place, at.agent, tenant,
    )  # fmt: skip


def signature_of(tx: ReadTx, tenant: TenantId, at: Place) -> bytes | None:
    value = tx.value(
        "SELECT signature FROM metering_signature WHERE batch = ? AND place = ? AND tenant = ?",
        at.batch, at.place, tenant,
    )  # fmt: skip
    return None if value is None else bytes(value)


def placed_events(
    tx: ReadTx, tenant: TenantId, chains: Sequence[bytes], start: int, end: int, types: Sequence[str]
) -> Iterable[EventRow]:
    """The events that count, of some chains in a stretch of time and of some types; those of folded batches only."""
    for begin in range(0, len(chains), CHUNK):
        chunk = chains[begin : begin + CHUNK]
        sql = _placed(len(chunk), len(types))
        for row in tx.all(sql, tenant, start, end, int(EventState.COUNTED), *chunk, *types):
            yield event_row(row)


# What was done to events


def add_act(tx: Tx, tenant: TenantId, event_id: str, act: str, by: AgentId, reason: str, at: Place, now: int) -> None:
    tx.run(
        "INSERT INTO metering_act (tenant, event_id, done_at, act, by_agent, reason, batch, place) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        tenant, event_id, now, act, by, reason, at.batch, at.place,
    )  # fmt: skip


def acts_of(tx: ReadTx, tenant: TenantId, event_id: str) -> tuple[EventAct, ...]:
    rows = tx.all(
        "SELECT done_at, act, by_agent, reason FROM metering_act WHERE tenant = ? AND event_id = ? ORDER BY done_at",
        tenant, event_id,
    )  # fmt: skip
    return tuple(EventAct(done_at, act, AgentId(by), reason) for done_at, act, by, reason in rows)


# Statements


NAME_COLUMNS: LiteralString = "name, print, agent, batch, place, state"
TAKE_ARRAYS: LiteralString = (
    f"INSERT INTO metering_name ({NAME_COLUMNS}) SELECT * FROM unnest(?::bytea[], ?::bytea[], ?::bigint[], ?::bigint[],"
    " ?::bigint[], ?::smallint[]) ON CONFLICT (name) DO NOTHING"
)


@lru_cache(maxsize=CHUNK)
def _take(count: int) -> LiteralString:
    values = ", ".join(["(?, ?, ?, ?, ?, ?)"] * count)
    return f"INSERT INTO metering_name ({NAME_COLUMNS}) VALUES {values} ON CONFLICT (name) DO NOTHING"


@lru_cache(maxsize=CHUNK)
def _find(count: int) -> LiteralString:
    marks = ", ".join(["?"] * count)
    return f"SELECT {NAME_COLUMNS} FROM metering_name WHERE name IN ({marks})"


@lru_cache(maxsize=1)
def _insert_event() -> LiteralString:
    names, marks = ", ".join(EVENT_COLUMNS), ", ".join(["?"] * len(EVENT_COLUMNS))
    return f"INSERT INTO metering_event ({names}) VALUES ({marks})"


@lru_cache(maxsize=CHUNK)
def _placed(chains: int, types: int) -> LiteralString:
    in_chains, of_types = ", ".join(["?"] * chains), ", ".join(["?"] * types)
    return (
        f"SELECT {COLUMNS} FROM metering_place p JOIN metering_event e"
        " ON e.batch = p.batch AND e.place = p.place AND e.agent = p.agent"
        f" WHERE p.tenant = ? AND p.happened_at >= ? AND p.happened_at < ? AND e.state = ? AND p.chain IN ({in_chains})"
        f" AND e.event_type IN ({of_types})"
    )
