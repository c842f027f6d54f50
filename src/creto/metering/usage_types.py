"""What is asked of usage, and what comes back: events in, totals and costs out."""

from __future__ import annotations

from decimal import Decimal
from enum import IntEnum, StrEnum

import msgspec
from msgspec.structs import replace

from creto.common.errors import ErrorBody, InvalidInput
from creto.common.ids import AgentId, EventId, SubscriptionId, TenantId
from creto.common.limits import INTEGER_MAX, PAGE_ITEMS_DEFAULT
from creto.common.paging import checked_limit
from creto.contracts import BillableEvent
from creto.metering.attribution import CostNode
from creto.metering.periods import Period
from creto.metering.types import ChargeId, Meter
from creto.platform.audit.batch import BatchProof
from creto.platform.audit.proof import InclusionProof
from creto.store.types import EntryId

# Events in


class EventForm(IntEnum):
    """As what an event came: its signature is over that form. The numbers stand in rows."""

    BILLABLE = 0
    RUNTIME = 1
    MESSAGE = 2
    CLOUD = 3


class EventState(IntEnum):
    """INVARIANT: only COUNTED events count. The numbers stand in rows."""

    COUNTED = 0
    HELD = 1  # waits for a human's decision
    RELEASED = 2  # the decision was no
    VOID = 3
    CORRECTED = 4  # another version of it counts


class IngestStatus(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"  # the same event once more: nothing was done
    HELD = "held"
    REJECTED = "rejected"


class Ingested(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one event. `policy_id` is whose approval a held one waits for; `error` says why one was rejected."""

    status: IngestStatus
    event_id: EventId | None = None
    policy_id: str | None = None
    error: ErrorBody | None = None


class BatchIngested(msgspec.Struct, frozen=True):
    """What became of each event of a batch, in its order. `entry_id` is the batch's entry in the ledger, if anything was new."""

    results: tuple[Ingested, ...]
    accepted: int
    duplicates: int
    held: int
    rejected: int
    entry_id: EntryId | None = None


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is kept, with what became of it."""

    event: BillableEvent
    form: EventForm
    state: EventState
    changed_at: int
    entry_id: EntryId
    history: tuple[EventAct, ...] = ()


class EventAct(msgspec.Struct, frozen=True):
    """Something that was done to an event."""

    done_at: int
    act: str
    by: AgentId
    reason: str


class EventHistory(msgspec.Struct, frozen=True):
    """What became of an event, and when each of its versions said that it happened."""

    state: EventState
    acts: tuple[EventAct, ...]
    times: tuple[int, ...]


class EventProof(msgspec.Struct, frozen=True):
    """That an event is in a batch. `entry_id` names the batch's entry, whose own proof shows that it is in the log."""

    entry_id: EntryId
    batch: BatchProof

    def within(self, entry: InclusionProof) -> InclusionProof:
        """Both in one file: from the event to the log's checkpoint."""
        return replace(entry, batch=self.batch)


class KeptEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as it is exported and archived: what came, and what has become of it.

    `batch` and `place` say where it stands: a corrected event is there in every version, of which one counts. `entry_id` names the
    ledger's entry of its batch, which proves it.
    """

    event: BillableEvent
    form: EventForm
    state: EventState
    batch: int
    place: int
    came_at: int
    changed_at: int
    entry_id: EntryId


class EventsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Events of a stretch of time; of an agent with all who act for it, of a type."""

    start: int = 0
    end: int = INTEGER_MAX
    agent: AgentId | None = None
    event_type: str | None = None


class EventPage(msgspec.Struct, frozen=True):
    """In the order in which they came. A page may be empty and have a cursor: others are further on."""

    items: tuple[KeptEvent, ...]
    cursor: str | None = None


class DeadUsage(msgspec.Struct, frozen=True):
    """An event from the bus that could not be taken."""

    tenant: TenantId
    letter_id: str
    died_at: int
    subject: str
    reason: ErrorBody
    payload: bytes


# Usage out


class BucketSize(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class UsageBy(StrEnum):
    """Whom usage is told for."""

    ALL = "all"
    AGENT = "agent"  # who used it
    ANCESTOR = "ancestor"  # everybody in the chain behind it: an event counts for each of them


class UsageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a meter was used in a period.

    Of an agent, with `delegates` also of all who act for it; of the whole tenant without one. `bucket` makes a series of it, the
    meter's `group_by` groups it by properties, `top` leaves the largest, and `after` is the `next` of the page before.
    """

    meter: Meter
    period: Period
    agent: AgentId | None = None
    delegates: bool = False
    by: UsageBy = UsageBy.ALL
    bucket: BucketSize | None = None
    top: int | None = None
    after: str | None = None
    limit: int = PAGE_ITEMS_DEFAULT

    def __post_init__(self) -> None:
        if self.period.end <= self.period.start:
            raise InvalidInput.of("period", got=self.period.end, expected="an end after its start", code="MT-400")
        checked_limit(self.limit, code="MT-400")
        if self.top is not None:
            checked_limit(self.top, field="top", code="MT-400")
        if self.meter.carries or self.meter.prorated or self.meter.bucket_ns is not None:
            raise InvalidInput.of(
                "meter",
                got=self.meter.meter_id,
                expected="one that starts anew; levels stand on invoices",
                code="MT-400",
            )


class UsageRow(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was used in a slice of time, by whom, in which group."""

    start: int
    end: int
    quantity: Decimal
    events: int
    agent: AgentId | None = None
    group: dict[str, str] = {}


class UsagePage(msgspec.Struct, frozen=True):
    """`unread` are events that lack what the meter reads, a hundred of them at most: no row counts them. `unread_count` says how many."""

    rows: tuple[UsageRow, ...]
    next: str | None = None
    unread: tuple[EventId, ...] = ()
    unread_count: int = 0


class CostReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a subscription's period costs so far: the lines of its invoice, before coupons, taxes and credits.

    INVARIANT: the totals of the tree, `by_charge` and `by_event_type` with `fixed` each sum to `total`.
    """

    subscription_id: SubscriptionId
    period: Period
    currency: str
    total: Decimal
    fixed: Decimal  # fees, minimums and commitments, which no event caused
    by_charge: dict[ChargeId, Decimal]
    by_event_type: dict[str, Decimal]
    by_agent: dict[AgentId, Decimal]
    tree: tuple[CostNode, ...]
