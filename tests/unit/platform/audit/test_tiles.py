"""Tiles give the very proofs that the whole tree gives, for every size."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.errors import AuditError, EnablementError, InvalidInput
from creto.platform.audit.tiles import WIDTH, TileGrowth, TileTree, parse_tile_path, tile_path, tiles_of, width_at
from creto.platform.crypto import merkle

LEAVES = [merkle.leaf_hash(number.to_bytes(4)) for number in range(70_000)]
Tiles = dict[tuple[int, int], bytes]


def grown(*sizes: int) -> tuple[TileGrowth, Tiles]:
    growth, tiles = TileGrowth(), {}
    for size in sizes:
        tiles.update(growth.append(LEAVES[growth.size : size]))
    return growth, tiles


def tree(tiles: Tiles, size: int) -> TileTree:
    return TileTree(lambda level, index: tiles[level, index], size)


WHOLE = grown(70_000)[1]
SIZES = st.integers(1, 1_200) | st.sampled_from([255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 70_000])


@given(SIZES, st.data())
@settings(max_examples=60, deadline=None)
def test_proofs_from_tiles_are_the_proofs_of_the_tree(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    leaves = LEAVES[:size]
    found = tree(WHOLE, size)  # tiles of a larger tree serve every smaller one
    assert found.root() == merkle.root(leaves)
    assert list(found.inclusion(index)) == merkle.inclusion_proof(leaves, index)
    assert list(found.consistency(old)) == merkle.consistency_proof(leaves, old)


def test_every_size_up_to_two_tiles() -> None:
    for size in range(1, 2 * WIDTH + 2):
        found = tree(WHOLE, size)
        assert found.root() == merkle.root(LEAVES[:size])
        index = size * 7919 % size if size > 1 else 0
        merkle.verify_inclusion(LEAVES[index], index, size, found.inclusion(index), found.root())


@given(st.lists(st.integers(0, 3_000), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_however_it_grew_the_tiles_are_the_same(cuts: list[int]) -> None:
    sizes = sorted(cuts)
    growth, tiles = grown(*sizes)
    assert growth.size == sizes[-1]
    assert growth.root() == merkle.root(LEAVES[: sizes[-1]])
    assert {(level, index): width for level, index, width in tiles_of(sizes[-1])} == {
        key: len(tile) // 32 for key, tile in tiles.items()
    }
    again = TileGrowth.load(lambda level, index: tiles[level, index], sizes[-1])
    again.append(LEAVES[sizes[-1] : sizes[-1] + 300])
    assert again.root() == merkle.root(LEAVES[: sizes[-1] + 300])


def test_the_example_of_the_specification() -> None:
    found = list(tiles_of(70_000))
    assert sum(1 for level, _, width in found if level == 0 and width == WIDTH) == 273
    assert (0, 273, 112) in found
    assert [(level, index, width) for level, index, width in found if level] == [(1, 0, 256), (1, 1, 17), (2, 0, 1)]
    assert list(tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]


@given(st.integers(0, 3_000), st.integers(0, 3_000))
def test_tiles_since_a_size_are_those_that_changed(a: int, b: int) -> None:
    old, new = sorted((a, b))
    changed = {(l, i) for l, i, w in tiles_of(new) if width_at(l, i, old) != w}  # noqa: E741
    assert {(l, i) for l, i, _ in tiles_of(new, old)} == changed  # noqa: E741


def test_a_short_tile_is_noticed() -> None:
    broken = dict(WHOLE) | {(0, 3): WHOLE[0, 3][:-32]}
    with pytest.raises(AuditError, match="PL-603"):
        tree(broken, 70_000).inclusion(3 * WIDTH)
    with pytest.raises(AuditError, match="PL-603"):
        TileGrowth.load(lambda level, index: b"", 5)


@pytest.mark.parametrize(("index", "path"), [(0, "tile/0/000"), (1_234_067, "tile/0/x001/x234/067"), (999, "tile/0/999"), (1000, "tile/0/x001/000")])  # fmt: skip
def test_paths(index: int, path: str) -> None:
    assert tile_path(0, index) == path
    assert tile_path(0, index, 8) == path + ".p/8"
    assert parse_tile_path(path) == (0, index, 256)
    assert parse_tile_path(path + ".p/8") == (0, index, 8)


@pytest.mark.parametrize("path", ["tile/00/000", "tile/0/0", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/x000/001", "tile/0/000.p/01", "/tile/0/000", "tile/0/000\n", "tile/../000"])  # fmt: skip
def test_another_spelling_of_a_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        parse_tile_path(path)


@given(st.text(alphabet="tile/0123456789x.pn", max_size=40))
def test_any_path_is_read_as_itself_or_refused(path: str) -> None:
    try:
        assert tile_path(*parse_tile_path(path)) == path
    except EnablementError as error:
        assert error.code == "PL-400"


def test_proofs_at_random_places_of_a_large_tree() -> None:
    random_places = random.Random(7)
    found = tree(WHOLE, 70_000)
    root = found.root()
    for _ in range(300):
        index = random_places.randrange(70_000)
        merkle.verify_inclusion(LEAVES[index], index, 70_000, found.inclusion(index), root)
