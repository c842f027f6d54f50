"""What metering speaks of: events, meters, plans, subscriptions, coupons, taxes, credits, invoices.

Events come as the spec's `BillableEvent`, `RuntimeUsageEvent` and `MessageBillableEvent` (creto.contracts); meters read all of
them as `BillableEvent`. Amounts and quantities are Decimal here and decimal strings on the wire; instants are nanoseconds.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import NewType

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, EventId, SubscriptionId, TenantId
from creto.contracts import (
    BillableEvent,
    InferenceCall,
    MessageBillableEvent,
    MessageEventType,
    MessageProperties,
    NetworkEgress,
    RuntimeEventProperties,
    RuntimeUsageEvent,
    SandboxAllocated,
)
from creto.metering.periods import CycleUnit, Period
from creto.metering.prices import Checked, Price, Step, check_bounds, check_divisor
from creto.metering.rounding import ZERO, Rounding

MeterId = NewType("MeterId", str)
PlanId = NewType("PlanId", str)
ChargeId = NewType("ChargeId", str)
CouponId = NewType("CouponId", str)
GrantId = NewType("GrantId", str)
InvoiceId = NewType("InvoiceId", str)

UsageEvent = BillableEvent | RuntimeUsageEvent | MessageBillableEvent


# Meters


class Aggregation(StrEnum):
    COUNT = "count"
    SUM = "sum"
    UNIQUE_COUNT = "unique_count"
    MAX = "max"
    LATEST = "latest"
    WEIGHTED_SUM = "weighted_sum"  # the mean level over the period: each value changes it from its instant on


class UnitRounding(msgspec.Struct, frozen=True):
    rounding: Rounding
    digits: int = 0


class PropertyFilter(msgspec.Struct, frozen=True):
    """Only events whose property is one of these; `except_for` turns it round."""

    property: str
    values: tuple[str, ...]
    except_for: bool = False


class Meter(Checked, frozen=True):
    """What of which events is counted, and how.

    `carries` keeps the level of a sum, a unique count or a latest value from period to period, as seats do. `prorated` counts
    a value by the days of the period it was there for. `bucket_ns` measures each slice of time apart and adds what they cost.
    """

    meter_id: MeterId
    event_type: str
    aggregation: Aggregation
    property: str | None = None
    filters: tuple[PropertyFilter, ...] = ()
    group_by: tuple[str, ...] = ()
    rounding: UnitRounding | None = None
    amount_property: str | None = None  # where a dynamic price finds its amount
    carries: bool = False
    prorated: bool = False
    bucket_ns: int | None = None

    def __post_init__(self) -> None:
        if self.property is None and self.aggregation is not Aggregation.COUNT:
            raise InvalidInput.of("property", got=None, expected=f"a property for {self.aggregation}", code="MT-400")
        if self.prorated and self.aggregation not in (Aggregation.SUM, Aggregation.UNIQUE_COUNT):
            raise InvalidInput.of("prorated", got=self.aggregation, expected="sum or unique_count", code="MT-400")
        if self.bucket_ns is not None and (self.bucket_ns <= 0 or self.carries or self.prorated):
            raise InvalidInput.of(
                "bucket_ns", got=self.bucket_ns, expected="above 0, on a meter that starts anew", code="MT-400"
            )


# Plans


class Conversion(Checked, frozen=True):
    """From metered to billed units: tokens to thousands of tokens, bytes to gigabytes."""

    divide_by: Decimal = Decimal(1)
    rounding: UnitRounding | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_divisor("divide_by", self.divide_by)


class Commitment(Checked, frozen=True):
    """An amount that is paid in any case; what goes beyond it costs `overage_factor` times as much."""

    amount: Decimal
    overage_factor: Decimal = Decimal(1)


class Charge(Checked, frozen=True):
    """What a meter's quantity costs in a plan. `minimum` and `maximum` bound the amount of a whole period."""

    charge_id: ChargeId
    meter: Meter
    price: Price
    name: str = ""
    conversion: Conversion | None = None
    free_units: Decimal = ZERO
    discount_percent: Decimal = ZERO
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    commitment: Commitment | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self.minimum, self.maximum)


class Fee(Checked, frozen=True):
    """A fixed amount for each period; with `prorated` by the days of it that the subscription lasted."""

    charge_id: ChargeId
    amount: Decimal
    name: str = ""
    prorated: bool = True


class PayerRule(StrEnum):
    """Who of the chain behind an event bears its cost."""

    ROOT = "root"
    LEAF = "leaf"
    NEAREST_WITH_WALLET = "nearest_with_wallet"
    SPLIT = "split"


