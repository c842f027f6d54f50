"""Signals over SQLite: rows of `store_signal`, noticed by looking.

`PRAGMA data_version` changes when another connection has committed; it costs a few microseconds, so every process looks
at it every few milliseconds and reads the rows only when it moved.

INVARIANT: signals are numbered without gaps, so a process that slept until some were pruned notices.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import apsw

from creto.common.limits import (
    STORE_HEARTBEAT_S,
    STORE_NODE_STALE_S,
    STORE_SIGNAL_KEPT_S,
    STORE_SIGNAL_POLL_S,
)
from creto.store.signals import Signals
from creto.store.types import Tx

log = logging.getLogger("creto.store")

LAST = "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'store_signal'), 0)"
NEW = "SELECT seq, instance, channel, payload FROM store_signal WHERE seq > ? ORDER BY seq"


class SqliteWatcher:
    """The thread that looks, and that says now and then that this process lives."""

    def __init__(
        self, db: apsw.Connection, signals: Signals, instance: str, beat: Callable[[Callable[[], None]], None]
    ) -> None:
        self._db: Any = db
        self._signals = signals
        self._instance = instance
        self._beat = beat
        self._stop = threading.Event()
        self._version = -1
        self._changed: tuple[Callable[[], None], ...] = ()
        self._seen = self._one(LAST)
        self._beat_sent = self._beat_done = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="creto-store-signals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def on_change(self, fn: Callable[[], None]) -> None:
        self._changed = (*self._changed, fn)

    def _run(self) -> None:
        while not self._stop.wait(STORE_SIGNAL_POLL_S):
            try:
                self._look()
                self._live()
            except Exception:
                log.exception("the store's signals cannot be read")
                self._signals.broke()
                self._stop.wait(0.1)
        self._db.close()

    def _look(self) -> None:
        version = self._one("PRAGMA data_version")
        if version == self._version:
            return
        rows: list[Any] = self._db.execute(NEW, (self._seen,)).fetchall()
        self._version = version
        if rows and rows[0][0] != self._seen + 1:
            self._signals.tell_lost()
        for seq, instance, channel, payload in rows:
            self._seen = seq
            self._signals.deliver(instance, channel, payload)
        for fn in self._changed:
            fn()

    def _one(self, sql: str) -> int:
        rows: list[Any] = self._db.execute(sql).fetchall()
        return int(rows[0][0])

    def _live(self) -> None:
        """A process that could not say for long that it lives must expect that others have stopped waiting for it."""
        now = time.monotonic()
        if now - self._beat_sent >= STORE_HEARTBEAT_S:
            self._beat_sent = now
            self._beat(lambda: self._beaten(now))
        if now - self._beat_done > STORE_NODE_STALE_S:
            self._signals.broke()
        else:
            self._signals.flows()

    def _beaten(self, sent: float) -> None:
        self._beat_done = sent

    def prune(self, tx: Tx, now_ms: int) -> None:
        tx.run("DELETE FROM store_signal WHERE at_ms < ?", now_ms - int(STORE_SIGNAL_KEPT_S * 1000))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
