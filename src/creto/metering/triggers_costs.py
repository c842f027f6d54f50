"""What was spent: running totals of each agent with all that acts below it, in rows and in memory.

    costs.add(tx, tenant, events)        # they count, with whatever else is in the transaction
    costs.total(tenant, agent, BillingPeriod.CURRENT_MONTH, "USD", now)      # memory

Rows hold hours and months, of which all other periods are sums. An hour in which a day begins, as some zones' clocks have it, is two.

INVARIANT: a total in memory is what the rows say: whatever is added, here or elsewhere, makes every process read again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import LiteralString

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId, TenantId
from creto.common.limits import COSTS_KEPT_MAX, QUOTA_PRUNED_MAX, STORE_SIGNAL_BYTES_MAX
from creto.common.timestamps import Clock
from creto.contracts import BillableEvent, BillingPeriod
from creto.metering.arrays import number_array, text_array
from creto.metering.periods import Period
from creto.metering.triggers import Cost, Total, cost_of, payers, window_of
from creto.store.types import EngineName, Question, ReadTx, Store, Tx

ADDED = "metering.costs.added"
ZONE_CHANGED = "metering.zone.changed"  # the days and months of a tenant begin elsewhere
OF_HOURS = frozenset({BillingPeriod.CURRENT_HOUR, BillingPeriod.CURRENT_DAY})  # the others are sums of months

Row = tuple[
    AgentId, str, BillingPeriod, int, int, str
]  # whose, currency, hour or month, when it starts and ends, event type
Spent = tuple[AgentId, BillingPeriod, str, int, int]  # whose, in which period, currency, and when it starts and ends
ROWS = 1_000  # agents of one question
ADDED_ROWS = 100  # of one statement
HOUR, DAY, MONTH = BillingPeriod.CURRENT_HOUR, BillingPeriod.CURRENT_DAY, BillingPeriod.CURRENT_MONTH


class Costs:
    """`zone` is the time zone in which a tenant's days and months begin."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        zone: Callable[[TenantId], str] = lambda _: "UTC",
        cost: Callable[[BillableEvent], Cost | None] = cost_of,
    ) -> None:
        self._store = store
        self._clock = clock
        self.zone = zone
        self.cost = cost
        self._totals: dict[tuple[TenantId, AgentId], dict[tuple[BillingPeriod, str], Total]] = {}
        self._lock = threading.Lock()
        store.on_signal(ADDED, self._on_added)
        store.on_signal(ZONE_CHANGED, self._on_zone)
        store.on_signal_lost(self._forget)

    # Rows

    def add(self, tx: Tx, tenant: TenantId, events: Iterable[BillableEvent], *, sign: int = 1) -> None:
        """These events count now; with `sign` -1 they do not any more."""
        known = ((event, self.readable(event)) for event in events)
        self.put(tx, tenant, ((event, cost) for event, cost in known if cost is not None), sign)

    def put(self, tx: Tx, tenant: TenantId, costs: Iterable[tuple[BillableEvent, Cost]], sign: int = 1) -> None:
        """As `add`, of events whose cost is known."""
        sums = self.sums(tenant, costs, sign)
        if not sums:
            return
        put_sums(tx, tenant, [(*row, sums[row]) for row in sorted(sums)])
        for payload in payloads(tenant, sorted({row[0] for row in sums})):
            tx.signal(ADDED, payload)

    def sums(self, tenant: TenantId, costs: Iterable[tuple[BillableEvent, Cost]], sign: int) -> dict[Row, int]:
        """One after the other in time mostly, so the hour of the last one is tried first."""
        found: dict[Row, int] = {}
        zone = self.zone(tenant)
        start = end = 0
        places: list[tuple[BillingPeriod, int, int]] = []
        for event, cost in costs:
            if not cost.micros:
                continue
            at = event.timestamp
            if not start <= at < end:
                kept = kept_at(zone, at)
                start, end = kept[HOUR].start, kept[HOUR].end
                places = [(period, own.start, own.end) for period, own in kept.items()]
            micros, currency, event_type = sign * cost.micros, cost.currency, event.event_type
            for agent in payers(event):
                for place in places:
                    row = (agent, currency, *place, event_type)
                    found[row] = found.get(row, 0) + micros
        return found

    def readable(self, event: BillableEvent) -> Cost | None:
        """None also for what no threshold looked at, and nobody can read."""
        try:
            return self.cost(event)
        except (InvalidInput, NotFound):
            return None

    def read(
        self, tx: ReadTx, tenant: TenantId, agent: AgentId, period: BillingPeriod, currency: str, now: int
    ) -> Total:
        """As the rows say."""
        within = window_of(period, self.zone(tenant)).period(now)
        place = (agent, period, currency, within.start, within.end)
        found = self.spent(tx, tenant, [place]).get(place, {})
        return Total(within, found, sum(found.values()))

    def spent(self, tx: ReadTx, tenant: TenantId, places: Iterable[Spent]) -> dict[Spent, dict[str, int]]:
        """What the rows say of many, by the type of events, all in one question; what is not there is nothing."""
        together: dict[tuple[BillingPeriod, str, int, int], list[AgentId]] = {}
        for agent, period, currency, start, end in places:
            together.setdefault((period, currency, start, end), []).append(agent)
        asked = [(key, agents[n : n + ROWS]) for key, agents in together.items() for n in range(0, len(agents), ROWS)]
        questions = [self._question(tx, tenant, key, agents) for key, agents in asked]
        found: dict[Spent, dict[str, int]] = {}
        for (key, _), rows in zip(asked, tx.together(*questions), strict=True):
            for agent, event_type, micros in rows:
                found.setdefault((agent, *key), {})[event_type] = int(micros)
        return found

    def _question(
        self, tx: ReadTx, tenant: TenantId, key: tuple[BillingPeriod, str, int, int], agents: list[AgentId]
    ) -> Question:
        period, currency, start, end = key
        rest = (tenant, currency, HOUR if period in OF_HOURS else MONTH, start, end)
        if tx.engine is EngineName.POSTGRES:
            return SPENT_ARRAY, text_array(agents), *rest
        return _spent(len(agents)), *rest, *agents

    def prune(self, tx: Tx, before: int) -> int:
        """Forget the hours that ended before an instant; months stay."""
        return tx.run(
            "DELETE FROM metering_cost WHERE (tenant, agent, currency, period, starts_at, event_type) IN "
            "(SELECT tenant, agent, currency, period, starts_at, event_type FROM metering_cost "
            "WHERE ends_at < ? AND period = ? LIMIT ?)",
            before, HOUR, QUOTA_PRUNED_MAX,
        )  # fmt: skip

    # Memory

    def total(self, tenant: TenantId, agent: AgentId, period: BillingPeriod, currency: str, now: int) -> Total:
        try:
            known = self._totals[tenant, agent][period, currency]
            if now < known.within.end:
                return known
        except KeyError:
            pass
        with self._lock:
            found = self._store.read_now(lambda tx: self.read(tx, tenant, agent, period, currency, now))
            if self._store.signals_alive:
                if len(self._totals) >= COSTS_KEPT_MAX:
                    self._totals.pop(next(iter(self._totals)))
                self._totals.setdefault((tenant, agent), {})[period, currency] = found
        return found

    def _on_added(self, payload: str) -> None:
        tenant, agents = wire.decode(payload, tuple[TenantId, list[AgentId]], what="signal")
        with self._lock:
            for agent in agents:
                self._totals.pop((tenant, agent), None)

    def _on_zone(self, tenant: str) -> None:
        with self._lock:
            self._totals = {key: known for key, known in self._totals.items() if key[0] != tenant}

    def _forget(self) -> None:
        with self._lock:
            self._totals.clear()


