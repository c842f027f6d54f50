"""One round of asking: the answers are checked one by one, then the quorum's time is computed. No socket, no clock.

A node that is silent, slow, forging, replaying or answering twice only loses its own voice.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, Timeout
from creto.common.limits import TIME_NODES_MAX
from creto.platform.consensus.median import RADIUS_NS_MAX, Agreement, Sample, agree
from creto.platform.consensus.reading import Cluster, Question, decode_reading, verified
from creto.platform.consensus.types import NodeId, NodeState, Verifier


class Peer(msgspec.Struct, frozen=True):
    """A time node as its clients know it: where it is, and the key that is pinned for it."""

    address: str
    node: NodeId
    key: Verifier


def checked_peers(peers: Sequence[Peer]) -> tuple[Peer, ...]:
    """A key counts once: who holds one key has one voice, at however many addresses."""
    if not 1 <= len(peers) <= TIME_NODES_MAX:
        raise InvalidInput.of("nodes", got=len(peers), expected=f"1 to {TIME_NODES_MAX} time nodes")
    if len({peer.node for peer in peers}) != len(peers) or len({peer.address for peer in peers}) != len(peers):
        raise InvalidInput.of("nodes", got="a node named twice", expected="distinct keys and addresses")
    return tuple(peers)


class Round:
    """The answers to one question."""

    def __init__(self, peers: tuple[Peer, ...], cluster: Cluster, nonce: bytes) -> None:
        self.peers = peers
        self.question = Question(cluster, nonce)
        self.request = wire.encode(self.question)
        self._samples: dict[NodeId, Sample] = {}
        self._faults: dict[NodeId, str] = {}

    def offer(self, peer: Peer, data: bytes, sent: int, received: int) -> None:
        """An answer, with our elapsed time at the request and at the answer. Only the first of a node counts."""
        if peer.node in self._samples or peer.node in self._faults:
            return
        try:
            time = verified(decode_reading(data), self.question, peer.node, peer.key)
            radius = (received - sent + 1) // 2
            if radius > RADIUS_NS_MAX:
                raise Timeout.of("round trip", got=f"{2 * radius} ns", expected=f"at most {2 * RADIUS_NS_MAX} ns")
        except EnablementError as error:
            self.missed(peer, error)
            return
        middle = (sent + received) // 2
        self._samples[peer.node] = Sample(peer.node, time - middle, radius, middle)

    def missed(self, peer: Peer, error: EnablementError) -> None:
        """No answer, or one that is not to be believed."""
        if peer.node not in self._samples:
            self._faults.setdefault(peer.node, str(error))

    def result(self) -> Agreement | None:
        return agree(list(self._samples.values()), len(self.peers))

    def states(self, agreement: Agreement | None) -> tuple[NodeState, ...]:
        return tuple(self._state(peer, agreement) for peer in self.peers)

    def _state(self, peer: Peer, agreement: Agreement | None) -> NodeState:
        sample = self._samples.get(peer.node)
        if sample is None:
            return NodeState(peer.node, peer.address, fault=self._faults.get(peer.node, "no answer"))
        return NodeState(
            peer.node,
            peer.address,
            taken=agreement is not None and peer.node in agreement.nodes,
            offset_ns=None if agreement is None else sample.offset - agreement.offset,
            round_trip_ns=2 * sample.radius,
        )
