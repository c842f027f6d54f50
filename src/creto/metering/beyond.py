"""Beyond a quota at a price: what an act takes there becomes an event, and the invoice has a line for it.

A quota that charges by a factor lets acts beyond its limit, and each unit there costs so many times its price. The usage itself is billed as
all usage is; the line adds what makes the factor true: units × price of a unit × (factor − 1), less where the factor is below one. The price
of a unit is what the charge came to, without its minimum, over what its meter read: so tiers, free units, packages and maximums are in it.

    surcharges(D("620"), D("6.20"), bookings)       # 120 of them beyond, × 1.5: 120 × 0.01 × 0.5 = 0.60

A unit of the quota is a unit of the charge's meter, which counts or sums up; where a plan has several charges for one type of event, the
quota names which it is about. Bookings beyond more than the meter read are charged for what it read.

INVARIANT: bookings are the layer's own events, of types that nobody else may report: they are proved, archived, corrected and voided as usage is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, EventId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.metering.charges import Rated
from creto.metering.events import number_of
from creto.metering.prices import Step
from creto.metering.rounding import ZERO, plain, precise

BEYOND_TYPE = "quota.beyond/"  # then the type of the act
UNITS, QUOTA, FACTOR, CHARGE = "units", "quota", "factor", "charge"


class Beyond(msgspec.Struct, frozen=True, kw_only=True):
    """An act that was let beyond a quota. `charge` names the plan's charge it is about; any of its type, if empty."""

    tenant: TenantId
    booking_id: str
    chain: tuple[AgentId, ...]
    event_type: str
    quota_id: str
    factor: Decimal
    charge: str
    amount: int
    at: ConsensusTimestamp

    def event(self, units: int) -> BillableEvent:
        """What it took."""
        return BillableEvent(
            event_id=EventId(self.booking_id), tenant=self.tenant, agent_nhi=self.chain[-1], delegation_chain=self.chain,
            event_type=beyond_type(self.event_type), timestamp=self.at, idempotency_key=self.booking_id,
            properties={UNITS: units, QUOTA: self.quota_id, FACTOR: f"{self.factor:f}", CHARGE: self.charge},
        )  # fmt: skip


class Surcharge(msgspec.Struct, frozen=True):
    """What the acts beyond one quota, at one factor, come to."""

    quota_id: str
    factor: Decimal
    rated: Rated
    events: tuple[BillableEvent, ...]


def beyond_type(event_type: str) -> str:
    return BEYOND_TYPE + event_type


def used_type(event_type: str) -> str:
    """The type of the usage that an event is about: its own, or that of the act that went beyond a quota."""
    return event_type.removeprefix(BEYOND_TYPE)


def check_reported(event_type: str) -> None:
    """MT-400 for what only the layer books."""
    if event_type.startswith(BEYOND_TYPE):
        raise InvalidInput.of("event_type", got=event_type, expected=f"not one of {BEYOND_TYPE}", code="MT-400")


def check_corrected(before: BillableEvent, after: BillableEvent) -> None:
    """MT-400 where a booking becomes anything but one of less: its terms are those of the quota when the act was let through."""
    if not before.event_type.startswith(BEYOND_TYPE):
        return
    units, taken = after.properties.get(UNITS), before.properties[UNITS]
    as_it_was = {**after.properties, UNITS: taken} == before.properties and after.event_type == before.event_type
    if not as_it_was or type(units) is not int or not 0 <= units <= int(taken):
        expected = f"a booking of at most {taken} {UNITS}, as it was but for them"
        raise InvalidInput.of("properties", got=after.properties, expected=expected, code="MT-400")


@precise
def surcharges(read: Decimal, spent: Decimal, bookings: Iterable[BillableEvent]) -> list[Surcharge]:
    """`read` units cost `spent`, and some of them were beyond quotas."""
    groups: dict[tuple[str, Decimal], list[BillableEvent]] = {}
    for one in bookings:
        groups.setdefault((str(one.properties[QUOTA]), number_of(one, FACTOR)), []).append(one)
    units = {key: sum((number_of(one, UNITS) for one in own), ZERO) for key, own in groups.items()}
    whole = max(read, sum(units.values(), ZERO))
    if read <= 0 or whole <= 0:
        return []
    return [
        Surcharge(quota_id, factor, surcharged(quota_id, units[quota_id, factor], spent / whole, factor), tuple(own))
        for (quota_id, factor), own in sorted(groups.items())
        if units[quota_id, factor]
    ]


def surcharged(quota_id: str, units: Decimal, price: Decimal, factor: Decimal) -> Rated:
    more = price * (factor - 1)
    amount = units * more
    step = Step(f"beyond {quota_id}: {plain(price.normalize()):f} each × ({factor:f} − 1)", units, more, ZERO, amount)
    return Rated(units, (step,), amount, ZERO, ZERO, ZERO, amount)


def about(charge_id: str, bookings: Sequence[BillableEvent]) -> list[BillableEvent]:
    """Those that a charge is meant by."""
    return [one for one in bookings if one.properties.get(CHARGE) in ("", charge_id)]
