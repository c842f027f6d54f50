"""A cluster of time nodes without sockets, for tests that need a quorum and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tests.unit.platform.consensus.fakes import ToyKey

from creto.common.errors import ConnectionFailed
from creto.platform.consensus.node import TimeNode, node_id
from creto.platform.consensus.quorum import QuorumClock
from creto.platform.consensus.reading import Cluster
from creto.platform.consensus.rounds import Peer

CLUSTER = Cluster()


def cluster(count: int, *clocks: Callable[[], int]) -> tuple[list[TimeNode], list[Peer]]:
    """Nodes with these clocks; the last one serves for the rest."""
    keys = [ToyKey(index) for index in range(count)]
    nodes = [TimeNode(key, CLUSTER, clock=clocks[min(i, len(clocks) - 1)]) for i, key in enumerate(keys)]
    return nodes, [Peer(f"node:{i + 1}", node_id(key.public), key.public) for i, key in enumerate(keys)]


class Wires:
    """A Transport that calls the nodes directly; `cut` ones do not answer."""

    def __init__(self, nodes: Sequence[TimeNode], cut: Sequence[int] = ()) -> None:
        self.nodes = nodes
        self.cut = set(cut)

    async def ask(self, address: str, request: bytes, timeout_s: float) -> bytes:
        index = int(address.rpartition(":")[2]) - 1
        if index in self.cut:
            raise ConnectionFailed("PL-300", f"no answer from {address}")
        return self.nodes[index].answer(request)

    async def close(self) -> None:
        pass


def agree_now(clock: QuorumClock, nodes: Sequence[TimeNode], cut: Sequence[int] = ()) -> bool:
    """One round, here and now; on a loop of its own."""
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(clock.ask_once(Wires(nodes, cut)))
    finally:
        loop.close()
