"""Usage that nobody pays for: events that count, and that no subscription bills, by who used it and of what type.

INVARIANT: what is told is what no invoice has and none would have: a subscription that is made known later, from an instant before, takes
its events out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import LiteralString

import msgspec

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, SubscriptionId, TenantId, checked_tenant
from creto.common.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX, USAGE_BEHIND_S_MAX
from creto.common.paging import cut, place_of
from creto.common.timestamps import SECOND
from creto.metering import event_store as rows
from creto.metering import store as billing_rows
from creto.metering.accounts import payer_of
from creto.metering.attribution import Chain
from creto.metering.beyond import beyond_type, used_type
from creto.metering.core import Recording, paged
from creto.metering.periods import Period
from creto.metering.plans import version_of
from creto.metering.source import whole
from creto.metering.total_store import waiting_events
from creto.metering.types import Plan, PlanId, Subscription
from creto.metering.usage_types import EventState
from creto.store.types import Question, ReadTx

TOGETHER = 200  # questions that are waited for at once

Types = tuple[str, ...]
Key = tuple[AgentId, str]


class Unpaid(msgspec.Struct, frozen=True):
    """Events of an agent and a type that no subscription pays for: how many, and when the first and the last of them happened."""

    agent: AgentId
    event_type: str
    events: int
    first: int
    last: int


class UnpaidPage(msgspec.Struct, frozen=True):
    items: tuple[Unpaid, ...]
    cursor: str | None = None


class Finding(Recording):
    async def unpaid(
        self, tenant: TenantId, period: Period, *, agent: AgentId | None = None, cursor: str | None = None,
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> UnpaidPage:  # fmt: skip
        """Usage of a period that no subscription pays for, of an agent with all who act for it; by agent and type."""
        if not 0 < period.end - period.start <= 2 * USAGE_BEHIND_S_MAX * SECOND:
            raise InvalidInput.of(
                "start", got=period.start, expected="before the end, by two years at most", code="MT-400"
            )
        after = place_of(cursor, tuple[str, str], ("", ""))
        paged(limit)
        found = await self._store.read(lambda tx: Search(tx, checked_tenant(tenant), period, agent).found())
        rest = [found[key] for key in sorted(found) if key > after]
        return UnpaidPage(*cut(rest[: limit + 1], limit, lambda last: (last.agent, last.event_type)))


class Search:
    """One question to one view of the store."""

    def __init__(self, tx: ReadTx, tenant: TenantId, period: Period, agent: AgentId | None) -> None:
        self._tx = tx
        self._tenant = tenant
        self._period = period
        chains = rows.all_chains(tx, tenant) if agent is None else rows.chains_of(tx, tenant, agent)
        self._chains = {chain: whole(behind) for chain, behind in chains.items()}
        self._plans: dict[PlanId, list[Plan]] = {}
        for plan in billing_rows.all_versions(tx, tenant):
            self._plans.setdefault(plan.plan_id, []).append(plan)
        self._known: dict[AgentId, list[Subscription]] = {}
        for one in every_subscription(tx, tenant):
            self._known.setdefault(one.agent, []).append(one)

    def found(self) -> dict[Key, Unpaid]:
        found: dict[Key, Unpaid] = {}
        for chain, event_type, events, first, last in (*self._placed(), *self._waiting()):
            agent = self._chains[chain][-1]
            one = Unpaid(agent, event_type, events, first, last)
            known = found.get((agent, event_type), one)
            if known is not one:
                events, first, last = known.events + events, min(known.first, first), max(known.last, last)
            found[agent, event_type] = Unpaid(agent, event_type, events, first, last)
        return found

    def _placed(self) -> Iterator[tuple[bytes, str, int, int, int]]:
        """Of what is folded: chains that are paid for alike are asked about together."""
        alike: dict[tuple[int, int, Types], list[bytes]] = {}
        for chain, agents in self._chains.items():
            for stretch in self._stretches(agents):
                alike.setdefault(stretch, []).append(chain)
        asked = [
            (stretch, chains[n : n + rows.CHUNK])
            for stretch, chains in alike.items()
            for n in range(0, len(chains), rows.CHUNK)
        ]
        for n in range(0, len(asked), TOGETHER):
            for answer in self._tx.together(*(self._question(*one) for one in asked[n : n + TOGETHER])):
                for chain, event_type, events, first, last in answer:
                    yield bytes(chain), event_type, int(events), int(first), int(last)

    def _question(self, stretch: tuple[int, int, Types], chains: Sequence[bytes]) -> Question:
        start, end, paid = stretch
        sql = _counted(len(chains), len(paid))
        return sql, self._tenant, start, end, int(EventState.COUNTED), *chains, *paid

    def _waiting(self) -> Iterator[tuple[bytes, str, int, int, int]]:
        for row in waiting_events(self._tx, self._tenant, self._period.start, self._period.end):
            agents = self._chains.get(row.chain)
            if agents is not None and not self._pays(agents, row.event_type, row.happened_at):
                yield row.chain, row.event_type, 1, row.happened_at, row.happened_at

    def _stretches(self, agents: Chain) -> Iterator[tuple[int, int, Types]]:
        """The period, cut where a subscription of the chain begins, changes or ends; with the types that are paid for in each."""
        known = [one for agent in agents for one in self._known.get(agent, ())]
        types = {
            kind
            for one in known
            for phase in one.phases
            for charge in self._plan(phase.plan_id, phase.version).charges
            for kind in (charge.meter.event_type, beyond_type(charge.meter.event_type))
        }
        for start, end in pairwise(self._bounds(known)):
            yield start, end, tuple(sorted(kind for kind in types if self._pays(agents, kind, start)))

    def _bounds(self, known: Iterable[Subscription]) -> list[int]:
        start, end = self._period.start, self._period.end
        at = {moment for one in known for moment in (one.started_at, one.ends_at, *(p.since for p in one.phases))}
        return sorted({start, end, *(moment for moment in at if moment is not None and start < moment < end)})

    def _pays(self, agents: Chain, event_type: str, at: int) -> bool:
        return payer_of(agents, used_type(event_type), at, self._known, self._plan) is not None

    def _plan(self, plan_id: PlanId, version: int) -> Plan:
        return version_of(self._plans.get(plan_id, ()), plan_id, version)


def every_subscription(tx: ReadTx, tenant: TenantId) -> Iterator[Subscription]:
    after = SubscriptionId("")
    while page := billing_rows.subscriptions_of(tx, tenant, None, after, PAGE_ITEMS_MAX):
        yield from page
        after = page[-1].subscription_id


@lru_cache(maxsize=rows.CHUNK)
def _counted(chains: int, paid: int) -> LiteralString:
    in_chains, but = ", ".join(["?"] * chains), ", ".join(["?"] * paid)
    unpaid: LiteralString = f" AND e.event_type NOT IN ({but})" if paid else ""
    return (
        "SELECT p.chain, e.event_type, COUNT(*), MIN(p.happened_at), MAX(p.happened_at) FROM metering_place p"
        " JOIN metering_event e ON e.batch = p.batch AND e.place = p.place AND e.agent = p.agent"
        f" WHERE p.tenant = ? AND p.happened_at >= ? AND p.happened_at < ? AND e.state = ? AND p.chain IN ({in_chains}){unpaid}"
        " GROUP BY p.chain, e.event_type"
    )
