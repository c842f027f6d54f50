"""What quotas are made of: windows, limits, what happens beyond them, and whom they count for.

Quota(quota_id="tokens", counts=("inference.call",), limits=(Limit(1_000_000, Window(WindowUnit.DAY, zone="Europe/Berlin")),))
Quota(quota_id="spend", limits=(Limit(50_000_000, Window(WindowUnit.MONTH)),), currency="USD", overflow=Ask(policy_id="cfo"))

Amounts are whole units, or micro-units of the currency where the quota has one; a `Rate` says what a unit of an act costs.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache

import msgspec
from msgspec import structs

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId, checked_name
from creto.common.limits import INTEGER_MAX, QUOTA_LIMITS_MAX, QUOTA_MARKS_MAX, QUOTA_PATTERNS_MAX
from creto.common.money import minor_digits
from creto.common.timestamps import HOUR, MINUTE, SECOND, ConsensusTimestamp
from creto.metering.periods import Cycle, CycleUnit, Period, instant, period_at, wall_period, zone_of
from creto.security.authz.types import QuotaOutcome

FIRST_WALL = datetime(2001, 1, 1)  # noqa: DTZ001 - a wall clock: a Monday on which a month, quarter and year begin
ALWAYS = Period(0, INTEGER_MAX)
STAR = "*"
UTC = "UTC"
WINDOWS_KEPT = 1_024  # kinds of windows; people use a dozen


class WindowUnit(StrEnum):
    SECOND = "second"
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    LIFETIME = "lifetime"


FIXED_NS = {WindowUnit.SECOND: SECOND, WindowUnit.MINUTE: MINUTE, WindowUnit.HOUR: HOUR}


class Window(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """`count` units after `count` units. Without an anchor days begin at midnight of the zone, weeks on Monday, months on the first, and
    hours are counted from midnight: four times six hours begin at 0, 6, 12 and 18, also on days of 23 and 25.

    Without a zone it is the tenant's when the quota is set, and UTC if that has none.
    """

    unit: WindowUnit
    count: int = 1
    anchor: int | None = None
    zone: str | None = None

    def __post_init__(self) -> None:
        zone_of(self.where)
        if not 1 <= self.count <= 1_000:
            raise InvalidInput.of("count", got=self.count, expected="1 to 1000", code="MT-400")

    @property
    def where(self) -> str:
        return UTC if self.zone is None else self.zone

    def means(self, other: Window) -> bool:
        """Whether it is that one, in whatever zone if it names none."""
        return other in (self, structs.replace(self, zone=other.zone) if self.zone is None else self)

    @property
    def name(self) -> str:
        return self.unit.value if self.count == 1 else f"{self.count} {self.unit.value}s"

    @property
    def key(self) -> str:
        """What sets its counters apart from those of other windows."""
        return f"{self.count}{self.unit.value}@{'' if self.anchor is None else self.anchor}@{self.where}"

    def period(self, at: int) -> Period:
        """The window that holds an instant."""
        known = _latest.get(self)
        if known is None or at not in known:
            known = self._period(at)
            if len(_latest) >= WINDOWS_KEPT:
                _latest.clear()
            _latest[self] = known
        return known

    def _period(self, at: int) -> Period:
        if self.unit is WindowUnit.LIFETIME:
            return ALWAYS
        anchor = first_instant(self.where) if self.anchor is None else self.anchor
        fixed = FIXED_NS.get(self.unit)
        if fixed is None:
            return period_at(Cycle(CycleUnit(self.unit.value), anchor, self.where, self.count), at)
        length = fixed * self.count
        if length > HOUR:
            return wall_period(length // SECOND, anchor, self.where, at)
        start = at - (at - anchor) % length
        return Period(start, start + length, self.where)


_latest: dict[Window, Period] = {}  # of each kind the one that was asked for last: all agents ask for the same


@lru_cache(maxsize=1_024)
def first_instant(zone: str) -> int:
    return instant(FIRST_WALL, zone)


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    amount: int
    window: Window

    def __post_init__(self) -> None:
        if not 0 <= self.amount <= INTEGER_MAX:
            raise InvalidInput.of("amount", got=self.amount, expected=f"0 to {INTEGER_MAX}", code="MT-400")


class Action(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True, forbid_unknown_fields=True):
    """The base of what may happen beyond a limit."""


class Block(Action, frozen=True, tag="block"):
    """Nothing more until the window ends."""


class AllowWithNotification(Action, frozen=True, tag="allow_with_notification"):
    """Go on, and somebody is told; up to so many percent of the limit, where that is said."""

    up_to_percent: int | None = None

    def __post_init__(self) -> None:
        if self.up_to_percent is not None and not 100 < self.up_to_percent <= 10_000:
            raise InvalidInput.of("up_to_percent", got=self.up_to_percent, expected="101 to 10000", code="MT-400")


class Throttle(Action, frozen=True, tag="throttle"):
    """Beyond the limit so much at a time, as one a minute."""

    limit: Limit


class Ask(Action, frozen=True, tag="ask"):
    """A human decides about each act beyond the limit."""

    policy_id: PolicyId = PolicyId("quota_approval_policy")


class TopUpLimit(Action, frozen=True, tag="top_up"):
    """The limit grows by `amount` whenever it is used up, `times` times in a window at most.

    With a `price` each such step is paid for with credits first, from the wallet that is named, else that of whom the quota counts, else
    that of the first of the chain; where it cannot pay, the limit stays.
    """

    amount: int
    times: int = 1
    price: Decimal | None = None
    currency: str = "USD"
    wallet: AgentId | None = None

    def __post_init__(self) -> None:
        minor_digits(self.currency)
        if self.price is not None and not (self.price.is_finite() and self.price > 0):
            raise InvalidInput.of("top_up.price", got=str(self.price), expected="above 0, or none", code="MT-400")
        if self.amount < 1 or not 1 <= self.times <= 1_000:
            raise InvalidInput.of(
                "top_up", got=f"{self.times} × {self.amount}", expected="1 to 1000 times at least 1", code="MT-400"
            )


class ChargeBeyond(Action, frozen=True, tag="charge"):
    """Beyond the limit each unit costs `factor` times its price; up to `up_to` units, where that is said.

    The price is that of the subscription's charge for such events; of several the quota names one (`charge`).
    """

    factor: Decimal
    up_to: int | None = None
    charge: str = ""

    def __post_init__(self) -> None:
        if not (self.factor.is_finite() and self.factor >= 0) or (self.up_to is not None and self.up_to < 1):
            raise InvalidInput.of("charge", got=f"{self.factor}, {self.up_to}", expected="0 or above", code="MT-400")


OverflowAction = Block | AllowWithNotification | Throttle | Ask | TopUpLimit | ChargeBeyond


class Measure(StrEnum):
    """What moves the counters of a quota."""

    ACTS = "acts"  # what the gate takes, and what reservations are settled with
    EVENTS = "events"  # usage that is reported: acts hold room only while they run


class Quota(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """How much of what in which windows. Each window of `limits` counts for itself, and all must have room.

    For `agent` alone, or with `shared` for the whole tenant together, else for every agent by its own count. An agent's count holds
    what those below it in a delegation chain do too, unless `own_acts` is set. `notify_at` are percents of a limit.
    One that `measures` events counts one for each, or what its `property` says, or in money what it cost.
    """

    quota_id: str
    limits: tuple[Limit, ...]
    counts: tuple[str, ...] = (STAR,)  # actions or event types; a star at the end stands for any rest
    agent: AgentId | None = None
    shared: bool = False
    own_acts: bool = False
    currency: str | None = None
    overflow: OverflowAction = Block()
    notify_at: tuple[int, ...] = (95, 100)
    measures: Measure = Measure.ACTS
    property: str | None = None

    def __post_init__(self) -> None:
        checked_name(self.quota_id, "quota_id")
        expected = None
        if "/" in self.quota_id:
            expected = "a name without a slash"
        elif not 1 <= len(self.limits) <= QUOTA_LIMITS_MAX:
            expected = f"1 to {QUOTA_LIMITS_MAX} limits"
        elif len({limit.window for limit in self.limits}) < len(self.limits):
            expected = "one limit for a window"
        elif not 1 <= len(self.counts) <= QUOTA_PATTERNS_MAX:
            expected = f"1 to {QUOTA_PATTERNS_MAX} patterns"
        elif self.shared and (self.agent is not None or self.own_acts):
            expected = "either one agent or all together"
        elif len(self.notify_at) > QUOTA_MARKS_MAX or any(not 1 <= p <= 100 for p in self.notify_at):
            expected = f"at most {QUOTA_MARKS_MAX} percents of 1 to 100"
        elif self.property is not None and (self.measures is not Measure.EVENTS or self.currency is not None):
            expected = "a property where it measures events, and not money"
        if expected is not None:
            raise InvalidInput.of("quota", got=self.quota_id, expected=expected, code="MT-400")
        if self.currency is not None:
            minor_digits(self.currency)


def in_zone(quota: Quota, zone: str) -> Quota:
    """The quota with its windows in this zone, but for those that name their own."""
    if zone == UTC:
        return quota
    limits = tuple(limit_in_zone(limit, zone) for limit in quota.limits)
    overflow = quota.overflow
    if isinstance(overflow, Throttle):
        overflow = structs.replace(overflow, limit=limit_in_zone(overflow.limit, zone))
    return structs.replace(quota, limits=limits, overflow=overflow)


def limit_in_zone(limit: Limit, zone: str) -> Limit:
    if limit.window.zone is not None:
        return limit
    return structs.replace(limit, window=structs.replace(limit.window, zone=zone))


class Rate(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What one unit of an act costs, for quotas in money and for the budgets of delegation links."""

    counts: str
    micros: int
    currency: str = "USD"

    def __post_init__(self) -> None:
        checked_name(self.counts, "counts")
        minor_digits(self.currency)
        if not 0 <= self.micros <= INTEGER_MAX:
            raise InvalidInput.of("micros", got=self.micros, expected="0 or above", code="MT-400")


