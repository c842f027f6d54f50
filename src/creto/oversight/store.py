"""The rows of oversight. Every statement names the tenant, but for the two that look for what is due."""

from __future__ import annotations

from typing import Any, LiteralString, TypeVar

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.limits import (
    OVERSIGHT_GROUPS_MAX,
    OVERSIGHT_NOTES_MAX,
    OVERSIGHT_PASSKEYS_MAX,
    OVERSIGHT_SIMILAR_MAX,
    OVERSIGHT_VOTES_MAX,
)
from creto.common.timestamps import ConsensusTimestamp
from creto.oversight.decisions import Ballot, CastVote, EnrolledPasskey
from creto.oversight.policies import policy_hash
from creto.oversight.types import (
    ApproverGroup,
    Ask,
    Channel,
    Contact,
    Delegation,
    Grant,
    Note,
    Notification,
    OversightPolicy,
    Progress,
    RequestState,
)
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
GRANTS_FOR: LiteralString = (
    "SELECT body FROM oversight_grant WHERE tenant = ? AND agent = ? AND action = ? AND resource = ?"
    " AND expires_at IS NOT NULL ORDER BY grant_id LIMIT 100"
)
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {}
_vote = msgspec.msgpack.Decoder(CastVote)


def decoded(data: bytes, type: type[T]) -> T:
    """What this part wrote itself."""
    if type not in _decoders:
        _decoders[type] = msgspec.json.Decoder(type)
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


# Passkeys


def put_passkey(tx: Tx, tenant: TenantId, enrolled: EnrolledPasskey) -> bool:
    """False if the passkey is enrolled already, for anybody."""
    return (
        tx.run(
            "INSERT INTO oversight_passkey (tenant, credential_id, person, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (tenant, credential_id) DO NOTHING",
            tenant, enrolled.passkey.credential_id, enrolled.person, wire.encode(enrolled),
        )
        == 1
    )  # fmt: skip


def drop_passkey(tx: Tx, tenant: TenantId, person: PersonId, credential_id: bytes) -> bool:
    sql: LiteralString = "DELETE FROM oversight_passkey WHERE tenant = ? AND person = ? AND credential_id = ?"
    return tx.run(sql, tenant, person, credential_id) > 0


def passkeys(tx: ReadTx, tenant: TenantId, person: PersonId) -> list[EnrolledPasskey]:
    rows = tx.all(
        "SELECT body FROM oversight_passkey WHERE tenant = ? AND person = ? ORDER BY credential_id LIMIT ?",
        tenant, person, OVERSIGHT_PASSKEYS_MAX,
    )  # fmt: skip
    return [decoded(row[0], EnrolledPasskey) for row in rows]


# Policies and people


def add_policy(tx: Tx, tenant: TenantId, policy: OversightPolicy, by: AgentId, now: int) -> None:
    tx.run(
        "INSERT INTO oversight_policy (tenant, policy_id, version, body, uploaded_by, uploaded_at) VALUES (?, ?, ?, ?, ?, ?)",
        tenant, policy.policy_id, policy.version, wire.encode(policy), by, now,
    )  # fmt: skip


def policy(tx: ReadTx, tenant: TenantId, policy_id: PolicyId) -> OversightPolicy | None:
    row = tx.one(
        "SELECT body FROM oversight_policy WHERE tenant = ? AND policy_id = ? ORDER BY version DESC LIMIT 1",
        tenant,
        policy_id,
    )
    return decoded(row[0], OversightPolicy) if row else None


def policies(tx: ReadTx, tenant: TenantId) -> dict[PolicyId, OversightPolicy]:
    rows = tx.all(
        "SELECT body FROM oversight_policy WHERE tenant = ? ORDER BY policy_id, version LIMIT ?",
        tenant,
        OVERSIGHT_GROUPS_MAX,
    )
    return {one.policy_id: one for one in (decoded(row[0], OversightPolicy) for row in rows)}


def put_group(tx: Tx, tenant: TenantId, group: ApproverGroup) -> None:
    tx.run(
        "INSERT INTO oversight_group (tenant, name, body) VALUES (?, ?, ?)"
        " ON CONFLICT (tenant, name) DO UPDATE SET body = excluded.body",
        tenant, group.name, wire.encode(group),
    )  # fmt: skip


def groups(tx: ReadTx, tenant: TenantId) -> list[ApproverGroup]:
    rows = tx.all(
        "SELECT body FROM oversight_group WHERE tenant = ? ORDER BY name LIMIT ?", tenant, OVERSIGHT_GROUPS_MAX
    )
    return [decoded(row[0], ApproverGroup) for row in rows]


def put_contact(tx: Tx, tenant: TenantId, contact: Contact) -> None:
    tx.run(
        "INSERT INTO oversight_contact (tenant, channel, address, person) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (tenant, channel, address) DO UPDATE SET person = excluded.person",
        tenant, str(contact.channel), contact.address, contact.person,
    )  # fmt: skip


def drop_contact(tx: Tx, tenant: TenantId, channel: Channel, address: str) -> bool:
    sql: LiteralString = "DELETE FROM oversight_contact WHERE tenant = ? AND channel = ? AND address = ?"
    return tx.run(sql, tenant, str(channel), address) > 0


