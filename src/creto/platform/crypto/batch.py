"""Batch seals: one hybrid signature over many leaves, each with a proof that stands alone.

    batch = seal_batch(key, [b"first", b"second"], context=b"creto/receipts/v1")
    proof = batch.proof(1).to_bytes()
    verify_seal(b"second", proof, key.public, context=b"creto/receipts/v1")

A proof is `version || hash suite || index || size || path || signature`; the path's length follows from index and size. Where many
proofs travel together, `batch.sealed` (the signed root) is sent once and `batch.path(i)` per leaf.

INVARIANT: the signature covers the suite, the size and the root, in a context of its own, so that no plain signature is a seal.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from creto.common.errors import CryptoError, InvalidInput
from creto.common.limits import BATCH_LEAVES_MAX
from creto.platform.crypto import merkle
from creto.platform.crypto.keys import CONTEXT_BYTES_MAX, SigningKey, VerifyKey
from creto.platform.crypto.types import SIGNATURES, HashSuite, SignatureSuite, suite_of

VERSION = 1
BATCH_CONTEXT = b"creto/batch/v1/"
HEAD = 2 + 4 + 4
PROOF_BYTES_MAX = HEAD + 20 * merkle.HASH_BYTES + 1 + 3373


class SealedRoot(msgspec.Struct, frozen=True):
    """The root of a batch and the signature over it."""

    size: int
    root: bytes
    signature: bytes

    def verify(self, key: VerifyKey, context: bytes) -> None:
        """Raises SignatureVerificationFailed PL-210."""
        key.verify(signed_bytes(self.size, self.root), self.signature, batch_context(context))

    def verify_path(self, leaf: bytes, index: int, path: Sequence[bytes]) -> None:
        """Raises CryptoError PL-217 unless the leaf is in the batch; whether the root is signed is `verify`'s to say."""
        merkle.verify_inclusion(merkle.leaf_hash(leaf), index, self.size, path, self.root)


class SealProof(msgspec.Struct, frozen=True):
    """All that is needed, beside the signer's key, to verify one leaf offline."""

    index: int
    size: int
    path: tuple[bytes, ...]
    signature: bytes

    def to_bytes(self) -> bytes:
        head = bytes((VERSION, HashSuite.SHA256)) + self.index.to_bytes(4) + self.size.to_bytes(4)
        return head + b"".join(self.path) + self.signature

    @staticmethod
    def from_bytes(data: bytes) -> SealProof:
        """Raises CryptoError PL-218, or PL-211 for suites we do not know."""
        if not HEAD < len(data) <= PROOF_BYTES_MAX or data[0] != VERSION:
            raise malformed(f"{len(data)} bytes", f"version {VERSION}, at most {PROOF_BYTES_MAX} bytes")
        if suite_of(HashSuite, data[1]) != HashSuite.SHA256:
            raise malformed(HashSuite(data[1]).name, "SHA256")
        index, size = int.from_bytes(data[2:6]), int.from_bytes(data[6:10])
        if not index < size <= BATCH_LEAVES_MAX:
            raise malformed(f"leaf {index} of {size}", f"an index below a size of at most {BATCH_LEAVES_MAX}")
        end = HEAD + len(merkle.inclusion_ranges(index, size)) * merkle.HASH_BYTES
        path = tuple(data[i : i + merkle.HASH_BYTES] for i in range(HEAD, end, merkle.HASH_BYTES))
        signature = data[end:]
        if not signature:
            raise malformed("no signature", "a signature after the path")
        expected = 1 + SIGNATURES[suite_of(SignatureSuite, signature[0])].signature_bytes
        if len(signature) != expected:
            raise malformed(f"a signature of {len(signature)} bytes", f"{expected} bytes")
        return SealProof(index, size, path, signature)

    def sealed(self, leaf: bytes) -> SealedRoot:
        """The root that this leaf and path lead to; not verified yet."""
        root = merkle.computed_root(merkle.leaf_hash(leaf), self.index, self.size, self.path)
        return SealedRoot(self.size, root, self.signature)

    def verify(self, leaf: bytes, key: VerifyKey, context: bytes) -> None:
        """Raises CryptoError PL-217 for a path of the wrong length, SignatureVerificationFailed PL-210 else."""
        self.sealed(leaf).verify(key, context)


class BatchSeal:
    """A sealed batch, in memory: its signed root, and every leaf's path."""

    def __init__(self, levels: list[list[bytes]], sealed: SealedRoot) -> None:
        self.sealed = sealed
        self._levels = levels

    @property
    def size(self) -> int:
        return self.sealed.size

    @property
    def root(self) -> bytes:
        return self.sealed.root

    @property
    def signature(self) -> bytes:
        return self.sealed.signature

    def path(self, index: int) -> tuple[bytes, ...]:
        if not 0 <= index < self.size:
            raise InvalidInput.of("index", got=index, expected=f"0 to {self.size - 1}")
        return tuple(merkle.path_in(self._levels, index))

    def proof(self, index: int) -> SealProof:
        return SealProof(index, self.size, self.path(index), self.signature)


def seal_batch(key: SigningKey, leaves: Sequence[bytes], context: bytes = b"") -> BatchSeal:
    """Sign the Merkle root over the leaves, in their order."""
    return seal_hashes(key, [merkle.leaf_hash(leaf) for leaf in leaves], context)


def seal_hashes(key: SigningKey, leaf_hashes: Sequence[bytes], context: bytes = b"") -> BatchSeal:
    """As `seal_batch`, for leaves that are hashed already."""
    if not 1 <= len(leaf_hashes) <= BATCH_LEAVES_MAX:
        raise InvalidInput.of("leaves", got=len(leaf_hashes), expected=f"1 to {BATCH_LEAVES_MAX} leaves")
    levels = merkle.levels(leaf_hashes)
    root = levels[-1][0]
    signature = key.sign(signed_bytes(len(leaf_hashes), root), batch_context(context))
    return BatchSeal(levels, SealedRoot(len(leaf_hashes), root, signature))


def verify_seal(leaf: bytes, proof: bytes | SealProof, key: VerifyKey, context: bytes = b"") -> None:
    """Raises CryptoError PL-217 or PL-218, or SignatureVerificationFailed PL-210."""
    read = proof if isinstance(proof, SealProof) else SealProof.from_bytes(proof)
    read.verify(leaf, key, context)


def signed_bytes(size: int, root: bytes) -> bytes:
    return bytes((VERSION, HashSuite.SHA256)) + size.to_bytes(8) + root


def batch_context(context: bytes) -> bytes:
    if len(context) > CONTEXT_BYTES_MAX - len(BATCH_CONTEXT):
        expected = f"at most {CONTEXT_BYTES_MAX - len(BATCH_CONTEXT)} bytes"
        raise InvalidInput.of("context", got=f"{len(context)} bytes", expected=expected)
    return BATCH_CONTEXT + context


def malformed(got: str, expected: str) -> CryptoError:
    return CryptoError.of("seal proof", got=got, expected=expected, code="PL-218")
