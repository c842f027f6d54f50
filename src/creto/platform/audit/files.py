"""The log's files by their path (c2sp.org/tlog-tiles), as a witness or a monitor fetches them.

    checkpoint                       the newest, with its cosignatures
    checkpoints/<size>               the history
    tile/<level>/<index>[.p/<width>] hashes, as far as the newest checkpoint reaches

The bundles of entries are not among them: an entry is its tenant's, a hash tells nobody what it says.
"""

from __future__ import annotations

from creto.common.errors import NotFound
from creto.platform.audit import store as rows
from creto.platform.audit.note import from_decimal
from creto.platform.audit.store import CheckpointRow
from creto.platform.audit.tiles import parse_tile_path, width_at
from creto.platform.crypto.merkle import HASH_BYTES
from creto.store.types import ReadTx


def file_at(tx: ReadTx, path: str) -> bytes:
    """PL-404 for what is not there, or not yet."""
    folder, _, name = path.partition("/")
    if folder == "tile":
        return tile_at(tx, path)
    found: CheckpointRow | None = None
    if path == "checkpoint":
        found = rows.latest_checkpoint(tx)
    elif folder == "checkpoints":
        found = rows.checkpoint_at(tx, from_decimal(name, "size"))
    if found is None:
        raise missing(path)
    return found.checkpoint.encode()


def tile_at(tx: ReadTx, path: str) -> bytes:
    level, index, width = parse_tile_path(path)
    newest = rows.latest_checkpoint(tx)
    size = newest.checkpoint.size if newest else 0
    if isinstance(level, str) or width_at(level, index, size) < width:
        raise missing(path)
    return tile_bytes(level, index, width, tx)


def tile_bytes(level: int, index: int, width: int, tx: ReadTx) -> bytes:
    return rows.tile_reader(tx)(level, index)[: width * HASH_BYTES]


def missing(path: str) -> NotFound:
    return NotFound("PL-404", f"the log has no file {path}", field="path", got=path)
