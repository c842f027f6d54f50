"""Which quotas count an act, for whom, and what they are called.

INVARIANT: an act counts for whoever does it and for everybody above them in the chain, each once, in every window of every quota that fits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec

from creto.common.ids import AgentId
from creto.common.limits import INTEGER_MAX
from creto.metering.overflow import lane_of
from creto.metering.periods import Period
from creto.metering.quota_types import STAR, Block, Limit, Measure, OverflowAction, Quota, Rate, Window, WindowUnit
from creto.platform.nhi import ValidatedChain, scope

BUDGET = "budget"  # the quota that a delegation link is
EVERYBODY = STAR
# What a star alone does not stand for: else a full quota could neither be changed nor settled, and usage would be lost for being reported.
OWN_ACTS = frozenset({
    "set_quota", "check_quota", "reserve_quota", "settle_quota", "release_quota", "submit_event", "submit_events",
})  # fmt: skip
BEYOND = "/beyond/"


class Definitions(msgspec.Struct, frozen=True):
    """The quotas and rates of a tenant."""

    quotas: tuple[Quota, ...] = ()
    rates: tuple[Rate, ...] = ()


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """One counter that an act touches: `weight` units of it for each unit of the act."""

    key: str
    quota_id: str
    owner: AgentId | None
    limit: int
    window: Window
    period: Period
    overflow: OverflowAction
    marks: tuple[int, ...] = ()
    weight: int = 1
    beyond: bool = False  # it counts what goes beyond a limit
    by_events: bool = False  # events move it; acts hold room of it while they run

    @property
    def returns(self) -> bool:
        """Whether an act gives back all that it took: what it used comes as events."""
        return self.by_events and not self.beyond


class Mismatch(msgspec.Struct, frozen=True):
    """A budget or a quota that the act cannot be counted in: it is refused, for who cannot count must not spend."""

    limited: str  # the budget of whom, or which quota
    currency: str
    rate: str


def covers(patterns: Iterable[str], action: str) -> bool:
    return scope.any_matches((p for p in patterns if p != STAR) if action in OWN_ACTS else patterns, action)


def rate_of(rates: Sequence[Rate], action: str) -> Rate | None:
    """The one that names the action most closely."""
    fitting = [rate for rate in rates if covers((rate.counts,), action)]
    return max(fitting, key=lambda rate: (not rate.counts.endswith(STAR), len(rate.counts)), default=None)


def subjects(quota: Quota, agents: Sequence[AgentId]) -> list[AgentId | None]:
    """Whose counts an act of the last of these agents touches."""
    if quota.shared:
        return [None]
    acting = agents[-1:] if quota.own_acts else agents
    if quota.agent is not None:
        return [quota.agent] if quota.agent in acting else []
    return list(dict.fromkeys(acting))


def counted(known: Definitions, agents: Sequence[AgentId], action: str, now: int) -> list[Counted] | Mismatch:
    """The counters of quotas, from the root's to the actor's. In money an act that has no price takes nothing."""
    rate = rate_of(known.rates, action)
    found: list[Counted] = []
    for quota in known.quotas:
        if not covers(quota.counts, action):
            continue
        weight, owners = 1, subjects(quota, agents)
        if quota.currency is not None:
            priced = rate if rate is not None and rate.micros else None
            if quota.measures is Measure.EVENTS:
                weight = priced.micros if priced is not None and priced.currency == quota.currency else 1
            elif priced is None or not owners:
                continue
            elif priced.currency != quota.currency:
                return Mismatch(f"the quota {quota.quota_id}", quota.currency, priced.currency)
            else:
                weight = priced.micros
        kinds = [kind_of(limit, quota.notify_at, now) for limit in quota.limits]
        for owner in owners:
            found += [of_kind(quota, kind, owner, weight) for kind in kinds]
    return found


class Kind(msgspec.Struct, frozen=True):
    """What the counters of a limit have in common, whoever's they are."""

    limit: Limit
    period: Period
    key: str
    marks: tuple[int, ...]


def kind_of(limit: Limit, notify_at: tuple[int, ...], now: int) -> Kind:
    period = limit.window.period(now)
    return Kind(limit, period, f"{limit.window.key}/{period.start}", marks_of(limit.amount, notify_at))


def of_kind(quota: Quota, kind: Kind, owner: AgentId | None, weight: int) -> Counted:
    return Counted(
        key=f"{quota.quota_id}/{owner or EVERYBODY}/{kind.key}",
        quota_id=quota.quota_id,
        owner=owner,
        limit=kind.limit.amount,
        window=kind.limit.window,
        period=kind.period,
        overflow=quota.overflow,
        marks=kind.marks,
        weight=weight,
        by_events=quota.measures is Measure.EVENTS,
    )


def of_limit(quota: Quota, limit: Limit, owner: AgentId | None, weight: int, now: int) -> Counted:
    return of_kind(quota, kind_of(limit, quota.notify_at, now), owner, weight)


def lane(beyond: Counted, now: int) -> Counted | None:
    """Where acts beyond a limit are counted; None where there are none."""
    found = lane_of(beyond.overflow, beyond.limit)
    if found is None:
        return None
    window = found.window or beyond.window
    period = window.period(now)
    return msgspec.structs.replace(
        beyond, key=f"{beyond.key}{BEYOND}{window.key}/{period.start}", limit=found.limit, window=window, period=period,
        marks=found.marks, beyond=True,
    )  # fmt: skip


def named(quotas: Mapping[str, Quota], key: str) -> Counted | None:
    """The counter of this name, as its quota has it now; None if it has no such window any more."""
    name, _, start = key.rpartition("/")
    quota = quotas.get(name.partition("/")[0])
    if quota is None or not start.isdigit():
        return None
    for limit in quota.limits:
        owner = name.removeprefix(f"{quota.quota_id}/").removesuffix(f"/{limit.window.key}")
        if f"{quota.quota_id}/{owner}/{limit.window.key}" == name:
            return of_limit(quota, limit, None if owner == EVERYBODY else AgentId(owner), 1, int(start))
    return None


def within(key: str) -> str:
    """The counter whose lane this is."""
    return key.partition(BEYOND)[0]


def budgets(chain: ValidatedChain, rate: Rate | None) -> list[Counted] | Mismatch:
    """The budgets of the chain's links: every one of them must hold. An act that has no price takes nothing of them."""
    found = []
    for parent, link, budget in zip(chain.agents, chain.links, chain.budgets, strict=False):
        if budget is None or rate is None or not rate.micros:
            continue
        if rate.currency != budget.currency:
            return Mismatch(f"the budget of {parent}", budget.currency, rate.currency)
        window = Window(WindowUnit.LIFETIME)
        found.append(
            Counted(
                key=f"{BUDGET}/{link.hex()}", quota_id=BUDGET, owner=parent, limit=min(budget.micros, INTEGER_MAX),
                window=window, period=window.period(0), overflow=Block(), marks=marks_of(budget.micros, (95, 100)),
                weight=rate.micros,
            )
        )  # fmt: skip
    return found


@lru_cache(maxsize=1_024)
def marks_of(limit: int, percents: tuple[int, ...]) -> tuple[int, ...]:
    """The amounts at which so many percent are reached."""
    return tuple(sorted({max(1, -(-limit * percent // 100)) for percent in percents})) if limit else ()
