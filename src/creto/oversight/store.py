"""The rows of requests, their votes and notes. Every statement names the tenant, but for those that look for what is due."""

from __future__ import annotations

from typing import Any, LiteralString, TypeVar

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, RequestId, TenantId
from creto.common.limits import OVERSIGHT_NOTES_MAX, OVERSIGHT_SIMILAR_MAX, OVERSIGHT_VOTES_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.oversight.decisions import Ballot, CastVote
from creto.oversight.policies import policy_hash
from creto.oversight.types import Ask, Note, Notification, Progress, RequestState
from creto.platform.consensus import PersonId
from creto.store.draft import AsSeen
from creto.store.types import ReadTx, Row, Tx

T = TypeVar("T")


class Record(msgspec.Struct, frozen=True):
    """A request as it is stored, with the two hashes that votes are bound to."""

    ask: Ask
    progress: Progress
    args_hash: bytes
    display_hash: bytes


class Held(msgspec.Struct, frozen=True):
    """A request with what it takes to decide it."""

    record: Record
    policy_hash: bytes
    cast: list[CastVote]
    place: int  # of the next vote
    told: list[Notification]
    taken_back: bool  # the ballot that asks was a vote once
    rev: int


RECORD: LiteralString = "SELECT ask, progress, args_hash, display_hash FROM oversight_request"
ONE: LiteralString = RECORD + " WHERE tenant = ? AND request_id = ?"
WITH_REV: LiteralString = (
    "SELECT ask, progress, args_hash, display_hash, rev FROM oversight_request WHERE tenant = ? AND request_id = ?"
)
SAVE: LiteralString = (
    "UPDATE oversight_request SET state = ?, due_at = ?, decided_at = ?, progress = ?, rev = rev + 1"
    " WHERE tenant = ? AND request_id = ?"
)
VOTES: LiteralString = (
    "SELECT body, seq FROM oversight_vote WHERE tenant = ? AND request_id = ? AND seq > 0 ORDER BY seq LIMIT ?"
)
VOTES_OR: LiteralString = (  # and the one with this nonce that was taken back, which stands below them
    "SELECT body, seq FROM oversight_vote WHERE tenant = ? AND request_id = ? AND (seq > 0 OR nonce = ?)"
    " ORDER BY seq LIMIT ?"
)
NOTIFICATIONS: LiteralString = (
    "SELECT body FROM oversight_notification WHERE tenant = ? AND request_id = ? ORDER BY notification_id"
)
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
wire.prepare(CastVote)
_vote = msgspec.msgpack.Decoder(CastVote)


def decoded(data: bytes, type: type[T]) -> T:
    """What this part wrote itself."""
    if type not in _decoders:
        _decoders[type] = wire.decoder(type)
    found: T = _decoders[type].decode(data)
    return found


def record(row: Row) -> Record:
    ask, progress, args_hash, display_hash = row
    return Record(decoded(ask, Ask), decoded(progress, Progress), bytes(args_hash), bytes(display_hash))


# Requests


def find(tx: ReadTx, tenant: TenantId, request_id: RequestId) -> Record | None:
    row = tx.one(ONE, tenant, request_id)
    return record(row) if row else None


def locked(tx: Tx, tenant: TenantId, request_id: RequestId) -> Record | None:
    """The request, held until the transaction ends; votes are counted only by who holds it."""
    row = tx.one(ONE + tx.for_update, tenant, request_id)
    return record(row) if row else None


def held(tx: ReadTx, ballot: Ballot, for_update: LiteralString = "") -> Held | None:
    """The request of a ballot. Its votes are read by a statement of their own: where the row is locked, once it is."""
    tenant, request_id = ballot.tenant, ballot.request_id
    rows, votes, told = tx.together(
        (WITH_REV + for_update, tenant, request_id),
        (VOTES_OR, tenant, request_id, ballot.nonce, OVERSIGHT_VOTES_MAX + 1),
        (NOTIFICATIONS, tenant, request_id),
    )
    if not rows:
        return None
    (*row, rev), cast = rows[0], [(body, place) for body, place in votes if place > 0]
    found = record(tuple(row))
    return Held(
        found, policy_hash(found.ask.policy), [vote(body) for body, _ in cast], cast[-1][1] + 1 if cast else 1,
        [decoded(body, Notification) for (body,) in told], len(cast) < len(votes), rev,
    )  # fmt: skip


