"""A cluster of time nodes in a bottle: clocks, network and faults come from a seed, the rules are the production ones.

`Simulation(seed).run()` raises AssertionError with the seed when an invariant breaks; `Simulation(seed).run()` again replays it.

The real `TimeNode.answer`, `Round` and `QuorumClock` run here; only sockets, threads and signatures are replaced.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.unit.platform.consensus.fakes import FakeLocal, ToyKey

from creto.common.errors import ConnectionFailed
from creto.common.limits import TIME_AGE_S_MAX, TIME_ANSWER_S_MAX
from creto.common.timestamps import MICROSECOND, MILLISECOND, SECOND
from creto.platform.consensus.client import SKEW_NS_MAX
from creto.platform.consensus.median import faults_tolerated, quorum
from creto.platform.consensus.node import TimeNode, node_id
from creto.platform.consensus.quorum import QuorumClock
from creto.platform.consensus.reading import Cluster
from creto.platform.consensus.rounds import Peer, Round
from creto.platform.consensus.testing import MANUAL_START

CLUSTER = Cluster("simulated", 1)
ANSWER_NS_MAX = int(TIME_ANSWER_S_MAX * SECOND)
AGE_NS_MAX = int(TIME_AGE_S_MAX * SECOND)
ROUNDS = 24
QUIET_ROUNDS = 12


class Fault(Enum):
    NONE = auto()
    SILENT = auto()
    LYING = auto()  # the same wrong time to all
    CREEPING = auto()  # wrong by a little more each time
    EQUIVOCATING = auto()  # another time for every question
    SKEWED = auto()  # a bad oscillator
    FORGING = auto()  # another's name, its own key
    REPLAYING = auto()  # an old answer, once it has one
    SLOW = auto()
    GARBLED = auto()


@dataclass
class SimNode:
    index: int
    fault: Fault
    offset_ns: int
    drift_ppm: int
    random: random.Random
    recorded: bytes | None = None
    asked: int = 0

    def __post_init__(self) -> None:
        self.key = ToyKey(self.index)
        self.node = TimeNode(self.key, CLUSTER, clock=lambda: self.reading)
        self.reading = 0

    def true_clock(self, t: int) -> int:
        return t + self.offset_ns + (t - MANUAL_START) * self.drift_ppm // 1_000_000

    def answer(self, request: bytes, t: int) -> bytes | None:
        self.asked += 1
        clock = self.true_clock(t)
        match self.fault:
            case Fault.SILENT:
                return None
            case Fault.LYING:
                clock += self.lie
            case Fault.CREEPING:
                clock += self.asked * 10 * MILLISECOND
            case Fault.EQUIVOCATING:
                clock += self.random.choice((-1, 1)) * self.random.randrange(10 ** self.random.randrange(6, 11))
            case Fault.REPLAYING if self.recorded is not None:
                return self.recorded
            case Fault.GARBLED:
                return self.random.randbytes(self.random.randrange(200))
            case Fault.FORGING:
                return TimeNode(ToyKey(99), CLUSTER, clock=lambda: clock + 10 * SECOND).answer(request)
            case _:
                pass
        self.reading = max(0, clock)
        self.recorded = answer = self.node.answer(request)
        return answer

    @property
    def lie(self) -> int:
        return (-1) ** self.index * (60 * MILLISECOND + self.index * 3 * SECOND)


@dataclass
class Interval:
    start: int
    end: int

    def holds(self, t: int) -> bool:
        return self.start <= t < self.end


@dataclass
class Client:
    """A process with a QuorumClock, its machine and what the world does to it."""

    local: FakeLocal
    clock: QuorumClock
    drift_ppm: int
    cut_off: dict[int, list[Interval]]  # per node
    pauses: list[Interval]
    steps: list[tuple[int, int]]
    last: int = 0
    last_quorum_t: int = -(10**30)  # when 2f+1 answers last came in time
    vouched: int = 0
    at: int = 0  # the true time it has lived to

    def set_time(self, t: int, begin: int) -> None:
        """The machine's clocks at true time `t`."""
        assert t >= self.at, "the simulation runs backwards"
        self.at = t
        self.local.elapsed_ns = 10**12 + (t - begin) + (t - begin) * self.drift_ppm // 1_000_000
        while self.steps and self.steps[0][0] <= t:
            self.local.step_wall(self.steps.pop(0)[1])

    def awake(self, t: int) -> int:
        """When a process that should act at `t` really does."""
        for pause in self.pauses:
            if pause.holds(t):
                return pause.end
        return t


