"""Quotas inside the call: a check with its reservation, for a million agents that are all in memory; cost thresholds; overspend.

What is measured is the path of a call whose lease has room. Redis and
PostgreSQL beside it do what most do: one script, or one conditional update, for each call.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from typing import Any

from msgspec.structs import replace
from tests import engines
from tests.contract.processes import line, python_module, say
from tests.limits import LocalLimits
from tests.unit.metering.examples import HUMAN, JANUARY, event

from creto.common import wire
from creto.common.errors import QuotaExceeded
from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import BillingPeriod, CostThreshold, CostThresholdType, RequireApproval
from creto.metering import (
    Costs,
    CostTriggers,
    Limit,
    MessageCosts,
    Quota,
    QuotaBook,
    Quotas,
    RedisLimits,
    Threshold,
    Watch,
    Window,
    WindowUnit,
)
from creto.metering.leases import Drawn, Wish
from creto.metering.leases_journal import Journal
from creto.metering.quota import Taken
from creto.metering.quota_counters import Counters
from creto.metering.quota_pace import Pace
from creto.metering.quota_rules import Definitions
from creto.platform.consensus import EmbeddedClock
from creto.platform.nhi import PrincipalKind, ValidatedChain
from creto.store import open_store
from scripts.bench.beside import beside, complain
from scripts.bench.measure import Peer, Row, Scale, amortised, each, latency, percentile, settle

Asker = tuple[AgentId, ValidatedChain | None]
TENANT = TenantId("acme")
PARTS = ("creto.store", "creto.platform.consensus", "creto.metering")
PLENTY = 1 << 50
WINDOWS = (WindowUnit.HOUR, WindowUnit.DAY, WindowUnit.MONTH)
DEPTH = 5
DEEP = 250_000  # of the agents have a chain of their own with its counters
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - where journals belong: nothing is written back
CALLS, CALL, DOLLAR = 500, 300_000, 1_000_000
THREADS = 4
ROUNDS = 15
LUA = """
for i = 1, #KEYS do if tonumber(redis.call('GET', KEYS[i]) or '0') + ARGV[1] > tonumber(ARGV[2]) then return 0 end end
for i = 1, #KEYS do redis.call('INCRBY', KEYS[i], ARGV[1]) end
return 1
"""


class Wide(LocalLimits):
    """It grants a million at once and remembers nothing: a million agents of fifteen counters fill the memory as it is."""

    def draw(self, node: str, wishes: Sequence[Wish]) -> list[Drawn]:
        return [Drawn(1 << 20, 0, 1 << 20) for _ in wishes]


def rows(scale: Scale) -> Iterator[Row]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield from of_reservations(scale, Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        yield from of_costs(scale, Path(folder))
    yield from of_overspend(scale)


def quota(name: str, *windows: WindowUnit) -> Quota:
    limits = tuple(Limit(PLENTY, Window(unit)) for unit in windows)
    return Quota(quota_id=name, counts=(name,), limits=limits, notify_at=())


@cache
def link(parent: AgentId, child: AgentId) -> bytes:
    """The same object wherever it is a part of a chain, as in a cache of chains."""
    return f"{parent}>{child}".encode()


def chain_of(agent: AgentId, number: int) -> ValidatedChain:
    """Five deep: a root, ten, a hundred and a thousand above a million."""
    above = tuple(AgentId(sys.intern(f"level-{n}-{number % 10**n}")) for n in range(DEPTH - 1))
    agents = (*above, agent)
    links = (*(link(one, other) for one, other in pairwise(above)), f"{above[-1]}>{agent}".encode())
    return ValidatedChain(
        tenant=TENANT, agents=agents, links=links, root_kind=PrincipalKind.HUMAN, actions=("*",), resources=("*",),
        budgets=(None,) * len(links), depth_left=1, not_before=ConsensusTimestamp(0),
        not_after=ConsensusTimestamp(1 << 62), validated_at=ConsensusTimestamp(0),
    )  # fmt: skip


def of_reservations(scale: Scale, folder: Path) -> Iterator[Row]:
    peers = dict(round_trips(scale))
    store = open_store(f"sqlite:///{folder}/clock.db", parts=PARTS)
    clock = EmbeddedClock(store)
    known = Definitions((quota("one", WindowUnit.DAY), quota("fifteen", *WINDOWS)))
    book = QuotaBook("bench", Pace(clock).now, Wide(), Counters(Journal(folder, "bench")), lambda _: (known, True))
    agents = [AgentId(f"agent-{n}") for n in range(scale.leaves)]
    resident = f"{len(agents):,} agents"
    for agent in agents:
        book.release(reserved(book, agent, None, "one"))
    deep = [(agent, chain_of(agent, n)) for n, agent in enumerate(agents[:: len(agents) // DEEP or 1])]
    for agent, chain in deep:
        book.release(reserved(book, agent, chain, "fifteen"))
    settle()
    flat: list[Asker] = [(agent, None) for agent in agents]
    what = f"{DEPTH} ancestors × {len(WINDOWS)} windows"
    yield from measured(book, flat, "one", f"1 counter, {resident}", 2, peers[1], scale)
    note = f"{len(deep):,} of them with chains"
    for row in measured(book, deep, "fifteen", f"{what}, {resident}", 7, peers[15], scale):
        yield replace(row, note=note) if row.must else row
    book.counters.close()
    clock.close()
    store.close()


def measured(
    book: QuotaBook, askers: Sequence[Asker], action: str, what: str, aim: float, peers: tuple[Peer, ...], scale: Scale
) -> Iterator[Row]:
    chance = random.Random(1)  # noqa: S311 - the same agents in every run
    calls = [askers[chance.randrange(len(askers))] for _ in range(scale.count(200_000, 200))]
    row = in_rounds(f"quota check and reserve, {what}", one_by_one(book, calls, action), must=10, aim=aim)
    yield with_peers(beside(row, scale, "litellm", "limits"), peers)
    yield latency(f"  the same on {THREADS} threads", on_threads(book, calls, action))
    yield latency("  check alone", checked(book, calls, action))


def reserved(book: QuotaBook, agent: AgentId, chain: ValidatedChain | None, action: str) -> Taken:
    held = book.reserve(TENANT, agent, chain, action, "model", 1)
    assert isinstance(held, Taken)
    return held


def one_by_one(book: QuotaBook, calls: Sequence[Asker], action: str) -> list[float]:
    """Microseconds of each reservation; what it took is settled outside of it."""
    taken, now, reserve = [], time.perf_counter_ns, book.reserve
    for agent, chain in calls:
        started = now()
        held = reserve(TENANT, agent, chain, action, "model", 1)
        taken.append((now() - started) / 1000)
        assert isinstance(held, Taken)
        book.settle(held)
    return taken


def in_rounds(name: str, taken: list[float], **fields: Any) -> Row:
    """The median of the rounds' percentiles, for the machine is shared; p99.9 and the longest are those of all calls."""
    size = max(1, len(taken) // ROUNDS)
    rounds = [taken[begin : begin + size] for begin in range(0, size * ROUNDS, size)]
    p50, p99 = (statistics.median(percentile(one, share) for one in rounds if one) for share in (0.5, 0.99))
    return replace(latency(name, taken, **fields), p50=p50, p99=p99, value=p99)


def on_threads(book: QuotaBook, calls: Sequence[Asker], action: str) -> list[float]:
    with ThreadPoolExecutor(THREADS) as pool:
        parts = pool.map(lambda n: one_by_one(book, calls[n::THREADS], action), range(THREADS))
        return [sample for part in parts for sample in part]


def checked(book: QuotaBook, calls: Sequence[Asker], action: str) -> list[float]:
    taken, now, check = [], time.perf_counter_ns, book.check
    for agent, chain in calls:
        started = now()
        found = check(TENANT, agent, action, chain)
        taken.append((now() - started) / 1000)
        assert found.allowed
    return taken


def round_trips(scale: Scale) -> Iterator[tuple[int, tuple[Peer, ...]]]:
    """The same decision as a script in Redis, and as a conditional update in PostgreSQL; for one counter and for fifteen."""
    found: dict[int, list[Peer]] = {1: [], 15: []}
    if engines.find("redis-server") is None:
        complain("no redis-server on this machine")
    else:
        import redis

        with engines.redis() as url:
            client = redis.Redis.from_url(url)
            script = client.register_script(LUA)
            for count, peers in found.items():
                keys = [f"counter-{n}" for n in range(count)]
                call: Callable[[], Any] = partial(script, keys=keys, args=[1, PLENTY])
                peers.append(Peer("Redis, a Lua script", percentile(each(call, scale.count(5_000), 100), 0.99)))
            client.close()
    if engines.postgres_bin() is None:
        complain("no PostgreSQL on this machine")
    else:
        import psycopg

        with engines.postgres() as url, psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE TABLE counter (n INT PRIMARY KEY, used BIGINT NOT NULL)")
            connection.execute("INSERT INTO counter SELECT n, 0 FROM generate_series(1, 15) n")
            for count, peers in found.items():
                sql = f"UPDATE counter SET used = used + 1 WHERE n <= {count} AND used + 1 <= {PLENTY}"
                call = partial(connection.execute, sql)
                peers.append(
                    Peer("PostgreSQL, a conditional update", percentile(each(call, scale.count(2_000), 100), 0.99))
                )
    for count, peers in found.items():
        yield count, tuple(peers)


def with_peers(row: Row, peers: tuple[Peer, ...]) -> Row:
    return replace(row, peers=(*row.peers, *peers))


def of_costs(scale: Scale, folder: Path) -> Iterator[Row]:
    """Four thresholds, and totals that are in memory."""
    store = open_store(f"sqlite:///{folder}/costs.db", parts=PARTS)
    clock = EmbeddedClock(store)
    costs = Costs(store, clock)
    triggers = CostTriggers(store, clock, costs, Watch())

    def thresholds(tx: Any) -> None:
        for kind in (
            CostThresholdType.PER_TRANSACTION,
            CostThresholdType.PER_HOUR,
            CostThresholdType.PER_DAY,
            CostThresholdType.PER_MONTH,
        ):
            asked = CostThreshold(
                threshold_id=kind, threshold_type=kind, limit=Decimal(DOLLAR), currency="USD", action=RequireApproval(approvers=())
            )  # fmt: skip
            tx.run(
                "INSERT INTO metering_threshold (tenant, threshold_id, body) VALUES (?, ?, ?)",
                TENANT, kind, wire.encode(Threshold(threshold=asked)),
            )  # fmt: skip

    store.submit(thresholds).result()
    bill = event(JANUARY.start + 1, type="payment", amount="12.50")

    def check() -> None:
        assert triggers.check_cost_threshold(TENANT, bill, BillingPeriod.CURRENT_MONTH) is None

    settle()
    yield in_rounds("cost threshold, 4 thresholds", each(check, scale.count(100_000, 200), 100), must=10, aim=3)

    known = Definitions((quota("message_sent", *WINDOWS),))
    book = QuotaBook(
        "bench", Pace(clock).now, LocalLimits(), Counters(Journal(folder, "bench")), lambda _: (known, True)
    )
    messages = MessageCosts(book, None)  # type: ignore[arg-type]  # none is tracked here

    def ask() -> None:
        assert messages.check_message_quota(TENANT, HUMAN, "message_sent").allowed

    ask()
    yield in_rounds("message quota, 3 windows", each(ask, scale.count(100_000, 200), 100), must=10, aim=3)
    watch = Watch()

    def observe(count: int) -> None:
        for n in range(count):
            watch.observe(TENANT, HUMAN, JANUARY.start + n * 10_000_000_000, fingerprint=n)

    cost = amortised(observe, scale.count(20_000, 200))
    yield Row(name="anomalies: an act observed, amortised", value=cost, p50=cost, aim=2)
    book.counters.close()
    clock.close()
    store.close()


def of_overspend(scale: Scale) -> Iterator[Row]:
    """How many times the cap is spent by 500 calls at once: on threads, as tasks of one loop, and from four processes."""
    calls = scale.count(CALLS, 20)
    with ExitStack() as servers:
        redis = servers.enter_context(engines.redis()) if engines.find("redis-server") else None
        postgres = servers.enter_context(engines.postgres()) if engines.postgres_bin() else None
        for name, server, shared in (
            ("SQLite", None, "-"),
            ("PostgreSQL", postgres, "-"),
            ("Redis", None, redis),
        ):
            if shared is None or (name == "PostgreSQL" and server is None):
                complain(f"no {name} on this machine: its overspend is not measured")
                continue
            with tempfile.TemporaryDirectory() as folder:
                url = server or f"sqlite:///{folder}/spend.db"
                for how, spent in overspent(url, shared, Path(folder), calls):
                    title = f"overspend, {calls} calls at once, {how}, {name}"
                    row = Row(name=title, unit="×", p50=spent, peak=spent, value=spent, must=1, aim=1)
                    yield beside(row, scale, "litellm overspend", "limits overspend")


def overspent(url: str, redis: str, folder: Path, calls: int) -> Iterator[tuple[str, float]]:
    """Each way has an agent of its own, and so a cap of its own."""
    with ExitStack() as stack:
        store = open_store(url, parts=PARTS)
        stack.callback(store.close)
        clock = EmbeddedClock(store)
        stack.callback(clock.close)
        limits = None if redis == "-" else RedisLimits(redis)
        if limits is not None:
            stack.callback(limits.close)
        quotas = Quotas(store, clock, limits=limits)
        stack.callback(quotas.close)
        cap = Quota(quota_id="spend", limits=(Limit(DOLLAR, Window(WindowUnit.LIFETIME)),))
        asyncio.run(quotas.put_quota(TENANT, cap, by=HUMAN))
        yield "threads", by_threads(quotas, calls) * CALL / DOLLAR
        yield "tasks", asyncio.run(by_tasks(quotas, calls)) * CALL / DOLLAR
        yield f"{THREADS} processes", by_processes(url, redis, folder, calls) * CALL / DOLLAR


def by_threads(quotas: Quotas, calls: int) -> int:
    together = Barrier(calls)

    def call(_: int) -> bool:
        together.wait()
        held = quotas.book.reserve(TENANT, AgentId("threads"), None, "inference.call", "model", CALL)
        if isinstance(held, Taken):
            quotas.book.settle(held)
        return isinstance(held, Taken)

    with ThreadPoolExecutor(calls) as pool:
        return sum(pool.map(call, range(calls)))


async def by_tasks(quotas: Quotas, calls: int) -> int:
    async def call() -> bool:
        try:
            hold = await quotas.reserve(TENANT, AgentId("tasks"), "inference.call", CALL)
        except QuotaExceeded:
            return False
        await asyncio.sleep(0.02)  # the call itself, as in the peers'
        await quotas.settle(TENANT, hold.reservation_id)
        return True

    return sum(await asyncio.gather(*(call() for _ in range(calls))))


def by_processes(url: str, redis: str, folder: Path, calls: int) -> int:
    arguments = (url, redis, str(folder / "journals"), str(calls // THREADS), str(CALL))
    with ExitStack() as children:
        nodes = [children.enter_context(python_module("tests.contract.quota_node", *arguments)) for _ in range(THREADS)]
        for node in nodes:
            assert line(node) == "ready"
        for node in nodes:
            say(node, "go")
        passed = sum(int(line(node)) for node in nodes)
        for node in nodes:
            say(node, "end")
            node.wait(30)
    return passed
