"""Checkpoints: from the write-ahead log into the file, beside the writer."""

from __future__ import annotations

import threading
from time import perf_counter

import apsw

from creto.common.limits import STORE_CHECKPOINT_S_MAX, STORE_WAL_PAGES, STORE_WAL_PAGES_MAX, STORE_WAL_STEP_MAX
from creto.store.sqlite.connection import connect


class Checkpointer:
    """Copies the write-ahead log into the file, beside the writer, each time it has grown by some pages.

    A copy delays the commits beside it: its sync and theirs share the disk. Few small pages that change again and again are copied once, however
    often they stand in the log, so it may grow the longer the quicker it is copied: from STORE_WAL_PAGES up to STORE_WAL_STEP_MAX.

    A checkpoint that runs beside a busy writer never quite reaches the end of the log, and only then can the log start
    anew. So past STORE_WAL_PAGES_MAX the writer waits once for the last few pages.
    """

    def __init__(self, path: str, writer: threading.Lock) -> None:
        self._db = connect(path)
        self._writer = writer
        self._due = threading.Event()
        self._pages = 0  # of the log
        self._copied = 0  # how many it had when the last checkpoint began
        self._step = STORE_WAL_PAGES  # by how many it grows until the next
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="creto-store-checkpoint", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def after_commit(self, db: apsw.Connection, name: str, pages: int) -> int:
        self._pages = pages
        if pages < self._copied:  # the log has started anew
            self._copied = 0
        if pages - self._copied >= self._step:
            self._due.set()
        return apsw.SQLITE_OK

    def _run(self) -> None:
        while True:
            self._due.wait()
            if self._stopped:
                return
            self._due.clear()
            self._copied = self._pages
            long = self._pages >= STORE_WAL_PAGES_MAX
            began = perf_counter()
            self._checkpoint()
            self._step = next_step(self._step, perf_counter() - began)
            if long:
                with self._writer:
                    self._checkpoint()

    def _checkpoint(self) -> None:
        try:
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.BusyError:  # another process is at it
            return

    def stop(self) -> None:
        self._stopped = True
        self._due.set()
        self._thread.join()
        self._db.close()


def next_step(step: int, took_s: float) -> int:
    """Twice as many pages as long as they are copied in a moment, half as many when it took too long."""
    if took_s > STORE_CHECKPOINT_S_MAX:
        return max(step // 2, STORE_WAL_PAGES)
    return min(step * 2, STORE_WAL_STEP_MAX) if took_s < STORE_CHECKPOINT_S_MAX / 2 else step
