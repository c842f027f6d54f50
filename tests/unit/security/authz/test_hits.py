"""What ends a remembered decision: time, revocation, other policies, a dead sweeper, lost signals; and the race against each."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable

from creto.common.limits import AUTHZ_SWEEP_LATE_S, AUTHZ_TTL_S
from creto.security.authz import Allow
from creto.security.authz.hits import Hits, Shelf, Sweeper
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
    assert hits.watch()
    ticks.move_s(AUTHZ_SWEEP_LATE_S + 0.01)
    assert not hits.watch()
    assert shelf.table == {}
    assert not hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    hits.begin_sweeping()
    assert hits.keep(shelf, "a", "read", "r", YES, hits.epoch)


def test_nothing_is_kept_before_the_sweeper_runs_nor_after_it_stops(ticks: Ticks) -> None:
    hits = Hits(ticks=ticks)
    shelf = hits.shelf("t")
    assert not hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    sweeper = Sweeper(hits, interval_s=0.001)
    sweeper.start()
    assert hits.keep(shelf, "a", "read", "r", YES, hits.epoch)
    sweeper.stop()
    assert shelf.table == {}


def test_there_is_a_limit(ticks: Ticks) -> None:
    hits = Hits(ticks=ticks, entries_max=1)
    hits.begin_sweeping()
    shelf = hits.shelf("t")
    assert hits.keep(shelf, "a", "read", "1", YES, hits.epoch)
    assert not hits.keep(shelf, "a", "read", "2", YES, hits.epoch)


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


async def test_threads_never_see_an_allow_after_a_revocation_returned(office: Office, deep: bool) -> None:
    rounds = 200 if deep else 10
    people = [await office.hire(f"person {i}", "operator") for i in range(rounds)]
    returned: set[str] = set()
    wrong: list[str] = []
    current = [people[0].nhi]
    done = threading.Event()
    view = office.authz.tenant(TENANT)

    def ask() -> None:
        while not done.is_set():
            agent = current[0]
            late = agent in returned
            if isinstance(view.check(agent, "sandbox.read", "runtime:sandbox:1"), Allow) and late:
                wrong.append(agent)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for person in people:
        current[0] = person.nhi
        view.check(person.nhi, "sandbox.read", "runtime:sandbox:1")
        await office.town.nhi.revoke(TENANT, person.nhi)
        returned.add(person.nhi)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
