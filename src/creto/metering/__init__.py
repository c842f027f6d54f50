"""Metering: from what agents used to invoices that can be proved line by line.

    tokens = Meter(meter_id="tokens", event_type="inference", aggregation=Aggregation.SUM, property="input_tokens")
    charge = Charge(charge_id="tokens", meter=tokens, price=PerUnit(unit=Decimal("0.000003")))
    plan = Plan(plan_id="team", version=1, name="Team", currency="USD", cycle=CycleUnit.MONTH, charges=(charge,))

    billing = Billing(store, clock, StoredEvents())
    await billing.create_plan("acme", plan, by=human)
    subscription = await billing.subscribe("acme", agent, "team", key="order-17", by=human)

    metering = Metering(store, clock, trust)           # `trust` says who vouches for an event, as NhiTrust(nhi, allowed)
    await metering.ingest_event("acme", used, by=agent)
    draft = await billing.draft_invoice("acme", subscription.subscription_id, by=human, at=clock.now())

A final invoice explains itself (`explain_line`, `explain_event`), proves itself (`invoice_file`, for `creto verify`) and prints (`to_pdf`).
`Archive(store, clock, storage)` writes the days that are over to storage, as Parquet.

Beneath it all rules are pure and stand in files named after them: `aggregation`, `prices`, `charges`, `plans`, `periods`, `credits`,
`wallets`, `coupons`, `taxes`, `attribution`, `invoices`, `corrections`, `admission`, `accounts`, `totals`. `presets` has the switches
that reproduce other systems' numbers.
"""

from creto.metering import corrections, crossings, prorated, tokens
from creto.metering.aggregation import Carried, Tally, carry, measure, quantity, tallies, tally
from creto.metering.anomalies import Anomaly, Loop, Runaway, Watch
from creto.metering.anomalies_kept import SUBJECT_ANOMALY, AnomalyKind, Flagged
from creto.metering.archive import ArchivePart
from creto.metering.archiving import Archive
from creto.metering.attribution import CostNode, borne, by_chain, chain_of, cost_tree
from creto.metering.billing import Bill, bill, borne_by
from creto.metering.burndown import Book, burn_down, used_by, used_latest
from creto.metering.charges import Rated, booking, rate, split_free, step_changes, true_up, with_overage
from creto.metering.core import EventSource
from creto.metering.coupons import discounted
from creto.metering.credits import (
    Account,
    Balance,
    BurnKey,
    Grant,
    Posting,
    Purse,
    Rollover,
    TopUp,
    balance,
    check_books,
    cover,
    top_up_due,
)
from creto.metering.currencies import Currency, ExchangeRate, convert, iso
from creto.metering.events import billable, events_root, standing
from creto.metering.explained import EventExplanation, LineExplanation, rendered, rendered_event
from creto.metering.explaining import Prover, Reproduced
from creto.metering.ingesting import FORGED
from creto.metering.invoice_csv import to_csv
from creto.metering.invoice_pdf import to_pdf, to_png
from creto.metering.invoices import (
    Heading,
    Terms,
    canonical,
    credit_note,
    draft,
    finalized,
    invoice_digest,
    moved,
    voided,
)
from creto.metering.judging import EventJudge
from creto.metering.leases import SharedLimits
from creto.metering.leases_redis import RedisLimits
from creto.metering.leases_store import StoreLimits
from creto.metering.message_costs import Intake, MessageCosts
from creto.metering.parties import Letterhead, Party
from creto.metering.periods import Cycle, CycleUnit, Period, days, period_at, periods
from creto.metering.plans import change_amounts, effective, revised
from creto.metering.presets import BillingRules, Preset, preset
from creto.metering.prices import (
    Dynamic,
    Flat,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PercentTier,
    PerUnit,
    Price,
    Step,
    Tier,
    Usage,
    Volume,
)
from creto.metering.quota import QuotaBook
from creto.metering.quota_answers import QuotaAnswer
from creto.metering.quota_notices import SUBJECT_NOTICE, ToldPage
from creto.metering.quota_service import Quotas
from creto.metering.quota_types import (
    AllowWithNotification,
    Ask,
    Block,
    ChargeBeyond,
    Hold,
    Limit,
    Measure,
    OverflowAction,
    Quota,
    QuotaNotice,
    QuotaUsage,
    Rate,
    Settled,
    Throttle,
    Told,
    TopUpLimit,
    Window,
    WindowUnit,
)
from creto.metering.reading import CloudEvent, read_event
from creto.metering.rounding import Rounding, allocate, round_to
from creto.metering.running import InvoiceRun
from creto.metering.service import Billing
from creto.metering.source import StoredEvents
from creto.metering.subscriptions import cancelled, changed, paused, resumed, terminated
from creto.metering.taxes import TaxRounding, tax_on
from creto.metering.tokens import LLM_COST, PriceTable
from creto.metering.triggers import Cost, Threshold, cost_of
from creto.metering.triggers_costs import Costs
from creto.metering.triggers_service import SUBJECT_WAITING_ENDED, CostTriggers, Held, Waiting, WaitingEnded
from creto.metering.trust import Allowed, EventTrust, NhiTrust, UnsafeTrustEverybody, sign_event
from creto.metering.types import (
    Aggregation,
    BillableEvent,
    Charge,
    Commitment,
    Conversion,
    Correction,
    Coupon,
    CouponUse,
    CreditUse,
    Fee,
    Invoice,
    InvoiceKind,
    InvoiceStatus,
    Line,
    LineKind,
    MessageBillableEvent,
    Meter,
    Override,
    Payer,
    PayerRule,
    Phase,
    Plan,
    PropertyFilter,
    RuntimeEventProperties,
    RuntimeUsageEvent,
    Share,
    Shown,
    Subscription,
    SubscriptionStatus,
    Tax,
    TaxAmount,
    UnitRounding,
    UsageEvent,
)
from creto.metering.unpaid import Unpaid, UnpaidPage
from creto.metering.usage import Metering
from creto.metering.usage_types import (
    BatchIngested,
    BucketSize,
    CostReport,
    DeadUsage,
    EventAct,
    EventForm,
    EventPage,
    EventProof,
    EventsQuery,
    EventState,
    Ingested,
    IngestStatus,
    KeptEvent,
    StoredEvent,
    UsageBy,
    UsagePage,
    UsageQuery,
    UsageRow,
)
from creto.metering.wallets import (
    BurnCredits,
    Burnt,
    GrantBook,
    NewGrant,
    NewPurchase,
    Purchase,
    PurchaseState,
    TopUpRule,
    Wallet,
)
from creto.metering.zones import MeteringSettings, Zones

