"""Identities: chains of eight, key look-ups, signatures, tokens, revocation; on one SQLite file."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.unit.platform.nhi.town import PARTS, TENANT, Town, chain_of

from creto.platform.nhi import DelegationChain, Nhi
from creto.platform.nhi.chain import decoded
from creto.store import open_store
from scripts.bench.beside import beside
from scripts.bench.measure import Row, Scale, each, each_async, latency, settle

LENGTH = 8
MS = 1_000.0
MESSAGE = b"m" * 200
CONTEXT = b"bench/v1"


def rows(scale: Scale) -> Iterator[Row]:
    yield from asyncio.run(measured(scale))


async def measured(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/bench.db", parts=PARTS)
        try:
            town = await Town.open(store)
            alone = [*await keys(town, scale), await elsewhere(town, f"sqlite:///{Path(folder)}/bench.db", scale)]
            return [*await chains(town, scale), *alone]  # chains last: their many services all hear each revocation
        finally:
            store.close()


async def chains(town: Town, scale: Scale) -> list[Row]:
    people = await town.line(LENGTH)
    data, leaf = chain_of(people).to_bytes(), people[-1]

    def validate(service: Nhi = town.nhi) -> Any:
        # A new bytes object each time, as a request brings one: its hash is not known yet.
        chain = DelegationChain.from_bytes(b"".join((data[:9], data[9:])))
        return service.validate(chain, tenant=TENANT, agent=leaf.nhi)

    cold: list[float] = []
    for _ in range(scale.count(400, 200)):
        fresh = Town(town.store, town.clock).nhi  # no identity, no link, no chain in memory
        decoded.cache_clear()
        settle()  # the services before it stay: they listen to the store
        cold += each(partial(validate, fresh), 1)
    warm = each(validate, scale.count(10_000), 100)
    return [
        beside(
            latency(f"chain of {LENGTH} hybrid links from bytes, cold", cold, must=10 * MS, aim=8 * MS),
            scale,
            "biscuit",
            "agt delegation",
        ),
        beside(latency(f"chain of {LENGTH} hybrid links from bytes, warm", warm, aim=100.0), scale, "biscuit", "agt delegation"),
    ]  # fmt: skip


async def elsewhere(town: Town, url: str, scale: Scale) -> Row:
    """From the call of a revocation to the refusal in another process that asks without pause."""
    people = await town.line(1)
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.platform.nhi.validating_node", url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert node.stdin
    assert node.stdout
    reached: list[float] = []
    await node.stdout.readline()
    for number in range(scale.count(100, 10)):
        leaf = await town.agent(f"leaf {number}")
        node.stdin.write(chain_of([*people, leaf]).to_bytes().hex().encode() + b"\n")
        await node.stdout.readline()
        began = time.monotonic_ns()
        await town.nhi.revoke(TENANT, leaf.nhi)
        reached.append((int((await node.stdout.readline()).split()[2]) - began) / 1_000)
    node.stdin.close()
    await node.wait()
    return latency("revocation, refused in another process", reached, must=50 * MS)


async def keys(town: Town, scale: Scale) -> list[Row]:
    agent, nhi = await town.agent("signer"), town.nhi
    signature = agent.key.sign(MESSAGE, CONTEXT)
    token = (await nhi.issue_token(TENANT, agent.nhi, scopes=("a:*",))).token
    revocable = [await town.agent() for _ in range(scale.count(200, 5) + 1)]

    async def revoke() -> None:
        await nhi.revoke(TENANT, revocable.pop().nhi)

    looked_up = each(lambda: nhi.verify_key(agent.nhi, tenant=TENANT), scale.count(20_000), 10)
    verified = each(
        lambda: nhi.validate_signature(agent.nhi, MESSAGE, signature, CONTEXT, tenant=TENANT), scale.count(2_000)
    )
    bearer = each(lambda: nhi.verify_token(token), scale.count(10_000), 100)
    revoked = await each_async(revoke, len(revocable) - 1, 1)
    return [
        latency("key look-up", looked_up, must=5 * MS, aim=100.0),
        latency("hybrid signature verified", verified, must=2 * MS, aim=1 * MS),
        latency("bearer token verified", bearer),
        latency("revocation, durable and in force", revoked),
    ]
