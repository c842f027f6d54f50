"""Quotas over every engine and place of the shared limit: never more than the limit, whatever happens at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound, OversightRequired, QuotaExceeded
from creto.common.ids import AgentId, RequestId, TenantId
from creto.common.limits import INTEGER_MAX
from creto.common.telemetry import Metrics
from creto.common.timestamps import DAY, HOUR, SECOND
from creto.metering import (
    AllowWithNotification,
    Ask,
    Block,
    Limit,
    Quota,
    QuotaAnswer,
    Quotas,
    Rate,
    RedisLimits,
    StoreLimits,
    Throttle,
    Window,
    WindowUnit,
    quota_store,
)
from creto.metering.leases import GivenBack, SharedLimits, Wish
from creto.metering.quota import Taken
from creto.platform.consensus.testing import ManualClock
from creto.store import Store
from creto.store.types import Entry, Outcome, Position
from tests.contract.buses import eventually
from tests.contract.processes import line, python_module, say
from tests.contract.stores import MakeStore
from tests.limits import LocalLimits

TENANT, AGENT, HUMAN = TenantId("acme"), AgentId("spender"), AgentId("ann")
PARTS = ("creto.store", "creto.platform.consensus", "creto.metering")
DOLLAR, CALL = 1_000_000, 300_000
CAP = Quota(quota_id="spend", limits=(Limit(DOLLAR, Window(WindowUnit.LIFETIME)),))
FAR = 1 << 62


@pytest.fixture(params=["store", "redis"])
def redis(request: pytest.FixtureRequest) -> str | None:
    return str(request.getfixturevalue("redis_url")) if request.param == "redis" else None


class Nodes:
    """As many nodes as the test likes, over one shared limit."""

    def __init__(self, make_store: MakeStore, redis: str | None, name: str) -> None:
        self.clock = ManualClock(time.time_ns() // DAY * DAY)  # Redis forgets what is over by its own clock
        self.open = ExitStack()
        self._make_store, self._redis, self._name = make_store, redis, name
        self.stores: list[Store] = []

    def limits(self) -> SharedLimits | None:
        if self._redis is None:
            return None
        limits = RedisLimits(self._redis, prefix=self._name)
        self.open.callback(limits.close)
        return limits

    def node(self, folder: Path | None = None, metrics: Metrics | None = None) -> Quotas:
        store = self._make_store(parts=PARTS)
        self.stores.append(store)
        quotas = Quotas(store, self.clock, limits=self.limits(), folder=folder, now=self.clock.now, metrics=metrics)
        self.open.callback(quotas.close)
        return quotas


@pytest.fixture
def nodes(make_store: MakeStore, redis: str | None, tmp_path: Path) -> Iterator[Nodes]:
    made = Nodes(make_store, redis, tmp_path.name)
    with made.open:
        yield made


def passes(quotas: Quotas, amount: int = CALL, agent: AgentId = AGENT) -> bool:
    held = quotas.book.reserve(TENANT, agent, None, "inference.call", "model", amount)
    if isinstance(held, Taken):
        quotas.book.settle(held)
    return isinstance(held, Taken)


async def test_five_hundred_threads_spend_three_times(nodes: Nodes) -> None:
    quotas = nodes.node()
    await quotas.put_quota(TENANT, CAP, by=HUMAN)

    def spent() -> int:
        with ThreadPoolExecutor(500) as pool:
            return sum(pool.map(lambda _: passes(quotas), range(500)))

    assert await asyncio.to_thread(spent) == 3


async def test_five_hundred_tasks_spend_three_times(nodes: Nodes) -> None:
    quotas = nodes.node()
    await quotas.put_quota(TENANT, CAP, by=HUMAN)

    async def call() -> bool:
        try:
            hold = await quotas.reserve(TENANT, AGENT, "inference.call", CALL)
        except QuotaExceeded:
            return False
        await quotas.settle(TENANT, hold.reservation_id)
        return True

    assert sum(await asyncio.gather(*(call() for _ in range(500)))) == 3


async def test_four_processes_spend_three_times(
    nodes: Nodes, store_url: str, redis: str | None, tmp_path: Path
) -> None:
    quotas = nodes.node()
    tenant_of_the_module = Quota(quota_id=f"spend-{tmp_path.name}", limits=CAP.limits)
    await quotas.put_quota(TENANT, tenant_of_the_module, by=HUMAN)
    with ExitStack() as processes:
        children = [
            processes.enter_context(
                python_module(
                    "tests.contract.quota_node", store_url, redis or "-", str(tmp_path / "q"), "125", str(CALL)
                )
            )
            for _ in range(4)
        ]
        for child in children:
            assert await asyncio.to_thread(line, child) == "ready"
        for child in children:
            say(child, "go")
        passed = [int(await asyncio.to_thread(line, child)) for child in children]
        for child in children:
            say(child, "end")
            await asyncio.to_thread(child.wait, 30)

    assert sum(passed) == 3


async def test_what_a_node_gives_back_another_spends(nodes: Nodes) -> None:
    one, other = nodes.node(), nodes.node()
    await one.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(100, Window(WindowUnit.DAY)),)), by=HUMAN)
    assert passes(one, 1)  # and it holds six more

    async def asked() -> bool:
        return bool(one.book.surplus)

    assert sum(passes(other, 1) for _ in range(200)) == 100 - 7
    await eventually(asked, "the wish for the rest")
    await asyncio.to_thread(one.upkeep.once, nodes.clock.now())
    nodes.clock.advance(SECOND)
    assert sum(passes(other, 1) for _ in range(200)) == 6
    assert not passes(one, 1)


async def test_a_window_that_ends_gives_the_whole_limit_again(nodes: Nodes) -> None:
    quotas = nodes.node()
    await quotas.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(2, Window(WindowUnit.DAY)),)), by=HUMAN)
    assert [passes(quotas, 1) for _ in range(3)] == [True, True, False]

    nodes.clock.advance(DAY)

    assert [passes(quotas, 1) for _ in range(3)] == [True, True, False]
    quotas.upkeep.once(nodes.clock.now())
    assert len(quotas.book.counters) == 1


async def test_a_raised_limit_holds_everywhere_at_once(nodes: Nodes) -> None:
    one, other = nodes.node(), nodes.node()
    window = Window(WindowUnit.MONTH)
    await one.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(2, window),)), by=HUMAN)
    assert [passes(other, 1) for _ in range(3)] == [True, True, False]

    await one.set_limit(TENANT, "q", window, 3, by=HUMAN)
    await nodes.stores[0].settled(30)

    assert [passes(other, 1) for _ in range(2)] == [True, False]
    (usage,) = await one.usage(TENANT, [AGENT])
    assert (usage.used, usage.limit, usage.agent) == (3, 3, AGENT)


async def test_any_node_settles_what_another_reserved(nodes: Nodes) -> None:
    one, other = nodes.node(), nodes.node()
    await one.put_quota(TENANT, CAP, by=HUMAN)

    hold = await one.reserve(TENANT, AGENT, "inference.call", 900_000)
    with pytest.raises(QuotaExceeded) as refused:
        await other.reserve(TENANT, AGENT, "inference.call", CALL)
    assert (refused.value.code, refused.value.limit, refused.value.used) == ("MT-429", DOLLAR, 900_000)

    await other.settle(TENANT, hold.reservation_id, 100_000)
    with pytest.raises(NotFound):
        await one.settle(TENANT, hold.reservation_id, 100_000)
    nodes.clock.advance(SECOND)
    assert [passes(other), passes(one), passes(other), passes(one)] == [True, True, True, False]


async def test_what_was_used_above_a_reservation_counts_and_is_said(nodes: Nodes) -> None:
    metrics = Metrics()
    one, other = nodes.node(metrics=metrics), nodes.node()
    await one.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(10, Window(WindowUnit.DAY)),)), by=HUMAN)
    hold = await one.reserve(TENANT, AGENT, "inference.call", 5)

    said = await other.settle(TENANT, hold.reservation_id, 50)

    assert (said.reserved, said.amount, said.excess, said.over) == (5, 50, 45, 40)
    (usage,) = await one.usage(TENANT, [AGENT])
    assert (usage.used, usage.over, usage.limit) == (50, 40, 10)
    assert [passes(other, 1), passes(one, 1)] == [False, False]
    with pytest.raises(QuotaExceeded):
        await one.reserve(TENANT, AGENT, "inference.call", 1)

    async def both_told() -> bool:
        rows = await nodes.stores[0].read(lambda tx: tx.outbox_tail(Position(), 1_000))
        return sum(row.subject == "metering.quotas.notices" for row in rows) == 1

    await eventually(both_told, "the mark")
    within = await one.reserve(TENANT, AgentId("other"), "inference.call", 5)
    assert (await one.settle(TENANT, within.reservation_id, 6)).over == 0
    assert "metering_quota_overrun_units_total 1" in metrics.render()
    with pytest.raises(InvalidInput):
        await one.settle(TENANT, within.reservation_id, 10**12 + 1)


@pytest.mark.parametrize("kept", [True, False])
async def test_what_a_node_holds_is_not_told_as_used(nodes: Nodes, tmp_path: Path, kept: bool) -> None:
    """Exactly where it is asked, and for the processes beside it; of nodes elsewhere as they stood when they last drew."""
    folder = tmp_path / "q" if kept else None
    one, other = nodes.node(folder), nodes.node(folder)
    limits = (Limit(1_000, Window(WindowUnit.DAY)),)
    await one.put_quota(TENANT, Quota(quota_id="q", limits=limits, overflow=AllowWithNotification()), by=HUMAN)
    for _ in range(3):
        assert passes(one, 1)
    (mine,), (theirs,) = await one.usage(TENANT, [AGENT]), await other.usage(TENANT, [AGENT])
    assert (mine.used, mine.held, mine.over) == (3, 60, 0)
    assert (theirs.used, theirs.held) == ((3, 60) if kept else (1, 62))

    for _ in range(3):
        assert passes(one, 400)
    (mine,) = await one.usage(TENANT, [AGENT])
    assert (mine.used, mine.over, mine.limit) == (1_203, 400, 1_000)
    decided = await one.check_quota(TENANT, AGENT, "inference.call", amount=900)
    assert (decided.outcome, decided.remaining, decided.limit) == ("allow_with_notification", 0, 1_000)


@pytest.mark.parametrize("fails", [False, True])
async def test_who_goes_away_while_reserving_leaves_the_limit_as_it_was(
    nodes: Nodes, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """given a reservation that is being written / when who asked for it goes away / then it is given back, once, and its time does no more."""
    quotas, begun, go, add = nodes.node(), asyncio.Event(), threading.Event(), quota_store.add_hold
    await quotas.put_quota(TENANT, Quota(quota_id="acts", limits=(Limit(10, Window(WindowUnit.MONTH)),)), by=HUMAN)
    loop = asyncio.get_running_loop()

    def slowly(*what: Any) -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(10)
        add(*what)
        if fails:
            raise InvalidInput("MT-400")

    monkeypatch.setattr(quota_store, "add_hold", slowly)
    reserving = asyncio.ensure_future(quotas.reserve(TENANT, AGENT, "call", 10, ttl_s=60))
    await begun.wait()
    reserving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reserving
    go.set()
    monkeypatch.undo()
    await eventually(lambda: asyncio.to_thread(passes, quotas, 10))
    nodes.clock.advance(61 * SECOND)
    await asyncio.to_thread(quotas.upkeep.once, nodes.clock.now())
    nodes.clock.advance(HOUR)
    await asyncio.to_thread(quotas.upkeep.once, nodes.clock.now())
    assert not await asyncio.to_thread(passes, quotas, 1)
    assert [row.used for row in await quotas.usage(TENANT, [AGENT])] == [10]


async def test_who_goes_away_while_settling_has_settled(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """given an act that took more than it had reserved / when who settles it goes away meanwhile / then it counts in full."""
    quotas, begun, go, take = nodes.node(), asyncio.Event(), threading.Event(), quota_store.take_hold
    await quotas.put_quota(TENANT, Quota(quota_id="acts", limits=(Limit(10, Window(WindowUnit.MONTH)),)), by=HUMAN)
    hold = await quotas.reserve(TENANT, AGENT, "call", 1)
    loop = asyncio.get_running_loop()

    def slowly(*what: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        go.wait(10)
        return take(*what)

    monkeypatch.setattr(quota_store, "take_hold", slowly)
    settling = asyncio.ensure_future(quotas.settle(TENANT, hold.reservation_id, 10))
    await begun.wait()
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling
    go.set()

    async def all_of_it() -> bool:
        return [row.used for row in await quotas.usage(TENANT, [AGENT])] == [10]

    await eventually(all_of_it)


async def test_what_nobody_settles_expires(nodes: Nodes) -> None:
    quotas = nodes.node()
    await quotas.put_quota(TENANT, CAP, by=HUMAN)
    hold = await quotas.reserve(TENANT, AGENT, "inference.call", DOLLAR, ttl_s=60)
    assert not passes(quotas)

    nodes.clock.advance(61 * SECOND)
    await asyncio.to_thread(quotas.upkeep.once, nodes.clock.now())

    assert passes(quotas)
    with pytest.raises(NotFound):
        await quotas.release(TENANT, hold.reservation_id)


async def test_who_must_ask_is_told_by_which_policy(nodes: Nodes) -> None:
    quotas = nodes.node()
    asking = Quota(quota_id="q", limits=(Limit(0, Window(WindowUnit.DAY)),), overflow=Ask(policy_id="cfo"))  # type: ignore[arg-type]
    await quotas.put_quota(TENANT, asking, by=HUMAN)
    with pytest.raises(OversightRequired) as asked:
        await quotas.reserve(TENANT, AGENT, "inference.call", 1)
    assert (asked.value.code, asked.value.policy_id) == ("MT-202", "cfo")
    assert (await quotas.reserve(TENANT, AGENT, "inference.call", 1, approved=frozenset({"cfo"}))).outcome == "allow"


async def test_each_mark_is_told_of_once(nodes: Nodes) -> None:
    one, other = nodes.node(), nodes.node()
    await one.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(100, Window(WindowUnit.DAY)),)), by=HUMAN)

    for _ in range(60):
        passes(one, 1)
        passes(other, 1)
        one.upkeep.once(nodes.clock.now())
        other.upkeep.once(nodes.clock.now())
        nodes.clock.advance(SECOND)

    def notices(tx: Any) -> list[str]:
        return [row.subject for row in tx.outbox_tail(Position(), 1_000) if row.subject == "metering.quotas.notices"]

    async def both_told() -> bool:
        return len(await nodes.stores[0].read(notices)) >= 2

    await eventually(both_told, "two notices")
    for quotas in (one, other):
        await quotas.put_rate(TENANT, Rate(counts="x", micros=1), by=HUMAN)  # behind all that was told
    assert len(await nodes.stores[0].read(notices)) == 2


async def test_what_was_said_is_counted(nodes: Nodes) -> None:
    metrics = Metrics()
    quotas = nodes.node(metrics=metrics)
    await quotas.put_quota(TENANT, CAP, by=HUMAN)
    for _ in range(5):
        passes(quotas)
    text = metrics.render()
    assert 'metering_quota_checks_total{result="allowed"} 3' in text
    assert 'metering_quota_checks_total{result="denied"} 2' in text
    assert "metering_quota_open_count 0" in text


async def test_a_node_that_closes_leaves_only_what_it_spent(nodes: Nodes, tmp_path: Path) -> None:
    one, other = nodes.node(tmp_path / "q"), nodes.node(tmp_path / "q")
    await one.put_quota(TENANT, Quota(quota_id="q", limits=(Limit(1_000, Window(WindowUnit.DAY)),)), by=HUMAN)
    assert passes(one, 1)
    one.close()

    (usage,) = await other.usage(TENANT, [AGENT])
    assert usage.used == 1
    assert len(list((tmp_path / "q").glob("*.quota"))) == 1


@pytest.fixture(params=["sqlite", "postgres", "redis", "local"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SharedLimits]:
    """What the interface promises, of every place that keeps it, that of the tests too."""
    from creto.store import open_store

    if request.param == "local":
        yield LocalLimits()
    elif request.param == "redis":
        limits = RedisLimits(request.getfixturevalue("redis_url"), prefix=tmp_path.name)
        yield limits
        limits.close()
    else:
        url = f"sqlite:///{tmp_path}/x.db" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
        store = open_store(url, parts=PARTS)
        yield StoreLimits(store)
        store.close()


def drawn(
    shared: SharedLimits, need: int, *, node: str = "one", limit: int = 100, counter: str = "c", **more: Any
) -> int:
    (answer,) = shared.draw(node, [Wish(TENANT, counter, 0, need, limit, FAR, **more)])
    return answer.granted


def test_a_draw_is_never_beyond_the_limit_but_for_what_was_spent(shared: SharedLimits) -> None:
    assert drawn(shared, 60, node="one") == 60
    assert drawn(shared, 60, node="other") == 0
    assert drawn(shared, 40, node="other") == 40
    assert drawn(shared, 1) == 0
    assert drawn(shared, 5, force=True) == 5
    assert shared.taken(TENANT, ["c", "unknown"]) == [105, 0]


def test_a_draw_stops_before_a_mark(shared: SharedLimits) -> None:
    assert drawn(shared, 1, limit=1_000, marks=(5,)) == 4
    assert drawn(shared, 1, limit=1_000, marks=(5,)) > 1


def test_nothing_is_given_back_that_was_not_drawn(shared: SharedLimits) -> None:
    assert drawn(shared, 60) == 60
    shared.give_back("other", [GivenBack(TENANT, "c", 10)])
    shared.give_back("one", [GivenBack(TENANT, "c", 70)])
    assert shared.taken(TENANT, ["c"]) == [60]
    shared.give_back("one", [GivenBack(TENANT, "c", 10, last=True)])
    shared.give_back("one", [GivenBack(TENANT, "c", 10)])
    assert shared.taken(TENANT, ["c"]) == [50]


def test_a_dead_nodes_rest_comes_back_once(shared: SharedLimits) -> None:
    shared.draw("one", [Wish(TENANT, "a", 0, 60, 100, FAR), Wish(TENANT, "b", 1, 60, 100, FAR)])
    rooms = {0: 10, 1: -3}
    assert shared.reclaim("one", lambda slot, _: rooms[slot]) == 7
    assert shared.taken(TENANT, ["a", "b"]) == [50, 63]
    assert shared.reclaim("one", lambda slot, _: rooms[slot]) == 0
    assert shared.taken(TENANT, ["a", "b"]) == [50, 63]


def test_a_node_that_was_taken_for_dead_joins_again(shared: SharedLimits) -> None:
    shared.join("one")
    assert drawn(shared, 60) == 60
    assert shared.reclaim("one", lambda _, drawn: drawn) == 60
    assert drawn(shared, 60) == 60
    shared.leave("one")
    assert shared.taken(TENANT, ["c"]) == [60]


def test_great_amounts_stay_exact(shared: SharedLimits) -> None:
    great = (1 << 62) + 1
    assert drawn(shared, great, limit=great + 1) == great
    assert drawn(shared, 1, limit=great + 1) == 1
    assert drawn(shared, 1, limit=great + 1) == 0
    shared.give_back("one", [GivenBack(TENANT, "c", 1)])
    assert shared.taken(TENANT, ["c"]) == [great]


def test_what_does_not_fit_into_a_number_stays_at_the_greatest(shared: SharedLimits) -> None:
    """given a counter near the greatest number / when what was used brings it above / then it is full, and not an error or a fraction."""
    assert drawn(shared, 100) == 100
    for by in (INTEGER_MAX - 100, 5, 1 << 70):
        shared.adjust(TENANT, "c", by)
        assert shared.taken(TENANT, ["c"]) == [INTEGER_MAX]
    assert drawn(shared, 1, force=True) == 0
    assert drawn(shared, 1, limit=INTEGER_MAX) == 0
    shared.adjust(TENANT, "c", -5)
    assert shared.taken(TENANT, ["c"]) == [INTEGER_MAX - 5]


async def test_no_settlement_is_too_large_to_be_counted(nodes: Nodes) -> None:
    """given acts that are dear / when they are settled with far more than was reserved / then what they cost counts, and nothing goes on."""
    quotas = nodes.node()
    await quotas.put_rate(TENANT, Rate(counts="call", micros=9_000_000), by=HUMAN)
    spend = Quota(quota_id="spend", limits=(Limit(10 * DOLLAR, Window(WindowUnit.DAY)),), currency="USD")
    await quotas.put_quota(TENANT, replace(spend, overflow=AllowWithNotification()), by=HUMAN)
    for _ in range(3):
        hold = await quotas.reserve(TENANT, AGENT, "call")
        settled = await quotas.settle(TENANT, hold.reservation_id, 10**12)
        assert settled.over > 0
    await quotas.put_quota(TENANT, spend, by=HUMAN)
    with pytest.raises(QuotaExceeded):
        await quotas.reserve(TENANT, AGENT, "call")


def test_counters_of_old_windows_are_forgotten(make_store: MakeStore) -> None:
    limits = StoreLimits(make_store(parts=PARTS))
    limits.draw("one", [Wish(TENANT, "old", 0, 5, 10, HOUR), Wish(TENANT, "new", 1, 5, 10, 100 * DAY)])
    assert limits.prune(3 * DAY) == 1
    assert limits.taken(TENANT, ["old", "new"]) == [0, 5]


@pytest.mark.parametrize(
    ("overflow", "action", "outcome"),
    [
        (Block(), "block", Outcome.DENIED),
        (Ask(), "ask", Outcome.PENDING),
        (AllowWithNotification(), "allow_with_notification", Outcome.SUCCESS),
        (Throttle(limit=Limit(1, Window(WindowUnit.MINUTE))), "throttle", Outcome.SUCCESS),
    ],
)
async def test_that_a_quota_is_exceeded_is_recorded_once_in_a_window(
    nodes: Nodes, overflow: Any, action: str, outcome: Outcome
) -> None:
    """given a full quota / when act after act finds no room, on two nodes / then the ledger has the client's event, once, with what is done beyond."""
    one, other = nodes.node(), nodes.node()
    quota = Quota(quota_id="q", limits=(Limit(2, Window(WindowUnit.DAY)),), overflow=overflow)
    await one.put_quota(TENANT, quota, by=HUMAN)
    for _ in range(4):
        await asyncio.to_thread(passes, one, 1)
        await asyncio.to_thread(passes, other, 1)
    for quotas in (one, other):
        await quotas.put_rate(TENANT, Rate(counts="x", micros=1), by=HUMAN)  # behind all that was told

    async def told() -> list[Entry]:
        rows = await nodes.stores[0].read(lambda tx: tx.ledger_tail(Position(), 1_000))
        return [one for row in rows if (one := wire.decode(row.body, Entry)).event == "QuotaExceeded"]

    (entry,) = await eventually(told)
    said = wire.decode(bytes(entry.metadata), dict[str, Any])
    assert (entry.outcome, said["overflow_action"], said["event_type"]) == (outcome, action, "inference.call")
    assert (said["agent_nhi"], Decimal(said["limit"])) == (AGENT, 2)


