"""The bus's rows: durables, deliveries, dead letters.

A delivery row is a message between hand-out and ack. It is in flight while it has an owner and `ready_at` (the end of the lease) lies
ahead; it is in back-off while it has no owner and `ready_at` lies ahead; it is BLOCKED behind another of its agent until that one is
settled; otherwise it may be taken.

INVARIANT: a message is taken only if no message of its agent is in flight and no earlier one is in back-off. That is the order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import LiteralString

import msgspec

from creto.bus.redelivery import Redelivery, reason_of
from creto.bus.subjects import dead_subject, matches
from creto.bus.types import BusStanding, DeadLetter, DurableInfo, DurableName, Message
from creto.common import wire
from creto.common.errors import AlreadyExists, ErrorBody, NotFound
from creto.common.ids import TenantId
from creto.common.limits import BUS_FETCH_MAX, BUS_OUTSTANDING_MAX, COUNTED_MAX
from creto.store.types import EngineName, OutboxRow, Position, ReadTx, Row, Tx

MAKE: LiteralString = (
    "INSERT INTO bus_durable (name, pattern, kind, epoch, seq, created_at) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (name) DO NOTHING"
)
FIND: LiteralString = "SELECT pattern, kind, epoch, seq FROM bus_durable WHERE name = ?"
LIST: LiteralString = (
    "SELECT name, pattern, epoch, seq, created_at,"
    " (SELECT count(*) FROM bus_delivery WHERE bus_delivery.durable = bus_durable.name) FROM bus_durable"
    " WHERE kind = ? ORDER BY name"
)
MOVE: LiteralString = "UPDATE bus_durable SET epoch = ?, seq = ? WHERE name = ?"
ADD: LiteralString = (
    "INSERT INTO bus_delivery (durable, epoch, seq, tenant, agent, deliveries, owner, ready_at, reason, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (durable, epoch, seq) DO NOTHING"
)
NEXT_AT: LiteralString = "SELECT min(ready_at) FROM bus_delivery WHERE durable = ? AND ready_at > ? AND ready_at < ?"
COLUMNS: LiteralString = "d.epoch, d.seq, d.tenant, d.agent, d.deliveries, d.reason, d.body"
READY: LiteralString = (
    f"SELECT {COLUMNS} FROM bus_delivery d WHERE d.durable = ? AND d.ready_at <= ? AND NOT EXISTS ("
    " SELECT 1 FROM bus_delivery e WHERE e.durable = d.durable AND e.tenant = d.tenant AND e.agent = d.agent"
    " AND e.ready_at > ? AND (e.owner <> '' OR e.epoch < d.epoch OR (e.epoch = d.epoch AND e.seq < d.seq)))"
    " ORDER BY d.epoch, d.seq LIMIT ?"
)
TAKE: LiteralString = (
    "UPDATE bus_delivery SET owner = ?, ready_at = ?, deliveries = ? WHERE durable = ? AND epoch = ? AND seq = ?"
)
BLOCKED = 2**62  # a `ready_at` that never comes
BLOCKED_AGENTS: LiteralString = "SELECT DISTINCT tenant, agent FROM bus_delivery WHERE durable = ? AND ready_at = ?"
STRANDED: LiteralString = (
    "SELECT DISTINCT d.tenant, d.agent FROM bus_delivery d WHERE d.durable = ? AND d.ready_at = ? AND NOT EXISTS ("
    " SELECT 1 FROM bus_delivery e WHERE e.durable = d.durable AND e.tenant = d.tenant AND e.agent = d.agent"
    " AND e.ready_at <> ?)"
)
NEXT_BLOCKED: LiteralString = (
    "SELECT epoch, seq FROM bus_delivery WHERE durable = ? AND tenant = ? AND agent = ? AND ready_at = ?"
    " ORDER BY epoch, seq LIMIT ?"
)
UNBLOCK: LiteralString = (
    "UPDATE bus_delivery SET ready_at = 0 WHERE durable = ? AND epoch = ? AND seq = ? AND ready_at = ?"
)
AGENTS: LiteralString = (
    "SELECT tenant, agent, count(*), max(CASE WHEN owner = ? AND ready_at > ? THEN 0 ELSE 1 END)"
    " FROM bus_delivery WHERE durable = ? GROUP BY tenant, agent"
)
MINE: LiteralString = " WHERE durable = ? AND epoch = ? AND seq = ? AND owner = ? AND deliveries = ?"
DONE: LiteralString = "DELETE FROM bus_delivery" + MINE
LATER: LiteralString = "UPDATE bus_delivery SET owner = '', ready_at = ?, reason = ?" + MINE
GIVE_BACK: LiteralString = "UPDATE bus_delivery SET owner = '', ready_at = 0, deliveries = deliveries - 1" + MINE
RENEW: LiteralString = "UPDATE bus_delivery SET ready_at = ? WHERE durable = ? AND owner = ?"
BURY: LiteralString = (
    "INSERT INTO bus_dead_letter (tenant, durable, message_id, epoch, seq, agent, deliveries, reason, body, died_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, message_id, durable) DO UPDATE SET"
    " deliveries = excluded.deliveries, reason = excluded.reason, died_at = excluded.died_at"
)
DEAD_COLUMNS: LiteralString = "message_id, durable, tenant, agent, body, deliveries, reason, died_at, epoch, seq"


BEHIND: dict[EngineName, LiteralString] = {
    EngineName.SQLITE: "SELECT count(*) FROM (SELECT 1 FROM store_outbox WHERE ? = 0 AND seq > ? LIMIT ?) AS behind",
    EngineName.POSTGRES: "SELECT count(*) FROM (SELECT 1 FROM store_outbox WHERE (epoch, seq) > (?, ?) LIMIT ?) AS behind",
}

Agent = tuple[str, str]  # tenant and agent: whose messages keep their order


class Body(msgspec.Struct, frozen=True, array_like=True):
    """A message as it is kept apart from the outbox."""

    id: str
    subject: str
    payload: bytes
    headers: dict[str, str]


wire.prepare(Body)
wire.prepare(ErrorBody)


class Result(msgspec.Struct, frozen=True):
    """How one delivery ended: well (no failure), badly, or not at all (given back untouched)."""

    message: Message
    failure: ErrorBody | None = None
    given_back: bool = False


class Taken(msgspec.Struct, frozen=True):
    messages: list[Message]
    more: bool  # there is more to take at once
    next_at: int | None  # when the next waiting delivery is due


class Durable(msgspec.Struct, frozen=True):
    """Which rows a round works on, and for whom."""

    name: DurableName
    pattern: str
    owner: str
    lease_ns: int
    tail: bool  # whether its messages come from the outbox; a broker's durable has only parked ones here


def make_durable(tx: Tx, name: DurableName, pattern: str, kind: str, after: Position, now: int) -> None:
    tx.run(MAKE, name, pattern, kind, after.epoch, after.seq, now)
    row = tx.one(FIND, name)
    assert row is not None
    if (row[0], row[1]) != (pattern, kind):
        raise AlreadyExists(
            "PL-409",
            f"the durable {name} reads {row[0]} ({row[1]})",
            got=f"{pattern} ({kind})",
            expected=f"{row[0]} ({row[1]})",
            hint="Choose another name, or drop the durable first.",
        )


def durables(tx: ReadTx, kind: str) -> list[DurableInfo]:
    return [
        DurableInfo(DurableName(name), pattern, Position(epoch, seq), outstanding, created_at)
        for name, pattern, epoch, seq, created_at, outstanding in tx.all(LIST, kind)
    ]


def cursor(tx: ReadTx, name: DurableName) -> Position:
    found = position_of(tx, name)
    if found is None:
        raise NotFound("PL-404", f"there is no durable {name}", field="durable", got=name)
    return found


def position_of(tx: ReadTx, name: str) -> Position | None:
    row = tx.one(FIND, name)
    return None if row is None else Position(row[2], row[3])


def low_water(tx: ReadTx, kind: str) -> Position | None:
    """Up to where every durable is done; None if there is no durable."""
    cursors = [Position(epoch, seq) for epoch, seq in tx.all("SELECT epoch, seq FROM bus_durable WHERE kind = ?", kind)]
    first = tx.one("SELECT epoch, seq FROM bus_delivery WHERE body IS NULL ORDER BY epoch, seq LIMIT 1")
    if first is not None:
        cursors.append(Position(first[0], first[1] - 1))
    return min(cursors, default=None)


def restart(tx: Tx, name: DurableName, place: Position) -> None:
    """A durable on a broker begins again after this place of its stream; what is parked comes again from there."""
    tx.run("DELETE FROM bus_delivery WHERE durable = ?", name)
    tx.run(MOVE, place.epoch, place.seq, name)


def drop(tx: Tx, name: DurableName) -> None:
    cursor(tx, name)
    tx.run("DELETE FROM bus_delivery WHERE durable = ?", name)
    tx.run("DELETE FROM bus_durable WHERE name = ?", name)


def rewind(tx: Tx, name: DurableName, after: Position) -> None:
    """Set the cursor back (or forth); what is in flight is forgotten and comes again."""
    tx.lock(f"bus.{name}")
    cursor(tx, name)
    tx.run(MOVE, after.epoch, after.seq, name)
    tx.run(
        "DELETE FROM bus_delivery WHERE durable = ? AND body IS NULL AND (epoch > ? OR (epoch = ? AND seq > ?))",
        name, after.epoch, after.epoch, after.seq,
    )  # fmt: skip


# --- a round: what ended, then what comes next ----------------------------------------------------------------------


def turn(tx: Tx, durable: Durable, results: Sequence[Result], want: int, now: int, rule: Redelivery) -> Taken:
    """One transaction of a consumer: settle what ended, take what is next."""
    tx.lock(f"bus.{durable.name}")
    settled = settle(tx, durable, results, now, rule)
    unblock(tx, durable.name, settled & agents_of(tx, BLOCKED_AGENTS, durable.name, BLOCKED) if settled else set())
    if want <= 0:
        return Taken([], more=False, next_at=None)
    messages = retake(tx, durable, want, now, rule)
    more = len(messages) == want
    if durable.tail and len(messages) < want:
        fresh, behind = advance(tx, durable, want - len(messages), now)
        messages += fresh
        more = behind
    if not messages:
        stranded = agents_of(tx, STRANDED, durable.name, BLOCKED, BLOCKED)
        unblock(tx, durable.name, stranded)
        more = more or bool(stranded)
    next_at = tx.value(NEXT_AT, durable.name, now, BLOCKED)
    return Taken(messages, more, next_at)


def agents_of(tx: ReadTx, sql: LiteralString, *params: object) -> set[Agent]:
    return {(tenant, agent) for tenant, agent in tx.all(sql, *params)}


def unblock(tx: Tx, name: DurableName, agents: set[Agent]) -> None:
    """Let the next messages of these agents be taken; a long backlog moves up page by page."""
    for tenant, agent in sorted(agents):
        found = tx.all(NEXT_BLOCKED, name, tenant, agent, BLOCKED, BUS_FETCH_MAX)
        tx.many(UNBLOCK, [(name, epoch, seq, BLOCKED) for epoch, seq in found])


def settle(tx: Tx, durable: Durable, results: Sequence[Result], now: int, rule: Redelivery) -> set[Agent]:
    """Write down how deliveries ended; the agents whose turn it is to go on."""
    good: list[tuple[object, ...]] = []
    back: list[tuple[object, ...]] = []
    for result in results:
        message = result.message
        mine = (durable.name, message.position.epoch, message.position.seq, durable.owner, message.deliveries)
        if result.given_back:
            back.append(mine)
        elif result.failure is None:
            good.append(mine)
        elif not rule.is_dead(message.deliveries):
            tx.run(LATER, now + rule.wait_ns(message.deliveries), msgspec.json.encode(result.failure), *mine)
        elif tx.run(DONE, *mine):
            bury(tx, durable.name, message, result.failure, now)
    if good:
        tx.many(DONE, good)
    if back:
        tx.many(GIVE_BACK, back)
    return {(result.message.tenant, result.message.agent) for result in results}


def retake(tx: Tx, durable: Durable, want: int, now: int, rule: Redelivery) -> list[Message]:
    """Deliveries whose back-off or lease is over. One whose consumer died too often is buried here: nobody else can."""
    messages = []
    rows = tx.all(READY, durable.name, now, now, want)
    bodies = outbox_bodies(tx, [Position(row[0], row[1]) for row in rows if row[6] is None])
    for epoch, seq, tenant, agent, deliveries, reason, packed in rows:
        position = Position(epoch, seq)
        body = msgspec.msgpack.decode(packed, type=Body) if packed is not None else bodies.get(position)
        if body is None:  # the outbox no longer has it: it was forgotten by force
            tx.run("DELETE FROM bus_delivery WHERE durable = ? AND epoch = ? AND seq = ?", durable.name, epoch, seq)
            continue
        message = Message(
            body.id, body.subject, TenantId(tenant), agent, body.payload, body.headers, deliveries + 1, position
        )
        if deliveries >= rule.deliveries_max:
            last = msgspec.json.decode(reason, type=ErrorBody) if reason else None
            tx.run("DELETE FROM bus_delivery WHERE durable = ? AND epoch = ? AND seq = ?", durable.name, epoch, seq)
            dead = msgspec.structs.replace(message, deliveries=deliveries)
            bury(tx, durable.name, dead, last or reason_of("its consumer ended without an answer"), now)
            continue
        tx.run(TAKE, durable.owner, now + durable.lease_ns, deliveries + 1, durable.name, epoch, seq)
        messages.append(message)
    return messages


def outbox_bodies(tx: ReadTx, positions: Sequence[Position]) -> dict[Position, Body]:
    found: dict[Position, Body] = {}
    for position in positions:
        if position in found:
            continue
        for row in tx.outbox_tail(Position(position.epoch, position.seq - 1), len(positions)):
            found[row.position] = Body(row.message_id, row.subject, row.payload, row.headers)
    return found


def advance(tx: Tx, durable: Durable, want: int, now: int) -> tuple[list[Message], bool]:
    """Take new messages from the outbox. Behind what is in our own hands they queue there; behind others they are noted as blocked."""
    after = cursor(tx, durable.name)
    waiting = tx.all(AGENTS, durable.owner, now, durable.name)
    busy = {(tenant, agent) for tenant, agent, _, not_only_mine in waiting if not_only_mine}
    room = BUS_OUTSTANDING_MAX - sum(count for _, _, count, _ in waiting)
    if room <= 0:
        return [], False
    limit = min(BUS_FETCH_MAX, room)
    rows = tx.outbox_tail(after, limit)
    messages: list[Message] = []
    added = []
    last = after
    for row in rows:
        if not matches(durable.pattern, row.subject):
            last = row.position
            continue
        free = (row.tenant, row.agent) not in busy
        if free and len(messages) >= want:
            break
        last = row.position
        owner, ready_at, deliveries = (durable.owner, now + durable.lease_ns, 1) if free else ("", BLOCKED, 0)
        place = (durable.name, row.position.epoch, row.position.seq, row.tenant, row.agent)
        added.append((*place, deliveries, owner, ready_at, None, None))
        if free:
            messages.append(message_of(row))
    if added:
        tx.many(ADD, added)
    if last != after:
        tx.run(MOVE, last.epoch, last.seq, durable.name)
    return messages, len(rows) == limit or (bool(rows) and last != rows[-1].position)


def message_of(row: OutboxRow) -> Message:
    return Message(row.message_id, row.subject, row.tenant, row.agent, row.payload, row.headers, 1, row.position)


def renew(tx: Tx, durable: Durable, now: int) -> None:
    tx.run(RENEW, now + durable.lease_ns, durable.name, durable.owner)


def park(tx: Tx, durable: DurableName, message: Message, failure: ErrorBody | None, now: int, rule: Redelivery) -> None:
    """Keep a broker's message here with its body: behind the earlier ones of its agent, or after its first failure."""
    if tx.one("SELECT 1 FROM bus_delivery WHERE durable = ? AND epoch = ? AND seq = ?", durable,
              message.position.epoch, message.position.seq):  # fmt: skip
        return  # the broker sent it again because our ack was lost
    if failure is not None and rule.is_dead(message.deliveries):
        bury(tx, durable, message, failure, now)
        return
    deliveries = message.deliveries if failure is not None else 0
    ready_at = now + rule.wait_ns(deliveries) if failure is not None else BLOCKED
    reason = msgspec.json.encode(failure) if failure is not None else None
    place = (durable, message.position.epoch, message.position.seq, message.tenant, message.agent)
    tx.run(ADD, *place, deliveries, "", ready_at, reason, packed_body(message))


