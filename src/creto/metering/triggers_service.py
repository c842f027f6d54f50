"""Cost triggers: the contract with oversight, and the events that wait for a human.

    triggers = CostTriggers(store, clock, costs, watch, signer=layer_signer, layer=layer_agent)
    triggers.check_cost_threshold(tenant, event, BillingPeriod.CURRENT_MONTH)        # memory: OversightTrigger or None
    triggers.use(Usage(store, clock, trust, judge=triggers))                         # ingestion asks it, and holds what it names

An event that crosses a threshold which asks is held by ingestion, and in the same transaction `metering.thresholds.exceeded` says so on
the bus. Oversight makes a request of it and names it (`awaits`); its decision ends the waiting: `finalize_event` when approved, else
the event is released. What a threshold blocks is held too, and nobody is asked: it counts only if somebody finalises it by hand.

INVARIANT: an event is out of the queue only after it was finalised or released; a decision that is delivered twice does it once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import Protocol

import msgspec

from creto.common import wire
from creto.common.envelope import EventEnvelope, Signer
from creto.common.errors import AlreadyExists, EnablementError, InvalidInput, NotFound, QuotaExceeded, Unauthorized
from creto.common.ids import AgentId, EventId, RequestId, TenantId, checked_tenant, new_id
from creto.common.limits import WAITING_MAX
from creto.common.money import from_micros
from creto.common.timestamps import DAY, Clock, ConsensusTimestamp
from creto.contracts import (
    SUBJECT_THRESHOLD_EXCEEDED,
    AccumulatedCost,
    AnomalyDetected,
    BillableEvent,
    BillingPeriod,
    Block,
    CostBreakdown,
    CostForecast,
    CostThreshold,
    CostThresholdExceededEvent,
    CostThresholdExceededEventV2,
    CostThresholdType,
    DecisionApproved,
    DecisionDenied,
    OversightDecision,
    OversightTrigger,
)
from creto.metering import anomalies
from creto.metering import triggers as rules
from creto.metering.anomalies import Watch
from creto.metering.anomalies_kept import Anomalies, Flagged
from creto.metering.anomalies_kept import alarms as anomalies_in
from creto.metering.quota_store import notice_first, unattended
from creto.metering.triggers import PERIOD_OF, Alarm, Alarms, Cost, Exceeded, Lookup, Rule, Threshold, Total, quiet
from creto.metering.triggers_costs import Costs
from creto.metering.triggers_kept import Thresholds, checked_count, read_thresholds
from creto.metering.triggers_sitting import Sitting
from creto.store.types import Outcome, ReadTx, Store, Tx

log = logging.getLogger("creto.metering")
USD = "USD"
LAYER = AgentId("metering")
SUBJECT_WAITING_ENDED = "metering.waiting.ended"
BLOCKED_TOLD_NS = 7 * DAY  # an event that comes again is the same one for so long


class Held(Protocol):
    """Ingestion → cost triggers: it keeps the events that wait, and ends their waiting. MT-412 where one waits no more."""

    async def finalize_event(self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str = "") -> object:
        """It counts from now on, as if it had come in time."""
        ...

    async def release_event(self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str = "") -> object:
        """It never counts."""
        ...


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """An event that waits, and for what. `request_id` is oversight's, once it has made one."""

    event_id: EventId
    threshold_id: str
    waits_since: ConsensusTimestamp
    exceeded: CostThresholdExceededEventV2
    request_id: RequestId | None = None


class WaitingEnded(msgspec.Struct, frozen=True, kw_only=True):
    """`metering.waiting.ended`: an event that oversight was asked about was finalized, released or voided, by its decision or by hand."""

    request_id: RequestId
    event_id: EventId
    act: str
    by: AgentId


