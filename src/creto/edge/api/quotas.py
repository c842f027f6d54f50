"""Quotas over the wire: how much of what, held inside every act; what acts cost; and the costs that humans are asked about."""

from __future__ import annotations

from decimal import Decimal
from functools import partial
from typing import Annotated

from msgspec import Meta
from msgspec.structs import asdict

from creto.common.errors import OversightRequired
from creto.common.ids import AgentId, PolicyId
from creto.common.limits import (
    PAGE_ITEMS_DEFAULT,
    QUOTA_AMOUNT_MAX,
    QUOTA_LIMITS_MAX,
    QUOTA_MARKS_MAX,
    QUOTA_PATTERNS_MAX,
    QUOTA_RESERVATION_S,
)
from creto.contracts import AnomalyDetected, CostThreshold, CostThresholdType, ThresholdAction
from creto.edge.api.dispatch import Call, asks_too, concerns, handles
from creto.edge.api.endpoint import Endpoint, View
from creto.edge.api.fields import Agent, Count, Cursor, Id, Limit
from creto.edge.api.metering_fields import Asked, Currency
from creto.edge.api.parts import Parts
from creto.metering import (
    Flagged,
    Hold,
    Measure,
    MeteringSettings,
    OverflowAction,
    Quota,
    QuotaAnswer,
    QuotaUsage,
    Rate,
    Threshold,
    Told,
    Waiting,
)
from creto.metering import Limit as QuotaLimit
from creto.metering.quota_types import STAR, Block
from creto.metering.triggers import POLICY
from creto.oversight.sources import QUOTA_POLICY
from creto.platform.nhi import ValidatedChain
from creto.security.authz.types import QuotaDecision, RequiresOversight

NOBODY_ASKED = f"Nobody is asked about quotas that let acts go on: say who decides, by an oversight policy named {QUOTA_POLICY} (`creto approvals policies put`)."
Patterns = Annotated[tuple[Id, ...], Meta(min_length=1, max_length=QUOTA_PATTERNS_MAX)]
Amount = Annotated[int, Meta(ge=1, le=1_000_000_000_000)]


class PutQuota(Asked, frozen=True):
    """How much of what in which windows: for `agent`, or `shared` by the whole tenant, else for every agent by its own count.

    An agent's count holds what those below it in a delegation chain do too, unless `own_acts` is set. It counts acts, or what is
    reported: with `measures` events one for each, or what their `property` says, or in a currency what they cost. A window without a
    zone gets the tenant's.
    """

    quota_id: Id
    limits: Annotated[tuple[QuotaLimit, ...], Meta(min_length=1, max_length=QUOTA_LIMITS_MAX)]
    counts: Patterns = (STAR,)
    agent: Agent | None = None
    shared: bool = False
    own_acts: bool = False
    currency: Currency | None = None
    overflow: OverflowAction = Block()
    notify_at: Annotated[tuple[Annotated[int, Meta(ge=1, le=100)], ...], Meta(max_length=QUOTA_MARKS_MAX)] = (95, 100)
    measures: Measure = Measure.ACTS
    property: Id | None = None


class AnswerQuota(Asked, frozen=True):
    """What becomes of a quota that is nearly or wholly used up: `new_limit` for the window, no more acts beyond the limit, or nothing.

    The rest is what was known when humans were asked.
    """

    quota_id: Id
    window: Id
    answer: QuotaAnswer = QuotaAnswer.INCREASE
    new_limit: Count = 0
    event_type: Id | None = None
    current_usage: Count = 0
    limit: Count = 0


class ListNotices(Asked, frozen=True):
    """What quotas have told, the newest first; of the acts of one agent."""

    agent: Agent | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class Notices(View, frozen=True):
    """`nobody_asked`: what to do about it, where no human is asked about quotas that let acts go on."""

    items: tuple[Told, ...]
    cursor: str | None = None
    nobody_asked: str | None = None


class OfQuota(Asked, frozen=True):
    quota_id: Id


class ListQuotas(Asked, frozen=True):
    """All of the tenant's."""


class QuotaPage(View, frozen=True):
    items: tuple[Quota, ...]


class Gone(View, frozen=True):
    """What is not there any more."""

    name: str


