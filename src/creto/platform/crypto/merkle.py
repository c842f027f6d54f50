"""Merkle trees as in RFC 6962 and RFC 9162, over SHA-256. Pure: no tree is kept, no disk is read.

    hashes = [leaf_hash(entry) for entry in entries]
    verify_inclusion(hashes[3], 3, len(hashes), inclusion_proof(hashes, 3), root(hashes))

Trees too large for memory keep the hashes of full subtrees, addressed (level, index): `inclusion_ranges` and
`consistency_ranges` say which leaf ranges a proof needs, `range_nodes` which full subtrees a range consists of, `fold` joins them.

INVARIANT: leaves are hashed with 0x00 in front, nodes with 0x01 (RFC 9162 2.1.1): a node is never taken for a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from creto.common.errors import CryptoError, InvalidInput

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()
SIZE_MAX = 2**63 - 1
PROOF_HASHES_MAX = 64  # no tree of at most SIZE_MAX leaves has a longer inclusion proof

NodeReader = Callable[[int, int], bytes]  # (level, index) -> hash of the full subtree of 2**level leaves


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """RFC 9162 2.1.1, level by level."""
    level = list(leaf_hashes)
    while len(level) > 1:
        level = above(level)
    return level[0] if level else EMPTY_ROOT


def split(size: int) -> int:
    """The largest power of two smaller than size (RFC 9162 2.1.1)."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """RFC 9162 2.1.3.1: the leaf ranges whose roots are the inclusion proof, nearest first."""
    if not 0 <= index < size:
        raise InvalidInput.of("index", got=index, expected=f"0 to {size - 1}" if size else "a tree with leaves")
    ranges: list[tuple[int, int]] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(old_size: int, size: int) -> list[tuple[int, int]]:
    """RFC 9162 2.1.4.1: the leaf ranges whose roots are the consistency proof, in its order."""
    if not 0 <= old_size <= size:
        raise InvalidInput.of("old_size", got=old_size, expected=f"0 to {size}")
    if old_size in (0, size):
        return []
    ranges: list[tuple[int, int]] = []
    start, end, whole = 0, size, True
    while end != old_size:
        middle = start + split(end - start)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, whole = middle, False
    if not whole:
        ranges.append((start, end))
    return ranges[::-1]


def range_nodes(start: int, end: int) -> list[tuple[int, int]]:
    """The full subtrees (level, index) that a proof's leaf range consists of, left to right."""
    nodes: list[tuple[int, int]] = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def fold(hashes: Iterable[bytes]) -> bytes:
    """The root over full subtrees of falling size, left to right."""
    parts = list(hashes)
    if not parts:
        return EMPTY_ROOT
    right = parts.pop()
    while parts:
        right = sha256(b"\x01" + parts.pop() + right).digest()
    return right


def read_ranges(ranges: Iterable[tuple[int, int]], node: NodeReader) -> list[bytes]:
    """A proof from stored subtrees."""
    return [fold(node(level, index) for level, index in range_nodes(start, end)) for start, end in ranges]