def contacts(tx: ReadTx, tenant: TenantId) -> list[Contact]:
    rows = tx.all(
        "SELECT channel, address, person FROM oversight_contact WHERE tenant = ? ORDER BY channel, address LIMIT ?",
        tenant, OVERSIGHT_GROUPS_MAX,
    )  # fmt: skip
    return [Contact(channel=Channel(c), address=address, person=AgentId(person)) for c, address, person in rows]


def put_delegation(tx: Tx, tenant: TenantId, delegation: Delegation, begins_at: int | None = None) -> None:
    """With `begins_at` it is to be looked at then: who sits in the seats is told what waits there."""
    tx.run(
        "INSERT INTO oversight_delegation (tenant, delegation_id, ends_at, begins_at, body) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, delegation_id) DO UPDATE SET ends_at = excluded.ends_at, begins_at = excluded.begins_at,"
        " body = excluded.body",
        tenant, delegation.delegation_id, delegation.ends_at, begins_at, wire.encode(delegation),
    )  # fmt: skip


def beginning(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, Delegation]]:
    """The delegations of all tenants that have begun, and of which nobody was told yet."""
    rows = tx.all(
        "SELECT tenant, body FROM oversight_delegation WHERE begins_at IS NOT NULL AND begins_at <= ?"
        " ORDER BY begins_at LIMIT ?",
        now, limit,
    )  # fmt: skip
    return [(TenantId(tenant), decoded(body, Delegation)) for tenant, body in rows]


def begun(tx: Tx, tenant: TenantId, delegation_id: str) -> None:
    tx.run(
        "UPDATE oversight_delegation SET begins_at = NULL WHERE tenant = ? AND delegation_id = ?", tenant, delegation_id
    )


def delegation(tx: ReadTx, tenant: TenantId, delegation_id: str) -> Delegation | None:
    row = tx.one("SELECT body FROM oversight_delegation WHERE tenant = ? AND delegation_id = ?", tenant, delegation_id)
    return decoded(row[0], Delegation) if row else None


def delegations(tx: ReadTx, tenant: TenantId, since: int) -> tuple[Delegation, ...]:
    """Those that end after `since`."""
    rows = tx.all(
        "SELECT body FROM oversight_delegation WHERE tenant = ? AND ends_at > ? ORDER BY delegation_id LIMIT ?",
        tenant, since, OVERSIGHT_GROUPS_MAX,
    )  # fmt: skip
    return tuple(decoded(row[0], Delegation) for row in rows)


# Grants


def put_grant(tx: Tx, grant: Grant) -> None:
    """An ended grant has no expiry in its row: nobody looks for it any more."""
    expires_at = grant.expires_at if grant.ended_at is None else None
    tx.push(
        "INSERT INTO oversight_grant (tenant, grant_id, agent, action, resource, expires_at, body) VALUES (?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, grant_id) DO UPDATE SET expires_at = excluded.expires_at, body = excluded.body",
        grant.tenant, grant.grant_id, grant.agent, grant.action, grant.resource, expires_at, wire.encode(grant),
    )  # fmt: skip


def grants_for(tx: Tx, ask: Ask) -> list[Grant]:
    """The live grants of this agent for this act, held until the transaction ends: a use is counted once."""
    rows = tx.all(GRANTS_FOR + tx.for_update, ask.tenant, ask.agent, ask.action, ask.resource)
    return [decoded(row[0], Grant) for row in rows]


def live_grants(tx: ReadTx, ask: Ask) -> list[Grant]:
    """The same, to look at."""
    return [decoded(row[0], Grant) for row in tx.all(GRANTS_FOR, ask.tenant, ask.agent, ask.action, ask.resource)]


def grant(tx: ReadTx, tenant: TenantId, grant_id: str) -> Grant | None:
    row = tx.one("SELECT body FROM oversight_grant WHERE tenant = ? AND grant_id = ?", tenant, grant_id)
    return decoded(row[0], Grant) if row else None


def locked_grant(tx: Tx, tenant: TenantId, grant_id: str) -> Grant | None:
    sql: LiteralString = "SELECT body FROM oversight_grant WHERE tenant = ? AND grant_id = ?"
    row = tx.one(sql + tx.for_update, tenant, grant_id)
    return decoded(row[0], Grant) if row else None


def grants(tx: ReadTx, tenant: TenantId, after: str, limit: int) -> list[Grant]:
    rows = tx.all(
        "SELECT body FROM oversight_grant WHERE tenant = ? AND grant_id > ? ORDER BY grant_id LIMIT ?",
        tenant,
        after,
        limit,
    )
    return [decoded(row[0], Grant) for row in rows]


def expired_grants(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, str]]:
    rows = tx.all(
        "SELECT tenant, grant_id FROM oversight_grant WHERE expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?",
        now, limit,
    )  # fmt: skip
    return [(TenantId(tenant), grant_id) for tenant, grant_id in rows]


# Notifications