__all__ = [
    "FORGED",
    "LLM_COST",
    "SUBJECT_ANOMALY",
    "SUBJECT_NOTICE",
    "SUBJECT_WAITING_ENDED",
    "Account",
    "Aggregation",
    "AllowWithNotification",
    "Allowed",
    "Anomaly",
    "AnomalyKind",
    "Archive",
    "ArchivePart",
    "Ask",
    "Balance",
    "BatchIngested",
    "Bill",
    "BillableEvent",
    "Billing",
    "BillingRules",
    "Block",
    "Book",
    "BucketSize",
    "BurnCredits",
    "BurnKey",
    "Burnt",
    "Carried",
    "Charge",
    "ChargeBeyond",
    "CloudEvent",
    "Commitment",
    "Conversion",
    "Correction",
    "Cost",
    "CostNode",
    "CostReport",
    "CostTriggers",
    "Costs",
    "Coupon",
    "CouponUse",
    "CreditUse",
    "Currency",
    "Cycle",
    "CycleUnit",
    "DeadUsage",
    "Dynamic",
    "EventAct",
    "EventExplanation",
    "EventForm",
    "EventJudge",
    "EventPage",
    "EventProof",
    "EventSource",
    "EventState",
    "EventTrust",
    "EventsQuery",
    "ExchangeRate",
    "Fee",
    "Flagged",
    "Flat",
    "Graduated",
    "GraduatedPercentage",
    "Grant",
    "GrantBook",
    "Heading",
    "Held",
    "Hold",
    "IngestStatus",
    "Ingested",
    "Intake",
    "Invoice",
    "InvoiceKind",
    "InvoiceRun",
    "InvoiceStatus",
    "KeptEvent",
    "Letterhead",
    "Limit",
    "Line",
    "LineExplanation",
    "LineKind",
    "Loop",
    "Measure",
    "MessageBillableEvent",
    "MessageCosts",
    "Meter",
    "Metering",
    "MeteringSettings",
    "NewGrant",
    "NewPurchase",
    "NhiTrust",
    "OverflowAction",
    "Override",
    "Package",
    "Party",
    "Payer",
    "PayerRule",
    "PerUnit",
    "PercentTier",
    "Percentage",
    "Period",
    "Phase",
    "Plan",
    "Posting",
    "Preset",
    "Price",
    "PriceTable",
    "PropertyFilter",
    "Prover",
    "Purchase",
    "PurchaseState",
    "Purse",
    "Quota",
    "QuotaAnswer",
    "QuotaBook",
    "QuotaNotice",
    "QuotaUsage",
    "Quotas",
    "Rate",
    "Rated",
    "RedisLimits",
    "Reproduced",
    "Rollover",
    "Rounding",
    "Runaway",
    "RuntimeEventProperties",
    "RuntimeUsageEvent",
    "Settled",
    "Share",
    "SharedLimits",
    "Shown",
    "Step",
    "StoreLimits",
    "StoredEvent",
    "StoredEvents",
    "Subscription",
    "SubscriptionStatus",
    "Tally",
    "Tax",
    "TaxAmount",
    "TaxRounding",
    "Terms",
    "Threshold",
    "Throttle",
    "Tier",
    "Told",
    "ToldPage",
    "TopUp",
    "TopUpLimit",
    "TopUpRule",
    "UnitRounding",
    "Unpaid",
    "UnpaidPage",
    "UnsafeTrustEverybody",
    "Usage",
    "UsageBy",
    "UsageEvent",
    "UsagePage",
    "UsageQuery",
    "UsageRow",
    "Volume",
    "Waiting",
    "WaitingEnded",
    "Wallet",
    "Watch",
    "Window",
    "WindowUnit",
    "Zones",
    "allocate",
    "balance",
    "bill",
    "billable",
    "booking",
    "borne",
    "borne_by",
    "burn_down",
    "by_chain",
    "cancelled",
    "canonical",
    "carry",
    "chain_of",
    "change_amounts",
    "changed",
    "check_books",
    "convert",
    "corrections",
    "cost_of",
    "cost_tree",
    "cover",
    "credit_note",
    "crossings",
    "days",
    "discounted",
    "draft",
    "effective",
    "events_root",
    "finalized",
    "invoice_digest",
    "iso",
    "measure",
    "moved",
    "paused",
    "period_at",
    "periods",
    "preset",
    "prorated",
    "quantity",
    "rate",
    "read_event",
    "rendered",
    "rendered_event",
    "resumed",
    "revised",
    "round_to",
    "sign_event",
    "split_free",
    "standing",
    "step_changes",
    "tallies",
    "tally",
    "tax_on",
    "terminated",
    "to_csv",
    "to_pdf",
    "to_png",
    "tokens",
    "top_up_due",
    "true_up",
    "used_by",
    "used_latest",
    "voided",
    "with_overage",
]
