"""Batch entries: one ledger entry holds the root of many events' own tree, so that each stays provable at the price of one.

    entry = batch_event("metering.events", leaves).entry(tenant=…, agent=…, timestamp=…)
    tx.record(entry)
    proof = prove_in_batch(leaves, 3)          # beside the entry's own proof in the log
    proof.verify(entry)

Any entry whose metadata has `batch_root` and `batch_count` is one; `BatchRecorded` is the plainest.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from creto.common import wire
from creto.common.errors import AuditError, CryptoError, InvalidInput
from creto.platform.audit.events import BatchRecorded
from creto.platform.audit.types import not_proved
from creto.platform.crypto import merkle
from creto.store.types import Entry


class BatchHead(msgspec.Struct, frozen=True):
    batch_root: bytes
    batch_count: int


class BatchProof(msgspec.Struct, frozen=True):
    """That `leaf` is number `index` of the batch."""

    leaf: bytes
    index: int
    count: int
    path: tuple[bytes, ...]

    def verify(self, entry: Entry) -> None:
        """Against the entry that holds the root; that entry's own proof shows it is in the log. Raises PL-608."""
        head = batch_head(entry)
        if head.batch_count != self.count:
            raise AuditError("PL-608", got=f"a batch of {self.count}", expected=f"one of {head.batch_count}")
        try:
            merkle.verify_inclusion(merkle.leaf_hash(self.leaf), self.index, self.count, self.path, head.batch_root)
        except CryptoError as error:
            raise not_proved(error) from error


def batch_event(kind: str, leaves: Sequence[bytes]) -> BatchRecorded:
    if not leaves:
        raise InvalidInput.of("leaves", got="none", expected="at least one event in a batch")
    return BatchRecorded(
        kind=kind, batch_root=merkle.root([merkle.leaf_hash(x) for x in leaves]), batch_count=len(leaves)
    )


def prove_in_batch(leaves: Sequence[bytes], index: int) -> BatchProof:
    if not 0 <= index < len(leaves):
        raise InvalidInput.of("index", got=index, expected=f"below {len(leaves)}, the number of events")
    hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
    return BatchProof(leaves[index], index, len(leaves), tuple(merkle.inclusion_proof(hashes, index)))


def batch_head(entry: Entry) -> BatchHead:
    return wire.decode(bytes(entry.metadata), BatchHead, what="metadata of a batch entry")
