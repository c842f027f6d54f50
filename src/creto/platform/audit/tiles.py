"""The tree as tiles (c2sp.org/tlog-tiles): 256 hashes in a row, and each full row is one hash of the level above.

A tile is named by its level and its index in the level. Whatever the tree's size, a node of the tree lies in exactly one tile:
a proof is read from a few of them, and the edge of the tree, one partial tile per level, is all one needs to go on growing.

    tree = TileTree(read_tile, size)
    tree.root(), tree.inclusion(index), tree.consistency(old_size)

INVARIANT: tiles only grow to the right. A tile written for a larger tree therefore serves every smaller one: its prefix is the same.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence

from creto.common.errors import AuditError, InvalidInput
from creto.common.limits import INTEGER_MAX, PROOF_TILES_CACHED_MAX
from creto.platform.crypto import merkle
from creto.platform.crypto.merkle import HASH_BYTES

HEIGHT = 8  # of a tile, in levels of the binary tree
WIDTH = 1 << HEIGHT

Tile = tuple[int, int]  # level and index
TileReader = Callable[[int, int], bytes]
TilesReader = Callable[[Collection[Tile]], dict[Tile, bytes]]
Rows = list[list[bytes]]  # the nodes inside a tile, by height above its own row


def width_at(level: int, index: int, size: int) -> int:
    """How many hashes of this tile a tree of this size has."""
    return max(0, min(WIDTH, (size >> (HEIGHT * level)) - index * WIDTH))


def tiles_of(size: int, since: int = 0) -> Iterator[tuple[int, int, int]]:
    """Level, index and width of every tile of a tree; with `since`, only those that a tree of that size did not have whole."""
    level = 0
    while count := size >> (HEIGHT * level):
        first = (since >> (HEIGHT * level)) // WIDTH
        for index in range(first, -(-count // WIDTH)):
            if (width := width_at(level, index, size)) != width_at(level, index, since):
                yield level, index, width
        level += 1


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """Where a tile is served; `level` may be the folder of the bundles of entries."""
    parts = [f"{index % 1000:03d}"]
    while index := index // 1000:
        parts.append(f"x{index % 1000:03d}")
    partial = f".p/{width}" if width < WIDTH else ""
    return f"tile/{level}/{'/'.join(reversed(parts))}{partial}"


TILE_PATH = re.compile(
    r"tile/(?P<level>[0-9]{1,2}|entries(?:32)?)/(?P<index>(?:x\d{3}/){0,6}\d{3})(?:\.p/(?P<width>\d{1,3}))?", re.ASCII
)


def parse_tile_path(path: str) -> tuple[int | str, int, int]:
    """Level, index and width of a path; the one spelling of each is accepted."""
    if match := TILE_PATH.fullmatch(path):
        level = match["level"] if match["level"].startswith("e") else int(match["level"])
        index = int(match["index"].replace("x", "").replace("/", ""))
        width = int(match["width"] or WIDTH)
        if 0 < width <= WIDTH and index <= INTEGER_MAX and tile_path(level, index, width) == path:
            return level, index, width
    raise InvalidInput.of("tile", got=path, expected="tile/<level>/<index>[.p/<width>]")


def tile_of(height: int, index: int) -> Tile:
    """Where the root of a complete subtree stands."""
    level, above = divmod(height, HEIGHT)
    return level, index // (WIDTH >> above)


def split(tile: bytes) -> list[bytes]:
    return [tile[i : i + HASH_BYTES] for i in range(0, len(tile), HASH_BYTES)]


def unfolded(row: list[bytes]) -> Rows:
    """All complete nodes above a row of hashes, row by row."""
    rows = [row]
    node = merkle.node_hash
    while len(row) > 1:
        row = [node(row[i], row[i + 1]) for i in range(0, len(row) - 1, 2)]
        rows.append(row)
    return rows


class TileTree:
    """The tree of one size, read from tiles as far as a question needs them.

    `full` remembers the nodes of full tiles across trees; full tiles never change.
    """

    def __init__(
        self, read: TileReader, size: int, full: TileCache | None = None, *, read_all: TilesReader | None = None
    ) -> None:
        self.size = size
        self._read = read
        self._read_all = read_all
        self._full = full if full is not None else TileCache()
        self._rows: dict[Tile, Rows] = {}
        self._fetched: dict[Tile, bytes] = {}

    def _fetch(self, ranges: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
        """Read what these ranges rest on in one go, where that is offered."""
        if self._read_all is not None:
            nodes = (node for start, end in ranges for node in merkle.range_nodes(start, end))
            tiles = {tile_of(height, index) for height, index in nodes}
            self._fetched |= self._read_all([t for t in tiles if t not in self._rows and self._full.get(t) is None])
        return ranges

    def node(self, height: int, index: int) -> bytes:
        """The root of the complete subtree over leaves `[index << height, (index + 1) << height)`."""
        above = height % HEIGHT
        return self._tile(*tile_of(height, index))[above][index % (WIDTH >> above)]

    def _tile(self, level: int, index: int) -> Rows:
        key = (level, index)
        rows = self._rows.get(key) or self._full.get(key)
        if rows is None:
            width = width_at(level, index, self.size)
            tile = self._fetched.pop(key, None) or self._read(level, index)
            if len(tile) < width * HASH_BYTES or not width:
                raise AuditError(
                    "PL-603",
                    f"tile {level}/{index} is short",
                    got=f"{len(tile) // HASH_BYTES} hashes",
                    expected=f"{width} for a tree of {self.size} entries",
                )
            rows = unfolded(split(tile[: width * HASH_BYTES]))
            if width == WIDTH:
                self._full.put(key, rows)
        self._rows[key] = rows
        return rows

    def root(self) -> bytes:
        return merkle.read_ranges(self._fetch([(0, self.size)]), self.node)[0]

    def leaf(self, index: int) -> bytes:
        return self.node(0, index)

    def inclusion(self, index: int) -> tuple[bytes, ...]:
        """From the leaf's sibling up to the child of the root."""
        return tuple(merkle.read_ranges(self._fetch(merkle.inclusion_ranges(index, self.size)), self.node))

    def consistency(self, old_size: int) -> tuple[bytes, ...]:
        """That the tree of `old_size` is the beginning of this one."""
        return tuple(merkle.read_ranges(self._fetch(merkle.consistency_ranges(old_size, self.size)), self.node))


