"""Anomalies: an agent that spends far beyond its own habit, or does the same thing over and over.

    watch = Watch()
    found = watch.observe(tenant, agent, now, amount=1, fingerprint=hash_of_the_call)      # None, or what is wrong

Each agent is held against its own history: what it does in this hour of the day, learnt over the days, and how much that varies. It is
told as soon as the hour that runs has more than `THRICE` what is usual and lies `DEVIATIONS` beyond its noise, not when the hour is over.
The loop detector counts how often a call, or a cycle of a few calls, comes back with nothing new between.

Whole numbers throughout: rates are kept in 65,536ths.
A process that sees an agent for the first time says so (`unseen`), and is told what the agent did in the hours before (`recall`).

INVARIANT: an hour that was told of teaches no more than its threshold: a runaway does not become the habit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from decimal import Decimal
from math import isqrt
from threading import Lock

import msgspec

from creto.common.ids import AgentId, TenantId
from creto.common.limits import RATES_KEPT_MAX
from creto.common.timestamps import HOUR
from creto.contracts import AnomalyDetected

SCALE = 1 << 16
HOURS = 24
LEARNING_HOURS = 48  # two days, before an agent has habits
THRICE = 3
DEVIATIONS = 8
LEAST = 10  # acts in an hour, below which nothing is a runaway
GAP_HOURS_MAX = 7 * HOURS  # who was away longer begins anew
QUIET_NS = 6 * HOUR  # between two alarms about one agent
CYCLE_MAX = 4  # calls in one cycle of a loop
LOOP_LEAST = 40  # repetitions that no agent needs
LOOP_FACTOR = 4  # or so many times what is usual for this one
LOOP_PACE = 2  # times what is usual in the hour


class Loop(msgspec.Struct, frozen=True):
    """The same call, or cycle of calls, so many times in a row; `usual` is the longest run of this agent before."""

    repeats: int
    usual: int

    @property
    def confidence(self) -> Decimal:
        return share(self.repeats - max(self.usual, 1), self.repeats)


class Runaway(msgspec.Struct, frozen=True):
    """More in the hour that runs than is usual in it."""

    expected: Decimal
    actual: Decimal

    @property
    def confidence(self) -> Decimal:
        return share(self.actual - self.expected, self.actual)


Anomaly = Runaway | Loop


def reason(found: Anomaly) -> AnomalyDetected:
    """As the contract between the products says it; of a loop the rates are runs of the same call."""
    if isinstance(found, Loop):
        expected, actual = Decimal(found.usual), Decimal(found.repeats)
    else:
        expected, actual = found.expected, found.actual
    return AnomalyDetected(expected_rate=expected, actual_rate=actual, confidence=found.confidence)


def share(part: Decimal | int, whole: Decimal | int) -> Decimal:
    """Between 0 and 1, two digits."""
    if whole <= 0:
        return Decimal(0)
    return min(Decimal("0.99"), max(Decimal(0), (Decimal(part) / Decimal(whole)).quantize(Decimal("0.01"))))


class Habit:
    """What one agent usually does."""

    __slots__ = (
        "count", "cycle", "hour", "hours", "level", "loop_told", "noise", "profile", "quiet_until", "recent", "repeats", "threshold",
        "usual_turns",
    )  # fmt: skip

    def __init__(self, hour: int) -> None:
        self.hour = hour
        self.hours = 0  # that it was learnt from
        self.count = 0  # in the hour that runs
        self.level = 0  # of all hours
        self.noise = 0  # the mean distance from what was expected
        self.profile = [-1] * HOURS  # by hour of the day; -1 where it is not known yet
        self.threshold = 0
        self.quiet_until = 0
        self.recent: tuple[int, ...] = ()  # the last few calls
        self.cycle = 0
        self.repeats = 0
        self.usual_turns = 0  # of the longest cycle that was none to speak of
        self.loop_told = False

    def expected(self) -> int:
        """Of the hour that runs: what its hour of the day usually has, or the level where that is not known."""
        usual = self.profile[self.hour % HOURS]
        return self.level if usual < 0 else usual

    def limit(self) -> int:
        """In acts: where this hour becomes an alarm."""
        expected = self.expected()
        noise = max(self.noise * 5 // 4, isqrt(max(expected, SCALE) * SCALE))  # at least that of chance
        return max(LEAST, THRICE * expected // SCALE, (expected + DEVIATIONS * noise) // SCALE)

    def roll(self, hour: int) -> None:
        """Learn from the hour that is over, and from those without an act since."""
        if hour - self.hour > GAP_HOURS_MAX:
            self.__init__(hour)  # type: ignore[misc]  # the same place in memory, a new history
            return
        self._learn(self.count)
        for _ in range(self.hour + 1, hour):
            self.hour += 1
            self._learn(0)
        self.hour = hour
        self.count = 0
        self.threshold = self.limit()

    def _learn(self, count: int) -> None:
        if self.threshold and self.hours >= LEARNING_HOURS:
            count = min(count, self.threshold)
        value = count * SCALE
        self.noise += (abs(value - self.expected()) - self.noise) // (32 if self.hours > 32 else self.hours + 1)
        self.level += (value - self.level) // (64 if self.hours > 64 else self.hours + 1)
        place = self.hour % HOURS
        known = self.profile[place]
        self.profile[place] = value if known < 0 else known + (value - known) // 4
        self.hours += 1

    def forgive(self) -> None:
        """What it does in this hour is no more than it may."""
        self.threshold = max(self.threshold, 2 * self.count)

    def repeated(self, fingerprint: int) -> bool:
        """Whether this call goes on with the cycle that runs; longer runs than ever are remembered as they end."""
        recent = self.recent
        going = bool(self.cycle) and len(recent) >= self.cycle and recent[-self.cycle] == fingerprint
        if not going:
            if not self.loop_told:
                self.usual_turns = max(self.usual_turns, self.turns())
            self.loop_told = False
            self.cycle = recent[::-1].index(fingerprint) + 1 if fingerprint in recent else 0
            self.repeats = 1 if self.cycle else 0
        else:
            self.repeats += 1
        self.recent = (*recent[-CYCLE_MAX + 1 :], fingerprint)
        return going

    def turns(self) -> int:
        """How often the whole cycle came."""
        return self.repeats // self.cycle if self.cycle else 0


class History(msgspec.Struct, frozen=True):
    """What is known of an agent from before: its acts by the hour, until when it is not told of again, when a human last forgave it."""

    acts: Mapping[int, int]
    quiet_until: int = 0
    forgiven_at: int | None = None


def lived(history: History, hour: int) -> Habit:
    """The habit of who did this before an hour, and in it."""
    forgiven = None if history.forgiven_at is None else history.forgiven_at // HOUR
    past = sorted(known for known in history.acts if known < hour)
    habit = Habit(past[0] if past else hour)
    for known in past:
        if known > habit.hour:
            habit.roll(known)
        habit.count = history.acts[known]
        if known == forgiven:
            habit.forgive()
    if hour > habit.hour:
        habit.roll(hour)
    habit.count = history.acts.get(hour, 0)
    if hour == forgiven:
        habit.forgive()
    habit.quiet_until = history.quiet_until
    return habit


class Watch:
    """The habits of the agents of this process, those longest unseen forgotten first. Of a new one `unseen` is told."""

    def __init__(self, kept_max: int = RATES_KEPT_MAX) -> None:
        self.unseen: Callable[[TenantId, AgentId], None] = lambda tenant, agent: None
        self._habits: OrderedDict[tuple[TenantId, AgentId], Habit] = OrderedDict()
        self._kept_max = kept_max
        self._lock = Lock()

    def observe(
        self, tenant: TenantId, agent: AgentId, now: int, amount: int = 1, fingerprint: int | None = None
    ) -> Anomaly | None:
        """An act. What is wrong is told once, and again after `QUIET_NS` if it goes on."""
        key = (tenant, agent)
        hour = now // HOUR
        with self._lock:
            habit = self._habits.get(key)
            known = habit is not None
            if habit is None:
                habit = self._habits[key] = Habit(hour)
                if len(self._habits) > self._kept_max:
                    self._habits.popitem(last=False)
            found = self._acted(key, habit, hour, amount, fingerprint)
            if found is not None and now >= habit.quiet_until:
                habit.quiet_until = now + QUIET_NS
            else:
                found = None
        if not known:
            self.unseen(tenant, agent)
        return found

    def _acted(
        self, key: tuple[TenantId, AgentId], habit: Habit, hour: int, amount: int, fingerprint: int | None
    ) -> Anomaly | None:
        if hour > habit.hour:
            habit.roll(hour)
            self._habits.move_to_end(key)
        habit.count += amount
        if fingerprint is not None and habit.repeated(fingerprint):
            found = looping(habit)
            if found is not None:
                return found
        if habit.threshold and habit.count > habit.threshold and habit.hours >= LEARNING_HOURS:
            return Runaway(Decimal(habit.expected()) / SCALE, Decimal(habit.count))
        return None

    def recall(self, tenant: TenantId, agent: AgentId, history: History) -> None:
        """What it did before this process saw it. Of how often the same came in a row hours say nothing: it takes as many as of who is new."""
        with self._lock:
            habit = self._habits.get((tenant, agent))
        if habit is None:
            return
        before = lived(history, habit.hour)
        with self._lock:
            if habit.hour > before.hour:
                before.roll(habit.hour)
            if before.hours <= habit.hours:
                habit.count = max(habit.count, before.count)
                return
            habit.hours, habit.level, habit.noise, habit.profile = (
                before.hours,
                before.level,
                before.noise,
                before.profile,
            )
            habit.threshold = max(habit.threshold, before.threshold)
            habit.count = max(habit.count, before.count)
            habit.quiet_until = max(habit.quiet_until, before.quiet_until)
            habit.usual_turns = max(habit.usual_turns, LOOP_LEAST)

    def hours_known(self, tenant: TenantId, agent: AgentId) -> int:
        """How much history stands behind an agent's habit."""
        with self._lock:
            habit = self._habits.get((tenant, agent))
            return 0 if habit is None else habit.hours

    def forgive(self, tenant: TenantId, agent: AgentId) -> None:
        """A human has looked: it may go on, and this is its habit from now on."""
        with self._lock:
            habit = self._habits.get((tenant, agent))
            if habit is not None:
                habit.usual_turns = max(habit.usual_turns, habit.turns())
                habit.forgive()


def looping(habit: Habit) -> Loop | None:
    """Often, and at a pace that is not usual: who polls does the same thing all day."""
    turns, usual = habit.turns(), habit.usual_turns
    learnt = habit.hours >= LEARNING_HOURS
    if turns < max(LOOP_LEAST if learnt else LOOP_FACTOR * LOOP_LEAST, LOOP_FACTOR * usual):
        return None
    if learnt and habit.count * SCALE < LOOP_PACE * habit.expected():
        return None
    habit.loop_told = True
    return Loop(turns, usual)