def inclusion_proof(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    return [root(leaf_hashes[start:end]) for start, end in inclusion_ranges(index, len(leaf_hashes))]


def levels(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Every node of the tree, leaves first, the root alone at the end."""
    level = list(leaf_hashes)
    all_levels = [level]
    while len(level) > 1:
        level = above(level)
        all_levels.append(level)
    return all_levels


def above(level: list[bytes]) -> list[bytes]:
    """A last node without a neighbour rises unchanged."""
    nodes = [sha256(b"\x01" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=False)]
    if len(level) % 2:
        nodes.append(level[-1])
    return nodes


def path_in(all_levels: list[list[bytes]], index: int) -> list[bytes]:
    """The inclusion proof of one leaf, read from `levels`: for batches, where each leaf gets one."""
    path: list[bytes] = []
    for level in all_levels[:-1]:
        neighbour = index ^ 1
        if neighbour < len(level):
            path.append(level[neighbour])
        index >>= 1
    return path


def inclusion_proofs(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """Every leaf's proof, at the price of one root."""
    all_levels = levels(leaf_hashes)
    return [path_in(all_levels, index) for index in range(len(leaf_hashes))]


def consistency_proof(leaf_hashes: Sequence[bytes], old_size: int) -> list[bytes]:
    return [root(leaf_hashes[start:end]) for start, end in consistency_ranges(old_size, len(leaf_hashes))]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 2.1.3.2. Raises CryptoError PL-217."""
    if not 0 <= index < size <= SIZE_MAX:
        raise not_valid("inclusion", f"leaf {index} of {size}", "an index inside the tree")
    if computed_root(leaf_hash, index, size, proof) != root:
        raise not_valid("inclusion", "another root", "the tree's root")


def computed_root(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root that the proof leads to; raises PL-217 if the proof is of the wrong length."""
    fn, sn = index, size - 1
    current = checked_hash(leaf_hash, "inclusion")
    for step in proof:
        if sn == 0:
            raise not_valid("inclusion", f"{len(proof)} hashes", "fewer hashes")
        checked_hash(step, "inclusion")
        if fn & 1 or fn == sn:
            current = sha256(b"\x01" + step + current).digest()
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            current = sha256(b"\x01" + current + step).digest()
        fn >>= 1
        sn >>= 1
    if sn:
        raise not_valid("inclusion", f"{len(proof)} hashes", "more hashes")
    return current


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """RFC 9162 2.1.4.2: the new tree begins with the old one. Raises CryptoError PL-217.

    An empty old tree is refused (RFC 9162: 0 < m): nothing would be proved, and a caller who asks has lost what it had seen.
    """
    if not 0 <= old_size <= new_size <= SIZE_MAX:
        raise not_valid("consistency", f"{old_size} to {new_size} leaves", "a tree that has grown")
    if old_size == new_size:
        if proof:
            raise not_valid("consistency", f"{len(proof)} hashes", "an empty proof")
        if old_root != new_root or (new_size == 0 and new_root != EMPTY_ROOT):
            raise not_valid("consistency", "another root", "the old tree's root")
        return
    if old_size == 0:
        raise not_valid("consistency", "an empty old tree, which every tree begins with", "a tree with leaves")
    if not proof:
        raise not_valid("consistency", "an empty proof", "at least one hash")
    # RFC 9162 2.1.4.2 step 2: an old tree that is a full subtree of the new one starts the walk itself.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    for step in path:
        checked_hash(step, "consistency")
    fn, sn = old_size - 1, new_size - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    old = new = path[0]
    for step in path[1:]:
        if sn == 0:
            raise not_valid("consistency", f"{len(proof)} hashes", "fewer hashes")
        if fn & 1 or fn == sn:
            old = sha256(b"\x01" + step + old).digest()
            new = sha256(b"\x01" + step + new).digest()
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            new = sha256(b"\x01" + new + step).digest()
        fn >>= 1
        sn >>= 1
    if sn:
        raise not_valid("consistency", f"{len(proof)} hashes", "more hashes")
    if old != old_root or new != new_root:
        raise not_valid("consistency", "other roots", "the roots of both trees")


class CompactRange:
    """The right border of a growing tree: append a leaf in O(1) amortised, read the root in O(log n).

    `hashes` are the roots of the full subtrees, left to right, one per set bit of `size`.
    """

    __slots__ = ("hashes", "size")

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if not 0 <= size <= SIZE_MAX or len(self.hashes) != size.bit_count():
            got = f"{len(self.hashes)} hashes for {size} leaves"
            raise InvalidInput.of("compact range", got=got, expected="one hash per set bit of the size")

    def append(self, leaf_hash: bytes, on_node: Callable[[int, int, bytes], None] | None = None) -> None:
        """`on_node(level, index, hash)` hears of each full subtree as it completes, leaves included."""
        current, size, level = leaf_hash, self.size, 0
        if on_node:
            on_node(0, size, leaf_hash)
        while size & 1:
            current = sha256(b"\x01" + self.hashes.pop() + current).digest()
            size >>= 1
            level += 1
            if on_node:
                on_node(level, size, current)
        self.hashes.append(current)
        self.size += 1

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        for leaf in leaf_hashes:
            self.append(leaf)

    def root(self) -> bytes:
        return fold(self.hashes)

    def copy(self) -> CompactRange:
        return CompactRange(self.size, self.hashes)

    def to_bytes(self) -> bytes:
        """Size in 8 bytes, then the hashes."""
        return self.size.to_bytes(8) + b"".join(self.hashes)

    @staticmethod
    def from_bytes(data: bytes) -> CompactRange:
        hashes = [data[i : i + HASH_BYTES] for i in range(8, len(data), HASH_BYTES)]
        if len(data) < 8 or len(data) % HASH_BYTES != 8:
            raise InvalidInput.of("compact range", got=f"{len(data)} bytes", expected="8 bytes and hashes of 32 bytes")
        return CompactRange(int.from_bytes(data[:8]), hashes)


def checked_hash(value: bytes, what: str) -> bytes:
    if len(value) != HASH_BYTES:
        raise not_valid(what, f"a hash of {len(value)} bytes", f"{HASH_BYTES} bytes")
    return value


def not_valid(what: str, got: str, expected: str) -> CryptoError:
    return CryptoError(
        "PL-217", f"the {what} proof is not valid: expected {expected}, got {got}", got=got, expected=expected
    )
