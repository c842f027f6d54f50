"""Deciding: a transition on disk, what is checked before it, and how soon the waiting agent runs.

A transition is the transaction alone: the request's row locked, time, seat, vote, quorum, state, ledger, outbox, commit. Signatures are verified
before it and measured by themselves, and so is the transition that also has people to tell. `synchronous=FULL` on SQLite.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.unit.oversight.world import PARTS, TENANT, World, id_of, key_of, pending, tier

from creto.common.ids import PolicyId
from creto.contracts import Approved
from creto.oversight import OversightPolicy, Record, SignedBallot, Verdict, sign
from creto.store import open_store
from creto.store.types import Tx
from scripts.bench.beside import beside
from scripts.bench.measure import Row, Scale, each, latency, settle
from scripts.bench.oversight import engines

T = TypeVar("T")
MS = 1_000.0
ANY = OversightPolicy(policy_id=PolicyId("any"), tiers=(tier("alice", "bob", "carol"),))
TRANSITIONS = 10_000
CLICKS = 1_000


def rows(scale: Scale) -> Iterator[Row]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = engines.urls(folder, stack)
        yield from engines.floors(folder, found, scale)
        for name, url in found.items():
            yield from asyncio.run(measured(name, url, scale))
        if len(found) == 1:
            yield Row(name="transition, PostgreSQL", value=0.0, note="NOT MEASURED: no PostgreSQL on this machine")


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[World]:
    store = open_store(url, parts=PARTS)
    try:
        world = await World.open(store)
        await world.policy(ANY)
        yield world
    finally:
        store.close()


async def measured(engine: str, url: str, scale: Scale) -> list[Row]:
    found: list[Row] = []
    async with opened(url) as world:
        signed, taken = await transitions(world, scale.count(TRANSITIONS), 0)
        found.append(
            beside(latency(f"transition committed, {engine}", taken, must=1 * MS, aim=0.5 * MS), scale, "dbos")
        )
        if not url.startswith("postgres"):
            public = key_of("alice").public
            found.append(latency("its signature verified before it (Ed25519 + ML-DSA-65)", each(lambda: signed.verify(public), scale.count(1_000))))  # fmt: skip
        for name in ("alice", "bob", "carol"):
            await world.contact(name, f"U-{name}")
        _, taken = await transitions(world, scale.count(TRANSITIONS // 4), TRANSITIONS)
        found.append(latency(f"transition that tells three humans, {engine}", taken))
        clicks = await woken(world, scale.count(CLICKS))
        row = latency(f"click → the waiting agent runs, with its token, {engine}", clicks, must=50 * MS, aim=10 * MS)
        found.append(beside(row, scale, "dbos click"))
    return found


async def transitions(world: World, count: int, start: int) -> tuple[SignedBallot, list[float]]:
    """Microseconds of each transaction that decides a request."""
    taken: list[float] = []
    write = world.oversight.write

    async def timed(fn: Callable[[Tx], T]) -> T:
        began = time.perf_counter_ns()
        result = await write(fn)
        taken.append((time.perf_counter_ns() - began) / 1000)
        return result

    signed: Any = None
    settle()
    for number in range(start, start + count):
        record = await asked(world, number)
        ballot = await world.oversight.ballot(
            TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
        )
        signed = sign(ballot, key_of("alice"))
        world.oversight.write = timed  # type: ignore[method-assign]
        await world.oversight.submit_response(TENANT, signed)
        world.oversight.write = write  # type: ignore[method-assign]
    return signed, taken


async def woken(world: World, count: int) -> list[float]:
    """Microseconds from the human's signed vote to the agent that holds the token."""
    taken: list[float] = []
    settle()
    for number in range(count):
        record = await asked(world, 10 * TRANSITIONS + number)
        request_id = record.ask.request_id
        ballot = await world.oversight.ballot(TENANT, request_id, approver=id_of("bob"), verdict=Verdict.APPROVE)
        signed = sign(ballot, key_of("bob"))
        agent = asyncio.create_task(running(world, record))
        await pending(world)
        await asyncio.sleep(0.002)  # it has looked, and waits
        clicked = time.perf_counter_ns()
        _, runs = await asyncio.gather(world.oversight.submit_response(TENANT, signed), agent)
        taken.append((runs - clicked) / 1000)
    return taken


async def running(world: World, record: Record) -> int:
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, Approved)
    assert result.override_token is not None
    return time.perf_counter_ns()


async def asked(world: World, number: int) -> Record:
    return await world.request(ANY, {"n": number})
