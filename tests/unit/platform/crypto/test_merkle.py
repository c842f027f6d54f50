"""Merkle trees: the vectors of RFC 6962's reference code, and a naive tree as the model."""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import CryptoError, InvalidInput
from creto.platform.crypto import merkle

HASHES = [merkle.leaf_hash(bytes((i,))) for i in range(130)]
sizes = st.integers(1, len(HASHES))


def naive_root(hashes: list[bytes]) -> bytes:
    """RFC 9162 2.1.1, word for word."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + naive_root(hashes[:k]) + naive_root(hashes[k:])).digest()


def test_roots_of_rfc_6962(vectors: Path) -> None:
    doc = json.loads((vectors / "merkle" / "rfc6962_roots.json").read_text())
    hashes = [merkle.leaf_hash(bytes.fromhex(leaf)) for leaf in doc["leaf_inputs_hex"]]
    grown = merkle.CompactRange()
    for size, expected in enumerate(doc["root_hashes_hex_by_size"]):
        assert merkle.root(hashes[:size]).hex() == expected
        assert grown.root().hex() == expected
        grown.extend(hashes[size : size + 1])
    assert len(doc["root_hashes_hex_by_size"]) == 9
    for leaf, expected in doc["hash_leaf"].items():
        assert merkle.leaf_hash(bytes.fromhex(leaf)).hex() == expected
    for pair in doc["hash_children"]:
        assert merkle.node_hash(bytes.fromhex(pair["l"]), bytes.fromhex(pair["r"])).hex() == pair["out"]


def unbase64(value: str | None) -> bytes:
    return base64.b64decode(value or "")


def proof_of(case: dict[str, Any]) -> list[bytes]:
    return [unbase64(step) for step in case["proof"] or []]


def accepted(verify: Any, *args: Any) -> bool:
    try:
        verify(*args)
    except CryptoError as error:
        if error.code != "PL-217":
            raise
        return False
    return True


def test_all_proofs_of_transparency_dev(vectors: Path) -> None:
    folder = vectors / "merkle" / "transparency-dev" / "testdata"
    inclusion = consistency = 0
    for path in sorted((folder / "inclusion").rglob("*.json")):
        case = json.loads(path.read_text())
        ok = accepted(
            merkle.verify_inclusion, unbase64(case["leafHash"]), case["leafIdx"], case["treeSize"], proof_of(case),
            unbase64(case["root"]),
        )  # fmt: skip
        assert ok != case["wantErr"], path
        inclusion += 1
    for path in sorted((folder / "consistency").rglob("*.json")):
        case = json.loads(path.read_text())
        ok = accepted(
            merkle.verify_consistency, case["size1"], case["size2"], unbase64(case["root1"]), unbase64(case["root2"]),
            proof_of(case),
        )  # fmt: skip
        assert ok != case["wantErr"], path
        consistency += 1
    assert inclusion + consistency == 196
    # Beside them lie the proofs of subtrees (draft-ietf-plants-merkle-tree-certs): nothing here makes or reads those.
    assert {path.name for path in folder.iterdir()} == {
        "inclusion",
        "consistency",
        "subtreeinclusion",
        "subtreeconsistency",
    }


def test_proofs_of_every_small_tree() -> None:
    for size in range(1, 66):
        hashes = HASHES[:size]
        root = naive_root(hashes)
        assert merkle.root(hashes) == root
        proofs = merkle.inclusion_proofs(hashes)
        for index in range(size):
            assert proofs[index] == merkle.inclusion_proof(hashes, index)
            merkle.verify_inclusion(hashes[index], index, size, proofs[index], root)
        for old in range(1, size + 1):
            proof = merkle.consistency_proof(hashes, old)
            merkle.verify_consistency(old, size, naive_root(hashes[:old]), root, proof)


@given(sizes, st.data())
def test_no_other_leaf_index_size_or_root_is_accepted(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    hashes = HASHES[:size]
    proof, root = merkle.inclusion_proof(hashes, index), merkle.root(hashes)
    other_index = data.draw(st.integers(0, size).filter(lambda i: i != index))
    other_size = data.draw(st.integers(0, 300).filter(lambda n: n != size))
    assert not accepted(merkle.verify_inclusion, HASHES[index], other_index, size, proof, root)
    assert not accepted(merkle.verify_inclusion, flipped(HASHES[index], data), index, size, proof, root)
    assert not accepted(merkle.verify_inclusion, HASHES[index], index, size, proof, flipped(root, data))
    assert not accepted(merkle.verify_inclusion, HASHES[index], index, size, [*proof, root], root)
    if len(merkle.inclusion_ranges(min(index, other_size - 1), other_size) if other_size else []) != len(proof):
        assert not accepted(merkle.verify_inclusion, HASHES[index], index, other_size, proof, root)
    if proof:
        step = data.draw(st.integers(0, len(proof) - 1))
        bent = [flipped(h, data) if i == step else h for i, h in enumerate(proof)]
        assert not accepted(merkle.verify_inclusion, HASHES[index], index, size, bent, root)
        assert not accepted(merkle.verify_inclusion, HASHES[index], index, size, proof[:-1], root)


@given(sizes, st.data())
def test_no_bent_consistency_proof_is_accepted(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, size))
    old_root, root = merkle.root(HASHES[:old]), merkle.root(HASHES[:size])
    proof = merkle.consistency_proof(HASHES[:size], old)
    assert not accepted(merkle.verify_consistency, old, size, flipped(old_root, data), root, proof)
    assert not accepted(merkle.verify_consistency, old, size, old_root, flipped(root, data), proof)
    assert not accepted(merkle.verify_consistency, old, size, old_root, root, [*proof, root])
    if proof:
        step = data.draw(st.integers(0, len(proof) - 1))
        bent = [flipped(h, data) if i == step else h for i, h in enumerate(proof)]
        assert not accepted(merkle.verify_consistency, old, size, old_root, root, bent)
        assert not accepted(merkle.verify_consistency, old, size, old_root, root, proof[:-1])


def flipped(value: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    return (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))


@given(sizes, st.data())
def test_proofs_from_stored_subtrees(size: int, data: st.DataObject) -> None:
    """A log keeps full subtrees by (level, index); proofs read from them are those of the whole tree."""
    nodes: dict[tuple[int, int], bytes] = {}
    grown = merkle.CompactRange()
    for leaf in HASHES[:size]:
        grown.append(leaf, on_node=lambda level, index, value: nodes.__setitem__((level, index), value))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))

    def node(level: int, at: int) -> bytes:
        return nodes[level, at]

    ranges = merkle.inclusion_ranges(index, size)
    assert merkle.read_ranges(ranges, node) == merkle.inclusion_proof(HASHES[:size], index)
    ranges = merkle.consistency_ranges(old, size)
    assert merkle.read_ranges(ranges, node) == merkle.consistency_proof(HASHES[:size], old)
    assert merkle.read_ranges([(0, size)], node) == [merkle.root(HASHES[:size])]


@given(st.integers(0, 130))
def test_compact_range_round_trip(size: int) -> None:
    grown = merkle.CompactRange()
    grown.extend(HASHES[:size])
    read = merkle.CompactRange.from_bytes(grown.to_bytes())
    assert read.root() == grown.root() == naive_root(HASHES[:size])
    copy = read.copy()
    copy.append(HASHES[0])
    assert read.size == size


def test_ranges_of_huge_trees_need_no_leaves() -> None:
    size = 2**62 + 12345
    assert len(merkle.inclusion_ranges(size - 1, size)) < merkle.PROOF_HASHES_MAX
    assert len(merkle.consistency_ranges(2**61 + 7, size)) <= merkle.PROOF_HASHES_MAX


@given(st.binary(max_size=200))
def test_any_bytes_as_a_compact_range(data: bytes) -> None:
    try:
        read = merkle.CompactRange.from_bytes(data)
    except InvalidInput:
        return
    assert read.to_bytes() == data


@given(
    st.binary(max_size=40), st.integers(-3, 2**70), st.integers(-3, 2**70), st.lists(st.binary(max_size=40), max_size=70)
)  # fmt: skip
def test_any_proof_gives_documented_errors(root: bytes, a: int, b: int, proof: list[bytes]) -> None:
    accepted(merkle.verify_inclusion, root, a, b, proof, root)
    accepted(merkle.verify_consistency, a, b, root, root, proof)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3)])
def test_a_proof_of_a_leaf_that_is_not_there(index: int, size: int) -> None:
    with pytest.raises(InvalidInput):
        merkle.inclusion_proof(HASHES[:size], index)