class CheckQuota(Asked, frozen=True):
    """Whether an act would be let through now. Nothing is taken."""

    agent: Agent
    event_type: Id
    amount: Amount = 1


class ReserveQuota(Asked, frozen=True):
    """Hold quota for an act that is to come, until it is settled, released, or the time is over."""

    agent: Agent
    event_type: Id
    amount: Amount = 1
    ttl_s: Annotated[int, Meta(ge=1, le=QUOTA_RESERVATION_S)] = QUOTA_RESERVATION_S


class SettleQuota(Asked, frozen=True):
    """It took what was reserved, or this much, also if that is more."""

    reservation_id: Id
    amount: Annotated[int, Meta(ge=0, le=QUOTA_AMOUNT_MAX)] | None = None


class OfReservation(Asked, frozen=True):
    reservation_id: Id


class Closed(View, frozen=True):
    """What became of a reservation: `excess` is what the act took above what was reserved, `over` how far that brings the fullest of its
    counters beyond its limit, one of money in micro-units."""

    reservation_id: str
    reserved: int = 0
    amount: int = 0
    excess: int = 0
    over: int = 0


class SetSettings(Asked, frozen=True):
    """The time zone in which days and months begin: of quotas that are set from then on, and of costs."""

    zone: Id


class QuotaUsageOf(Asked, frozen=True):
    agent: Agent


class QuotaUsages(View, frozen=True):
    items: tuple[QuotaUsage, ...]


class PutRate(Asked, frozen=True):
    """What one unit of an act costs, for quotas in money and the budgets of delegations."""

    counts: Id
    micros: Count
    currency: Currency = "USD"


class OfRate(Asked, frozen=True):
    counts: Id


class Rates(View, frozen=True):
    items: tuple[Rate, ...]


class PutThreshold(Asked, frozen=True):
    """A limit on cost: of single events, or of what an agent and all below it spend in a period. Beyond it humans are told, asked, or it blocks."""

    threshold_id: Id
    threshold_type: CostThresholdType
    limit: Decimal
    action: ThresholdAction
    currency: Currency = "USD"
    agent: Agent | None = None
    counts: Patterns = (STAR,)
    policy_id: Id = POLICY


class OfThreshold(Asked, frozen=True):
    threshold_id: Id


class Thresholds(View, frozen=True):
    items: tuple[Threshold, ...]


