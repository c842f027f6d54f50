"""Usage for Stripe's meters: what a quantity became since they were told the last time, in whole units.

A meter there sums. It is told differences, so a late, corrected or voided event reaches it as more or as less, and the sum of all that it
was told is the quantity, without its fraction, whichever way it came to be.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator
from decimal import ROUND_FLOOR, Decimal

from creto.common.errors import InvalidInput
from creto.common.ids import SubscriptionId
from creto.common.limits import STRIPE_METER_EVENTS_MAX, STRIPE_METER_PAST_S, STRIPE_METER_VALUE_MAX
from creto.common.timestamps import SECOND
from creto.connectors.stripe.types import MeterEvent, Params, StripeId
from creto.metering import Line, LineKind, Period


def quantities(lines: Iterable[Line], charges: Iterable[str]) -> dict[str, Decimal]:
    """How much of each of these charges an invoice is about, corrections of earlier periods among it."""
    sums = dict.fromkeys(charges, Decimal())
    for line in lines:
        if line.kind in (LineKind.USAGE, LineKind.CORRECTION) and line.charge_id in sums:
            sums[line.charge_id] += line.quantity
    return sums


def whole(quantity: Decimal) -> int:
    return int(quantity.to_integral_value(ROUND_FLOOR))


def difference(meter: str, event_name: str, wanted: int, told: int, sent: int, at: int) -> list[MeterEvent]:
    """The events that take a meter from what it was told to what it shall know; `sent` were sent before them."""
    values = list(chunks(wanted - told))
    return [
        MeterEvent(our_id=f"{meter}/{sent + place}", event_name=event_name, value=value, at=at)
        for place, value in enumerate(values, 1)
    ]


def chunks(change: int) -> Iterator[int]:
    """In values of at most fifteen digits."""
    sign = 1 if change >= 0 else -1
    full, rest = divmod(abs(change), STRIPE_METER_VALUE_MAX)
    if full >= STRIPE_METER_EVENTS_MAX:
        raise InvalidInput.of(
            "quantity", got=change, expected=f"up to {STRIPE_METER_EVENTS_MAX} times fifteen digits", code="MT-424"
        )
    yield from (sign * STRIPE_METER_VALUE_MAX for _ in range(full))
    if rest:
        yield sign * rest


def name(subscription_id: SubscriptionId, charge: str, period: Period) -> str:
    """Of what is told about a charge in a period."""
    return f"{subscription_id}/{urllib.parse.quote(charge, safe='')}/{period.start // SECOND}"


def instant(period: Period, now: int) -> int:
    """When the usage was: within its period, and not further back than Stripe takes it."""
    return max(min(now, period.end - SECOND), now - STRIPE_METER_PAST_S * SECOND)


def params(event: MeterEvent, customer: StripeId, identifier: str) -> Params:
    return {
        "event_name": event.event_name,
        "identifier": identifier,
        "timestamp": event.at // SECOND,
        "payload": {"stripe_customer_id": customer, "value": str(event.value)},
    }


def in_time(params: Params, now: int) -> Params:
    """The same usage, if it has to be told anew: not further back than Stripe takes it by now."""
    return params | {"timestamp": max(params["timestamp"], now // SECOND - STRIPE_METER_PAST_S)}
