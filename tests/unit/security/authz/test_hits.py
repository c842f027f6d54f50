"""What ends a remembered decision: time, revocation, other policies, a dead sweeper, lost signals; and the race against each."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from creto.common.limits import AUTHZ_SWEEP_LATE_S, AUTHZ_TTL_S
from creto.security.authz import Allow
from creto.security.authz.hits import Hits, Shelf
from creto.security.authz.sweeper import Sweeper
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import Office, Ticks

YES = Allow()


def filled(ticks: Ticks) -> tuple[Hits, Shelf]:
    hits = Hits(ticks=ticks)
    hits.begin_sweeping()
    shelf = hits.shelf("t")
    assert hits.keep(shelf, "a", "read", "r", YES, hits.epoch, ["b"])
    return hits, shelf


def test_a_sweep_takes_out_what_has_expired_and_nothing_else(ticks: Ticks) -> None:
    hits, shelf = filled(ticks)
    ticks.move_s(AUTHZ_TTL_S / 2)
    hits.keep(shelf, "a", "read", "later", YES, hits.epoch)
    ticks.move_s(AUTHZ_TTL_S / 2)
    assert hits.sweep() == 1
    assert shelf.table == {"a": {"read": {"later": YES}}}
    ticks.move_s(AUTHZ_TTL_S)
    assert hits.sweep() == 1
    assert shelf.table == {}


def test_a_decision_made_anew_outlives_the_sweep_of_the_old_one(ticks: Ticks) -> None:
    hits, shelf = filled(ticks)
    hits.drop("t", "a")
    ticks.move_s(1)
    anew = Allow(("anew",))
    hits.keep(shelf, "a", "read", "r", anew, hits.epoch)
    ticks.move_s(AUTHZ_TTL_S - 1)
    hits.sweep()
    assert shelf.table["a"]["read"]["r"] is anew


def test_dropping_an_identity_drops_who_looked_at_it(ticks: Ticks) -> None:
    hits, shelf = filled(ticks)
    hits.drop("t", "b")
    assert shelf.table == {}


def test_the_watchdog_empties_everything_when_the_sweeper_is_silent(ticks: Ticks) -> None:
    hits, shelf = filled(ticks)
    ticks.move_s(AUTHZ_TTL_S)
    later = hits.shelf("later")
    assert hits.keep(later, "a", "read", "r", YES, hits.epoch)
    ticks.move_s(AUTHZ_SWEEP_LATE_S - 0.001)
    assert hits.watch()
    ticks.move_s(0.001)
    assert not hits.watch()
    assert shelf.table == later.table == {}
    assert len(hits) == 0
    assert not hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    assert hits.sweep_pause_s() == 0  # a sweeper that lives is back at once
    hits.begin_sweeping()
    assert hits.keep(shelf, "a", "read", "r", YES, hits.epoch)


def test_nothing_is_kept_before_the_sweeper_runs_nor_after_it_stops(ticks: Ticks) -> None:
    hits = Hits(ticks=ticks)
    shelf = hits.shelf("t")
    assert not hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    sweeper = Sweeper(hits)
    sweeper.start()
    assert hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    sweeper.stop()
    assert shelf.table == {}


class Timeline:
    """The two threads in injected time: each wakes when its pause is over, some milliseconds late, and keeps what it is told to."""

    def __init__(self, seed: int, *, sweeping: bool) -> None:
        self.pick = random.Random(seed)
        self.ticks = Ticks()
        self.hits = Hits(ticks=self.ticks)
        self.hits.begin_sweeping()
        self.shelf = self.hits.shelf("t")
        self.sweeping = sweeping
        self.sweeps = self.emptied = 0
        self.overdue_ns: list[int] = []

    def run(self, arrivals: int) -> None:
        wakes: dict[str, int | None] = {"arrival": self.ticks.ns, "sweep": None, "watch": None}
        while arrivals or len(self.hits):
            name, at = min(((n, w) for n, w in wakes.items() if w is not None), key=lambda wake: wake[1])
            self.ticks.ns = max(self.ticks.ns, at)
            wakes[name] = None
            if name == "arrival":
                self.hits.keep(self.shelf, "a", "read", str(self.ticks.ns), YES, self.hits.epoch)
                arrivals -= 1
                wakes["arrival"] = (
                    self.ticks.ns + self.pick.choice([0, 1, 10, 1_000, 12_000]) * 1_000_000 if arrivals else None
                )
            elif name == "sweep":
                self.look()
                self.sweeps += 1
                self.hits.sweep()
            else:
                self.look()
                self.emptied += not self.hits.watch()
            pauses = {"sweep": self.hits.sweep_pause_s() if self.sweeping else None, "watch": self.hits.watch_pause_s()}
            for thread, pause_s in pauses.items():
                if wakes[thread] is None and pause_s is not None:
                    wakes[thread] = self.ticks.ns + int(pause_s * 1e9) + self.pick.randrange(4_000_000)

    def look(self) -> None:
        """How long what is still there has been overdue."""
        self.overdue_ns.append(max([self.ticks.ns - self.hits._due[0][0] if self.hits._due else 0, 0]))


def test_what_expires_is_gone_within_50_ms(deep: bool) -> None:
    for seed in range(2_000 if deep else 100):
        line = Timeline(seed, sweeping=True)
        line.run(40)
        assert max(line.overdue_ns) <= 50_000_000
        assert line.emptied == 0
        assert line.sweeps <= 60  # it sleeps until something is due


def test_what_expires_is_gone_within_50_ms_also_where_the_sweeper_is_dead(deep: bool) -> None:
    for seed in range(2_000 if deep else 100):
        line = Timeline(seed, sweeping=False)
        line.run(10)
        assert max(line.overdue_ns) <= 50_000_000
        assert line.emptied == 1
        assert len(line.hits) == 0
        assert not line.hits.keep(line.shelf, "a", "read", "r", YES, line.hits.epoch)


def test_a_sweeper_that_is_stuck_is_found_out_and_comes_back() -> None:
    """Both threads, in real time."""
    stuck, emptied, back = threading.Event(), threading.Event(), threading.Event()

    class Slow(Hits):
        def sweep(self) -> int:
            stuck.wait(10)
            return super().sweep()

        def _empty(self) -> None:
            super()._empty()
            emptied.set()

        def begin_sweeping(self) -> None:
            super().begin_sweeping()
            if emptied.is_set():
                back.set()

    hits = Slow(ttl_s=0.01)
    shelf = hits.shelf("t")
    sweeper = Sweeper(hits)
    sweeper.start()
    assert hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    assert emptied.wait(10)
    assert shelf.table == {}
    assert not hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    stuck.set()
    assert back.wait(10)
    assert hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    sweeper.stop()


def bounded(ticks: Ticks, **bounds: int) -> tuple[Hits, Shelf]:
    hits = Hits(ticks=ticks, **bounds)
    hits.begin_sweeping()
    return hits, hits.shelf("t")


def test_at_the_bound_of_all_the_oldest_makes_room(ticks: Ticks) -> None:
    hits, shelf = bounded(ticks, entries_max=2)
    for resource in ("1", "2", "3"):
        assert hits.keep(shelf, "a", "read", resource, Allow((resource,)), hits.epoch)
    assert list(shelf.table["a"]["read"]) == ["2", "3"]
    assert len(hits) == 2


def test_an_agent_at_its_bound_starts_over_and_costs_no_other_anything(ticks: Ticks) -> None:
    hits, shelf = bounded(ticks, agent_entries_max=2)
    assert hits.keep(shelf, "b", "read", "1", Allow(), hits.epoch)
    for resource in ("1", "2", "3"):
        assert hits.keep(shelf, "a", "read", resource, Allow((resource,)), hits.epoch)
    assert list(shelf.table["a"]["read"]) == ["3"]
    assert list(shelf.table["b"]["read"]) == ["1"]
    assert len(hits) == 2


def test_who_looked_at_whom_is_bounded_too(ticks: Ticks) -> None:
    hits, shelf = bounded(ticks, entries_max=5)
    for number in range(50):
        hits.keep(shelf, f"a{number}", "read", "r", Allow(), hits.epoch, [f"b{number}", "c"])
        assert sum(map(len, shelf.readers.values())) == shelf.links <= 5


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["keep", "keep", "keep", "drop", "swap", "empty", "sweep", "wait"]),
        st.sampled_from("abc"), st.sampled_from("rst"), st.sampled_from(["", "a", "b"]),
    ),
    max_size=60,
)  # fmt: skip


@given(steps=STEPS)
def test_the_count_is_what_is_there_whatever_happens(steps: list[tuple[str, str, str, str]]) -> None:
    ticks = Ticks()
    hits, shelf = bounded(ticks, entries_max=6, agent_entries_max=3)
    for act, agent, resource, other in steps:
        match act:
            case "keep":
                hits.keep(shelf, agent, "read", resource, Allow((str(ticks.ns),)), hits.epoch, [other] if other else [])
            case "drop":
                hits.drop("t", agent)
            case "swap":
                hits.swap("t")
            case "empty":
                hits.empty()
            case "sweep":
                hits.sweep()
            case _:
                ticks.move_s(AUTHZ_TTL_S / 3)
        there = {a: sum(map(len, actions.values())) for a, actions in shelf.table.items()}
        assert there == shelf.counts
        assert len(hits) == sum(there.values()) <= 6
        assert all(count <= 3 for count in there.values())
        assert sum(map(len, shelf.readers.values())) == shelf.links
    ticks.move_s(AUTHZ_TTL_S)
    hits.sweep()
    assert len(hits) == len(shelf.table) == len(shelf.counts) == 0


async def test_lost_signals_empty_it(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    office.check(ada)
    assert len(office.authz._hits) == 1
    office.authz.forget_all()
    assert len(office.authz._hits) == 0
    assert isinstance(office.check(ada), Allow)
    assert office.authz.tenant(TENANT)


class Truth:
    """Who is in force, and the steps of a check and of a revocation, one atomic step each: what threads can interleave."""

    def __init__(self) -> None:
        self.hits = Hits(ticks=lambda: 0)
        self.hits.begin_sweeping()
        self.shelf = self.hits.shelf("t")
        self.in_force = True
        self.returned = False
        self.wrong = 0

    def checker(self) -> list[Callable[[], None]]:
        seen: dict[str, object] = {}

        def look_up() -> None:
            seen["late"] = self.returned
            seen["hit"] = self.shelf.table.get("a", {}).get("read", {}).get("r")

        def take_epoch() -> None:
            seen["epoch"] = self.hits.epoch

        def evaluate() -> None:
            seen["allowed"] = self.in_force

        def keep() -> None:
            if seen["hit"] is None and seen["allowed"]:
                self.hits.keep(self.shelf, "a", "read", "r", YES, int(str(seen["epoch"])))

        def answer() -> None:
            if seen["late"] and (seen["hit"] is not None or seen["allowed"]):
                self.wrong += 1

        return [look_up, take_epoch, evaluate, keep, answer]

    def revoker(self) -> list[Callable[[], None]]:
        def write() -> None:
            self.in_force = False

        def tell() -> None:
            self.hits.drop("t", "a")

        def give_back() -> None:
            self.returned = True

        return [write, tell, give_back]

    def sweeper(self) -> list[Callable[[], None]]:
        def sweep() -> None:
            self.hits.sweep()

        return [sweep]


def run(truth: Truth, scripts: list[list[Callable[[], None]]], order: list[int]) -> None:
    places = [iter(script) for script in scripts]
    for who in order:
        next(places[who])()


def orders(lengths: list[int]) -> list[list[int]]:
    """Every way to interleave scripts of these lengths."""
    if not any(lengths):
        return [[]]
    found = []
    for who, left in enumerate(lengths):
        if left:
            rest = [*lengths[:who], left - 1, *lengths[who + 1 :]]
            found += [[who, *order] for order in orders(rest)]
    return found


def test_no_interleaving_of_a_check_and_a_revocation_leaves_an_allow_behind() -> None:
    """Exhaustive: two checks, a revocation, then a third check that begins when the revocation has returned."""
    count = 0
    for order in orders([5, 5, 3]):
        truth = Truth()
        run(truth, [truth.checker(), truth.checker(), truth.revoker()], order)
        run(truth, [truth.checker()], [0] * 5)
        assert truth.wrong == 0, order
        count += 1
    assert count == 13 * 12 * 11 // 6 * 252  # 72,072


def test_random_interleavings_of_many(deep: bool) -> None:
    shuffler = random.Random(7)
    for _ in range(1_000_000 if deep else 20_000):
        truth = Truth()
        scripts = [truth.checker() for _ in range(3)] + [truth.revoker(), truth.sweeper()]
        order = list(itertools.chain.from_iterable([who] * len(script) for who, script in enumerate(scripts)))
        shuffler.shuffle(order)
        run(truth, scripts, order)
        run(truth, [truth.checker()], [0] * 5)
        assert truth.wrong == 0, order


def test_the_test_would_notice() -> None:
    """Without the comparison of epochs some interleaving leaves an Allow behind."""
    wrong = 0
    for order in orders([5, 3]):
        truth = Truth()
        keep = truth.hits.keep
        truth.hits.keep = lambda *args, keep=keep, truth=truth: keep(*args[:5], truth.hits.epoch)  # type: ignore[method-assign, misc]
        run(truth, [truth.checker(), truth.revoker()], order)
        run(truth, [truth.checker()], [0] * 5)
        wrong += truth.wrong
    assert wrong > 0
