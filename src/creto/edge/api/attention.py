"""What of usage wants somebody to look: what no subscription pays for, and reports that were forged."""

from __future__ import annotations

from typing import Any

from creto.common import wire
from creto.common.ids import AgentId
from creto.common.limits import INTEGER_MAX, PAGE_ITEMS_DEFAULT, USAGE_AHEAD_S_MAX
from creto.common.timestamps import DAY, SECOND
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Endpoint, View
from creto.edge.api.fields import Agent, Cursor, Limit, Nanos
from creto.edge.api.metering_fields import Asked
from creto.edge.api.parts import Parts
from creto.metering import FORGED, Period, Unpaid
from creto.platform.audit import AuditQuery

SINCE_DAYS = 31


class ListUnpaid(Asked, frozen=True):
    """Of the last 31 days, if nothing is said; of an agent with all who act for it, or of everybody."""

    start: Nanos | None = None
    end: Nanos | None = None
    agent: Agent | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class UnpaidUsage(View, frozen=True):
    items: tuple[Unpaid, ...]
    cursor: str | None = None


class ListAlerts(Asked, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class UsageAlert(View, frozen=True):
    """Usage with signatures that do not hold: how many events, who reported them, why they were dropped."""

    event_id: str  # of its entry in the ledger, which proves it
    told_at: int
    agent: AgentId
    events: int
    code: str
    reason: str


class UsageAlerts(View, frozen=True):
    items: tuple[UsageAlert, ...]
    cursor: str | None = None


UNPAID = Endpoint("metering.unpaid", "GET", "/v1/usage/unpaid", ListUnpaid, UnpaidUsage, "query_usage", "Usage that no subscription pays for, by agent and type", errors=("MT-400",))  # fmt: skip
ALERTS = Endpoint("metering.alerts", "GET", "/v1/usage/alerts", ListAlerts, UsageAlerts, "metering:read", "Reports of usage whose signatures do not hold, the newest first")  # fmt: skip

ENDPOINTS = (UNPAID, ALERTS)


@handles(UNPAID)
async def unpaid(parts: Parts, call: Call, ask: ListUnpaid) -> UnpaidUsage:
    until = parts.clock.now() + USAGE_AHEAD_S_MAX * SECOND
    end = min(until if ask.end is None else ask.end, INTEGER_MAX)
    start = max(0, end - SINCE_DAYS * DAY) if ask.start is None else ask.start
    agent = None if ask.agent is None else AgentId(ask.agent)
    page = await parts.metering.unpaid(call.tenant, Period(start, end), agent=agent, cursor=ask.cursor, limit=ask.limit)
    return UnpaidUsage(items=page.items, cursor=page.cursor)


@handles(ALERTS)
async def alerts(parts: Parts, call: Call, ask: ListAlerts) -> UsageAlerts:
    query = AuditQuery(tenant=call.tenant, event=FORGED, newest_first=True, limit=ask.limit, cursor=ask.cursor)
    page = await parts.audit.query(query)
    found = [(one.entry, wire.decode(bytes(one.entry.metadata), dict[str, Any], what="alert")) for one in page.items]
    items = tuple(
        UsageAlert(
            event_id=entry.event_id, told_at=entry.timestamp, agent=entry.agent_nhi, events=facts["events"],
            code=entry.code or "", reason=entry.why or "",
        )
        for entry, facts in found
    )  # fmt: skip
    return UsageAlerts(items=items, cursor=page.cursor)