def parked_agents(tx: ReadTx, durable: DurableName) -> set[tuple[str, str]]:
    rows = tx.all("SELECT DISTINCT tenant, agent FROM bus_delivery WHERE durable = ?", durable)
    return {(tenant, agent) for tenant, agent in rows}


def packed_body(message: Message) -> bytes:
    return msgspec.msgpack.encode(Body(message.id, message.subject, message.payload, message.headers))


# --- dead letters ---------------------------------------------------------------------------------------------------


def bury(tx: Tx, durable: DurableName, message: Message, reason: ErrorBody, now: int) -> None:
    """Keep it with its reason, and announce it on `dead.<subject>`."""
    tx.run(
        BURY, message.tenant, durable, message.id, message.position.epoch, message.position.seq, message.agent,
        message.deliveries, msgspec.json.encode(reason), packed_body(message), now,
    )  # fmt: skip
    subject = dead_subject(message.subject)
    if subject is not None:
        about = {"creto-durable": durable, "creto-message-id": message.id, "creto-code": reason.code}
        headers = {**message.headers, **about, "creto-reason": header_text(reason.message)}
        tx.publish(subject, message.payload, tenant=message.tenant, agent=message.agent, headers=headers)


def header_text(text: str) -> str:
    """One line, as headers on the wire demand."""
    return "".join(c if c.isprintable() else " " for c in text)[:500].strip()