def put_notification(tx: Tx, one: Notification) -> None:
    next_at = one.next_at if one.state == "queued" else None
    tx.push(
        "INSERT INTO oversight_notification (tenant, notification_id, request_id, person, channel, state, next_at, reference, body)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, notification_id) DO UPDATE SET state = excluded.state,"
        " next_at = excluded.next_at, reference = excluded.reference, body = excluded.body",
        one.tenant, one.notification_id, one.request_id, one.person, str(one.channel), str(one.state), next_at,
        one.reference, wire.encode(one),
    )  # fmt: skip


def notifications(tx: ReadTx, tenant: TenantId, request_id: RequestId) -> list[Notification]:
    return [decoded(row[0], Notification) for row in tx.all(NOTIFICATIONS, tenant, request_id)]


def locked_notification(tx: Tx, tenant: TenantId, notification_id: str) -> Notification | None:
    sql: LiteralString = "SELECT body FROM oversight_notification WHERE tenant = ? AND notification_id = ?"
    row = tx.one(sql + tx.for_update, tenant, notification_id)
    return decoded(row[0], Notification) if row else None


def due_notifications(tx: ReadTx, channel: Channel, now: int, limit: int) -> list[Notification]:
    rows = tx.all(
        "SELECT body FROM oversight_notification WHERE channel = ? AND next_at IS NOT NULL AND next_at <= ?"
        " ORDER BY next_at LIMIT ?",
        str(channel), now, limit,
    )  # fmt: skip
    return [decoded(row[0], Notification) for row in rows]


def locked_due_notifications(tx: Tx, channel: Channel, now: int, limit: int) -> list[Notification]:
    """As `due_notifications`, held until the transaction ends."""
    sql: LiteralString = (
        "SELECT body FROM oversight_notification WHERE channel = ? AND next_at IS NOT NULL AND next_at <= ?"
        " ORDER BY next_at LIMIT ?"
    )
    return [decoded(row[0], Notification) for row in tx.all(sql + tx.for_update, str(channel), now, limit)]


def of_open_requests(tx: ReadTx, tenant: TenantId, limit: int) -> list[Notification]:
    rows = tx.all(
        "SELECT n.body FROM oversight_request r JOIN oversight_notification n ON n.tenant = r.tenant AND n.request_id = r.request_id"
        " WHERE r.tenant = ? AND r.due_at IS NOT NULL ORDER BY n.request_id LIMIT ?",
        tenant, limit,
    )  # fmt: skip
    return [decoded(row[0], Notification) for row in rows]


def newest_ended(tx: ReadTx, tenant: TenantId, limit: int) -> list[Notification]:
    """The last messages that arrived or were given up, the newest first."""
    rows = tx.all(
        "SELECT body FROM oversight_notification WHERE tenant = ? AND state IN ('sent', 'failed')"
        " ORDER BY notification_id DESC LIMIT ?",
        tenant, limit,
    )  # fmt: skip
    return [decoded(row[0], Notification) for row in rows]


def tenants(tx: ReadTx) -> list[TenantId]:
    """Whoever has a policy."""
    return [TenantId(row[0]) for row in tx.all("SELECT DISTINCT tenant FROM oversight_policy ORDER BY tenant")]


def by_reference(tx: ReadTx, tenant: TenantId, channel: Channel, reference: str) -> Notification | None:
    row = tx.one(
        "SELECT body FROM oversight_notification WHERE tenant = ? AND channel = ? AND reference = ? LIMIT 1",
        tenant, str(channel), reference,
    )  # fmt: skip
    return decoded(row[0], Notification) if row else None


def unsettled(tx: ReadTx, tenant: TenantId, limit: int) -> list[Notification]:
    """What has not left; and what was given up, as long as its request is open. The newest first: old trouble hides no new one."""
    rows = tx.all(
        "SELECT n.body FROM oversight_notification n JOIN oversight_request r ON r.tenant = n.tenant AND r.request_id = n.request_id"
        " WHERE n.tenant = ? AND (n.state = 'queued' OR (n.state = 'failed' AND r.due_at IS NOT NULL))"
        " ORDER BY n.notification_id DESC LIMIT ?",
        tenant, limit,
    )  # fmt: skip
    return [decoded(row[0], Notification) for row in rows]


def queued_by_channel(tx: ReadTx, tenant: TenantId) -> dict[Channel, int]:
    """How many messages wait for each channel."""
    rows = tx.all(
        "SELECT channel, COUNT(*) FROM oversight_notification WHERE tenant = ? AND next_at IS NOT NULL GROUP BY channel ORDER BY channel",
        tenant,
    )  # fmt: skip
    return {Channel(row[0]): int(row[1]) for row in rows}


def locked_queued(tx: Tx, tenant: TenantId, channel: Channel, limit: int) -> list[Notification]:
    """What waits for a channel, due or not; held until the transaction ends."""
    sql: LiteralString = "SELECT body FROM oversight_notification WHERE channel = ? AND next_at IS NOT NULL AND tenant = ? ORDER BY next_at LIMIT ?"
    return [decoded(row[0], Notification) for row in tx.all(sql + tx.for_update, str(channel), tenant, limit)]


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
