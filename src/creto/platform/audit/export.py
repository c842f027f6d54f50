"""The log as files, in the layout of c2sp.org/tlog-tiles: anyone can serve, mirror and verify them.

    checkpoint                       the newest, with its cosignatures
    checkpoints/<size>               the history
    tile/<level>/<index>[.p/<width>] hashes
    tile/entries/<index>[.p/<width>] bundles of 256 entries: each a big-endian uint16 length and the bytes
    tile/entries32/…                 a bundle with an entry of 64 KiB or more, with uint32 lengths
    trust.json                       the log's keys; whoever verifies should have them from elsewhere

`put` is any object store: a function of a path and bytes. Full tiles never change, so an export can go on from an earlier size.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from creto.common.errors import NotFound
from creto.platform.audit import store as rows
from creto.platform.audit.files import tile_bytes
from creto.platform.audit.note import malformed
from creto.platform.audit.service import Audit
from creto.platform.audit.tiles import WIDTH, tile_path, tiles_of
from creto.store.types import ReadTx, Store

Put = Callable[[str, bytes], Awaitable[None]]
SHORT_MAX = 0xFFFF
HISTORY_PAGE = 256


class Exported(msgspec.Struct, frozen=True):
    size: int
    files: int
    bytes: int


async def export_log(audit: Audit, store: Store, put: Put, *, since: int = 0, entries: bool = True) -> Exported:
    """Write the log up to its newest checkpoint; with `since`, only what changed after that size."""
    newest = await store.read(rows.latest_checkpoint)
    if newest is None:
        raise NotFound("PL-601", "the log has no checkpoint yet")
    checkpoint = newest.checkpoint
    files = size = 0

    async def write(path: str, data: bytes) -> None:
        nonlocal files, size
        await put(path, data)
        files, size = files + 1, size + len(data)

    for level, tile, width in tiles_of(checkpoint.size, since):
        await write(tile_path(level, tile, width), await store.read(partial(tile_bytes, level, tile, width)))
        if level == 0 and entries:
            name, bundle = await store.read(partial(entry_bundle, tile, width))
            await write(tile_path(name, tile, width), bundle)
    after = 0
    while history := await audit.checkpoints(after, HISTORY_PAGE):
        for row in history:
            await write(f"checkpoints/{row.checkpoint.size}", row.checkpoint.encode())
        after = history[-1].checkpoint.size
    await write("trust.json", (await audit.trust()).encode())
    await write("checkpoint", checkpoint.encode())
    return Exported(checkpoint.size, files, size)


def entry_bundle(tile: int, width: int, tx: ReadTx) -> tuple[str, bytes]:
    low = tile * WIDTH
    return packed([body for _, body in rows.bodies_at(tx, low, low + width)])


def packed(bodies: list[bytes]) -> tuple[str, bytes]:
    """The folder and the bytes of a bundle."""
    if all(len(body) <= SHORT_MAX for body in bodies):
        return "entries", b"".join(len(body).to_bytes(2) + body for body in bodies)
    return "entries32", b"".join(len(body).to_bytes(4) + body for body in bodies)


def unpacked(bundle: bytes, *, long: bool = False) -> list[bytes]:
    bodies, at, prefix = [], 0, 4 if long else 2
    while at < len(bundle):
        end = at + prefix + int.from_bytes(bundle[at : at + prefix])
        if at + prefix > len(bundle) or end > len(bundle):
            raise malformed("bundle", f"{len(bundle)} bytes", "whole entries")
        bodies.append(bundle[at + prefix : end])
        at = end
    return bodies


def folder_put(folder: Path) -> Put:
    """An object store that is a folder."""

    async def put(path: str, data: bytes) -> None:
        await asyncio.to_thread(write_file, folder / path, data)

    return put


def write_file(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