class ListWaiting(Asked, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT


class WaitingEvents(View, frozen=True):
    items: tuple[Waiting, ...]


class OfAgent(Asked, frozen=True):
    agent: Agent


class ListFlagged(Asked, frozen=True):
    """With `past` also those whose alarm is over and whom nobody has cleared."""

    past: bool = False
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class FlaggedAgents(View, frozen=True):
    items: tuple[Flagged, ...]
    cursor: str | None = None


class AnomalyView(View, frozen=True):
    """Whether an agent does what it never did: a rate far beyond its own history, or the same call over and over."""

    agent: AgentId
    anomaly: AnomalyDetected | None = None
    flagged: Flagged | None = None


READ, SET, QUOTA, THRESHOLD, RATE, HOLD = "metering:read", "set_quota", "metering:quota:{quota_id}", "metering:threshold:{threshold_id}", "metering:rate:{counts}", "metering:reservation:{reservation_id}"  # fmt: skip
BAD, MISSING = ("MT-400",), ("MT-400", "MT-404")

PUT = Endpoint("quotas.put", "PUT", "/v1/quotas/{quota_id}", PutQuota, Quota, SET, "Set a quota; what was used counts on", errors=BAD, about=QUOTA)  # fmt: skip
LIST = Endpoint("quotas.list", "GET", "/v1/quotas", ListQuotas, QuotaPage, READ, "The quotas that hold")
GET = Endpoint("quotas.get", "GET", "/v1/quotas/{quota_id}", OfQuota, Quota, READ, "One quota", errors=("MT-404",), about=QUOTA)  # fmt: skip
DELETE = Endpoint("quotas.delete", "DELETE", "/v1/quotas/{quota_id}", OfQuota, Gone, SET, "Take a quota away", errors=("MT-404",), about=QUOTA)  # fmt: skip
ANSWER = Endpoint("quotas.answer", "POST", "/v1/quotas/{quota_id}/answer", AnswerQuota, Quota, SET, "Raise one limit of a quota, or let nothing go beyond it any more", errors=MISSING, about=QUOTA)  # fmt: skip
NOTICES = Endpoint("quotas.notices", "GET", "/v1/quota-notices", ListNotices, Notices, "check_quota", "What quotas have told: who nears a limit, goes beyond it, and what humans have answered", errors=BAD)  # fmt: skip
CHECK = Endpoint("quotas.check", "POST", "/v1/quota-checks", CheckQuota, QuotaDecision, "check_quota", "Whether an act would be let through now, and which ancestor and window decide", errors=BAD, about="{agent}", keyed=False)  # fmt: skip
RESERVE = Endpoint("quotas.reserve", "POST", "/v1/reservations", ReserveQuota, Hold, "reserve_quota", "Hold quota until it is settled or released, on whatever node", status=201, errors=("MT-400", "MT-429", "MT-202"), about="{agent}")  # fmt: skip
SETTLE = Endpoint("quotas.settle", "POST", "/v1/reservations/{reservation_id}/settle", SettleQuota, Closed, "settle_quota", "It took what was reserved, or another amount; what is above is said", errors=MISSING, about=HOLD)  # fmt: skip
RELEASE = Endpoint("quotas.release", "POST", "/v1/reservations/{reservation_id}/release", OfReservation, Closed, "release_quota", "It took nothing", errors=("MT-404",), about=HOLD)  # fmt: skip
USAGE = Endpoint("quotas.usage", "GET", "/v1/quota-usage/{agent}", QuotaUsageOf, QuotaUsages, READ, "What the counters of an agent stand at, over all nodes", about="{agent}")  # fmt: skip
SET_SETTINGS = Endpoint("quotas.set_settings", "PUT", "/v1/metering-settings", SetSettings, MeteringSettings, SET, "Say in which time zone days and months begin", errors=BAD, about="metering:settings")  # fmt: skip
SETTINGS = Endpoint(
    "quotas.settings",
    "GET",
    "/v1/metering-settings",
    ListQuotas,
    MeteringSettings,
    READ,
    "In which time zone days and months begin",
)
PUT_RATE = Endpoint("quotas.put_rate", "PUT", "/v1/quota-rates/{counts}", PutRate, Rate, SET, "Say what one unit of an act costs", errors=BAD, about=RATE)  # fmt: skip
RATES = Endpoint("quotas.rates", "GET", "/v1/quota-rates", ListQuotas, Rates, READ, "What acts cost")
DELETE_RATE = Endpoint("quotas.delete_rate", "DELETE", "/v1/quota-rates/{counts}", OfRate, Gone, SET, "An act costs nothing any more", errors=("MT-404",), about=RATE)  # fmt: skip
PUT_THRESHOLD = Endpoint("quotas.put_threshold", "PUT", "/v1/thresholds/{threshold_id}", PutThreshold, Threshold, SET, "Set a limit on cost, and what happens beyond it", errors=BAD, about=THRESHOLD)  # fmt: skip
THRESHOLDS = Endpoint("quotas.thresholds", "GET", "/v1/thresholds", ListQuotas, Thresholds, READ, "The limits on cost")
DELETE_THRESHOLD = Endpoint("quotas.delete_threshold", "DELETE", "/v1/thresholds/{threshold_id}", OfThreshold, Gone, SET, "Take a limit on cost away", errors=("MT-404",), about=THRESHOLD)  # fmt: skip
WAITING = Endpoint("quotas.waiting", "GET", "/v1/waiting-events", ListWaiting, WaitingEvents, READ, "Events that wait for a human, the longest first")  # fmt: skip
ANOMALY = Endpoint("quotas.anomaly", "GET", "/v1/anomalies/{agent}", OfAgent, AnomalyView, READ, "Whether an agent runs away", about="{agent}")  # fmt: skip
ANOMALIES = Endpoint("quotas.anomalies", "GET", "/v1/anomalies", ListFlagged, FlaggedAgents, READ, "Agents that run away: who, why and since when, the newest first", errors=BAD)  # fmt: skip
FORGIVE = Endpoint("quotas.forgive", "POST", "/v1/anomalies/{agent}/forgive", OfAgent, AnomalyView, SET, "A human has looked: this is the agent's habit from now on", about="{agent}")  # fmt: skip

ENDPOINTS = (PUT, LIST, GET, DELETE, ANSWER, NOTICES, CHECK, RESERVE, SETTLE, RELEASE, USAGE, SET_SETTINGS, SETTINGS, PUT_RATE, RATES, DELETE_RATE, PUT_THRESHOLD, THRESHOLDS, DELETE_THRESHOLD, WAITING, ANOMALY, ANOMALIES, FORGIVE)  # fmt: skip


@concerns(SETTLE, RELEASE)
async def which_reservation(parts: Parts, call: Call, ask: SettleQuota | OfReservation) -> str | None:
    """The caller's own matter, if it made the reservation, or is in the chain that this is for; else that of the agent it is for."""
    me, whose = call.known.agent, await parts.quotas.holders(call.tenant, ask.reservation_id)
    return me if not whose or me in whose else whose[-1]


def chain_above(parts: Parts, call: Call, agent: AgentId) -> ValidatedChain | None:
    """Whose counts an act of the agent is on, too: those it acts under, if it is the one who asks."""
    if call.chain is None or agent != call.agents[-1]:
        return None
    return parts.nhi.validate(call.chain, tenant=call.tenant, agent=agent)


@handles(PUT)
async def put(parts: Parts, call: Call, ask: PutQuota) -> Quota:
    return await parts.quotas.put_quota(call.tenant, Quota(**asdict(ask)), by=call.known.agent)


@handles(LIST)
async def list_(parts: Parts, call: Call, ask: ListQuotas) -> QuotaPage:
    return QuotaPage(items=tuple(await parts.quotas.quotas(call.tenant)))


@handles(GET)
async def get(parts: Parts, call: Call, ask: OfQuota) -> Quota:
    return await parts.quotas.quota(call.tenant, ask.quota_id)


@handles(DELETE)
async def delete(parts: Parts, call: Call, ask: OfQuota) -> Gone:
    await parts.quotas.delete_quota(call.tenant, ask.quota_id, by=call.known.agent)
    return Gone(name=ask.quota_id)


@handles(ANSWER)
async def answer(parts: Parts, call: Call, ask: AnswerQuota) -> Quota:
    by = call.known.agent
    return await parts.quotas.answer(call.tenant, ask.quota_id, ask.window, ask.answer, ask.new_limit, by=by)


@concerns(NOTICES)
async def whose_notices(parts: Parts, call: Call, ask: ListNotices) -> str | None:
    return ask.agent


@handles(NOTICES)
async def notices(parts: Parts, call: Call, ask: ListNotices) -> Notices:
    page = await parts.quotas.notices.notices(call.tenant, ask.agent, cursor=ask.cursor, limit=ask.limit)
    asked = any(policy.policy_id == QUOTA_POLICY for policy in parts.oversight.policies(call.tenant))
    return Notices(items=page.items, cursor=page.cursor, nobody_asked=None if asked else NOBODY_ASKED)


@handles(CHECK)
async def check(parts: Parts, call: Call, ask: CheckQuota) -> QuotaDecision:
    chain = chain_above(parts, call, ask.agent)
    return await parts.quotas.check_quota(call.tenant, ask.agent, ask.event_type, chain=chain, amount=ask.amount)


@asks_too(RESERVE)
async def would_ask(parts: Parts, call: Call, ask: ReserveQuota) -> RequiresOversight | None:
    chain = chain_above(parts, call, ask.agent)
    return await parts.quotas.asks(call.tenant, ask.agent, ask.event_type, ask.amount, chain=chain)


@handles(RESERVE)
async def reserve(parts: Parts, call: Call, ask: ReserveQuota) -> Hold:
    chain = chain_above(parts, call, ask.agent)
    hold = partial(
        parts.quotas.reserve,
        call.tenant,
        ask.agent,
        ask.event_type,
        ask.amount,
        chain=chain,
        ttl_s=ask.ttl_s,
        by=call.known.agent,
    )

    async def give_back(held: Hold) -> None:
        await parts.quotas.release(call.tenant, held.reservation_id)

    try:
        return await hold()
    except OversightRequired as asked:
        return await parts.gate.agreed(asked, lambda approved: hold(approved=approved), give_back)


@handles(SETTLE)
async def settle(parts: Parts, call: Call, ask: SettleQuota) -> Closed:
    return Closed(**asdict(await parts.quotas.settle(call.tenant, ask.reservation_id, ask.amount)))


@handles(RELEASE)
async def release(parts: Parts, call: Call, ask: OfReservation) -> Closed:
    return Closed(**asdict(await parts.quotas.release(call.tenant, ask.reservation_id)))


@handles(USAGE)
async def usage(parts: Parts, call: Call, ask: QuotaUsageOf) -> QuotaUsages:
    return QuotaUsages(items=tuple(await parts.quotas.usage(call.tenant, [ask.agent])))


@handles(SET_SETTINGS)
async def set_settings(parts: Parts, call: Call, ask: SetSettings) -> MeteringSettings:
    return await parts.quotas.zones.put(call.tenant, ask.zone, by=call.known.agent)


@handles(SETTINGS)
async def settings(parts: Parts, call: Call, ask: ListQuotas) -> MeteringSettings:
    return await parts.quotas.zones.settings(call.tenant)


@handles(PUT_RATE)
async def put_rate(parts: Parts, call: Call, ask: PutRate) -> Rate:
    return await parts.quotas.put_rate(call.tenant, Rate(**asdict(ask)), by=call.known.agent)


@handles(RATES)
async def rates(parts: Parts, call: Call, ask: ListQuotas) -> Rates:
    return Rates(items=tuple(await parts.quotas.rates(call.tenant)))


@handles(DELETE_RATE)
async def delete_rate(parts: Parts, call: Call, ask: OfRate) -> Gone:
    await parts.quotas.delete_rate(call.tenant, ask.counts, by=call.known.agent)
    return Gone(name=ask.counts)


@handles(PUT_THRESHOLD)
async def put_threshold(parts: Parts, call: Call, ask: PutThreshold) -> Threshold:
    threshold = CostThreshold(
        threshold_id=ask.threshold_id, threshold_type=ask.threshold_type, limit=ask.limit, currency=ask.currency, action=ask.action
    )  # fmt: skip
    made = Threshold(threshold=threshold, agent=ask.agent, counts=ask.counts, policy_id=PolicyId(ask.policy_id))
    return await parts.triggers.put_threshold(call.tenant, made, by=call.known.agent)


@handles(THRESHOLDS)
async def thresholds(parts: Parts, call: Call, ask: ListQuotas) -> Thresholds:
    return Thresholds(items=tuple(await parts.triggers.thresholds(call.tenant)))


@handles(DELETE_THRESHOLD)
async def delete_threshold(parts: Parts, call: Call, ask: OfThreshold) -> Gone:
    await parts.triggers.delete_threshold(call.tenant, ask.threshold_id, by=call.known.agent)
    return Gone(name=ask.threshold_id)


@handles(WAITING)
async def waiting(parts: Parts, call: Call, ask: ListWaiting) -> WaitingEvents:
    return WaitingEvents(items=tuple(await parts.triggers.waiting(call.tenant, ask.limit)))


@handles(ANOMALY)
async def anomaly(parts: Parts, call: Call, ask: OfAgent) -> AnomalyView:
    found = await parts.triggers.anomalies.flag(call.tenant, ask.agent)
    return AnomalyView(agent=ask.agent, anomaly=None if found is None else found.reason, flagged=found)


@handles(ANOMALIES)
async def anomalies(parts: Parts, call: Call, ask: ListFlagged) -> FlaggedAgents:
    since = 0 if ask.past else parts.clock.now()
    page = await parts.triggers.anomalies.flagged(call.tenant, since, cursor=ask.cursor, limit=ask.limit)
    return FlaggedAgents(items=page.items, cursor=page.cursor)


@handles(FORGIVE)
async def forgive(parts: Parts, call: Call, ask: OfAgent) -> AnomalyView:
    await parts.triggers.anomalies.forgive(call.tenant, ask.agent, by=call.known.agent)
    return AnomalyView(agent=ask.agent)