class CostTriggers(Thresholds):
    def __init__(
        self, store: Store, clock: Clock, costs: Costs, watch: Watch, *, signer: Signer | None = None,
        layer: AgentId = LAYER,
    ) -> None:  # fmt: skip
        super().__init__(store, clock)
        self.costs = costs
        self.watch = watch
        self.anomalies = Anomalies(store, clock, watch)
        self._held: Held | None = None
        self._signer = signer
        self._layer = layer

    def use(self, held: Held) -> None:
        """Who keeps the events that wait."""
        self._held = held

    # The contract: CostTriggerV1 and V2

    def check_cost_threshold(
        self, tenant: TenantId, event: BillableEvent, period: BillingPeriod
    ) -> OversightTrigger | None:
        """The strictest threshold that the event would cross: those of one transaction, those of this period, and habits."""
        known, now = self._rules(tenant), event.timestamp
        cost = self.cost(tenant, event, known)
        alarms = partial(self._alarm, tenant)
        worst = rules.strictest(rules.crossed(event, cost, known, self._memory(tenant, now), period, alarms))
        return worst.trigger if worst is not None else self._anomaly(tenant, event, cost)

    def get_accumulated_cost(
        self, tenant: TenantId, agent: AgentId, period: BillingPeriod, currency: str = USD
    ) -> AccumulatedCost:
        """What the agent and all below it have spent."""
        total = self.costs.total(checked_tenant(tenant), agent, period, currency, self._clock.now())
        return AccumulatedCost(
            agent_nhi=agent, period=period, total_cost=from_micros(total.micros), currency=currency,
            by_event_type={name: from_micros(micros) for name, micros in total.by_event_type.items()},
        )  # fmt: skip

    def check_multiple_thresholds(
        self, tenant: TenantId, event: BillableEvent, thresholds: Sequence[CostThreshold]
    ) -> list[OversightTrigger]:
        """Of these thresholds, whether or not they are kept, those that the event would cross, in their order."""
        checked_count(thresholds, "thresholds")
        asked = [Rule(Threshold(threshold=threshold)) for threshold in thresholds]
        cost = self.cost(tenant, event, asked)
        memory, alarms = self._memory(tenant, event.timestamp), partial(self._alarm, tenant)
        found = rules.crossed(event, cost, asked, memory, alarms=alarms)
        return [one.trigger for one in found]

    def check_batch(
        self, tenant: TenantId, events: Sequence[BillableEvent], period: BillingPeriod
    ) -> list[OversightTrigger | None]:
        """As if they came one after the other; what crosses a threshold that asks or blocks is not spent yet, so it adds nothing to the next."""
        checked_count(events, "events")
        spent: dict[tuple[AgentId, BillingPeriod | None, str], dict[str, int]] = {}
        answers: list[OversightTrigger | None] = []
        known, alarms = self._rules(tenant), partial(self._alarm, tenant)
        for event in events:
            cost = self.cost(tenant, event, known)
            memory = self._memory(tenant, event.timestamp)

            def before(rule: Rule, whose: AgentId, memory: Lookup = memory) -> Mapping[str, int]:
                more = spent.get((whose, rule.period, rule.currency))
                return memory(rule, whose) if more is None else together(memory(rule, whose), more)

            worst = rules.strictest(rules.crossed(event, cost, known, before, period, alarms))
            answers.append(worst.trigger if worst is not None else self._anomaly(tenant, event, cost))
            if cost is not None and known and (worst is None or rules.tells(worst.threshold)):
                for agent in rules.payers(event):
                    for of in PERIOD_OF.values():
                        mine = spent.setdefault((agent, of, cost.currency), {})
                        mine[event.event_type] = mine.get(event.event_type, 0) + cost.micros
        return answers

    # What ingestion asks

    def asks(self, tenant: TenantId) -> bool:
        return bool(self._rules(tenant))

    def sitting(self, tx: Tx, tenant: TenantId, events: Sequence[BillableEvent]) -> Sitting:
        known = self._known.get(tenant) or tuple(map(Rule, read_thresholds(tx, tenant)))
        alarms: Alarms = quiet
        if any(rule.of_anomalies for rule in known):
            since = min((event.timestamp for event in events), default=0)
            alarms = partial(alarm_in, anomalies_in(tx, tenant, since))
        return Sitting(self, self.costs, tx, tenant, known, events, alarms)

    def act_on(
        self, tx: Tx, tenant: TenantId, event: BillableEvent, found: Sequence[Exceeded]
    ) -> OversightTrigger | None:
        """In the transaction that takes the event: whether it waits, and whoever is to know hears of it."""
        crossed = rules.strictest(one for one in found if not rules.tells(one.threshold))
        if crossed is None:
            for one in found:
                self._tell_once(tx, tenant, event, one)
            return None
        if isinstance(crossed.threshold.threshold.action, Block):
            raise self._refused(tx, tenant, event, crossed)
        self._wait(tx, tenant, event, crossed)
        return crossed.trigger

    def ended(self, tx: Tx, tenant: TenantId, event_id: EventId, act: str, by: AgentId) -> None:
        """It is out of the queue, and oversight hears that nobody needs to decide about it any more."""
        sql = "DELETE FROM metering_waiting WHERE tenant = ? AND event_id = ? RETURNING request_id"
        request_id: RequestId | None = tx.value(sql, tenant, event_id)
        if request_id is not None:
            ended = WaitingEnded(request_id=request_id, event_id=event_id, act=act, by=by)
            tx.publish(SUBJECT_WAITING_ENDED, wire.encode(ended), tenant=tenant, agent=by)

    def counted(self, tenant: TenantId, events: Sequence[BillableEvent]) -> None:
        """For the habits."""
        for event in events:
            found = self.watch.observe(tenant, event.agent_nhi, event.timestamp, fingerprint=fingerprint(event))
            if found is not None:
                self._tell_anomaly(tenant, event, found)

    def _refused(self, tx: Tx, tenant: TenantId, event: BillableEvent, crossed: Exceeded) -> QuotaExceeded:
        """What blocks lets nothing in, whoever agrees; each event is told once, however often it comes."""
        trigger, threshold = crossed.trigger, crossed.threshold.threshold
        name = f"threshold/{threshold.threshold_id}/{crossed.whose}/{event.event_id}"
        now = self._clock.now()
        if notice_first(tx, tenant, name, 100, now, ConsensusTimestamp(now + BLOCKED_TOLD_NS)):
            exceeded = self._exceeded(tx, tenant, event, crossed)
            self._publish(tx, tenant, exceeded)
            self._note(
                tx, tenant, "event.blocked", "CostThresholdExceeded", event.agent_nhi, threshold.threshold_id, exceeded,
                Outcome.DENIED,
            )  # fmt: skip
        return QuotaExceeded(
            "MT-429", f"{trigger.current_cost} {trigger.currency} is beyond the limit of {trigger.threshold} that {threshold.threshold_id} sets",
            field="properties", got=str(trigger.current_cost), expected=f"at most {trigger.threshold} {trigger.currency}",
        )  # fmt: skip

    def _wait(self, tx: Tx, tenant: TenantId, event: BillableEvent, crossed: Exceeded) -> None:
        waits: int = tx.value("SELECT COUNT(*) FROM metering_waiting WHERE tenant = ?", tenant)
        if waits >= WAITING_MAX:
            raise QuotaExceeded("MT-429", f"{waits} events wait for a decision already", limit=WAITING_MAX, used=waits)
        exceeded = self._exceeded(tx, tenant, event, crossed)
        threshold_id = crossed.threshold.threshold.threshold_id
        tx.run(
            "INSERT INTO metering_waiting (tenant, event_id, threshold_id, request_id, waits_since, body) "
            "VALUES (?, ?, ?, NULL, ?, ?)",
            tenant, event.event_id, threshold_id, exceeded.timestamp, wire.encode(exceeded),
        )  # fmt: skip
        self._publish(tx, tenant, exceeded)
        self._note(
            tx, tenant, "event.held", "CostThresholdExceeded", event.agent_nhi, threshold_id, exceeded, Outcome.PENDING
        )

    def _tell_anomaly(self, tenant: TenantId, event: BillableEvent, found: anomalies.Anomaly) -> None:
        self._tell(lambda tx: self.anomalies.tell(tx, tenant, event, found), "an anomaly")

    def _tell(self, tell: Callable[[Tx], None], what: str) -> None:
        """Nobody waits for it, and the event counts whether or not it can be told."""
        try:
            self._store.submit(tell).add_done_callback(partial(unattended, what=what))
        except EnablementError as error:
            log.error("%s could not be told: %s", what, error)  # noqa: TRY400 - said in one line

    def _tell_once(self, tx: Tx, tenant: TenantId, event: BillableEvent, crossed: Exceeded) -> None:
        """Once in a period, once in an alarm; of single transactions each."""
        threshold = crossed.threshold.threshold
        whose = crossed.whose
        name = f"threshold/{threshold.threshold_id}/{whose}/{event.event_id}"
        ends_at = self._clock.now()
        if threshold.threshold_type is CostThresholdType.ANOMALY:
            name = f"threshold/{threshold.threshold_id}/{event.agent_nhi}/{crossed.until}"
            ends_at = ConsensusTimestamp(max(ends_at, crossed.until))
        elif threshold.threshold_type is not CostThresholdType.PER_TRANSACTION:
            window = rules.window_of(PERIOD_OF[threshold.threshold_type], self.costs.zone(tenant)).period(
                event.timestamp
            )
            name, ends_at = f"threshold/{threshold.threshold_id}/{whose}/{window.start}", ConsensusTimestamp(window.end)
        if notice_first(tx, tenant, name, 100, self._clock.now(), ends_at):
            exceeded = self._exceeded(tx, tenant, event, crossed)
            self._publish(tx, tenant, exceeded)
            self._note(
                tx,
                tenant,
                "threshold.passed",
                "CostThresholdExceeded",
                event.agent_nhi,
                threshold.threshold_id,
                exceeded,
            )

    async def awaits(self, tenant: TenantId, event_id: EventId, request_id: RequestId) -> None:
        """Oversight has made a request of it: its decision is the event's."""

        def bind(tx: Tx) -> None:
            if not tx.run(
                "UPDATE metering_waiting SET request_id = ? WHERE tenant = ? AND event_id = ?",
                request_id, checked_tenant(tenant), event_id,
            ):  # fmt: skip
                raise NotFound("MT-404", f"event {event_id} does not wait")

        await self._store.write(bind)

    async def on_decision(
        self, tenant: TenantId, request_id: RequestId, decision: OversightDecision, *, by: AgentId
    ) -> bool:
        """`oversight.decisions`: whether it was about an event that waited. An escalation decides nothing yet."""
        sql = "SELECT event_id FROM metering_waiting WHERE tenant = ? AND request_id = ?"
        event_id = await self._store.read(lambda tx: tx.value(sql, checked_tenant(tenant), request_id))
        if event_id is None:
            return False
        if isinstance(decision, DecisionApproved):
            return await self.finalize_event(tenant, event_id, by=by)
        if isinstance(decision, DecisionDenied):
            return await self.release_event(tenant, event_id, by=by, reason=decision.reason)
        return True

    async def finalize_event(self, tenant: TenantId, event_id: EventId, *, by: AgentId) -> bool:
        """It was approved: it counts. False if it did not wait."""
        if self._held is None or not await self.waits(tenant, event_id):
            return False
        with suppress(AlreadyExists):  # somebody was faster
            await self._held.finalize_event(tenant, event_id, by=by, reason="approved")
        return True

    async def release_event(self, tenant: TenantId, event_id: EventId, *, by: AgentId, reason: str) -> bool:
        """It was denied, or nobody decided in time: it never counts."""
        if self._held is None or not await self.waits(tenant, event_id):
            return False
        with suppress(AlreadyExists):
            await self._held.release_event(tenant, event_id, by=by, reason=reason)
        return True

    async def waits(self, tenant: TenantId, event_id: EventId) -> bool:
        sql = "SELECT 1 FROM metering_waiting WHERE tenant = ? AND event_id = ?"
        return await self._store.read(lambda tx: tx.value(sql, checked_tenant(tenant), event_id)) is not None

    async def waiting(self, tenant: TenantId, limit: int = 100) -> list[Waiting]:
        """Those that wait, the longest first."""
        rows = await self._store.read(
            lambda tx: tx.all(
                "SELECT event_id, threshold_id, request_id, waits_since, body FROM metering_waiting WHERE tenant = ? "
                "ORDER BY waits_since LIMIT ?",
                checked_tenant(tenant), limit,
            )
        )  # fmt: skip
        return [
            Waiting(
                event_id=event_id, threshold_id=threshold_id, request_id=request_id, waits_since=since,
                exceeded=wire.decode(body, CostThresholdExceededEventV2, what="waiting event"),
            )
            for event_id, threshold_id, request_id, since, body in rows
        ]  # fmt: skip

    # Inside

    def cost(self, tenant: TenantId, event: BillableEvent, known: Sequence[Rule]) -> Cost | None:
        """INVARIANT: what a threshold looks at never passes because its cost cannot be read."""
        if event.tenant != tenant:
            raise Unauthorized("MT-403", f"the event is of tenant {event.tenant}", got=event.tenant, expected=tenant)
        try:
            return self.costs.cost(event)
        except (InvalidInput, NotFound):
            if any(rule.concerns(event) is not None for rule in known):
                raise
            return None

    def _memory(self, tenant: TenantId, now: int) -> Lookup:
        def spent(rule: Rule, whose: AgentId) -> Mapping[str, int]:
            assert rule.period is not None
            return self.costs.total(tenant, whose, rule.period, rule.currency, now).by_event_type

        return spent

    def _anomaly(self, tenant: TenantId, event: BillableEvent, cost: Cost | None) -> OversightTrigger | None:
        """Of an agent that is flagged, where no threshold says more of it."""
        alarm = self._alarm(tenant, event.agent_nhi, event.timestamp)
        if alarm is None:
            return None
        reason = alarm.reason
        currency = USD if cost is None else cost.currency
        return OversightTrigger(
            policy_id=rules.ANOMALY_POLICY, reason=reason, threshold=reason.expected_rate, currency=currency,
            current_cost=Decimal(0) if cost is None else from_micros(cost.micros),
        )  # fmt: skip

    def _alarm(self, tenant: TenantId, agent: AgentId, at: int) -> Alarm | None:
        flagged = self.anomalies.alarm(tenant, agent, at)
        return None if flagged is None else Alarm(flagged.reason, flagged.until)

    def _exceeded(
        self, tx: ReadTx, tenant: TenantId, event: BillableEvent, crossed: Exceeded
    ) -> CostThresholdExceededEventV2:
        threshold = crossed.threshold.threshold
        period = PERIOD_OF.get(threshold.threshold_type, BillingPeriod.CURRENT_MONTH)
        whose = crossed.whose
        now = self._clock.now()
        total = self.costs.read(tx, tenant, whose, period, threshold.currency, event.timestamp)
        return CostThresholdExceededEventV2(
            event_id=EventId(new_id("evt-")), agent_nhi=event.agent_nhi, delegation_chain=event.delegation_chain,
            triggering_event=event, threshold=threshold, current_cost=crossed.trigger.current_cost, period=period, timestamp=now,
            cost_breakdown=CostBreakdown(
                by_event_type={name: from_micros(micros) for name, micros in total.by_event_type.items()},
                by_agent={whose: from_micros(total.micros)},
            ),
            forecast=forecast(total, rules.micros_of(crossed.trigger.current_cost), event.timestamp),
            anomaly=reason if isinstance(reason := crossed.trigger.reason, AnomalyDetected) else None,
        )  # fmt: skip

    def _publish(self, tx: Tx, tenant: TenantId, exceeded: CostThresholdExceededEvent) -> None:
        envelope = EventEnvelope(
            event_type=SUBJECT_THRESHOLD_EXCEEDED, event_id=exceeded.event_id, tenant=tenant, agent_nhi=self._layer,
            delegation_chain=(self._layer,), timestamp=exceeded.timestamp, payload=exceeded,
        )  # fmt: skip
        signed = envelope if self._signer is None else envelope.signed(self._signer)
        tx.publish(SUBJECT_THRESHOLD_EXCEEDED, wire.encode(signed), tenant=tenant, agent=exceeded.agent_nhi)


def alarm_in(found: Mapping[AgentId, Flagged], agent: AgentId, at: int) -> Alarm | None:
    flagged = found.get(agent)
    return None if flagged is None or at >= flagged.until else Alarm(flagged.reason, flagged.until)


def together(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    return {event_type: one.get(event_type, 0) + other.get(event_type, 0) for event_type in {**one, **other}}


def fingerprint(event: BillableEvent) -> int:
    """The same for the same act: what was done, with what."""
    return hash((event.event_type, *sorted(event.properties.items())))


def forecast(total: Total, micros: int, now: int) -> CostForecast | None:
    """What the period will have cost if it goes on like this; surer the more of it is over."""
    gone, whole = now - total.within.start, total.within.length_ns
    if gone <= 0 or total.within.start == 0:  # a lifetime has no end
        return None
    return CostForecast(
        projected_cost=from_micros(micros * whole // gone), period_ends_at=ConsensusTimestamp(total.within.end),
        confidence=(Decimal(gone) / Decimal(whole)).quantize(Decimal("0.01")),
    )  # fmt: skip
