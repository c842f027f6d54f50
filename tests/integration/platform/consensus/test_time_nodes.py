"""Four time nodes as processes of their own, on loopback: one is killed, one lies, one is stopped."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from creto.common.timestamps import MILLISECOND, SECOND
from creto.platform.consensus import Cluster, QuorumClock
from creto.platform.crypto import SigningKey

CLUSTER = Cluster("integration", 1)
NODE = """
import asyncio, sys, time
from creto.platform.consensus import Cluster, TimeNode
from creto.platform.crypto import SigningKey
key = SigningKey.from_private_bytes(bytes.fromhex(sys.stdin.readline()))
lie_ns = int(sys.argv[1])
node = TimeNode(key, Cluster("integration", 1), clock=lambda: time.time_ns() + lie_ns)
asyncio.run(node.run("127.0.0.1", int(sys.argv[2]), lambda host, port: print(port, flush=True)))
"""


class NodeProcess:
    def __init__(self, lie_ns: int = 0) -> None:
        self.key = SigningKey.generate()
        self.lie_ns = lie_ns
        self.port = 0
        self.start()

    def start(self) -> None:
        """Also again, on the port it had."""
        command = [sys.executable, "-c", NODE, str(self.lie_ns), str(self.port)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(self.key.private_bytes().hex().encode() + b"\n")
        self.process.stdin.close()
        self.port = int(self.process.stdout.readline())

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def nodes() -> Iterator[Callable[..., list[NodeProcess]]]:
    started: list[NodeProcess] = []

    def start(*lies_ns: int) -> list[NodeProcess]:
        started.extend(NodeProcess(lie_ns) for lie_ns in lies_ns)
        return started

    yield start
    for node in started:
        node.kill()


def clock_of(nodes: list[NodeProcess]) -> QuorumClock:
    return QuorumClock([(f"127.0.0.1:{node.port}", node.key.public) for node in nodes], CLUSTER, round_s=0.1)


def is_right(clock: QuorumClock) -> bool:
    """Within the tolerance of the machine's own clock, which is the honest nodes' here."""
    before, now, after = time.time_ns(), clock.now(), time.time_ns()
    return before - 100 * MILLISECOND <= now <= after + 100 * MILLISECOND


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        await asyncio.sleep(0.01)


async def test_a_lying_node_and_then_a_killed_one(nodes: Callable[..., list[NodeProcess]]) -> None:
    """One of four lies: time is right. Another is killed: that is more than f, time goes on, marked. It is back: so is the quorum."""
    cluster = nodes(0, 0, 0, 3600 * SECOND)
    async with clock_of(cluster) as clock:
        assert is_right(clock)
        assert [node.taken for node in clock.state().nodes] == [True, True, True, False]
        cluster[0].kill()
        await until(lambda: clock.degraded)
        assert is_right(clock), "local time goes on from the last agreement"
        cluster[0].start()
        await until(lambda: not clock.degraded)
        assert is_right(clock)


async def test_a_killed_node_alone_is_borne(nodes: Callable[..., list[NodeProcess]]) -> None:
    cluster = nodes(0, 0, 0, 0)
    async with clock_of(cluster) as clock:
        cluster[1].kill()
        await until(lambda: clock.state().nodes[1].fault is not None)
        await until(lambda: sum(node.taken for node in clock.state().nodes) == 3)
        assert not clock.degraded
        assert is_right(clock)


async def test_a_stopped_node_alone_is_borne_and_comes_back(nodes: Callable[..., list[NodeProcess]]) -> None:
    cluster = nodes(0, 0, 0, 0)
    async with clock_of(cluster) as clock:
        cluster[2].process.send_signal(signal.SIGSTOP)
        await until(lambda: clock.state().nodes[2].fault is not None)
        assert not clock.degraded
        cluster[2].process.send_signal(signal.SIGCONT)
        await until(lambda: clock.state().nodes[2].fault is None)


STOPPED = """
import asyncio, sys
from creto.platform.consensus import Cluster, QuorumClock
from creto.platform.crypto import VerifyKey
async def main():
    nodes = [(a, VerifyKey.from_bytes(bytes.fromhex(k))) for a, k in (line.split() for line in sys.stdin.readlines())]
    clock = await QuorumClock(nodes, Cluster("integration", 1)).start()
    last = clock.now()
    print("ready", flush=True)
    while True:
        state = clock.state()
        if state.reading - last > 4_000_000_000:
            print(state.reading, state.degraded, flush=True)
            return clock.close()
        last = state.reading
asyncio.run(main())
"""


def test_a_stopped_process_does_not_give_stale_time_as_fresh(nodes: Callable[..., list[NodeProcess]]) -> None:
    """SIGSTOP for longer than knowledge lasts, and no node to ask after SIGCONT: its first look is right, and marked."""
    cluster = nodes(0, 0, 0, 0)
    lines = "\n".join(f"127.0.0.1:{node.port} {node.key.public.to_bytes().hex()}" for node in cluster)
    with subprocess.Popen([sys.executable, "-c", STOPPED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(lines.encode())
        process.stdin.close()
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGSTOP)
        for node in cluster:
            node.process.send_signal(signal.SIGSTOP)
        time.sleep(6)  # real time must pass for a process that is really stopped
        process.send_signal(signal.SIGCONT)
        now, degraded = process.stdout.readline().split()
        assert abs(int(now) - time.time_ns()) <= 3 * SECOND
        assert degraded == b"True"


async def test_timestamps_cost_no_round_trip(nodes: Callable[..., list[NodeProcess]]) -> None:
    """They come, each later than the one before, while no node can answer."""
    cluster = nodes(0, 0, 0, 0)
    async with clock_of(cluster) as clock:
        for node in cluster:
            node.process.send_signal(signal.SIGSTOP)
        given = [clock.now() for _ in range(10_000)]
    assert given == sorted(set(given))


async def test_a_node_hangs_up_on_what_is_no_question(nodes: Callable[..., list[NodeProcess]], tmp_path: Path) -> None:
    [node] = nodes(0)
    for junk in (b"\x00\x00\x00\x02{}", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"GET / HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(junk)
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
    other = QuorumClock([(f"127.0.0.1:{node.port}", node.key.public)], CLUSTER)
    async with other as clock:
        assert not clock.degraded
