"""The quorum clock over nodes without sockets: one round at a time, on a machine whose clocks the test moves."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.stores import MakeStore
from tests.unit.platform.consensus.fakes import FakeLocal, ToyKey
from tests.unit.platform.consensus.quorums import Wires, agree_now, cluster

from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.timestamps import HOUR, MILLISECOND, SECOND
from creto.platform.consensus import ClockState, Cluster, QuorumClock
from creto.platform.consensus.node import TimeNode
from creto.platform.consensus.rounds import Peer
from creto.platform.consensus.testing import MANUAL_START
from creto.platform.crypto import SignatureSuite, SigningKey


class Machine:
    """A client machine whose wall clock is `wrong_ns` off, and four nodes that tell the right time."""

    def __init__(self, wrong_ns: int = 0, offsets_ns: tuple[int, ...] = (0, 0, 0, 0)) -> None:
        self.local = FakeLocal(wall=MANUAL_START + wrong_ns)
        self.nodes, self.peers = cluster(4, *(lambda ns=ns: self.right + ns for ns in offsets_ns))
        self.clock = QuorumClock(self.peers, local=self.local)

    @property
    def right(self) -> int:
        return MANUAL_START + self.local.elapsed_ns - 10**12

    def agree(self, cut: tuple[int, ...] = ()) -> bool:
        return agree_now(self.clock, self.nodes, cut)

    @property
    def error_ns(self) -> int:
        return self.clock.state().reading - self.right


def test_before_any_quorum_time_is_local_and_marked() -> None:
    machine = Machine(wrong_ns=HOUR)
    assert machine.clock.degraded
    assert machine.clock.now() == MANUAL_START + HOUR
    assert machine.clock.state().uncertainty_ns is None


def test_the_quorum_is_right_whatever_the_wall_clock_says() -> None:
    machine = Machine(wrong_ns=HOUR)
    assert machine.agree()
    assert not machine.clock.degraded
    assert machine.clock.now() == machine.right


@pytest.mark.parametrize("lie_ns", [10 * SECOND, -10 * SECOND, 99 * MILLISECOND, 2**61])
def test_one_lying_node_of_four_moves_nothing(lie_ns: int) -> None:
    machine = Machine(offsets_ns=(0, 0, lie_ns, 0))
    assert machine.agree()
    assert machine.clock.now() == machine.right
    assert not machine.clock.degraded


def test_two_of_four_silent_are_no_quorum_and_it_recovers() -> None:
    machine = Machine()
    assert machine.agree()
    machine.local.pass_time(4 * SECOND)
    assert not machine.agree(cut=(0, 1))
    assert not machine.clock.degraded
    machine.local.pass_time(2 * SECOND)
    assert machine.clock.degraded
    assert machine.error_ns == 0
    assert machine.agree(cut=(0,))
    assert not machine.clock.degraded


def test_a_stopped_process_does_not_vouch_for_what_it_knew() -> None:
    """SIGSTOP, or a machine asleep: nothing ran, but elapsed time went on."""
    machine = Machine()
    machine.agree()
    machine.local.pass_time(HOUR)
    assert machine.clock.degraded
    assert machine.error_ns == 0


@pytest.mark.parametrize("step", [HOUR, -HOUR, 101 * MILLISECOND])
def test_a_wall_clock_that_moves_makes_it_doubt_until_the_next_round(step: int) -> None:
    machine = Machine()
    machine.agree()
    machine.local.step_wall(step)
    assert machine.clock.degraded
    assert machine.error_ns == 0
    machine.agree()
    assert not machine.clock.degraded


def test_time_given_ahead_is_approached_without_going_back() -> None:
    machine = Machine(wrong_ns=10 * SECOND)
    given = machine.clock.now()
    machine.agree()
    assert machine.clock.now() > given
    assert machine.clock.degraded, "it is ten seconds ahead and must not vouch"
    machine.local.pass_time(100 * SECOND)
    machine.agree()
    assert not machine.clock.degraded
    assert abs(machine.error_ns) < MILLISECOND


def test_uncertainty_holds_the_honest_nodes_and_grows_with_age() -> None:
    machine = Machine(offsets_ns=(-20 * MILLISECOND, 0, 20 * MILLISECOND, 0))
    machine.agree()
    state = machine.clock.state()
    assert state.uncertainty_ns is not None
    assert abs(state.reading - machine.right) <= state.uncertainty_ns
    machine.local.pass_time(SECOND)
    later = machine.clock.state().uncertainty_ns
    assert later is not None
    assert later > state.uncertainty_ns


def test_says_of_each_node_what_the_round_saw() -> None:
    machine = Machine(offsets_ns=(0, 0, 5 * SECOND, 0))
    machine.agree(cut=(3,))
    assert not machine.clock._agreed.is_set()
    machine.agree()
    state: ClockState = machine.clock.state()
    assert [node.taken for node in state.nodes] == [True, True, False, True]
    assert state.nodes[2].offset_ns == 5 * SECOND


def slow(machine: Machine, ns: int) -> Wires:
    class Slow(Wires):
        async def ask(self, address: str, request: bytes, timeout_s: float) -> bytes:
            answer = await super().ask(address, request, timeout_s)
            machine.local.pass_time(ns)
            return answer

    return Slow(machine.nodes)


async def test_answers_slower_than_the_tolerance_are_not_believed() -> None:
    machine = Machine()
    assert not await machine.clock.ask_once(slow(machine, 210 * MILLISECOND))
    assert machine.clock.degraded
    assert "round trip" in str(machine.clock.state().nodes[0].fault)


async def test_the_slowness_of_answers_is_part_of_the_uncertainty() -> None:
    machine = Machine()
    assert await machine.clock.ask_once(slow(machine, 10 * MILLISECOND))
    uncertainty = machine.clock.state().uncertainty_ns
    assert uncertainty is not None
    assert abs(machine.error_ns) <= uncertainty < 50 * MILLISECOND


def test_continues_above_the_run_before(make_store: MakeStore) -> None:
    store = make_store(parts=("creto.platform.consensus",))
    machine = Machine()
    first = QuorumClock(machine.peers, local=machine.local, store=store)
    assert agree_now(first, machine.nodes)
    assert first._agreed.wait(10), "the mark is on disk"
    last = max(first.timestamps(1000))
    assert not first.degraded
    machine.local.boot = "boot-2"
    again = QuorumClock(machine.peers, local=machine.local, store=store)
    rounds = 1
    while not agree_now(again, machine.nodes):
        machine.local.pass_time(SECOND // 4)
        rounds += 1
    assert rounds == 2
    assert again.now() > last
    assert again._agreed.wait(10)
    assert not again.degraded


def test_past_the_mark_it_says_so(make_store: MakeStore) -> None:
    store = make_store(parts=("creto.platform.consensus",))
    machine = Machine()
    clock = QuorumClock(machine.peers, local=machine.local, store=store)
    assert agree_now(clock, machine.nodes)
    assert clock._agreed.wait(10)
    store.close()
    machine.local.pass_time(2 * SECOND)
    clock.now()
    assert not clock.degraded
    machine.local.pass_time(1)
    assert agree_now(clock, machine.nodes), "the quorum answers, the store does not"
    clock.now()
    assert clock.degraded


def test_a_key_has_one_voice() -> None:
    key = SigningKey.generate(SignatureSuite.ED25519).public
    with pytest.raises(InvalidInput, match="distinct keys"):
        QuorumClock([("a:1", key), ("b:1", key)])


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "host:0", "host:99999", "host:x"])
def test_an_address_is_host_and_port(address: str) -> None:
    key = SigningKey.generate(SignatureSuite.ED25519).public
    with pytest.raises(InvalidInput, match="host:port"):
        QuorumClock([(address, key)])


async def test_no_quorum_at_the_start_is_an_error_and_the_asking_goes_on() -> None:
    nodes, peers = cluster(4, lambda: MANUAL_START)
    wires = Wires(nodes, cut=(0, 1, 2, 3))
    clock = QuorumClock(peers, transport=lambda: wires, round_s=0.01)
    try:
        with pytest.raises(ConnectionFailed) as error:
            await clock.start(timeout_s=0.05)
        assert error.value.code == "PL-301"
        assert "no answer from node:1" in str(error.value.got)
        wires.cut.clear()
        assert await asyncio.to_thread(clock._agreed.wait, 10)
    finally:
        await asyncio.to_thread(clock.close)
    assert clock._thread is not None
    assert not clock._thread.is_alive()


class Faulty(Wires):
    """Wires on which the first node answers with `answer(request)`."""

    def __init__(self, nodes: list[TimeNode], answer) -> None:  # type: ignore[no-untyped-def]
        super().__init__(nodes)
        self.answer = answer

    async def ask(self, address: str, request: bytes, timeout_s: float) -> bytes:
        return self.answer(request) if address == "node:1" else await super().ask(address, request, timeout_s)


async def fault_of_first(machine: Machine, answer) -> str:  # type: ignore[no-untyped-def]
    assert await machine.clock.ask_once(Faulty(machine.nodes, answer)), "the other three are a quorum"
    assert machine.clock.now() == machine.right
    node = machine.clock.state().nodes[0]
    assert not node.taken
    return str(node.fault)


async def test_a_forged_reading_is_refused() -> None:
    machine = Machine()
    forger = TimeNode(ToyKey(99), clock=lambda: machine.right + SECOND)
    forger.node = machine.nodes[0].node
    assert "PL-306" in await fault_of_first(machine, forger.answer)


async def test_another_nodes_reading_is_refused() -> None:
    machine = Machine()
    assert "PL-306" in await fault_of_first(machine, machine.nodes[1].answer)


async def test_a_replayed_reading_is_refused() -> None:
    machine = Machine()
    old: list[bytes] = []

    def record(request: bytes) -> bytes:
        old.append(machine.nodes[0].answer(request))
        return old[0]

    assert await machine.clock.ask_once(Faulty(machine.nodes, record))
    machine.local.pass_time(SECOND)
    assert "PL-306 nonce" in await fault_of_first(machine, record)


async def test_a_reading_of_another_epoch_is_refused() -> None:
    machine = Machine()
    other = TimeNode(ToyKey(0), Cluster(epoch=1), clock=lambda: machine.right)

    def answer(request: bytes) -> bytes:
        other.cluster = Cluster()
        question = machine.nodes[0].answer(request)
        return question.replace(b'"epoch":0', b'"epoch":1')

    assert "PL-306 cluster" in await fault_of_first(machine, answer)


async def test_bytes_that_are_no_reading_are_refused() -> None:
    machine = Machine()
    assert "PL-400" in await fault_of_first(machine, lambda request: b"\xff\x00")


def test_peers_may_be_given_whole() -> None:
    key = ToyKey(1)
    assert QuorumClock([Peer("a:1", TimeNode(key).node, key.public)]).peers[0].address == "a:1"
