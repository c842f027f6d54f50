"""The clock of a cluster: 3f+1 time nodes asked in the background, their median kept by elapsed time in between.

    clock = QuorumClock([("10.0.0.1:9440", key1), ("10.0.0.2:9440", key2), …], Cluster("prod", 3))
    await clock.start()          # the first agreement; PL-301 if there is none
    clock.now()                  # no round trip
    clock.close()

Without a quorum the clock goes on by itself from the last agreement and says that it is `degraded`; it asks on and recovers when a
quorum answers. With a `store` it also keeps a mark on disk, so that it does not step back when the process starts anew.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from creto.common.errors import ConnectionFailed, EnablementError
from creto.common.ids import new_id
from creto.common.limits import TIME_ANSWER_S_MAX, TIME_ROUND_S
from creto.common.logs import fields
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.consensus.client import SKEW_NS_MAX, ConsensusClient
from creto.platform.consensus.discipline import QuorumTime
from creto.platform.consensus.local import LocalTime, SystemTime, wall_offset
from creto.platform.consensus.mark import RESERVE_NS, HighWaterMark
from creto.platform.consensus.median import Agreement
from creto.platform.consensus.node import node_id
from creto.platform.consensus.reading import NONCE_BYTES, Cluster
from creto.platform.consensus.rounds import Peer, Round, checked_peers
from creto.platform.consensus.transport import TcpTransport, Transport, host_port
from creto.platform.consensus.types import ClockState, NodeState
from creto.platform.crypto import VerifyKey, random_bytes
from creto.store.types import Store

log = logging.getLogger("creto.consensus")

START_S_MAX = 5.0
BEGIN_S = 0.25  # between rounds as long as none has brought an agreement
AHEAD_NS = RESERVE_NS + int(TIME_ROUND_S * SECOND)  # the mark is renewed with every round


def peer(address: str, key: VerifyKey) -> Peer:
    host_port(address)
    return Peer(address, node_id(key), key)


class QuorumClock(ConsensusClient):
    """INVARIANT: while not degraded, `now()` is within the tolerated skew of at least f+1 honest nodes."""

    def __init__(
        self,
        nodes: Sequence[tuple[str, VerifyKey] | Peer],
        cluster: Cluster = Cluster(),  # noqa: B008 - frozen
        *,
        local: LocalTime | None = None,
        transport: Callable[[], Transport] = TcpTransport,
        nonce: Callable[[], bytes] = lambda: random_bytes(NONCE_BYTES),
        round_s: float = TIME_ROUND_S,
        store: Store | None = None,
    ) -> None:
        super().__init__()
        self.peers = checked_peers([node if isinstance(node, Peer) else peer(*node) for node in nodes])
        self.cluster = cluster
        self._local = local or SystemTime()
        self._make_transport = transport
        self._nonce = nonce
        self._round_s = round_s
        elapsed = self._local.elapsed()
        self._time = QuorumTime.local(elapsed, wall_offset(self._local))
        self._mark = None if store is None else HighWaterMark(store, new_id("quorum-"))
        self._last = self._floor = 0 if self._mark is None else self._mark.floor(elapsed).value
        self._begun = False
        self._quorate: bool | None = None  # whether the last round had one; None before the first
        self._first_agreed: int | None = None
        self._nodes: tuple[NodeState, ...] = ()
        self._agreed = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def degraded(self) -> bool:
        return self._unmarked or self._time.degraded(self._local.elapsed(), wall_offset(self._local))

    @property
    def _unmarked(self) -> bool:
        """Whether time has passed the mark on disk: the store is away."""
        return self._mark is not None and self._last > self._mark.mark

    def state(self) -> ClockState:
        elapsed = self._local.elapsed()
        time = self._time
        return ClockState(
            reading=ConsensusTimestamp(time.reading(elapsed)),
            degraded=self._unmarked or time.degraded(elapsed, wall_offset(self._local)),
            uncertainty_ns=time.uncertainty(elapsed),
            age_ns=None if time.agreement is None else elapsed - time.agreement.at,
            nodes=self._nodes,
        )

    async def start(self, timeout_s: float = START_S_MAX) -> Self:
        """Ask from now on; returns with the first agreement. Without one in time: PL-301, and the asking goes on."""
        self.start_asking()
        if not await asyncio.to_thread(self._agreed.wait, timeout_s):
            faults = "; ".join(f"{node.address}: {node.fault}" for node in self._nodes if node.fault)
            raise ConnectionFailed("PL-301", got=faults or "no agreement", expected="2f+1 readings close together")
        return self

    def start_asking(self) -> None:
        """Ask from now on, degraded until a quorum answers."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="creto-quorum-clock", daemon=True)
            self._thread.start()

    def close(self) -> None:
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            with suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(stopping.set)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def _physical(self) -> int:
        return self._time.reading(self._local.elapsed())

    def _ahead_ns_max(self) -> int:
        """What the uncertainty leaves of the tolerance: so a timestamp that was observed keeps the promise too."""
        uncertainty = self._time.uncertainty(self._local.elapsed())
        return SKEW_NS_MAX if uncertainty is None else max(0, SKEW_NS_MAX - uncertainty)

    def _run(self) -> None:
        """A loop of its own, so that a busy application cannot starve the rounds."""
        asyncio.run(self._keep_asking())

    async def _keep_asking(self) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        transport = self._make_transport()
        try:
            while not self._stopping.is_set():
                await self.ask_once(transport)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._round_s if self._begun else min(self._round_s, BEGIN_S)):
                        await self._stopping.wait()
        finally:
            await transport.close()

    async def ask_once(self, transport: Transport) -> bool:
        """One round: ask all nodes, adopt what their quorum says. Whether there was one."""
        round = Round(self.peers, self.cluster, self._nonce())
        answers = await asyncio.gather(*(self._ask(transport, round, peer) for peer in self.peers))
        for peer, answer in zip(
            self.peers, answers, strict=True
        ):  # only now: verifying would delay the stamps of the others
            if answer is not None:
                round.offer(peer, *answer)
        return self.conclude(round)

    def conclude(self, round: Round) -> bool:
        """Adopt what the round brought."""
        agreement = round.result()
        self._nodes = round.states(agreement)
        self._tell(agreement is not None)
        if agreement is None:
            return False
        offset = wall_offset(self._local)
        with self._lock:
            elapsed = self._local.elapsed()
            if not self._may_begin(agreement, elapsed):
                return False
            self._time = self._time.adopted(agreement, elapsed, offset, self._last)
            line, last = self._time.line, self._last
        if self._mark is None:
            self._agreed.set()
            return True
        with suppress(EnablementError):  # the store is away or full: the mark is tried again with the next round
            self._mark.reserve(line, last, AHEAD_NS).add_done_callback(lambda _: self._agreed.set())
        return True

    def _tell(self, agreed: bool) -> None:
        """Say once that the quorum is lost, and once that it is back."""
        if agreed == self._quorate:
            return
        if agreed and self._quorate is not None:
            log.info("The time nodes agree again: time is the quorum's", extra=fields(operation="quorum"))
        elif not agreed:
            faults = "; ".join(f"{node.address}: {node.fault}" for node in self._nodes if node.fault)
            log.warning("The time quorum is lost: time is local and soon marked degraded: %s", faults, extra=fields(operation="quorum"))  # fmt: skip
        self._quorate = agreed

    def _may_begin(self, agreement: Agreement, elapsed: int) -> bool:
        """Whether time may go by this agreement: not before it is past all that the run before gave.

        Two agreements share an honest node, and no timestamp that was vouched for lies further than the tolerance from it; so what was
        given before now is less than twice the tolerance ahead, though the mark on disk is further.
        """
        right = agreement.offset + elapsed
        if self._begun or not 0 <= self._floor - right <= AHEAD_NS:
            self._begun = True
            return True
        self._first_agreed = self._first_agreed or elapsed
        self._begun = elapsed - self._first_agreed > 2 * SKEW_NS_MAX
        if self._begun and self._last == self._floor:
            self._last = right - 1
        return self._begun

    async def _ask(self, transport: Transport, round: Round, peer: Peer) -> tuple[bytes, int, int] | None:
        """The answer, and our elapsed time before and after."""
        sent = self._local.elapsed()
        try:
            data = await transport.ask(peer.address, round.request, TIME_ANSWER_S_MAX)
        except EnablementError as error:
            round.missed(peer, error)
            return None
        return data, sent, self._local.elapsed()