def as_seen(held: Held) -> AsSeen:
    """INVARIANT: nothing is changed about a request, no vote, and nobody told, without a change of its row's `rev`."""
    return AsSeen(SAVE, " AND rev = ?", held.rev)


def latest_of_key(tx: Tx, tenant: TenantId, ask_key: str) -> tuple[Record, bytes] | None:
    """The last request of an idempotency key, and the digest of its payload; the key is held until the transaction ends."""
    tx.lock(f"oversight.ask/{tenant}/{ask_key}")
    row = tx.one(
        "SELECT ask, progress, args_hash, display_hash, payload FROM oversight_request"
        " WHERE tenant = ? AND ask_key = ? ORDER BY request_id DESC LIMIT 1",
        tenant, ask_key,
    )  # fmt: skip
    return (record(row[:4]), bytes(row[4])) if row else None


def add(tx: Tx, new: Record, *, ask_key: str, payload: bytes, due_at: int | None) -> None:
    ask, progress = new.ask, new.progress
    tx.push(
        "INSERT INTO oversight_request (tenant, request_id, agent, action, resource, policy_id, ask_key, payload, state, due_at,"
        " created_at, decided_at, args_hash, display_hash, ask, progress) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        ask.tenant, ask.request_id, ask.agent, ask.action, ask.resource, ask.policy.policy_id, ask_key, payload,
        str(progress.state), due_at, ask.created_at, progress.decided_at, new.args_hash, new.display_hash,
        wire.encode(ask), wire.encode(progress),
    )  # fmt: skip


def save(tx: Tx, ask: Ask, progress: Progress, due_at: int | None) -> None:
    tx.push(
        SAVE,
        str(progress.state), due_at, progress.decided_at, wire.encode(progress), ask.tenant, ask.request_id,
    )  # fmt: skip


def save_round(tx: Tx, new: Record) -> None:
    tx.push(
        "UPDATE oversight_request SET ask = ?, args_hash = ?, display_hash = ?, rev = rev + 1 WHERE tenant = ? AND request_id = ?",
        wire.encode(new.ask), new.args_hash, new.display_hash, new.ask.tenant, new.ask.request_id,
    )  # fmt: skip


def touch(tx: Tx, tenant: TenantId, request_id: RequestId) -> None:
    """Something that hangs on the request has changed."""
    tx.push("UPDATE oversight_request SET rev = rev + 1 WHERE tenant = ? AND request_id = ?", tenant, request_id)


def due(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, RequestId]]:
    rows = tx.all(
        "SELECT tenant, request_id FROM oversight_request WHERE due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?",
        now, limit,
    )  # fmt: skip
    return [(TenantId(tenant), RequestId(request_id)) for tenant, request_id in rows]


def next_due(tx: ReadTx) -> int | None:
    """When the next request or grant is due."""
    request, grant = tx.together(
        ("SELECT MIN(due_at) FROM oversight_request WHERE due_at IS NOT NULL",),
        ("SELECT MIN(expires_at) FROM oversight_grant WHERE expires_at IS NOT NULL",),
    )
    return min((row[0] for row in (*request, *grant) if row[0] is not None), default=None)