class QuotaUsage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One counter over all nodes: `used` by acts that ran or run, or by events; of that `over` the limit; `held` by nodes, which have not
    spent it."""

    quota_id: str
    agent: AgentId | None
    window: str
    used: int
    limit: int
    over: int
    starts_at: ConsensusTimestamp
    resets_at: ConsensusTimestamp
    held: int = 0


class QuotaNotice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`metering.quotas.notices`: a limit is nearly or wholly used up, has been topped up, or is charged beyond. Once for each mark.

    `overflow_action` is what the quota does beyond its limit; `beyond`: it counts what has gone there. The last of the chain is told `text`.
    """

    tenant: TenantId
    quota_id: str
    agent: AgentId | None
    event_type: str
    outcome: QuotaOutcome
    percent: int
    used: int
    limit: int
    window: str
    resets_at: ConsensusTimestamp
    at: ConsensusTimestamp
    delegation_chain: tuple[AgentId, ...] = ()
    notice_id: str = ""
    overflow_action: str = ""
    beyond: bool = False
    text: str = ""


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A notice as it is kept. `request_id` names what humans were asked about it; none where nobody is to be asked."""

    notice: QuotaNotice
    request_id: RequestId | None = None
    answered_at: ConsensusTimestamp | None = None


class Hold(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A reservation that any node can settle or release until it expires: then it is released."""

    reservation_id: str
    amount: int
    outcome: QuotaOutcome
    expires_at: ConsensusTimestamp


class Settled(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a reservation. `excess` is what it took above what was reserved, `over` how far beyond its limit the fullest of
    its counters is because of that, those of money in micro-units."""

    reservation_id: str
    reserved: int
    amount: int
    excess: int = 0
    over: int = 0