class Payer(msgspec.Struct, frozen=True):
    """`split` gives the weights from the leaf upwards; the last of them is shared by all further ancestors."""

    rule: PayerRule = PayerRule.ROOT
    split: tuple[Decimal, ...] = ()

    def __post_init__(self) -> None:
        fits = all(w.is_finite() and w >= 0 for w in self.split) and bool(sum(self.split, ZERO))
        if (self.rule is PayerRule.SPLIT) != bool(self.split) or (self.split and not fits):
            raise InvalidInput.of(
                "split", got=[str(w) for w in self.split], expected="weights with the rule split alone", code="MT-400"
            )


class Plan(Checked, frozen=True):
    """A version of a plan. Versions never change: a subscription is billed by the one it was made with."""

    plan_id: PlanId
    version: int
    name: str
    currency: str
    cycle: CycleUnit
    cycle_count: int = 1
    fees: tuple[Fee, ...] = ()
    charges: tuple[Charge, ...] = ()
    minimum: Decimal | None = None
    commitment: Commitment | None = None
    trial_days: int = 0
    payer: Payer = Payer()

    @property
    def charge_ids(self) -> list[ChargeId]:
        """Fees, then charges, as the plan lists them."""
        return [*(fee.charge_id for fee in self.fees), *(charge.charge_id for charge in self.charges)]


class Override(Checked, frozen=True):
    """What one subscription has otherwise than its plan; what is not said stays the plan's."""

    fees: dict[ChargeId, Decimal] = {}
    prices: dict[ChargeId, Price] = {}
    free_units: dict[ChargeId, Decimal] = {}
    discount_percent: dict[ChargeId, Decimal] = {}
    minimum: Decimal | None = None
    commitment: Commitment | None = None
    trial_days: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("fees", "free_units", "discount_percent"):
            for charge_id, value in getattr(self, name).items():
                if not (value.is_finite() and value >= 0):
                    raise InvalidInput.of(
                        f"{name}.{charge_id}", got=str(value), expected="a number, 0 or above", code="MT-400"
                    )


# Subscriptions


class SubscriptionStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    CANCELLED = "cancelled"  # lasts to the end of the period that is paid for
    TERMINATED = "terminated"  # ended at once


class Phase(msgspec.Struct, frozen=True):
    """From an instant on this version of this plan holds, with what the subscription then has otherwise.

    Without an `override` of its own, what the subscription was made with goes on.
    """

    plan_id: PlanId
    version: int
    since: int
    override: Override | None = None


class Subscription(msgspec.Struct, frozen=True, kw_only=True):
    """Who pays for which agent's usage by which plan. `anchor` is where its periods are counted from.

    With `shown_in` its invoices say in another currency, too, what they come to.
    """

    subscription_id: SubscriptionId
    tenant: TenantId
    agent: AgentId
    phases: tuple[Phase, ...]
    started_at: int
    anchor: int
    zone: str = "UTC"
    status: SubscriptionStatus = SubscriptionStatus.ACTIVE
    ends_at: int | None = None
    pauses: tuple[Period, ...] = ()
    paused_at: int | None = None
    override: Override | None = None
    coupons: tuple[CouponId, ...] = ()
    taxes: tuple[str, ...] = ()
    shown_in: str | None = None


# Coupons and taxes


class Coupon(Checked, frozen=True):
    """Off the price: a share or an amount, for so many periods (None: for ever), on all charges or on some.

    It is given out until an instant and to so many subscriptions; whoever has it keeps it.
    """

    coupon_id: CouponId
    percent: Decimal | None = None
    amount: Decimal | None = None
    currency: str | None = None
    periods: int | None = 1
    charges: tuple[ChargeId, ...] = ()
    until: int | None = None
    redemptions_max: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.percent is None) == (self.amount is None) or (self.amount is not None and not self.currency):
            raise InvalidInput.of(
                "coupon", got=self.coupon_id, expected="a percent, or an amount with its currency", code="MT-400"
            )
        if self.percent is not None and self.percent > 100:
            raise InvalidInput.of("percent", got=str(self.percent), expected="0 to 100", code="MT-400")


class Tax(Checked, frozen=True):
    code: str
    percent: Decimal
    name: str = ""


# Invoices


class LineKind(StrEnum):
    FEE = "fee"
    USAGE = "usage"
    BEYOND = "beyond"  # what usage beyond a quota costs on top
    TRUE_UP = "true_up"  # up to a minimum or a commitment
    CORRECTION = "correction"  # of a period that was already billed
    CREDIT = "credit"  # what was billed before for the same usage