async def test_an_answer_is_done_once_and_the_agent_is_told(nodes: Nodes) -> None:
    """given a notice that humans were asked about / when their answer comes twice, and the limit was set by hand between / then it is done once."""
    quotas = nodes.node()
    limits = (Limit(100, Window(WindowUnit.DAY)),)
    await quotas.put_quota(TENANT, Quota(quota_id="q", limits=limits, overflow=AllowWithNotification()), by=HUMAN)
    await quotas.reserve(TENANT, AGENT, "inference.call", 95)

    async def told() -> Any:
        return (await quotas.notices.notices(TENANT, AGENT)).items

    (first,) = await eventually(told)
    assert (first.notice.percent, first.notice.overflow_action, first.request_id) == (
        95,
        "allow_with_notification",
        None,
    )
    request = RequestId("req-1")
    await quotas.notices.asks(TENANT, first.notice.notice_id, request)
    found = await quotas.notices.notice_of_request(TENANT, request)
    assert found.notice == first.notice
    say = partial(quotas.answer, TENANT, "q", "day", QuotaAnswer.INCREASE, by=HUMAN)
    await say(200, request_id=request)
    await say(150)
    await say(200, request_id=request)
    assert (await quotas.quota(TENANT, "q")).limits[0].amount == 150
    page = await quotas.notices.notices(TENANT, AGENT, limit=1)
    assert page.items[0].notice.text == "Quota q is 200 for this day now; it was 100"
    assert (await quotas.notices.notices(TENANT, AGENT, cursor=page.cursor)).items[0].answered_at is not None
    with pytest.raises(NotFound):
        await quotas.notices.notice_of_request(TENANT, RequestId("another"))
    nodes.clock.advance(100 * DAY)
    assert await quotas.notices.forget_old() == 2
    assert (await quotas.notices.notices(TENANT)).items == ()


