"""What the tests of metering are written with: instants, events, meters, subscriptions."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from creto.common.ids import AgentId, EventId, SubscriptionId, TenantId
from creto.common.timestamps import DAY, HOUR, MINUTE, SECOND, ConsensusTimestamp, from_iso
from creto.metering import (
    Aggregation,
    BillableEvent,
    Charge,
    CycleUnit,
    Fee,
    Heading,
    Meter,
    Period,
    Phase,
    Plan,
    Price,
    Subscription,
)
from creto.metering.types import ChargeId, InvoiceId, MeterId, PlanId

TENANT = TenantId("acme")
HUMAN, AGENT, CHILD = AgentId("human"), AgentId("agent"), AgentId("child")
JANUARY = Period(from_iso("2024-01-01T00:00:00Z"), from_iso("2024-02-01T00:00:00Z"))
UNITS = {"y": 365 * DAY, "d": DAY, "h": HOUR, "m": MINUTE, "s": SECOND}


def D(value: str | int) -> Decimal:
    return Decimal(value)


def at(text: str) -> int:
    """A day or an instant, UTC."""
    return from_iso(text if "T" in text and text.endswith("Z") else f"{text}Z" if "T" in text else f"{text}T00:00:00Z")


def span(text: str) -> int:
    """+1h, -1d, +23h59m59s, 0."""
    sign = -1 if text.startswith("-") else 1
    return sign * sum(int(n) * UNITS[unit] for n, unit in re.findall(r"(\d+)([ydhms])", text))


def event(
    when: int,
    *,
    id: str = "",
    agent: str = AGENT,
    chain: tuple[str, ...] = (HUMAN, AGENT),
    type: str = "use",
    **props: Any,
) -> BillableEvent:
    return BillableEvent(
        event_id=EventId(id or f"e{when}"),
        tenant=TENANT,
        agent_nhi=AgentId(agent),
        delegation_chain=tuple(AgentId(a) for a in chain),
        event_type=type,
        timestamp=ConsensusTimestamp(when),
        idempotency_key=id or f"e{when}",
        properties=props,
    )


def meter(aggregation: Aggregation = Aggregation.SUM, **more: Any) -> Meter:
    counts = aggregation is Aggregation.COUNT
    return Meter(
        **{
            "meter_id": MeterId("m"),
            "event_type": "use",
            "aggregation": aggregation,
            "property": None if counts else "value",
            **more,
        }
    )


def charge(price: Price, **more: Any) -> Charge:
    return Charge(**{"charge_id": ChargeId("use"), "price": price, "meter": meter(), **more})


def plan(*charges: Charge, fee: str | None = None, **more: Any) -> Plan:
    fees = () if fee is None else (Fee(charge_id=ChargeId("base"), amount=D(fee)),)
    return Plan(
        **{
            "plan_id": PlanId("p"),
            "version": 1,
            "name": "P",
            "currency": "USD",
            "cycle": CycleUnit.MONTH,
            "fees": fees,
            "charges": charges,
            **more,
        }
    )


def subscription(started: int = JANUARY.start, **more: Any) -> Subscription:
    return Subscription(
        **{
            "subscription_id": SubscriptionId("sub"),
            "tenant": TENANT,
            "agent": AGENT,
            "phases": (Phase(PlanId("p"), 1, started),),
            "started_at": started,
            "anchor": JANUARY.start,
            **more,
        }
    )


def heading(currency: str = "USD", period: Period = JANUARY, id: str = "inv") -> Heading:
    return Heading(
        invoice_id=InvoiceId(id),
        tenant=TENANT,
        subscription_id=SubscriptionId("sub"),
        currency=currency,
        period=period,
    )
