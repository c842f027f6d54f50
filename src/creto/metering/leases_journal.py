"""A node's unspent amounts in memory that outlives it: sixteen bytes for each counter, mapped from a file.

    journal = Journal(folder, node)           # or AnonymousCells() where nothing is to outlive the process
    journal.cells[slot] -= 5                  # spent; a kill -9 right after it does not undo it
    journal.drawn[slot] += 100                # what the node knows that it has drawn and not given back

What was under way to the shared limit when a process died shows in the difference: the limit says how much the node has drawn, the journal how
much of that the node has seen.

A process that is killed leaves the file with what it had not spent; the next one that starts, or any that looks, gives that back. The file is
locked while its process lives, so that a process which only stands still is never taken for dead. After the machine itself went
down what stands in the file may be old: then all that was drawn counts as used.

INVARIANT: a cell never holds more than what its node has drawn of the counter and not spent. Of the two numbers that one is changed first
which, if the process dies between them, leaves too little.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from creto.common import wire
from creto.common.limits import QUOTA_COUNTERS_MAX
from creto.metering.leases import SharedLimits

log = logging.getLogger("creto.metering")

SUFFIX = ".quota"
HEAD_BYTES = 4_096
CELL_BYTES = 8
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Head(msgspec.Struct, frozen=True):
    node: str
    boot: str
    count: int = 0  # of counters; 0: it has no numbers of what was drawn


class AnonymousCells:
    """Memory that is gone with the process: what it had drawn then counts as used."""

    def __init__(self, count: int = QUOTA_COUNTERS_MAX) -> None:
        self._memory = mmap.mmap(-1, count * CELL_BYTES)  # pages come as they are touched
        self.cells = memoryview(self._memory).cast("q")
        self._drawn = mmap.mmap(-1, count * CELL_BYTES)
        self.drawn = memoryview(self._drawn).cast("q")

    def close(self, *, keep: bool = False) -> None:
        self.cells.release()
        self.drawn.release()
        with suppress(BufferError):
            self._drawn.close()
        with suppress(BufferError):
            self._memory.close()


class Journal:
    def __init__(self, folder: Path, node: str, count: int = QUOTA_COUNTERS_MAX) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{node}{SUFFIX}"
        nameless = folder / f"{node}.new"
        self._file = os.open(nameless, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(self._file, HEAD_BYTES + 2 * count * CELL_BYTES)  # a hole: it takes room as it is written
        os.pwrite(self._file, wire.encode(Head(node, boot_id(), count)).ljust(HEAD_BYTES), 0)
        nameless.rename(self.path)  # whoever finds it finds it locked and whole
        self._memory = mmap.mmap(self._file, 0)
        numbers = memoryview(self._memory)[HEAD_BYTES:].cast("q")
        self.cells, self.drawn = numbers[:count], numbers[count:]
        numbers.release()

    def close(self, *, keep: bool = False) -> None:
        """`keep`: something is left in it, which the next one gives back."""
        self.cells.release()
        self.drawn.release()
        with suppress(BufferError):
            self._memory.close()
        if not keep:
            self.path.unlink(missing_ok=True)
        os.close(self._file)


def unspent_beside(folder: Path, node: str, slot: int) -> int | None:
    """What a process of this machine has in a cell, now; None if it has no journal here."""
    try:
        file = os.open(folder / f"{node}{SUFFIX}", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return number_at(file, slot)
    finally:
        os.close(file)


def number_at(file: int, place: int) -> int:
    return int.from_bytes(os.pread(file, CELL_BYTES, HEAD_BYTES + place * CELL_BYTES), sys.byteorder, signed=True)


def boot_id() -> str:
    """Which run of the machine this is; unknown ones are never the same."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return ""


def reclaim(folder: Path, limits: SharedLimits) -> int:
    """Give back what dead nodes of this machine had not spent; how much."""
    back = 0
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        with suppress(FileNotFoundError, BlockingIOError):
            for head, file in abandoned(path):
                back += given_back(path, head, file, limits)
    return back


def abandoned(path: Path) -> Iterator[tuple[Head, int]]:
    """The journal of a process that has ended, locked while it is looked at."""
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file).st_nlink == 0:  # another was faster
            return
        yield wire.decode(os.pread(file, HEAD_BYTES, 0).strip(), Head, what="journal"), file
    finally:
        os.close(file)


def given_back(path: Path, head: Head, file: int, limits: SharedLimits) -> int:
    trusted = head.boot != "" and head.boot == boot_id()

    def unspent(slot: int, drawn: int) -> int:
        """What is in its cell, and what came for it or went back after it last heard."""
        if not trusted or slot < 0:
            return 0
        unheard = drawn - number_at(file, head.count + slot) if head.count else 0
        return number_at(file, slot) + unheard

    back = limits.reclaim(head.node, unspent)
    path.unlink(missing_ok=True)
    log.info("a node of this machine has ended: %d units of its leases are free again", back)
    return back