@dataclass
class Simulation:
    seed: int
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        r = self.random = random.Random(self.seed)
        self.begin = MANUAL_START + r.randrange(SECOND)
        count = r.choice((4, 4, 4, 7))
        faults = [Fault.NONE] * count
        for index in r.sample(range(count), r.randrange(faults_tolerated(count) + 1)):
            faults[index] = r.choice([fault for fault in Fault if fault is not Fault.NONE])
        self.nodes = [self.make_node(index, fault) for index, fault in enumerate(faults)]
        self.honest = [
            node for node in self.nodes if node.fault in (Fault.NONE, Fault.SLOW, Fault.SILENT, Fault.REPLAYING)
        ]
        self.peers = [Peer(f"sim:{n.index + 1}", node_id(n.key.public), n.key.public) for n in self.nodes]
        self.end = self.begin + (ROUNDS + QUIET_ROUNDS) * SECOND
        self.noisy_until = self.begin + ROUNDS * SECOND
        self.clients = [self.make_client() for _ in range(2)]

    def make_node(self, index: int, fault: Fault) -> SimNode:
        r = self.random
        drift = r.choice((-1, 1)) * r.randrange(20_000, 200_000) if fault is Fault.SKEWED else r.randrange(-100, 101)
        return SimNode(index, fault, r.randrange(-30, 31) * MILLISECOND, drift, random.Random(r.random()))

    def make_client(self) -> Client:
        r = self.random
        wrong = r.choice((0, r.randrange(-3600, 3601) * SECOND, r.randrange(-90, 90) * MILLISECOND))
        local = FakeLocal(wall=self.begin + wrong)
        clock = QuorumClock(self.peers, CLUSTER, local=local, nonce=lambda: r.randbytes(32))
        cut_off: dict[int, list[Interval]] = {}
        for _ in range(r.randrange(3)):
            window = self.window(9)
            for index in r.sample(range(len(self.nodes)), r.randrange(1, len(self.nodes) + 1)):
                cut_off.setdefault(index, []).append(window)
        pauses = [self.window(8) for _ in range(r.randrange(2))]
        steps = sorted((self.window(1).start, r.randrange(-3600, 3601) * SECOND) for _ in range(r.choice((0, 0, 1, 2))))
        return Client(local, clock, r.randrange(-100, 101), cut_off, pauses, steps)

    def window(self, seconds_max: int) -> Interval:
        start = self.begin + self.random.randrange((ROUNDS - seconds_max) * SECOND)
        return Interval(start, start + self.random.randrange(1, seconds_max * SECOND))

    def run(self) -> Simulation:
        try:
            for second in range(ROUNDS + QUIET_ROUNDS):
                t = self.begin + second * SECOND
                for client in self.clients:
                    start = client.awake(t + self.random.randrange(50 * MILLISECOND))
                    if start >= client.at:  # else the process is still stopped in an earlier round
                        self.round(client, start)
                for offset_ms in sorted(self.random.sample(range(300, 1000), 3)):
                    self.probe(t + offset_ms * MILLISECOND)
            self.check_recovered()
        except AssertionError as error:
            raise AssertionError(f"seed {self.seed}: {error}\n" + "\n".join(self.trace[-20:])) from error
        return self

    def round(self, client: Client, t: int) -> None:
        client.set_time(t, self.begin)
        round = Round(client.clock.peers, CLUSTER, client.clock._nonce())
        sent = client.local.elapsed()
        arrivals: list[tuple[int, int, bytes]] = []
        for node in self.nodes:
            out, back = self.delay(node, t), self.delay(node, t)
            if any(window.holds(t) for window in client.cut_off.get(node.index, [])) or self.lost(t):
                continue
            answer = node.answer(round.request, t + out)
            if answer is not None and out + back <= ANSWER_NS_MAX:
                arrivals.append((client.awake(t + out + back), node.index, answer))
        for arrival, index, answer in sorted(arrivals):
            client.set_time(arrival, self.begin)
            round.offer(client.clock.peers[index], answer, sent, client.local.elapsed())
        in_time = [a for a in arrivals if a[0] - t <= 2 * SKEW_NS_MAX]
        if len(in_time) >= quorum(len(self.nodes)):
            client.last_quorum_t = t
        agreed = client.clock.conclude(round)
        self.trace.append(f"t={t - self.begin} round agreed={agreed} answers={len(arrivals)}")

    def delay(self, node: SimNode, t: int) -> int:
        if node.fault is Fault.SLOW:
            return self.random.randrange(20, 400) * MILLISECOND
        spike = t < self.noisy_until and self.random.random() < 0.03
        return self.random.randrange(200) * MILLISECOND if spike else self.random.randrange(50, 5_000) * MICROSECOND

    def lost(self, t: int) -> bool:
        return t < self.noisy_until and self.random.random() < 0.02

    def probe(self, t: int) -> None:
        """Both processes look at their clocks; then the first one's timestamp travels to the second."""
        given = [self.look(client, t) for client in self.clients if client.awake(t) == t and t >= client.at]
        if len(given) == 2 and not any(client.clock.degraded for client in self.clients):
            receiver = self.clients[1]
            try:
                receiver.clock.observe(given[0])
            except ConnectionFailed:
                return  # the two lie further apart than the tolerance leaves room for
            assert self.look(receiver, t) > given[0], "an effect is not after its cause"

    def look(self, client: Client, t: int) -> int:
        client.set_time(t, self.begin)
        now = client.clock.now()
        degraded = client.clock.degraded
        self.trace.append(f"t={t - self.begin} now={now - t:+} degraded={degraded}")
        assert now > client.last, f"time went back by {client.last - now} ns"
        client.last = now
        if not degraded:
            client.vouched += 1
            nearest = min(abs(now - node.true_clock(t)) for node in self.honest)
            assert nearest <= SKEW_NS_MAX, f"{nearest} ns from the nearest honest clock"
        if t - client.last_quorum_t > AGE_NS_MAX + SECOND:
            assert degraded, "no quorum for long, and the clock does not say so"
        return now

    def check_recovered(self) -> None:
        """After a quiet while with at most f faulty nodes the clock vouches again, unless it must still work off that it ran ahead."""
        for client in self.clients:
            client.set_time(self.end, self.begin)
            owed = abs(client.clock._time.line.owed(client.local.elapsed()))
            assert owed > SKEW_NS_MAX // 2 or not client.clock.degraded, "the clock did not recover"
