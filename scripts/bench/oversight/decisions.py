"""Deciding: a transition on disk, what is checked before it, and how soon the waiting agent runs.

A transition is the transaction alone: the request's row as it was seen, or locked and looked at again, vote, state, ledger, outbox, commit. What is
done before it, the signature verified and what the vote does worked out, is in the row of the whole vote. Hundreds of requests wait, and are decided
one after the other. `synchronous=FULL` on SQLite.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

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
LOT = 500  # requests that wait at once: an agent has no more than 1,000 open
CLICKS = 1_000


class Taken(NamedTuple):
    """Microseconds."""

    transactions: list[float]
    votes: list[float]  # from the signed ballot to the receipt


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
        await transitions(world, scale.count(LOT), -LOT)  # connections, plans and caches: as of a server that runs
        taken = await transitions(world, scale.count(TRANSITIONS), 0)
        row = latency(f"transition committed, {engine}", taken.transactions, must=1 * MS, aim=0.5 * MS)
        found += [beside(row, scale, "dbos"), latency(f"the whole vote, ballot to receipt, {engine}", taken.votes)]
        if not url.startswith("postgres"):
            public, signed = key_of("alice").public, await ballot_of(world, TRANSITIONS)
            found.append(latency("its signature verified before it (Ed25519 + ML-DSA-65)", each(lambda: signed.verify(public), scale.count(1_000))))  # fmt: skip
        for name in ("alice", "bob", "carol"):
            await world.contact(name, f"U-{name}")
        taken = await transitions(world, scale.count(TRANSITIONS // 4), TRANSITIONS + 1)
        found.append(latency(f"transition that tells three humans, {engine}", taken.transactions))
        clicks = await woken(world, scale.count(CLICKS))
        row = latency(f"click → the waiting agent runs, with its token, {engine}", clicks, must=50 * MS, aim=10 * MS)
        found.append(beside(row, scale, "dbos click"))
    return found


async def transitions(world: World, count: int, start: int) -> Taken:
    """Each decides a request."""
    taken = Taken([], [])
    write = world.oversight.write

    async def timed(fn: Callable[[Tx], T]) -> T:
        began = time.perf_counter_ns()
        result = await write(fn)
        taken.transactions.append((time.perf_counter_ns() - began) / 1000)
        return result

    settle()
    for first in range(start, start + count, LOT):
        ballots = [await ballot_of(world, number) for number in range(first, min(first + LOT, start + count))]
        world.oversight.write = timed  # type: ignore[method-assign]
        for signed in ballots:
            began = time.perf_counter_ns()
            await world.oversight.submit_response(TENANT, signed)
            taken.votes.append((time.perf_counter_ns() - began) / 1000)
        world.oversight.write = write  # type: ignore[method-assign]
    return taken


async def ballot_of(world: World, number: int) -> SignedBallot:
    record = await asked(world, number)
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    return sign(ballot, key_of("alice"))


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