class TileCache:
    """The nodes of the full tiles used last."""

    def __init__(self, tiles_max: int = PROOF_TILES_CACHED_MAX) -> None:
        self._tiles_max = tiles_max
        self._rows: OrderedDict[tuple[int, int], Rows] = OrderedDict()

    def get(self, key: tuple[int, int]) -> Rows | None:
        return self._rows.get(key)

    def put(self, key: tuple[int, int], rows: Rows) -> None:
        self._rows[key] = rows
        while len(self._rows) > self._tiles_max:
            self._rows.popitem(last=False)


class TileGrowth:
    """The right edge of a growing tree: one partial tile per level. Appending yields the tiles that changed."""

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        self.size = size
        self._edge = [bytearray(row) for row in edge]

    @staticmethod
    def load(read: TileReader, size: int) -> TileGrowth:
        edge = []
        level = 0
        while count := size >> (HEIGHT * level):
            width = count % WIDTH
            tile = read(level, count // WIDTH)[: width * HASH_BYTES] if width else b""
            if len(tile) != width * HASH_BYTES:
                raise AuditError("PL-603", f"the edge of the tree is missing at level {level}")
            edge.append(tile)
            level += 1
        return TileGrowth(size, edge)

    def copy(self) -> TileGrowth:
        return TileGrowth(self.size, [bytes(row) for row in self._edge])

    def append(self, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
        changed: dict[tuple[int, int], bytes] = {}
        self._extend(0, self.size // WIDTH, leaves, changed)
        self.size += len(leaves)
        return changed

    def _extend(self, level: int, index: int, hashes: Sequence[bytes], changed: dict[tuple[int, int], bytes]) -> None:
        if level == len(self._edge):
            self._edge.append(bytearray())
        row, above, start = self._edge[level], [], index
        for position in range(0, len(hashes), WIDTH):
            for piece in hashes[position : position + WIDTH]:
                row += piece
            if len(row) >= WIDTH * HASH_BYTES:
                tile = bytes(row[: WIDTH * HASH_BYTES])
                del row[: WIDTH * HASH_BYTES]
                changed[level, index] = tile
                above.append(unfolded(split(tile))[HEIGHT][0])
                index += 1
        if row:
            changed[level, index] = bytes(row)
        if above:
            self._extend(level + 1, start // WIDTH, above, changed)

    def root(self) -> bytes:
        """The root now: the edge holds every hash it rests on."""
        return TileTree(lambda level, _: bytes(self._edge[level]), self.size, TileCache(0)).root()
