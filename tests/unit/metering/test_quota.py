"""Quotas by their rules: along the chain, in every window, in units and in money; and properties for any run of calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.ids import AgentId, PolicyId, TenantId
from creto.common.timestamps import DAY, HOUR, MINUTE, SECOND, ConsensusTimestamp
from creto.contracts import MessageBillableEvent, MessageEventType, MessagePriority, MessageProperties
from creto.metering import (
    AllowWithNotification,
    Ask,
    ChargeBeyond,
    Limit,
    MessageCosts,
    OverflowAction,
    Quota,
    QuotaBook,
    Rate,
    Throttle,
    TopUpLimit,
    Window,
    WindowUnit,
)
from creto.metering.leases_journal import AnonymousCells
from creto.metering.quota import Taken
from creto.metering.quota_counters import Counters
from creto.metering.quota_marks import EXCEEDED, Crossed
from creto.metering.quota_pace import Pace
from creto.metering.quota_rules import Definitions, rate_of
from creto.metering.quota_upkeep import Upkeep
from creto.platform.consensus.testing import ManualClock
from creto.platform.nhi import PrincipalKind, ValidatedChain
from creto.platform.nhi.chain import Budget
from creto.security.authz import QuotaDenied, QuotaOutcome, RequiresOversight
from tests.limits import LocalLimits
from tests.unit.metering.examples import at

TENANT = TenantId("acme")
ROOT, BOT, CHILD, OTHER = AgentId("root"), AgentId("bot"), AgentId("child"), AgentId("other")
ACT = "inference.call"


def window(unit: WindowUnit = WindowUnit.DAY, **more: Any) -> Window:
    return Window(unit, **more)


def quota(amount: int = 10, unit: WindowUnit = WindowUnit.DAY, **more: Any) -> Quota:
    return Quota(**{"quota_id": "q", "limits": (Limit(amount, window(unit)),), **more})


def chain(*agents: AgentId, budgets: tuple[Budget | None, ...] | None = None) -> ValidatedChain:
    links = tuple("/".join(agents[: i + 2]).encode() for i in range(len(agents) - 1))
    return ValidatedChain(
        tenant=TENANT, agents=agents, links=links, root_kind=PrincipalKind.HUMAN, actions=("*",), resources=("*",),
        budgets=budgets or (None,) * len(links), depth_left=1, not_before=ConsensusTimestamp(0),
        not_after=ConsensusTimestamp(1 << 62), validated_at=ConsensusTimestamp(0),
    )  # fmt: skip


class Desk:
    """Nodes over one shared limit, with their quotas in a variable."""

    def __init__(self, *quotas: Quota, rates: tuple[Rate, ...] = (), limits: LocalLimits | None = None) -> None:
        self.clock = ManualClock()
        self.known = Definitions(quotas, rates)
        self.limits = limits or LocalLimits()
        self.told: list[Crossed] = []
        self.book = self.node("one")
        self.upkeep = Upkeep(self.book, self.clock, lambda: 60, None)

    def node(self, name: str, cells: int = 1_000, **more: Any) -> QuotaBook:
        return QuotaBook(
            name, self.clock.now, self.limits, Counters(AnonymousCells(cells)), lambda _: (self.known, True),
            crossed=self.told.extend, **more,
        )  # fmt: skip

    def reserve(self, amount: int = 1, agent: AgentId = BOT, by: ValidatedChain | None = None, **more: Any) -> Any:
        return self.book.reserve(TENANT, agent, by, ACT, "model", amount, **more)

    def passes(self, amount: int = 1, agent: AgentId = BOT, by: ValidatedChain | None = None, **more: Any) -> bool:
        held = self.reserve(amount, agent, by, **more)
        if isinstance(held, Taken):
            self.book.settle(held)
        return isinstance(held, Taken)

    @property
    def taken(self) -> dict[str, int]:
        self.upkeep.close()
        return {key: amount for (_, key), amount in self.limits.counters.items()}

    def used(self) -> int:
        return sum(self.taken.values())


def test_without_quotas_everything_is_within() -> None:
    desk = Desk()
    assert desk.passes(1 << 40)
    assert desk.book.check_quota(TENANT, BOT, ACT).allowed
    assert desk.limits.counters == {}


def test_what_an_agent_does_counts_for_all_above_it() -> None:
    desk = Desk(quota(10, agent=ROOT), quota(4, quota_id="each-bot", agent=BOT))
    by = chain(ROOT, BOT, CHILD)
    assert [desk.passes(1, CHILD, by) for _ in range(5)] == [True] * 4 + [False]
    assert [desk.passes(1, OTHER, chain(ROOT, OTHER)) for _ in range(7)] == [True] * 6 + [False]
    refused = desk.reserve(1, OTHER, chain(ROOT, OTHER))
    assert refused == QuotaDenied(
        "quota q of root for this day is used up", refused.retry_after_s, limit=10, used=10
    )  # fmt: skip
    assert 0 < refused.retry_after_s <= 86_400


def test_own_acts_leave_those_above_alone() -> None:
    desk = Desk(quota(2, own_acts=True))
    by = chain(ROOT, BOT)
    assert [desk.passes(1, BOT, by) for _ in range(3)] == [True, True, False]
    assert desk.passes(1, ROOT)


def test_all_of_it_or_nothing() -> None:
    desk = Desk(quota(10), quota(3, quota_id="all", shared=True))
    assert not desk.passes(4)
    assert desk.used() == 0


def test_each_window_counts_for_itself() -> None:
    desk = Desk(quota(limits=(Limit(2, window(WindowUnit.MINUTE)), Limit(5, window(WindowUnit.HOUR)))))
    assert [desk.passes() for _ in range(3)] == [True, True, False]
    desk.clock.advance(MINUTE)
    assert [desk.passes() for _ in range(3)] == [True, True, False]
    desk.clock.advance(MINUTE)
    assert [desk.passes() for _ in range(2)] == [True, False]
    assert desk.book.check_quota(TENANT, BOT, ACT).window == "hour"
    desk.clock.advance(HOUR)
    assert desk.passes()


@pytest.mark.parametrize(
    ("unit", "zone", "now", "start", "end"),
    [
        (WindowUnit.MINUTE, "UTC", "2024-03-31T01:30:30Z", "2024-03-31T01:30:00Z", "2024-03-31T01:31:00Z"),
        (WindowUnit.DAY, "Europe/Berlin", "2024-03-31T12:00:00Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z"),
        (WindowUnit.WEEK, "UTC", "2024-03-31T12:00:00Z", "2024-03-25T00:00:00Z", "2024-04-01T00:00:00Z"),
        (WindowUnit.MONTH, "America/New_York", "2024-03-01T04:00:00Z", "2024-02-01T05:00:00Z", "2024-03-01T05:00:00Z"),
        (WindowUnit.QUARTER, "UTC", "2024-03-01T00:00:00Z", "2024-01-01T00:00:00Z", "2024-04-01T00:00:00Z"),
        (WindowUnit.YEAR, "UTC", "1999-03-01T00:00:00Z", "1999-01-01T00:00:00Z", "2000-01-01T00:00:00Z"),
    ],
)
def test_windows_begin_as_the_wall_clock_of_the_zone_says(
    unit: WindowUnit, zone: str, now: str, start: str, end: str
) -> None:
    period = Window(unit, zone=zone).period(at(now))
    assert (period.start, period.end) == (at(start), at(end))


@given(
    st.sampled_from(WindowUnit), st.integers(1, 50), st.integers(0, 1 << 61),
    st.none() | st.integers(0, 1 << 60), st.sampled_from(["UTC", "Asia/Kathmandu", "America/St_Johns"]),
)  # fmt: skip
def test_an_instant_is_in_one_window(unit: WindowUnit, count: int, now: int, anchor: int | None, zone: str) -> None:
    period = Window(unit, count, anchor, zone).period(now)
    assert now in period
    if unit is not WindowUnit.LIFETIME:
        following = Window(unit, count, anchor, zone).period(period.end)
        assert following.start == period.end


def test_money_is_counted_by_what_a_unit_costs() -> None:
    rates = (Rate(counts="*", micros=1), Rate(counts="inference.*", micros=3))
    desk = Desk(quota(10, currency="USD"), quota(100, quota_id="acts"), rates=rates)
    assert [desk.passes(2), desk.passes(2), desk.passes(1)] == [True, False, True]
    assert desk.used() == 9 + 3
    assert rate_of(rates, "sandbox.spawn") == rates[0]


def test_the_budget_of_every_link_holds() -> None:
    desk = Desk(rates=(Rate(counts="*", micros=10),))
    by = chain(ROOT, BOT, CHILD, budgets=(Budget(100, "USD"), Budget(50, "USD")))
    assert [desk.passes(3, CHILD, by), desk.passes(3, CHILD, by), desk.passes(2, CHILD, by)] == [True, False, True]
    shorter = chain(ROOT, BOT, budgets=(Budget(100, "USD"),))
    assert [desk.passes(5, BOT, shorter), desk.passes(1, BOT, shorter)] == [True, False]


def test_a_quota_in_another_currency_than_the_acts_lets_nothing_through() -> None:
    desk = Desk(quota(100, currency="EUR"), rates=(Rate("*", 1, "USD"),))
    refused = desk.reserve(1, BOT)
    assert isinstance(refused, QuotaDenied)
    assert "is in EUR" in refused.reason


def test_a_budget_in_another_currency_lets_nothing_through() -> None:
    desk = Desk(rates=(Rate(counts="*", micros=10, currency="EUR"),))
    refused = desk.reserve(1, BOT, chain(ROOT, BOT, budgets=(Budget(100, "USD"),)))
    assert isinstance(refused, QuotaDenied)
    assert "USD" in refused.reason


def test_what_was_not_used_is_free_again() -> None:
    desk = Desk(quota(10))
    held = desk.reserve(10)
    assert not desk.passes()
    desk.book.settle(held, 4)
    desk.book.settle(held, 0)  # once is all
    desk.book.release(held)
    assert [desk.passes(6), desk.passes(1)] == [True, False]


def test_what_took_more_than_was_reserved_is_counted_also_beyond_the_limit() -> None:
    desk = Desk(quota(10))
    desk.book.settle(desk.reserve(1), 25)
    desk.upkeep.once(desk.clock.now())
    assert not desk.passes()
    assert (desk.book.overruns, desk.book.overrun_units) == (1, 24)
    assert [(mark.mark, mark.used, mark.event_type) for mark in desk.told] == [(10, 25, ACT), (EXCEEDED, 25, ACT)]
    assert desk.used() == 25


def test_what_took_more_than_was_reserved_hurries_to_be_seen_by_others() -> None:
    hurried: list[str] = []
    desk = Desk(quota(10))
    book = desk.node("other", hurry=lambda: hurried.append("now"))
    held = book.reserve(TENANT, BOT, None, ACT, "model", 5)
    assert isinstance(held, Taken)
    book.settle(held, 5)
    assert hurried == []
    held = book.reserve(TENANT, BOT, None, ACT, "model", 5)
    assert isinstance(held, Taken)
    book.settle(held, 50)
    assert hurried == ["now"]


def test_what_nobody_settles_is_released_and_counts_when_it_is_settled_after_all() -> None:
    desk = Desk(quota(10, WindowUnit.LIFETIME))
    held = desk.reserve(10)
    desk.clock.advance(3_601 * SECOND)
    assert desk.book.expire(desk.clock.now()) == 1
    other = desk.reserve(3)
    desk.book.release(other)
    desk.book.settle(held, 9)
    assert desk.used() == 9


def test_what_was_taken_beyond_is_booked_when_the_limit_is_there_again() -> None:
    """given an act that ends after its window with more than it had / when the shared limit is away for once / then it counts all the same."""

    class Away(LocalLimits):
        away = False

        def adjust(self, tenant: TenantId, counter: str, by: int) -> None:
            if self.away:
                raise ConnectionFailed("MT-503")
            super().adjust(tenant, counter, by)

    limits = Away()
    desk = Desk(quota(10), limits=limits)
    held = desk.reserve(10)
    desk.clock.advance(DAY)
    desk.upkeep.once(desk.clock.now())
    desk.book.settle(held, 25)
    limits.away = True
    with pytest.raises(ConnectionFailed):
        desk.upkeep.once(desk.clock.now())
    limits.away = False
    desk.upkeep.once(desk.clock.now())
    assert desk.used() == 25


def test_an_act_that_ends_in_the_next_window_counts_in_its_own() -> None:
    desk = Desk(quota(10))
    held = desk.reserve(10)
    desk.clock.advance(DAY)
    desk.upkeep.once(desk.clock.now())
    desk.book.settle(held, 4)
    desk.upkeep.once(desk.clock.now())
    assert desk.passes(10)
    assert sorted(desk.taken.values()) == [4, 10]


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        (AllowWithNotification(), ["allow", "allow_with_notification", "allow_with_notification", "allow_with_notification"]),
        (AllowWithNotification(up_to_percent=120), ["allow", "allow_with_notification", "allow_with_notification", "deny"]),
        (TopUpLimit(amount=1, times=2), ["allow", "top_up", "top_up", "deny"]),
        (ChargeBeyond(factor=Decimal("1.5"), up_to=1), ["allow", "charge", "deny", "deny"]),
        (Throttle(limit=Limit(1, window(WindowUnit.MINUTE))), ["allow", "allow", "throttle", "throttle"]),
        (Ask(policy_id=PolicyId("cfo")), ["allow", "require_approval", "require_approval", "require_approval"]),
    ],
)  # fmt: skip
def test_beyond_the_limit(overflow: OverflowAction, expected: list[str]) -> None:
    desk = Desk(quota(10, overflow=overflow))
    assert desk.passes(9)
    told, got = [], []
    for _ in range(4):
        told.append(str(desk.book.check(TENANT, BOT, ACT).outcome))
        held = desk.reserve(1)
        got.append(str(held.outcome) if isinstance(held, Taken) else told[-1])
    assert told == expected
    assert got == expected


def test_who_was_approved_goes_beyond_and_who_is_throttled_waits() -> None:
    desk = Desk(quota(0, overflow=Ask(policy_id=PolicyId("cfo"))))
    assert desk.reserve() == RequiresOversight("cfo")
    assert desk.passes(approved=frozenset({"cfo"}))
    slow = Desk(quota(0, overflow=Throttle(limit=Limit(1, window(WindowUnit.MINUTE)))))
    assert slow.passes()
    refused = slow.reserve()
    assert isinstance(refused, QuotaDenied)
    assert refused.retry_after_s is not None
    assert 0 < refused.retry_after_s <= 60
    slow.clock.advance(MINUTE)
    assert slow.passes()


def test_a_block_wins_over_a_question() -> None:
    desk = Desk(quota(0, overflow=Ask()), quota(0, quota_id="z"))
    assert isinstance(desk.reserve(), QuotaDenied)


def test_marks_are_told_of_as_they_are_reached() -> None:
    desk = Desk(quota(1_000, notify_at=(50, 95, 100), overflow=AllowWithNotification()))
    reached = []
    for n in range(1, 1_003):
        assert desk.passes()
        reached += [(n, crossed.mark) for crossed in desk.told]
        desk.told.clear()
    assert reached == [(500, 500), (950, 950), (1_000, 1_000), (1_001, EXCEEDED)]


def test_a_decision_says_who_and_which_window() -> None:
    desk = Desk(quota(10, agent=ROOT), quota(100, quota_id="mine", agent=BOT))
    by = chain(ROOT, BOT)
    assert desk.passes(4, BOT, by)
    found = desk.book.check(TENANT, BOT, ACT, by)
    assert (found.outcome, found.remaining, found.limit) == (QuotaOutcome.ALLOW, 6, 10)
    assert (found.decided_by, found.window) == (ROOT, "day")
    assert found.resets_at == Window(WindowUnit.DAY).period(desk.clock.now()).end
    beyond = desk.book.check(TENANT, BOT, ACT, by, 7)
    assert (beyond.outcome, beyond.remaining, beyond.allowed) == (QuotaOutcome.DENY, 6, False)
    assert beyond.retry_after_s is not None
    assert beyond.retry_after_s > 0


def test_changed_quotas_hold_at_once() -> None:
    desk = Desk(quota(1))
    assert [desk.passes(), desk.passes()] == [True, False]
    desk.known = Definitions((quota(2),))
    desk.book.changed(TENANT)
    assert [desk.passes(), desk.passes()] == [True, False]
    desk.known = Definitions()
    desk.book.changed()
    assert desk.passes(100)


def test_a_quota_that_does_not_name_the_act_lets_it_be() -> None:
    desk = Desk(quota(0, counts=("sandbox.*",)))
    assert desk.passes()


def test_cells_that_were_given_up_are_used_again() -> None:
    desk = Desk(quota(5, WindowUnit.MINUTE))
    desk.book = desk.node("small", cells=2)
    desk.upkeep = Upkeep(desk.book, desk.clock, lambda: 60, None)
    for _ in range(20):
        assert [desk.passes(5), desk.passes(1)] == [True, False]
        desk.clock.advance(MINUTE)
        desk.upkeep.once(desk.clock.now())
    assert desk.book.counters.epoch > 5


@pytest.mark.parametrize("amount", [-1, 1 << 63, True, "1"])
def test_an_amount_is_a_whole_number(amount: Any) -> None:
    with pytest.raises(InvalidInput):
        Desk(quota()).reserve(amount)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: quota(quota_id="a/b"),
        lambda: quota(limits=()),
        lambda: quota(limits=(Limit(1, window()), Limit(2, window()))),
        lambda: quota(shared=True, agent=BOT),
        lambda: quota(notify_at=(101,)),
        lambda: quota(currency="usd"),
        lambda: Window(WindowUnit.DAY, zone="Mars/Base"),
        lambda: Window(WindowUnit.DAY, 0),
        lambda: Limit(-1, window()),
        lambda: TopUpLimit(amount=0),
        lambda: AllowWithNotification(up_to_percent=100),
        lambda: ChargeBeyond(factor=Decimal(-1)),
        lambda: Rate(counts="*", micros=-1),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput):
        wrong()


STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 9), st.sampled_from(["settle", "less", "release", "keep", "tidy", "time"])),
    max_size=60,
)  # fmt: skip


@given(st.integers(0, 40), STEPS)
def test_no_run_of_calls_on_any_nodes_exceeds_the_limit(limit: int, steps: list[tuple[int, int, str]]) -> None:
    """What passed is what is counted, to the unit, on three nodes that share a limit."""
    desk = Desk(quota(limit, WindowUnit.LIFETIME))
    books = [desk.node(name) for name in "abc"]
    upkeeps = [Upkeep(book, desk.clock, lambda: 1, None) for book in books]
    used = 0
    for number, amount, then in steps:
        if then == "time":
            desk.clock.advance(SECOND)
        if then in ("tidy", "time"):
            upkeeps[number].once(desk.clock.now())
            continue
        held = books[number].reserve(TENANT, BOT, None, ACT, "", amount)
        if not isinstance(held, Taken):
            continue
        kept = {"settle": amount, "less": amount // 2, "release": 0, "keep": amount}[then]
        if then == "release":
            books[number].release(held)
        elif then != "keep":
            books[number].settle(held, kept)
        used += kept
        assert used <= limit
    for upkeep in upkeeps:
        upkeep.close()
    assert sum(desk.limits.counters.values()) == used


@given(st.integers(1, 60), st.lists(st.integers(1, 20), min_size=1, max_size=40))
def test_who_is_refused_would_have_gone_beyond(limit: int, amounts: list[int]) -> None:
    """On one node nothing that fits is refused."""
    desk = Desk(quota(limit))
    used = 0
    for amount in amounts:
        passed = desk.passes(amount)
        assert passed == (used + amount <= limit)
        used += amount * passed


def test_messages_are_counted_by_their_kind() -> None:
    class Took:
        async def track_message_event(self, tenant: TenantId, event: Any) -> Any:
            return event.idempotency_key

    desk = Desk(quota(1, counts=("message_sent",)))
    messages = MessageCosts(desk.book, Took())
    assert messages.check_message_quota(TENANT, BOT, "message_sent").remaining == 1
    assert desk.book.reserve(TENANT, BOT, None, "message_sent", "", 1)
    assert messages.check_message_quota(TENANT, BOT, "message_sent").outcome is QuotaOutcome.DENY
    assert messages.check_message_quota(TENANT, BOT, "topic_created").allowed
    event = MessageBillableEvent(
        idempotency_key="k", tenant=TENANT, agent_nhi=BOT, delegation_chain=(BOT,), event_type=MessageEventType.MESSAGE_SENT,
        timestamp=desk.clock.now(),
        properties=MessageProperties(
            message_size_bytes=1, recipient_count=1, priority=MessagePriority.NORMAL, encrypted=True, signature_algorithm="x"
        ),
    )  # fmt: skip
    assert asyncio.run(messages.track_message_event(TENANT, event)) == "k"


def test_time_is_carried_on_by_ticks_between_two_readings() -> None:
    clock, ticks = ManualClock(), [0]
    pace = Pace(clock, lambda: ticks[0])
    began = pace.now()
    clock.advance(DAY)
    ticks[0] += 9 * 1_000_000
    assert pace.now() == began + 9 * 1_000_000
    ticks[0] += 2 * 1_000_000
    assert pace.now() - began >= DAY


def test_who_asks_after_the_end_is_refused_and_nothing_is_lost() -> None:
    desk = Desk(quota(10))
    held = desk.reserve(4)
    desk.upkeep.close()
    desk.book.counters.close()
    with pytest.raises(ConnectionFailed, match="closed"):
        desk.reserve()
    desk.book.settle(held)
    assert sum(desk.limits.counters.values()) == 4