def standing(tx: ReadTx, kind: str) -> BusStanding:
    """What waits. A broker's durables read from its stream; before them the outbox waits for the relay."""
    known = durables(tx, kind)
    places = {str(info.name): info.cursor for info in known}
    relays = tx.all("SELECT stream, epoch, seq FROM bus_relay")
    if relays:
        places = {f"relay {stream}": Position(epoch, seq) for stream, epoch, seq in relays}
    return BusStanding(
        behind={
            name: int(tx.value(BEHIND[tx.engine], place.epoch, place.seq, COUNTED_MAX))
            for name, place in places.items()
        },
        outstanding={str(info.name): info.outstanding for info in known},
        dead=dict(tx.all("SELECT durable, count(*) FROM bus_dead_letter GROUP BY durable")),
    )


def unrelayed(tx: ReadTx, stream: str, limit: int) -> int:
    """How many rows wait for the relay, counted up to `limit`."""
    row = tx.one("SELECT epoch, seq FROM bus_relay WHERE stream = ?", stream) or (0, 0)
    return int(tx.value(BEHIND[tx.engine], row[0], row[1], limit))


def dead_letters(
    tx: ReadTx, tenant: TenantId, durable: str | None, after: tuple[str, str], limit: int
) -> list[DeadLetter]:
    rows = tx.all(
        f"SELECT {DEAD_COLUMNS} FROM bus_dead_letter WHERE tenant = ? AND (message_id, durable) > (?, ?)"
        " AND (durable = ? OR ? = '') ORDER BY message_id, durable LIMIT ?",
        tenant, *after, durable or "", durable or "", limit,
    )  # fmt: skip
    return [dead_letter(row) for row in rows]