class Share(msgspec.Struct, frozen=True):
    """What of a line one agent bears."""

    agent: AgentId
    amount: Decimal


class TaxAmount(msgspec.Struct, frozen=True):
    code: str
    percent: Decimal
    taxable: Decimal
    amount: Decimal
    name: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One row of an invoice. `exact` is the amount before it was rounded; `events_root` proves the events behind it."""

    line_id: str
    kind: LineKind
    charge_id: ChargeId
    description: str
    period: Period
    exact: Decimal
    amount: Decimal
    quantity: Decimal = ZERO
    group: dict[str, str] = {}
    steps: tuple[Step, ...] = ()
    discount: Decimal = ZERO
    taxes: tuple[TaxAmount, ...] = ()
    events: int = 0
    events_root: str | None = None
    shares: tuple[Share, ...] = ()
    corrects: InvoiceId | None = None

    @property
    def taxable(self) -> Decimal:
        return self.amount - self.discount


class CouponUse(msgspec.Struct, frozen=True):
    """What a coupon took off."""

    coupon_id: CouponId
    amount: Decimal


class Shown(msgspec.Struct, frozen=True):
    """What an invoice comes to in another currency, by the rate of an instant."""

    currency: str
    rate: Decimal
    at: int
    total: Decimal
    due: Decimal


class CreditUse(msgspec.Struct, frozen=True):
    grant_id: GrantId
    amount: Decimal
    line_id: str | None = None


class InvoiceStatus(StrEnum):
    PREVIEW = "preview"
    DRAFT = "draft"
    GRACE = "grace"  # closed for new usage, open for late events
    FINAL = "final"
    VOID = "void"


class InvoiceKind(StrEnum):
    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"


class Invoice(msgspec.Struct, frozen=True, kw_only=True):
    """A bill. `total` is what the lines sum to after discounts and taxes, `due` what credits leave of it.

    A total below 0 is not due: it is `carried` to the wallet of the subscriber and pays for what comes. Of a credit note `credits` go back to
    the grants that paid, `carried` goes to the wallet, and the rest is `due` to the customer.
    """

    invoice_id: InvoiceId
    tenant: TenantId
    subscription_id: SubscriptionId
    currency: str
    period: Period
    lines: tuple[Line, ...]
    subtotal: Decimal
    discount: Decimal
    taxes: tuple[TaxAmount, ...]
    tax: Decimal
    total: Decimal
    coupons: tuple[CouponUse, ...] = ()
    credits: tuple[CreditUse, ...] = ()
    due: Decimal
    shown: Shown | None = None
    kind: InvoiceKind = InvoiceKind.INVOICE
    status: InvoiceStatus = InvoiceStatus.DRAFT
    number: str | None = None
    plan: str = ""
    rounding: str = "Each line is rounded half-up to the currency, then summed."
    corrects: InvoiceId | None = None
    token_prices: str = ""  # the version of the table by which calls of language models were priced
    finalized_at: int | None = None
    carried: Decimal = ZERO
    unread: tuple[EventId, ...] = ()  # the first that no meter could read: not billed until they are corrected
    unread_count: int = 0


class Correction(msgspec.Struct, frozen=True):
    """An event that was wrong: without a replacement it is void. `at` is when it was corrected."""

    event_id: EventId
    replacement: BillableEvent | None = None
    at: int = 0


__all__ = [
    "Aggregation",
    "BillableEvent",
    "Charge",
    "ChargeId",
    "Commitment",
    "Conversion",
    "Correction",
    "Coupon",
    "CouponId",
    "CouponUse",
    "CreditUse",
    "Fee",
    "GrantId",
    "InferenceCall",
    "Invoice",
    "InvoiceId",
    "InvoiceKind",
    "InvoiceStatus",
    "Line",
    "LineKind",
    "MessageBillableEvent",
    "MessageEventType",
    "MessageProperties",
    "Meter",
    "MeterId",
    "NetworkEgress",
    "Override",
    "Payer",
    "PayerRule",
    "Period",
    "Phase",
    "Plan",
    "PlanId",
    "Price",
    "PropertyFilter",
    "RuntimeEventProperties",
    "RuntimeUsageEvent",
    "SandboxAllocated",
    "Share",
    "Shown",
    "Step",
    "Subscription",
    "SubscriptionStatus",
    "Tax",
    "TaxAmount",
    "UnitRounding",
    "UsageEvent",
]
