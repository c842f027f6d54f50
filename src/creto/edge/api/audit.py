"""The log over the wire: ask it, prove it, add to it."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from creto.common import wire
from creto.common.errors import InvalidInput, ProductId
from creto.common.ids import AgentId, Name
from creto.common.limits import BATCH_ITEMS_MAX, METADATA_BYTES_MAX, PAGE_ITEMS_DEFAULT
from creto.common.paging import cut, place_of
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Blob, Endpoint, View
from creto.edge.api.fields import Agent, Count, Cursor, Id, Limit, Nanos, Resource, octets
from creto.edge.api.parts import Parts
from creto.platform.audit import AuditQuery, AuditReceipt, InclusionProof, LoggedEntry
from creto.platform.audit.store import CheckpointRow
from creto.store.entries import entry
from creto.store.types import EntryId, Outcome


class EntryView(View, frozen=True):
    """An entry and its place in the log. `body` is exactly what was hashed."""

    index: int
    event_id: EntryId
    product: ProductId
    agent_nhi: AgentId
    action: str
    resource: str
    outcome: Outcome
    timestamp: ConsensusTimestamp
    event: str
    delegation_chain: tuple[AgentId, ...]
    body: bytes
    why: str | None = None
    code: str | None = None


class EntryPage(View, frozen=True):
    """With a cursor there may be more, even if this page is empty: a page looks at a bounded part of the log."""

    items: tuple[EntryView, ...]
    cursor: str | None = None


class QueryEntries(Ask, frozen=True):
    agent: Agent | None = None
    action: Name | None = None
    resource: Resource | None = None
    resource_prefix: Resource | None = None
    product: ProductId | None = None
    outcome: Outcome | None = None
    event: Name | None = None
    since: Nanos | None = None
    until: Nanos | None = None
    text: Name | None = None
    after: Count | None = None
    newest_first: bool = False
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class GetEntry(Ask, frozen=True):
    event_id: Id


class ProveEntry(Ask, frozen=True):
    """`size` names the checkpoint to prove against; `fresh` signs a new one if the newest does not cover the entry."""

    event_id: Id
    size: Count | None = None
    fresh: bool = False


class ProveInBatch(Ask, frozen=True):
    """`leaves` are all events of the batch that the entry records, in their order; `index` is the one to prove."""

    event_id: Id
    leaves: Annotated[tuple[Annotated[bytes, octets(64 * 1024)], ...], Meta(min_length=1, max_length=BATCH_ITEMS_MAX)]
    index: Count
    fresh: bool = False


class ProofView(View, frozen=True):
    """`file` is the whole proof as `creto verify` reads it."""

    index: int
    size: int
    root: bytes
    path: tuple[bytes, ...]
    file: bytes


# The layer's own events have no dot: a caller's has its prefix, as acme.PaymentApproved.
OwnEvent = Annotated[str, Meta(max_length=200, pattern=r"^([A-Za-z0-9_-]+\.[A-Za-z0-9_.-]+)?(?!\n)$")]


class LogEvent(Ask, frozen=True):
    """What the caller did, in its own words; who it was comes from its credential."""

    action: Name
    resource: Name
    outcome: Outcome
    product: ProductId = ProductId.PLATFORM
    event: OwnEvent = ""
    metadata: Annotated[str, Meta(max_length=METADATA_BYTES_MAX)] = "{}"
    why: Annotated[str, Meta(max_length=1_000)] | None = None


class GetCheckpoint(Ask, frozen=True):
    """The newest one."""


class CheckpointView(View, frozen=True):
    """`note` is the signed C2SP checkpoint."""

    origin: str
    size: int
    root: bytes
    note: str


class ListCheckpoints(Ask, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class PastCheckpoint(CheckpointView, frozen=True):
    """`witnessed`: as many witnesses signed it as the log requires."""

    signed_at: ConsensusTimestamp
    witnessed: bool


class CheckpointsPage(View, frozen=True):
    items: tuple[PastCheckpoint, ...]
    cursor: str | None = None


class GetFile(Ask, frozen=True):
    """`path` as C2SP has it: checkpoint, checkpoints/<size>, tile/<level>/<index>[.p/<width>]."""

    path: Annotated[str, Meta(min_length=1, max_length=100)]


class ProveConsistency(Ask, frozen=True):
    old: Count
    new: Count | None = None


class ConsistencyView(View, frozen=True):
    old_size: int
    new_size: int
    old_root: bytes
    new_root: bytes
    path: tuple[bytes, ...]


class TrustView(View, frozen=True):
    """The public keys that checkpoints are checked with, as vkeys."""

    vkeys: tuple[str, ...]
    trust: bytes = b""  # the same with its generations and witnesses, as `creto verify --keys` reads it


AREA = re.compile(r"[a-z_]+(?=[.:])")
LAYER_AREAS = frozenset(
    {
        "audit",
        "authz",
        "bus",
        "consensus",
        "crypto",
        "memory",
        "messaging",
        "metering",
        "nhi",
        "oversight",
        "runtime",
        "storage",
    }
)  # what the parts record of themselves begins with these
READ, WRITE, ENTRY = "audit:read", "audit:write", "audit:entry:{event_id}"
QUERY = Endpoint("audit.query", "GET", "/v1/audit/entries", QueryEntries, EntryPage, READ, "Ask the log")
GET = Endpoint("audit.get", "GET", "/v1/audit/entries/{event_id}", GetEntry, EntryView, READ, "One entry", errors=("PL-601", "PL-609"), about=ENTRY)  # fmt: skip
PROVE = Endpoint("audit.prove", "GET", "/v1/audit/entries/{event_id}/proof", ProveEntry, ProofView, READ, "Prove that an entry is in the log", errors=("PL-601", "PL-608", "PL-609"), about=ENTRY)  # fmt: skip
APPEND = Endpoint("audit.append", "POST", "/v1/audit/entries", LogEvent, AuditReceipt, WRITE, "Record what the caller did", status=201)  # fmt: skip
CHECKPOINT = Endpoint("audit.checkpoint", "GET", "/v1/audit/checkpoint", GetCheckpoint, CheckpointView, READ, "The newest signed checkpoint", errors=("PL-601",))  # fmt: skip
CONSISTENCY = Endpoint("audit.consistency", "GET", "/v1/audit/consistency", ProveConsistency, ConsistencyView, READ, "Prove that one size of the log extends another", errors=("PL-601", "PL-608"))  # fmt: skip
PROVE_IN_BATCH = Endpoint("audit.prove_in_batch", "POST", "/v1/audit/entries/{event_id}/batch-proof", ProveInBatch, ProofView, READ, "Prove that an event is in the batch that an entry records", errors=("PL-601", "PL-608", "PL-609"), keyed=False, about=ENTRY)  # fmt: skip
CHECKPOINTS = Endpoint("audit.checkpoints", "GET", "/v1/audit/checkpoints", ListCheckpoints, CheckpointsPage, READ, "Every checkpoint that was signed, the smallest first")  # fmt: skip
FILE = Endpoint("audit.file", "GET", "/v1/audit/log/{path}", GetFile, Blob, READ, "A file of the log by its C2SP path, for witnesses and monitors", errors=("PL-610",))  # fmt: skip
TRUST = Endpoint("audit.keys", "GET", "/v1/audit/keys", GetCheckpoint, TrustView, READ, "The log's public keys")

ENDPOINTS = (QUERY, GET, PROVE, APPEND, CHECKPOINT, CONSISTENCY, TRUST, PROVE_IN_BATCH, CHECKPOINTS, FILE)


def view(logged: LoggedEntry) -> EntryView:
    entry = logged.entry
    return EntryView(
        index=logged.index,
        event_id=entry.event_id,
        product=entry.product,
        agent_nhi=entry.agent_nhi,
        action=entry.action,
        resource=entry.resource,
        outcome=entry.outcome,
        timestamp=entry.timestamp,
        event=entry.event,
        delegation_chain=entry.delegation_chain,
        body=logged.body,
        why=entry.why,
        code=entry.code,
    )


@handles(QUERY)
async def query(parts: Parts, call: Call, ask: QueryEntries) -> EntryPage:
    page = await parts.audit.query(AuditQuery(tenant=call.tenant, **msgspec.structs.asdict(ask)))
    return EntryPage(items=tuple(view(item) for item in page.items), cursor=page.cursor)


@handles(GET)
async def get(parts: Parts, call: Call, ask: GetEntry) -> EntryView:
    return view(await parts.audit.get(EntryId(ask.event_id), tenant=call.tenant))


@handles(PROVE)
async def prove(parts: Parts, call: Call, ask: ProveEntry) -> ProofView:
    return shown(await parts.audit.prove(EntryId(ask.event_id), tenant=call.tenant, size=ask.size, fresh=ask.fresh))


@handles(PROVE_IN_BATCH)
async def prove_in_batch(parts: Parts, call: Call, ask: ProveInBatch) -> ProofView:
    event = EntryId(ask.event_id)
    return shown(await parts.audit.prove_in_batch(event, ask.leaves, ask.index, tenant=call.tenant, fresh=ask.fresh))


def shown(proof: InclusionProof) -> ProofView:
    return ProofView(
        index=proof.index,
        size=proof.checkpoint.size,
        root=proof.checkpoint.root,
        path=proof.path,
        file=proof.to_json(),
    )


def checked_own_words(ask: LogEvent) -> None:
    """INVARIANT: what a caller records can never be read as an entry of the layer's own."""
    area = AREA.match(ask.action)
    if area is not None and area[0] in LAYER_AREAS:
        raise InvalidInput.of(
            "action", got=ask.action, expected=f"an action outside the layer's own, as those of {area[0]}"
        )


