"""The write-ahead log beside the writer: checkpoints, from the log into the file, and room for the log to grow into.

A commit that makes a file longer also waits for the file system's journal; one that writes over what is there does not, and takes half the time.
So the log's file is lengthened with zeros before the log needs it, up to the length at which the log starts anew.

INVARIANT: the file is lengthened by who holds the database's write lock, from its end on: no frame of the log is ever touched.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress

import apsw

from creto.common.limits import STORE_WAL_PAGES, STORE_WAL_RETRY_PAGES, STORE_WAL_STEP_BYTES
from creto.store.sqlite.connection import connect

log = logging.getLogger("creto.store")

FRAME_BYTES = 24 + 4096  # of a page in the log: its header and itself
ROOM_PAGES = 250  # a log that is shorter has no need of room: most files are written to now and then
AHEAD = 4  # times as long as what is in it


class Checkpointer:
    """Copies the write-ahead log into the file, beside the writer, when it has grown to STORE_WAL_PAGES.

    Seldom, because commits wait for the disk as long as its sync takes, and a page that was written often is copied once. A checkpoint
    beside a busy writer never quite reaches the end of the log, and only then can the log start anew: so the writer waits for the last few
    pages.
    """

    def __init__(self, path: str, writer: threading.Lock) -> None:
        self._db = connect(path)
        self._log_path = path + "-wal"
        self._writer = writer
        self._due = threading.Event()
        self._pages = 0  # of the log
        self._copied = 0  # how many it had when the last checkpoint began
        self._room = ROOM_PAGES  # at how many the file is lengthened next
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="creto-store-checkpoint", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def after_commit(self, db: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        if pages < self._copied:  # the log has started anew
            self._copied = 0
        if self._full() or pages >= self._room:
            self._due.set()
        return apsw.SQLITE_OK

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._stopped:
                return
            self._due.clear()
            if self._pages >= self._room:
                self._make_room()
            if self._full():
                self._copy()

    def _full(self) -> bool:
        return self._pages >= STORE_WAL_PAGES and self._pages - self._copied >= STORE_WAL_RETRY_PAGES

    def _copy(self) -> None:
        self._copied = self._pages
        self._checkpoint()
        self._checkpoint()  # what came meanwhile
        with self._writer:
            self._checkpoint()

    def _checkpoint(self) -> None:
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:  # another process is at it
            return

    def _make_room(self) -> None:
        most = STORE_WAL_PAGES + STORE_WAL_RETRY_PAGES
        pages = min(AHEAD * self._pages, most)
        self._room = pages * 3 // 4 if pages < most else 2**62
        try:
            file = os.open(self._log_path, os.O_WRONLY)
        except OSError:  # nobody has written yet
            return
        try:
            while not self._stopped and self._lengthen(file, pages * FRAME_BYTES):
                os.fdatasync(file)
        except OSError as error:  # a full disk: the log grows as it can
            log.warning("the write-ahead log cannot be lengthened ahead of its use: %s", error)
        finally:
            os.close(file)

    def _lengthen(self, file: int, wanted_bytes: int) -> bool:
        """One step; whether there was one to do."""
        with self._writer, suppress(apsw.BusyError):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                length = os.fstat(file).st_size
                step = min(wanted_bytes - length, STORE_WAL_STEP_BYTES)
                return step > 0 and os.pwrite(file, bytes(step), length) > 0
            finally:
                self._db.execute("ROLLBACK")
        return False

    def stop(self) -> None:
        self._stopped = True
        self._due.set()
        self._thread.join()
        self._db.close()
