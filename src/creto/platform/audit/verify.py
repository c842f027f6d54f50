"""Verification of a whole log with public keys alone, from an export or from the database itself.

    verdict = verify_log(FolderSource(Path("export")), trust, trusted=[checkpoint_from_last_week])

What is looked for, and how it shows:

    an entry was edited, removed or moved       PL-602: its hash is not the one in the tree
    the tail was cut off                        PL-603: fewer entries than a checkpoint says
    the log was replaced                        PL-606 unsigned, PL-604 against a trusted checkpoint, PL-607 unwitnessed
    two readers were shown two logs             PL-605: two signed checkpoints that contradict each other
    a thief signs with the log's key            PL-607: the witnesses did not cosign; PL-605 against a trusted checkpoint

INVARIANT: nothing that the log stores is believed but what hashes to a root that `trust` accepts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from creto.common.errors import AuditError, EnablementError, InvalidInput
from creto.platform.audit import store as rows
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.export import unpacked
from creto.platform.audit.index import indexed
from creto.platform.audit.tiles import WIDTH, TileGrowth, tile_path, width_at
from creto.platform.audit.trust import Trust
from creto.platform.audit.types import Verdict
from creto.platform.crypto import merkle
from creto.platform.crypto.merkle import HASH_BYTES
from creto.store.types import Position, ReadTx

LEDGER_PAGE = 1_024


class LogSource(Protocol):
    """Where a log is read from. Nothing it says is believed."""

    def newest(self) -> Checkpoint | None: ...

    def history(self) -> Iterable[Checkpoint]: ...

    def tile(self, level: int, index: int, width: int) -> bytes: ...

    def bundle(self, index: int, width: int) -> dict[int, bytes]:
        """The entries of a level-0 tile that are there, by their place in it."""
        ...


def verify_log(source: LogSource, trust: Trust, trusted: Sequence[Checkpoint] = ()) -> Verdict:
    """Everything up to the newest checkpoint. `trusted` are checkpoints kept from earlier, or seen by others."""
    newest = source.newest()
    if newest is None:
        raise AuditError("PL-603", "the log has no checkpoint", got="none", expected="a signed checkpoint")
    witnesses = trust.check(newest)
    signed = signed_history(source, trust)
    stops = stops_of(newest, signed, trusted, trust)
    replay = Replay(source, newest.size)
    for size in sorted(stops):
        replay.grow_to(size)
        compare_root(replay.growth.root(), stops[size], trust)
    compare_tiles(replay.growth, source)
    return Verdict(
        "log",
        (
            f"{newest.size} entries of {newest.origin} hash to the signed root {newest.root.hex()}",
            f"{len(signed)} earlier checkpoints and {len(trusted)} trusted ones are its beginnings",
            f"seen by {', '.join(sorted(witnesses)) or 'no witness'}",
        ),
        {"origin": newest.origin, "size": newest.size, "root": newest.root.hex(), "witnesses": sorted(witnesses)},
    )


def signed_history(source: LogSource, trust: Trust) -> list[Checkpoint]:
    """The log's own earlier checkpoints; each must bear its signature, witnesses only the newest."""
    unwitnessed = msgspec.structs.replace(trust, quorum="none")
    history = list(source.history())
    for checkpoint in history:
        unwitnessed.check(checkpoint)
    return history


def stops_of(
    newest: Checkpoint, signed: Iterable[Checkpoint], trusted: Iterable[Checkpoint], trust: Trust
) -> dict[int, list[Checkpoint]]:
    """At which sizes the root is compared, and with what."""
    stops: dict[int, list[Checkpoint]] = {newest.size: [newest]}
    for checkpoint in (*signed, *trusted):
        if checkpoint.origin not in trust.origins:
            raise AuditError("PL-604", "a checkpoint of another log", got=checkpoint.origin, expected=newest.origin)
        if checkpoint.size > newest.size:
            raise AuditError(
                "PL-603",
                f"the log ends at {newest.size}, but a checkpoint says it had {checkpoint.size} entries",
                got=newest.size,
                expected=f"at least {checkpoint.size}",
            )
        stops.setdefault(checkpoint.size, []).append(checkpoint)
    return stops