@handles(APPEND)
async def append(parts: Parts, call: Call, ask: LogEvent) -> AuditReceipt:
    checked_own_words(ask)
    me = call.known.agent
    metadata = wire.decode(ask.metadata, dict[str, msgspec.Raw], what="metadata")
    said = entry(
        tenant=call.tenant,
        product=ask.product,
        agent=me,
        action=ask.action,
        resource=ask.resource,
        outcome=ask.outcome,
        timestamp=parts.clock.now(),
        event=ask.event,
        facts=metadata,
        why=ask.why,
        degraded_clock=parts.clock.degraded,
    )
    return await parts.audit.append(said)


@handles(CHECKPOINT)
async def checkpoint(parts: Parts, call: Call, ask: GetCheckpoint) -> CheckpointView:
    newest = await parts.audit.checkpoint()
    return CheckpointView(origin=newest.origin, size=newest.size, root=newest.root, note=newest.encode().decode())


@handles(CHECKPOINTS)
async def checkpoints(parts: Parts, call: Call, ask: ListCheckpoints) -> CheckpointsPage:
    found = await parts.audit.checkpoints(place_of(ask.cursor, int, 0), ask.limit + 1)
    rows, cursor = cut(found, ask.limit, lambda last: last.checkpoint.size)
    return CheckpointsPage(items=tuple(map(past, rows)), cursor=cursor)


def past(row: CheckpointRow) -> PastCheckpoint:
    found = row.checkpoint
    return PastCheckpoint(
        origin=found.origin,
        size=found.size,
        root=found.root,
        note=found.encode().decode(),
        signed_at=ConsensusTimestamp(row.time),
        witnessed=row.witnessed,
    )


@handles(FILE)
async def file(parts: Parts, call: Call, ask: GetFile) -> Blob:
    kind = "application/octet-stream" if ask.path.startswith("tile/") else "text/plain; charset=utf-8"
    return Blob(await parts.audit.file(ask.path), kind)


@handles(CONSISTENCY)
async def consistency(parts: Parts, call: Call, ask: ProveConsistency) -> ConsistencyView:
    proof = await parts.audit.consistency(ask.old, ask.new)
    return ConsistencyView(
        old_size=proof.old_size,
        new_size=proof.new_size,
        old_root=proof.old_root,
        new_root=proof.new_root,
        path=proof.path,
    )


@handles(TRUST)
async def trust(parts: Parts, call: Call, ask: GetCheckpoint) -> TrustView:
    known = await parts.audit.trust()
    return TrustView(vkeys=tuple(vkey for log in known.logs for vkey in log.vkeys), trust=known.encode())