def find_dead(tx: ReadTx, tenant: TenantId, durable: str, message_id: str) -> DeadLetter:
    row = tx.one(
        f"SELECT {DEAD_COLUMNS} FROM bus_dead_letter WHERE tenant = ? AND message_id = ? AND durable = ?",
        tenant, message_id, durable,
    )  # fmt: skip
    if row is None:
        raise NotFound("PL-404", f"{durable} has no dead letter {message_id}", field="message_id", got=message_id)
    return dead_letter(row)


def dead_letter(row: Row) -> DeadLetter:
    message_id, durable, tenant, agent, packed, deliveries, reason, died_at, epoch, seq = row
    body = msgspec.msgpack.decode(packed, type=Body)
    why = msgspec.json.decode(reason, type=ErrorBody)
    return DeadLetter(
        message_id, durable, body.subject, tenant, agent, body.payload, body.headers, deliveries, why, died_at,
        Position(epoch, seq),
    )  # fmt: skip


def take_dead(tx: Tx, tenant: TenantId, durable: str, ids: Iterable[str], *, again: bool) -> list[str]:
    """Remove dead letters, and say which there were; with `again`, hand them back to the durable with a fresh count."""
    if again:
        cursor(tx, DurableName(durable))  # one that was dropped takes nothing any more
    taken = []
    for message_id in ids:
        key = (tenant, message_id, durable)
        row = tx.one(
            "SELECT epoch, seq, agent, body FROM bus_dead_letter WHERE tenant = ? AND message_id = ? AND durable = ?",
            *key,
        )
        if row is None:
            continue
        taken.append(message_id)
        tx.run("DELETE FROM bus_dead_letter WHERE tenant = ? AND message_id = ? AND durable = ?", *key)
        if again:
            epoch, seq, agent, body = row
            tx.run("DELETE FROM bus_delivery WHERE durable = ? AND epoch = ? AND seq = ?", durable, epoch, seq)
            tx.run(ADD, durable, epoch, seq, tenant, agent, 0, "", 0, None, body)
    return taken
