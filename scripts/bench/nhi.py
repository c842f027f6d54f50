"""Identities: chains of eight, key look-ups, signatures, tokens; on one SQLite file."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.unit.platform.nhi.town import PARTS, TENANT, Town, chain_of

from creto.platform.nhi import DelegationChain, Nhi
from creto.platform.nhi.chain import decoded
from creto.store import open_store
from scripts.bench.measure import Row, each, each_async, latency

LENGTH = 8
MS = 1_000.0


def rows() -> Iterator[Row]:
    yield from asyncio.run(measured())


async def measured() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder)}/bench.db", parts=PARTS)
        try:
            return await of(await Town.open(store))
        finally:
            store.close()


async def of(town: Town) -> list[Row]:
    people = await town.line(LENGTH)
    nhi, data, leaf = town.nhi, chain_of(people).to_bytes(), people[-1]
    signature = leaf.key.sign(b"m" * 200, b"bench/v1")
    token = (await nhi.issue_token(TENANT, leaf.nhi, scopes=("a:*",))).token

    def validate(service: Nhi = nhi) -> Any:
        # A new bytes object each time, as a request brings one: its hash is not known yet.
        return service.validate(
            DelegationChain.from_bytes(b"".join((data[:9], data[9:]))), tenant=TENANT, agent=leaf.nhi
        )

    async def revoke() -> None:
        await nhi.revoke(TENANT, revocable.pop().nhi)

    def cold() -> list[float]:
        """A fresh service for every call: no identity, no link, no chain in memory."""
        samples = []
        for _ in range(300):
            fresh = Town(town.store, town.clock).nhi
            decoded.cache_clear()
            samples += each(partial(validate, fresh), 1)
        return samples

    revocable = [await town.agent() for _ in range(220)]
    revocations = await each_async(revoke, 200, 20)
    return [
        latency(f"chain of {LENGTH} from bytes, cold", cold(), must=10 * MS, aim=8 * MS),
        latency(f"chain of {LENGTH} from bytes, warm", each(validate, 10_000, 100), aim=100.0),
        latency(
            "key look-up", each(lambda: nhi.verify_key(leaf.nhi, tenant=TENANT), 20_000, 10), must=5 * MS, aim=100.0
        ),
        latency(
            "hybrid signature verified",
            each(lambda: nhi.validate_signature(leaf.nhi, b"m" * 200, signature, b"bench/v1", tenant=TENANT), 2_000),
            must=2 * MS,
            aim=1 * MS,
        ),
        latency("bearer token verified", each(lambda: nhi.verify_token(token), 10_000, 100)),
        latency("revocation, durable", revocations),
    ]
