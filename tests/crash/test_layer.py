"""kill -9 of the whole layer at random moments of mixed work.

Every acknowledged write is there, ledger and state agree, the Merkle log verifies, and the bus has delivered everything at least once.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from functools import partial
from pathlib import Path

import pytest

from creto.app import App, running
from creto.bus import Message
from creto.common.ids import AgentId
from creto.platform.audit import verify_database
from creto.store import Entry, Position, ReadTx
from creto.store.types import LedgerRow
from tests.crash.killing import run_and_kill
from tests.crash.layer_config import TOPIC, layer

SEEDS, SEEDS_DEEP, PARTS = 4, 200, 4  # in parts, so that as many processes can share them


class Acknowledged:
    """What the killed processes had promised."""

    def __init__(self) -> None:
        self.identities: set[str] = set()
        self.memories: set[str] = set()
        self.objects: set[str] = set()
        self.states: dict[str, int] = {}
        self.published: defaultdict[str, list[str]] = defaultdict(list)
        self.delivered: set[str] = set()

    def take(self, line: str) -> None:
        match line.split(" "):
            case ["identity", agent]:
                self.identities.add(agent)
            case ["memory", item]:
                self.memories.add(item)
            case ["object", name]:
                self.objects.add(name)
            case ["state", name, version]:
                self.states[name] = int(version)
            case ["published", number, message]:
                self.published[f"agent-{number}"].append(message)
            case ["delivered", _, message]:
                self.delivered.add(message)
            case other:
                assert other == ["ready"], other


async def whole(app: App, promised: Acknowledged, *, everything: bool) -> None:
    parts, tenant, me = app.parts, app.tenant, app.operator
    for agent in promised.identities:
        assert (await parts.nhi.get(tenant, AgentId(agent))).nhi == agent
    for item in promised.memories:
        assert (await parts.memory.get(tenant, me, item)).id == item
    for name in promised.objects:
        assert await parts.storage.get(tenant, name) == name.encode()
    for name, version in promised.states.items():
        kept = await parts.memory.state.get(tenant, me, name)
        assert kept is not None
        assert kept.version >= version
    await parts.audit.sequence_once()
    entries = await parts.store.read(ledger)
    assert promised.identities <= {r.removeprefix("nhi:identity:") for r in resources(entries, "nhi.registered")}
    rows = await parts.store.read(lambda tx: tx.value("SELECT COUNT(*) FROM nhi_identity"))
    assert rows == len(resources(entries, "nhi.registered")), (
        "an identity without its entry, or an entry without its identity"
    )
    if everything:
        await parts.audit.checkpoint()
        await parts.store.read(partial(verify_database, trust=await parts.audit.trust()))


def ledger(tx: ReadTx) -> list[Entry]:
    from creto.platform.audit.types import decoded_entry

    rows: list[LedgerRow] = []
    while tail := tx.ledger_tail(rows[-1].position if rows else Position(), 5_000):
        rows += tail
    return [decoded_entry(row.body) for row in rows]


def resources(entries: list[Entry], action: str) -> list[str]:
    return [entry.resource for entry in entries if entry.action == action]


async def drain(app: App, promised: Acknowledged) -> None:
    """What was published and not seen yet comes now, in the order of each agent."""
    missing = {m for messages in promised.published.values() for m in messages} - promised.delivered
    came: defaultdict[str, list[str]] = defaultdict(list)
    done = asyncio.Event()

    async def consume(message: Message) -> None:
        came[message.agent].append(message.payload.decode())
        missing.discard(message.payload.decode())
        if not missing:
            done.set()

    if missing:
        await app.parts.bus.subscribe(TOPIC, "crash", consume)
        async with asyncio.timeout(60):
            await done.wait()
    for agent, messages in came.items():
        first_time = list(dict.fromkeys(messages))
        order = [m for m in promised.published[agent] if m in set(first_time)]
        assert [m for m in first_time if m in set(order)] == order, f"{agent}: out of order"
        promised.delivered.update(messages)


@pytest.mark.parametrize("part", range(PARTS))
async def test_a_killed_layer_has_kept_every_promise(store_url: str, tmp_path: Path, part: int, deep: bool) -> None:
    moments = random.Random(20260214 + part)
    promised = Acknowledged()
    seeds = range(part, SEEDS_DEEP if deep else SEEDS, PARTS)
    for number, seed in enumerate(seeds):
        last = number == len(seeds) - 1
        arguments = (store_url, str(tmp_path), str(seed))
        for line in run_and_kill("tests.crash.layer_child", *arguments, after_s=moments.uniform(0, 0.6)):
            promised.take(line)
        async with running(layer(store_url, tmp_path), work=False) as app:
            await whole(app, promised, everything=last or number % 10 == 0)
            if last or number % 5 == 0:
                await drain(app, promised)
        promised.memories.clear()  # seen once; the next round is about what comes
        promised.objects.clear()
    everything = {m for messages in promised.published.values() for m in messages}
    assert everything <= promised.delivered
    assert everything or len(seeds) == 1, "nothing was published: the moments are too early"