class Replay:
    """The tree, grown again from the entries, each compared with its place in the stored tree."""

    def __init__(self, source: LogSource, size: int) -> None:
        self.growth = TileGrowth()
        self._source = source
        self._size = size
        self._tile = -1
        self._entries: dict[int, bytes] = {}
        self._hashes = b""

    def grow_to(self, size: int) -> None:
        while self.growth.size < size:
            tile, first = divmod(self.growth.size, WIDTH)
            self._load(tile)
            last = min(size - tile * WIDTH, WIDTH)
            self.growth.append([self._leaf(place) for place in range(first, last)])

    def _load(self, tile: int) -> None:
        if tile != self._tile:
            width = width_at(0, tile, self._size)
            self._entries = self._source.bundle(tile, width)
            self._hashes = self._source.tile(0, tile, width)
            self._tile = tile

    def _leaf(self, place: int) -> bytes:
        index = self._tile * WIDTH + place
        if place not in self._entries:
            raise self._missing(index, place)
        leaf = merkle.leaf_hash(self._entries[place])
        expected = self._hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]
        if leaf != expected:
            raise altered(index, leaf.hex(), expected.hex())
        return leaf

    def _missing(self, index: int, place: int) -> AuditError:
        """A hole in the log, or its end: is there anything behind it?"""
        behind = range(self._tile + 1, -(-self._size // WIDTH))
        if any(p > place for p in self._entries) or any(
            self._source.bundle(tile, width_at(0, tile, self._size)) for tile in behind
        ):
            return AuditError("PL-602", f"entry {index} is missing", got="nothing", expected="an entry")
        return AuditError("PL-603", f"the log ends at entry {index}", got=index, expected=f"{self._size} entries")


def altered(index: int, got: str, expected: str) -> AuditError:
    return AuditError(
        "PL-602",
        f"entry {index} was altered: its hash is not the one in the tree",
        got=got,
        expected=expected or "nothing",
    )


def compare_root(root: bytes, checkpoints: Sequence[Checkpoint], trust: Trust) -> None:
    for checkpoint in checkpoints:
        if checkpoint.root == root:
            continue
        size = checkpoint.size
        unwitnessed = msgspec.structs.replace(trust, quorum="none")
        if any(other.root == root for other in checkpoints):
            try:
                unwitnessed.check(checkpoint)
            except EnablementError:
                pass
            else:
                raise contradiction(checkpoint, next(other for other in checkpoints if other.root == root))
        raise AuditError(
            "PL-604",
            f"the log at size {size} is not the one that was signed",
            got=root.hex(),
            expected=checkpoint.root.hex(),
        )


def contradiction(one: Checkpoint, other: Checkpoint) -> AuditError:
    return AuditError(
        "PL-605",
        f"{one.origin} has signed two logs of size {one.size}",
        got=one.root.hex(),
        expected=other.root.hex(),
        hint="Keep both checkpoints: together they prove that the log, or a thief with its key, showed two histories.",
    )


def compare_tiles(growth: TileGrowth, source: LogSource) -> None:
    """The stored tiles above the leaves serve proofs: they must be the ones that the entries hash to."""
    level = 1
    below = [source.tile(0, t, width_at(0, t, growth.size)) for t in range(growth.size // WIDTH)]
    while below:
        roots = [merkle.root([tile[i : i + HASH_BYTES] for i in range(0, len(tile), HASH_BYTES)]) for tile in below]
        row = b"".join(roots)
        step = WIDTH * HASH_BYTES
        tiles = [row[i : i + step] for i in range(0, len(row), step)]
        for index, tile in enumerate(tiles):
            if source.tile(level, index, len(tile) // HASH_BYTES) != tile:
                raise AuditError("PL-602", f"tile {level}/{index} was altered", expected=merkle.leaf_hash(tile).hex())
        below = [tile for tile in tiles if len(tile) == step]
        level += 1


class FolderSource:
    """An export in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _read(self, path: str) -> bytes | None:
        file = self._folder / path
        return file.read_bytes() if file.is_file() else None

    def newest(self) -> Checkpoint | None:
        data = self._read("checkpoint")
        return None if data is None else Checkpoint.parse(data)

    def history(self) -> Iterator[Checkpoint]:
        folder = self._folder / "checkpoints"
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            yield Checkpoint.parse(file.read_bytes())

    def tile(self, level: int, index: int, width: int) -> bytes:
        data = self._read(tile_path(level, index, width))
        if data is None and width < WIDTH:
            data = self._read(tile_path(level, index))
        return (data or b"")[: width * HASH_BYTES]

    def bundle(self, index: int, width: int) -> dict[int, bytes]:
        for name in ("entries", "entries32"):
            for path in (tile_path(name, index, width), tile_path(name, index)):
                data = self._read(path)
                if data is not None:
                    return dict(enumerate(unpacked(data, long=name == "entries32")))
        return {}


class DatabaseSource:
    """The log's own tables, within one consistent read. Also compares the query index and the ledger with the entries."""

    def __init__(self, tx: ReadTx) -> None:
        self._tx = tx
        self._tile = rows.tile_reader(tx)

    def newest(self) -> Checkpoint | None:
        row = rows.latest_checkpoint(self._tx)
        return None if row is None else row.checkpoint

    def history(self) -> Iterator[Checkpoint]:
        after = -1
        while page := rows.checkpoints(self._tx, after, 256):
            for row in page:
                yield row.checkpoint
            after = page[-1].checkpoint.size

    def tile(self, level: int, index: int, width: int) -> bytes:
        return self._tile(level, index)[: width * HASH_BYTES]

    def bundle(self, index: int, width: int) -> dict[int, bytes]:
        low = index * WIDTH
        bodies = rows.bodies_at(self._tx, low, low + width)
        return {place - low: body for place, body in bodies}


def verify_database(tx: ReadTx, trust: Trust, trusted: Sequence[Checkpoint] = ()) -> Verdict:
    """The log as the database holds it: tree, signatures, and that index and ledger say the same as the tree."""
    try:
        verdict = verify_log(DatabaseSource(tx), trust, trusted)
        compare_ledger(tx, verdict.details["size"])
    except (TypeError, ValueError) as error:  # SQLite takes any value in any column
        raise AuditError("PL-602", "a row holds a value of another type than the log wrote", got=str(error)) from error
    return verdict


def compare_ledger(tx: ReadTx, size: int) -> None:
    """Row for row: what the ledger holds is in the tree in the same order, and the index says what the entries say."""
    at, index = Position(), 0
    while index < size:
        tail = tx.ledger_tail(at, min(LEDGER_PAGE, size - index))
        leaves = rows.leaf_rows(tx, index, index + len(tail))
        if not tail or len(leaves) < len(tail):
            raise AuditError("PL-603", f"the ledger ends at entry {index}", got=index, expected=f"{size} entries")
        for row, leaf in zip(tail, leaves, strict=True):
            said = (row.position.epoch, row.position.seq, row.event_id, *indexed(row.body).columns())
            held = msgspec.structs.astuple(leaf)[1:]
            if said != held:
                raise AuditError(
                    "PL-602", f"the index does not say what entry {leaf.log_index} says", got=held, expected=said
                )
        at, index = tail[-1].position, index + len(tail)


def verify_folder(folder: Path, trust: Trust | None, trusted: Sequence[Checkpoint] = ()) -> Verdict:
    """An export. Without `trust` of your own there is nothing to believe: the keys that lie in the export prove nothing."""
    if trust is None:
        raise InvalidInput.of("trust", got=None, expected="the log's public keys, from another place than the export")
    return verify_log(FolderSource(folder), trust, trusted)