def kept_at(zone: str, at: int) -> dict[BillingPeriod, Period]:
    """The hour and the month that hold what is spent at an instant; an hour in which a day begins is cut there."""
    hour, day, month = (window_of(period, zone).period(at) for period in (HOUR, DAY, MONTH))
    return {HOUR: Period(max(hour.start, day.start), min(hour.end, day.end), zone), MONTH: month}


def move_windows(tx: Tx, tenant: TenantId, zone: str, now: int) -> None:
    """Sums of hours and months become those of the windows of another zone that hold their middle; those that run, of what runs there."""
    for period in (HOUR, MONTH):
        found = tx.all(
            "SELECT DISTINCT starts_at, ends_at FROM metering_cost WHERE tenant = ? AND period = ?", tenant, period
        )
        for starts_at, ends_at in found:
            within = kept_at(zone, now if starts_at <= now < ends_at else (starts_at + ends_at) // 2)[period]
            if within.start == starts_at:
                continue
            tx.run(f"{MOVE} {IF_THERE}", within.start, within.end, tenant, period, starts_at)
            tx.run(
                "DELETE FROM metering_cost WHERE tenant = ? AND period = ? AND starts_at = ?", tenant, period, starts_at
            )


def payloads(tenant: TenantId, agents: list[AgentId]) -> Iterable[str]:
    """The agents whose totals changed, in as many signals as it takes."""
    rest = agents
    while rest:
        count = len(rest)
        while len(text := wire.encode((tenant, rest[:count]))) > STORE_SIGNAL_BYTES_MAX:
            count //= 2
        yield text.decode()
        rest = rest[count:]


def put_sums(tx: Tx, tenant: TenantId, rows: Sequence[tuple[AgentId, str, BillingPeriod, int, int, str, int]]) -> None:
    """In their order, so that two who add to the same totals never wait in a circle."""
    if tx.engine is EngineName.POSTGRES:
        agent, currency, period, starts_at, ends_at, event_type, micros = zip(*rows, strict=True)
        texts = map(text_array, (agent, currency, period, event_type))
        tx.push(ADD_ARRAYS, tenant, *texts, *map(number_array, (starts_at, ends_at, micros)))
        return
    for start in range(0, len(rows), ADDED_ROWS):
        chunk = rows[start : start + ADDED_ROWS]
        tx.push(_add(len(chunk)), *chain.from_iterable((tenant, *row) for row in chunk))


ADD_TO: LiteralString = (
    "INSERT INTO metering_cost (tenant, agent, currency, period, starts_at, ends_at, event_type, micros) "
)
IF_THERE: LiteralString = (
    " ON CONFLICT (tenant, agent, currency, period, starts_at, event_type)"
    " DO UPDATE SET micros = metering_cost.micros + excluded.micros"
)
MOVE: LiteralString = (
    f"{ADD_TO} SELECT tenant, agent, currency, period, CAST(? AS BIGINT), CAST(? AS BIGINT), event_type, micros"
    " FROM metering_cost WHERE tenant = ? AND period = ? AND starts_at = ?"
)
ADD_ARRAYS: LiteralString = (
    f"{ADD_TO} SELECT ?, r.agent, r.currency, r.period, r.starts_at, r.ends_at, r.event_type, r.micros"
    " FROM unnest(?::text[], ?::text[], ?::text[], ?::text[], ?::bigint[], ?::bigint[], ?::bigint[])"
    " AS r (agent, currency, period, event_type, starts_at, ends_at, micros)"
    f"{IF_THERE}"
)


BETWEEN: LiteralString = "currency = ? AND period = ? AND starts_at >= ? AND starts_at < ?"
# Each agent's rows lie side by side: whatever the planner knows of the table, it looks there.
SPENT_ARRAY: LiteralString = (
    "SELECT a.agent, s.event_type, s.micros FROM unnest(?::text[]) AS a (agent) CROSS JOIN LATERAL"
    " (SELECT event_type, SUM(micros) AS micros FROM metering_cost c WHERE c.agent = a.agent AND tenant = ?"
    f" AND {BETWEEN} GROUP BY event_type) s"
)


@lru_cache(maxsize=ADDED_ROWS)
def _add(rows: int) -> LiteralString:
    return f"{ADD_TO} VALUES " + ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?)"] * rows) + IF_THERE


@lru_cache(maxsize=ROWS)
def _spent(agents: int) -> LiteralString:
    marks = ", ".join(["?"] * agents)
    return (
        f"SELECT agent, event_type, SUM(micros) FROM metering_cost WHERE tenant = ? AND {BETWEEN}"
        f" AND agent IN ({marks}) GROUP BY agent, event_type"
    )
