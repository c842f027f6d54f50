"""A time node's signed reading, and the question it answers: what travels between a clock and its nodes.

The question holds a nonce of 32 random bytes; the answer holds the same nonce, the cluster and its epoch, the node and its clock,
signed. So an old answer, one to somebody else, one of another cluster or of another epoch is refused, and nobody but the node can say
what the node's clock reads.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, SignatureVerificationFailed
from creto.common.ids import Name
from creto.common.limits import INTEGER_MAX, TIME_FRAME_BYTES_MAX
from creto.platform.consensus.types import NodeId, Signer, Verifier

READING_CONTEXT = b"creto/time-reading/v1"
NONCE_BYTES = 32

Nonce = Annotated[bytes, msgspec.Meta(min_length=NONCE_BYTES, max_length=NONCE_BYTES)]
Count = Annotated[int, msgspec.Meta(ge=0, le=INTEGER_MAX)]


class Cluster(msgspec.Struct, frozen=True):
    """Which time nodes belong together. A new epoch begins when the set of nodes or their keys change."""

    chain: Name = "creto"
    epoch: Count = 0


class Question(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: Cluster
    nonce: Nonce


class Reading(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: Cluster
    nonce: Nonce
    node: Name
    time: Count
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        return wire.encode(msgspec.structs.replace(self, signature=b""))

    def signed(self, key: Signer) -> Reading:
        return msgspec.structs.replace(self, signature=key.sign(self.signed_bytes(), READING_CONTEXT))


def decode_question(data: bytes) -> Question:
    return wire.decode(bounded(data), Question, what="time question")


def decode_reading(data: bytes) -> Reading:
    return wire.decode(bounded(data), Reading, what="time reading")


def bounded(data: bytes) -> bytes:
    if len(data) > TIME_FRAME_BYTES_MAX:
        raise InvalidInput.of("frame", got=f"{len(data)} bytes", expected=f"at most {TIME_FRAME_BYTES_MAX} bytes")
    return data


def verified(reading: Reading, question: Question, node: NodeId, key: Verifier) -> int:
    """The node's time, if the reading answers this question and the node's pinned key signed it; else PL-306."""
    if reading.nonce != question.nonce:
        raise refused("nonce", reading.nonce.hex(), question.nonce.hex())
    if reading.cluster != question.cluster:
        raise refused("cluster", reading.cluster, question.cluster)
    if reading.node != node:
        raise refused("node", reading.node, node)
    try:
        key.verify(reading.signed_bytes(), reading.signature, READING_CONTEXT)
    except SignatureVerificationFailed as error:
        raise SignatureVerificationFailed("PL-306", "the reading's signature is not valid", caused_by=error) from error
    return reading.time


def refused(field: str, got: object, expected: object) -> SignatureVerificationFailed:
    return SignatureVerificationFailed.of(field, got=got, expected=expected, code="PL-306")