async def test_an_approved_increase_lowers_nothing_that_was_raised_meanwhile(nodes: Nodes) -> None:
    """given humans who are asked to raise 100 to 200 / when somebody sets 500 before they agree / then it stays 500, and who asked is told why."""
    quotas = nodes.node()
    limits = (Limit(100, Window(WindowUnit.DAY)),)
    await quotas.put_quota(TENANT, Quota(quota_id="q", limits=limits, overflow=AllowWithNotification()), by=HUMAN)
    await quotas.reserve(TENANT, AGENT, "inference.call", 95)

    async def told() -> Any:
        return (await quotas.notices.notices(TENANT, AGENT)).items

    (first,) = await eventually(told)
    request = RequestId("req-1")
    await quotas.notices.asks(TENANT, first.notice.notice_id, request)
    say = partial(quotas.answer, TENANT, "q", "day", QuotaAnswer.INCREASE, by=HUMAN)
    await say(500)
    assert (await say(200, request_id=request)).limits[0].amount == 500
    assert (await quotas.quota(TENANT, "q")).limits[0].amount == 500
    newest = (await quotas.notices.notices(TENANT, AGENT, limit=1)).items[0]
    assert newest.notice.text == "Quota q stays 500 for this day: more than the 200 that was approved"
    entries = await nodes.stores[0].read(lambda tx: tx.ledger_tail(Position(), 1_000))
    said = [one for row in entries if (one := wire.decode(row.body, Entry)).event == "QuotaAnswered"]
    done = wire.decode(bytes(said[-1].metadata), dict[str, Any])
    assert [int(done[name]) for name in ("before", "after", "exceeded")] == [500, 500, 200]


async def test_a_pattern_that_could_match_nothing_is_refused(nodes: Nodes) -> None:
    quotas = nodes.node()
    with pytest.raises(InvalidInput, match=r"a\*b"):
        await quotas.put_quota(TENANT, Quota(quota_id="q", limits=CAP.limits, counts=("call", "a*b")), by=HUMAN)
    with pytest.raises(InvalidInput, match=r"a\*b"):
        await quotas.put_rate(TENANT, Rate("a*b", 5), by=HUMAN)
    assert (await quotas.quotas(TENANT), await quotas.rates(TENANT)) == ([], [])
