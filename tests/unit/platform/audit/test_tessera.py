"""A log that another implementation wrote: Tessera's tiled log with its sixteen checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from creto.common.errors import AuditError, EnablementError
from creto.platform.audit import Checkpoint, NoteKey, Trust, verify_folder, verify_log
from creto.platform.audit.keys import NoteType
from creto.platform.audit.tiles import TileTree
from creto.platform.audit.verify import FolderSource
from creto.platform.crypto import merkle

# The public key that Tessera's own tests verify this log with.
VKEY = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
TRUST = Trust.of(NoteKey.parse(VKEY))
SIZES = range(16)


class Tessera(FolderSource):
    """Its history lies beside the newest checkpoint; of each tile there is one file per width."""

    def history(self) -> Iterator[Checkpoint]:
        for size in SIZES:
            yield Checkpoint.parse((self._folder / f"checkpoint.{size}").read_bytes())


@pytest.fixture
def folder(vectors: Path) -> Path:
    return vectors / "merkle" / "tessera" / "testdata" / "log"


@pytest.fixture
def checkpoints(folder: Path) -> list[Checkpoint]:
    return list(Tessera(folder).history())


def test_every_checkpoint_is_signed(folder: Path, checkpoints: list[Checkpoint]) -> None:
    assert [c.size for c in checkpoints] == list(SIZES)
    assert {path.name for path in folder.glob("checkpoint*")} == {"checkpoint", *(f"checkpoint.{n}" for n in SIZES)}
    for checkpoint in checkpoints:
        assert TRUST.check(checkpoint) == frozenset()


def test_every_root_follows_from_the_tiles(folder: Path, checkpoints: list[Checkpoint]) -> None:
    source = Tessera(folder)
    for checkpoint in checkpoints:
        tree = TileTree(lambda level, index: source.tile(level, index, 15), checkpoint.size)
        assert tree.root() == checkpoint.root
        entries = source.bundle(0, checkpoint.size) if checkpoint.size else {}
        for index in range(checkpoint.size):
            leaf = merkle.leaf_hash(entries[index])
            merkle.verify_inclusion(leaf, index, checkpoint.size, tree.inclusion(index), checkpoint.root)


def test_every_pair_is_consistent(folder: Path, checkpoints: list[Checkpoint]) -> None:
    source = Tessera(folder)
    for new in checkpoints:
        tree = TileTree(lambda level, index: source.tile(level, index, 15), new.size)
        for old in checkpoints[1 : new.size + 1]:
            merkle.verify_consistency(old.size, new.size, old.root, new.root, tree.consistency(old.size))


def test_the_whole_verifies_as_an_export(folder: Path, checkpoints: list[Checkpoint]) -> None:
    assert verify_folder(folder, TRUST, checkpoints).details["size"] == 15
    assert verify_log(Tessera(folder), TRUST).details["size"] == 15


def test_another_key_and_another_view_are_refused(folder: Path, checkpoints: list[Checkpoint]) -> None:
    stranger = Trust.of(NoteKey("example.com/log/testdata", NoteType.ED25519, bytes.fromhex("3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29")))  # fmt: skip
    with pytest.raises(EnablementError, match="PL-606"):
        verify_folder(folder, stranger)
    other = Checkpoint(checkpoints[9].origin, 9, checkpoints[10].root, (), checkpoints[10].signatures)
    with pytest.raises(AuditError, match="PL-604"):
        verify_folder(folder, TRUST, [other])