def open_requests(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[Record]:
    sql = " WHERE tenant = ? AND due_at IS NOT NULL AND request_id > ? ORDER BY request_id LIMIT ?"
    return [record(row) for row in tx.all(RECORD + sql, tenant, after, limit)]


class Policed(msgspec.Struct, frozen=True):
    """Of a request no more than its policy, unread."""

    policy: msgspec.Raw


def open_unread(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[tuple[bytes, Row]]:
    """As `open_requests`, but read no further than to the policy, as it is spelled there; `record` reads the rest."""
    sql = " WHERE tenant = ? AND due_at IS NOT NULL AND request_id > ? ORDER BY request_id LIMIT ?"
    return [(bytes(decoded(row[0], Policed).policy), row) for row in tx.all(RECORD + sql, tenant, after, limit)]


def open_of_agent(tx: ReadTx, tenant: TenantId, agent: AgentId, most: int) -> int:
    """How many wait; it counts no further than `most`."""
    sql: LiteralString = "SELECT COUNT(*) FROM (SELECT 1 FROM oversight_request WHERE tenant = ? AND agent = ? AND due_at IS NOT NULL LIMIT ?) AS waiting"
    return int(tx.value(sql, tenant, agent, most) or 0)


def of_agent(tx: ReadTx, tenant: TenantId, agent: AgentId, before: str, limit: int) -> list[Record]:
    sql = " WHERE tenant = ? AND agent = ? AND request_id < ? ORDER BY request_id DESC LIMIT ?"
    return [record(row) for row in tx.all(RECORD + sql, tenant, agent, before, limit)]


def of_approver(tx: ReadTx, tenant: TenantId, person: PersonId, before: str, limit: int) -> list[Record]:
    sql = (
        " WHERE tenant = ? AND request_id IN (SELECT request_id FROM oversight_vote WHERE tenant = ? AND person = ?"
        " AND seq > 0 AND request_id < ?) ORDER BY request_id DESC LIMIT ?"
    )
    return [record(row) for row in tx.all(RECORD + sql, tenant, tenant, person, before, limit)]


def created_between(tx: ReadTx, tenant: TenantId, start: int, end: int, before: str, limit: int) -> list[Record]:
    sql = " WHERE tenant = ? AND created_at >= ? AND created_at < ? AND request_id < ? ORDER BY request_id DESC LIMIT ?"
    return [record(row) for row in tx.all(RECORD + sql, tenant, start, end, before, limit)]


def last_approved(tx: ReadTx, tenant: TenantId, agent: AgentId, action: str) -> bytes | None:
    """The arguments of the last similar call that was approved, if it is among the last few."""
    similar = (tenant, agent, action)
    row = tx.one(
        "SELECT ask FROM oversight_request WHERE tenant = ? AND agent = ? AND action = ? AND state = 'approved'"
        " AND request_id >= COALESCE((SELECT request_id FROM oversight_request WHERE tenant = ? AND agent = ? AND action = ?"
        " ORDER BY request_id DESC LIMIT 1 OFFSET ?), '') ORDER BY request_id DESC LIMIT 1",
        *similar, *similar, OVERSIGHT_SIMILAR_MAX - 1,
    )  # fmt: skip
    return decoded(row[0], Ask).arguments if row else None


def decision(tx: ReadTx, tenant: TenantId, request_id: RequestId) -> bytes | None:
    found = tx.value("SELECT decision FROM oversight_request WHERE tenant = ? AND request_id = ?", tenant, request_id)
    return bytes(found) if found is not None else None


def put_decision(tx: Tx, tenant: TenantId, request_id: RequestId, data: bytes) -> bytes:
    """The first file stands: everybody gets the same bytes."""
    tx.run(
        "UPDATE oversight_request SET decision = ? WHERE tenant = ? AND request_id = ? AND decision IS NULL",
        data, tenant, request_id,
    )  # fmt: skip
    return decision(tx, tenant, request_id) or data


def put_missing(tx: Tx, tenant: TenantId, request_id: RequestId, next_at: int) -> None:
    """The request lacks the agent's reasoning: it is to be asked for again."""
    tx.push(
        "INSERT INTO oversight_missing (tenant, request_id, next_at) VALUES (?, ?, ?)"
        " ON CONFLICT (tenant, request_id) DO UPDATE SET next_at = excluded.next_at",
        tenant, request_id, next_at,
    )  # fmt: skip


def drop_missing(tx: Tx, tenant: TenantId, request_id: RequestId) -> None:
    tx.run("DELETE FROM oversight_missing WHERE tenant = ? AND request_id = ?", tenant, request_id)


def missing(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, RequestId]]:
    rows = tx.all(
        "SELECT tenant, request_id FROM oversight_missing WHERE next_at <= ? ORDER BY next_at LIMIT ?", now, limit
    )
    return [(TenantId(tenant), RequestId(request_id)) for tenant, request_id in rows]


def count_open(tx: ReadTx, tenant: TenantId) -> tuple[int, ConsensusTimestamp | None]:
    """How many wait, and since when the oldest does."""
    row = tx.one(
        "SELECT COUNT(*), MIN(created_at) FROM oversight_request WHERE tenant = ? AND due_at IS NOT NULL", tenant
    )
    return (int(row[0]), row[1]) if row else (0, None)


def standing(tx: ReadTx) -> tuple[int, int, int | None]:
    """Of all tenants: how many requests wait, how many notifications do, and when the next request is due."""
    row = tx.one("SELECT COUNT(*), MIN(due_at) FROM oversight_request WHERE due_at IS NOT NULL")
    queued = tx.value("SELECT COUNT(*) FROM oversight_notification WHERE next_at IS NOT NULL")
    return int(row[0]) if row else 0, int(queued or 0), row[1] if row else None


def state_of(tx: ReadTx, tenant: TenantId, request_id: RequestId) -> RequestState | None:
    found = tx.value("SELECT state FROM oversight_request WHERE tenant = ? AND request_id = ?", tenant, request_id)
    return RequestState(found) if found is not None else None


# Votes and notes


def votes(tx: ReadTx, tenant: TenantId, request_id: RequestId) -> list[CastVote]:
    rows = tx.all(VOTES, tenant, request_id, OVERSIGHT_VOTES_MAX)
    return [vote(row[0]) for row in rows]


def vote(body: bytes) -> CastVote:
    """A key and a signature are bytes, which JSON makes longer by a third. Votes of before are in JSON."""
    return decoded(body, CastVote) if body.startswith(b"{") else _vote.decode(body)


def add_vote(tx: Tx, vote: CastVote, place: int, at: int) -> None:
    """Whoever adds it has looked whether its ballot was taken back."""
    ballot = vote.signed.ballot
    tx.push(
        "INSERT INTO oversight_vote (tenant, request_id, seq, person, nonce, at, body) VALUES (?, ?, ?, ?, ?, ?, ?)",
        ballot.tenant, ballot.request_id, place, ballot.person, ballot.nonce, at, msgspec.msgpack.encode(vote),
    )  # fmt: skip


def withdraw_vote(tx: Tx, ballot: Ballot) -> None:
    """It stays in its row, so that its ballot never counts again, at a place below those that count."""
    tx.run(
        "UPDATE oversight_vote SET seq = (SELECT CASE WHEN MIN(seq) < 0 THEN MIN(seq) - 1 ELSE -1 END FROM oversight_vote"
        " WHERE tenant = ? AND request_id = ?) WHERE tenant = ? AND request_id = ? AND nonce = ? AND seq > 0",
        ballot.tenant, ballot.request_id, ballot.tenant, ballot.request_id, ballot.nonce,
    )  # fmt: skip


def notes(tx: ReadTx, tenant: TenantId, request_id: RequestId) -> list[Note]:
    rows = tx.all(
        "SELECT body FROM oversight_note WHERE tenant = ? AND request_id = ? ORDER BY seq LIMIT ?",
        tenant, request_id, OVERSIGHT_NOTES_MAX,
    )  # fmt: skip
    return [decoded(row[0], Note) for row in rows]


def add_note(tx: Tx, tenant: TenantId, request_id: RequestId, seq: int, note: Note) -> None:
    tx.push(
        "INSERT INTO oversight_note (tenant, request_id, seq, body) VALUES (?, ?, ?, ?)",
        tenant, request_id, seq, wire.encode(note),
    )  # fmt: skip


def snooze(tx: Tx, tenant: TenantId, request_id: RequestId, person: PersonId, until: int) -> None:
    tx.run(
        "INSERT INTO oversight_snooze (tenant, request_id, person, until) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (tenant, request_id, person) DO UPDATE SET until = excluded.until",
        tenant, request_id, person, until,
    )  # fmt: skip


def snoozed(tx: ReadTx, tenant: TenantId, person: PersonId, now: int) -> set[RequestId]:
    rows = tx.all(
        "SELECT request_id FROM oversight_snooze WHERE tenant = ? AND person = ? AND until > ?", tenant, person, now
    )
    return {RequestId(row[0]) for row in rows}
