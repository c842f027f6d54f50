"""Consensus: whose time it is, who decided, and who may act alone.

from creto.platform.consensus import EmbeddedClock, Leases
from creto.store import open_store

store = open_store("sqlite:///data/creto.db", parts=("creto.platform.consensus",))
with EmbeddedClock(store) as clock:                 # a cluster has `QuorumClock([(address, key), …])` instead
    clock.now()                                     # int nanoseconds, strictly increasing, also after kill -9
    async with Leases(store, clock).hold("metering.sequencer") as lease:
        await store.write(lease.fenced(sequence))   # PL-304 if another took over meanwhile

Several humans' decision is a `DecisionCertificate`, checked with their public keys alone.
"""

from creto.platform.consensus.certificate import (
    DecisionCertificate,
    GroupQuorum,
    Human,
    Quorum,
    Seat,
    Statement,
    Trust,
    Verdict,
    sign_seat,
)
from creto.platform.consensus.client import ConsensusClient
from creto.platform.consensus.embedded import EmbeddedClock
from creto.platform.consensus.fence import FenceGuard, advance_fence, check_fence
from creto.platform.consensus.kv import KvLeases
from creto.platform.consensus.leases import Leases
from creto.platform.consensus.node import TimeNode, node_id
from creto.platform.consensus.quorum import QuorumClock
from creto.platform.consensus.reading import Cluster
from creto.platform.consensus.types import ClockState, Lease, LeaseKeeper, NodeId, NodeState, PersonId

__all__ = [
    "ClockState",
    "Cluster",
    "ConsensusClient",
    "DecisionCertificate",
    "EmbeddedClock",
    "FenceGuard",
    "GroupQuorum",
    "Human",
    "KvLeases",
    "Lease",
    "LeaseKeeper",
    "Leases",
    "NodeId",
    "NodeState",
    "PersonId",
    "Quorum",
    "QuorumClock",
    "Seat",
    "Statement",
    "TimeNode",
    "Trust",
    "Verdict",
    "advance_fence",
    "check_fence",
    "node_id",
    "sign_seat",
]
