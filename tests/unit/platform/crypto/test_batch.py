"""Batch seals: one signature, many leaves, each with a proof of its own."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.errors import CryptoError, EnablementError, InvalidInput, SignatureVerificationFailed
from creto.platform.crypto import SealProof, SignatureSuite, SigningKey, seal_batch, verify_seal
from creto.platform.crypto.batch import HEAD, PROOF_BYTES_MAX, batch_context, signed_bytes

HYBRID = SigningKey.generate()
FAST = SigningKey.generate(SignatureSuite.ED25519)
CONTEXT = b"creto/test/v1"


@settings(max_examples=30)
@given(st.lists(st.binary(max_size=20), min_size=1, max_size=40))
def test_every_leaf_verifies_alone(leaves: list[bytes]) -> None:
    batch = seal_batch(FAST, leaves, CONTEXT)
    batch.sealed.verify(FAST.public, CONTEXT)
    for index, leaf in enumerate(leaves):
        data = batch.proof(index).to_bytes()
        assert SealProof.from_bytes(data) == batch.proof(index)
        verify_seal(leaf, data, FAST.public, CONTEXT)
        batch.sealed.verify_path(leaf, index, batch.path(index))


def test_a_hybrid_proof_is_small() -> None:
    leaves = [bytes((i,)) for i in range(200)]
    proof = seal_batch(HYBRID, leaves, CONTEXT).proof(150).to_bytes()
    verify_seal(leaves[150], proof, HYBRID.public, CONTEXT)
    assert len(proof) == HEAD + 8 * 32 + 3374
    assert len(proof) < PROOF_BYTES_MAX


@given(st.integers(1, 30), st.data())
def test_nothing_else_verifies(size: int, data: st.DataObject) -> None:
    leaves = [bytes((i,)) for i in range(size)]
    index = data.draw(st.integers(0, size - 1))
    proof = seal_batch(FAST, leaves, CONTEXT).proof(index).to_bytes()
    bit = data.draw(st.integers(0, 8 * len(proof) - 1))
    bent = (int.from_bytes(proof) ^ 1 << bit).to_bytes(len(proof))
    for leaf, given_proof, context in (
        (leaves[index], bent, CONTEXT),
        (b"another", proof, CONTEXT),
        (leaves[index], proof, b"creto/other/v1"),
        (leaves[index], proof[:-1], CONTEXT),
        (leaves[index], proof + b"\0", CONTEXT),
    ):
        with pytest.raises(EnablementError) as caught:
            verify_seal(leaf, given_proof, FAST.public, context)
        assert caught.value.code in ("PL-210", "PL-211", "PL-217", "PL-218")


def test_a_node_is_no_leaf() -> None:
    """The inner node of a batch of four, offered as a leaf of a batch of two."""
    batch = seal_batch(FAST, [b"a", b"b", b"c", b"d"], CONTEXT)
    proof = batch.proof(0)
    inner = SealProof(0, 2, proof.path[1:], proof.signature)
    with pytest.raises(SignatureVerificationFailed):
        verify_seal(b"a", inner, FAST.public, CONTEXT)


def test_a_plain_signature_is_no_seal() -> None:
    """Someone who can have the root signed as a message in the same context has not sealed a batch."""
    batch = seal_batch(FAST, [b"a"], CONTEXT)
    plain = FAST.sign(signed_bytes(1, batch.root), CONTEXT)
    with pytest.raises(SignatureVerificationFailed):
        verify_seal(b"a", SealProof(0, 1, (), plain), FAST.public, CONTEXT)


def test_another_key_or_suite() -> None:
    proof = seal_batch(HYBRID, [b"a", b"b"], CONTEXT).proof(0)
    for key in (SigningKey.generate().public, HYBRID.public.component(SignatureSuite.ED25519)):
        with pytest.raises(SignatureVerificationFailed):
            verify_seal(b"a", proof, key, CONTEXT)


def test_bounds() -> None:
    with pytest.raises(InvalidInput):
        seal_batch(FAST, [], CONTEXT)
    with pytest.raises(InvalidInput):
        batch_context(bytes(255))
    with pytest.raises(InvalidInput):
        seal_batch(FAST, [b"a"], CONTEXT).proof(1)


@given(st.binary(max_size=400))
def test_any_bytes_give_documented_errors(data: bytes) -> None:
    for start in (b"", b"\x01\x01", b"\x01\x01" + bytes(7) + b"\x01"):
        with pytest.raises((CryptoError, SignatureVerificationFailed)) as caught:
            verify_seal(b"leaf", start + data, FAST.public, CONTEXT)
        assert caught.value.code in ("PL-210", "PL-211", "PL-217", "PL-218")
