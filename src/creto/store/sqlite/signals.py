"""Signals over SQLite: rows of `store_signal`, noticed by looking when another process has rung (`bell.py`).

`PRAGMA data_version` changes when another connection has committed; the rows are read only when it moved. Who commits rings, so that nobody looks
again and again; they look a few times a second more, for the sake of those that died before they could ring.

INVARIANT: signals are numbered without gaps, so a process that slept until some were pruned notices.
INVARIANT: while other processes live, a look takes place every STORE_SIGNAL_REST_S: a signal is heard in time though its bell was not.
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
    STORE_SIGNAL_ALONE_S,
    STORE_SIGNAL_KEPT_S,
    STORE_SIGNAL_PAUSE_S,
    STORE_SIGNAL_PAUSE_S_MAX,
    STORE_SIGNAL_POLL_S,
    STORE_SIGNAL_REST_S,
)
from creto.store.signals import Signals
from creto.store.sqlite.bell import Bell
from creto.store.types import Tx

log = logging.getLogger("creto.store")

LAST = "SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'store_signal'), 0)"
OTHERS = "SELECT EXISTS (SELECT 1 FROM store_node WHERE instance <> ?)"
NEW = "SELECT seq, instance, channel, payload FROM store_signal WHERE seq > ? ORDER BY seq"


class SqliteWatcher:
    """The thread that looks, and that says now and then that this process lives."""

    def __init__(
        self,
        db: apsw.Connection,
        bell: Bell,
        signals: Signals,
        instance: str,
        beat: Callable[[Callable[[], None]], None],
    ) -> None:
        self._db: Any = db
        self._bell = bell
        self._signals = signals
        self._instance = instance
        self._beat = beat
        self._stop = threading.Event()
        self._version = -1
        self._changed: tuple[Callable[[], None], ...] = ()
        self._seen = self._one(LAST)
        self._pause_s = 0.0
        self._others = True  # a process that has joined is seen by the next look
        self._beat_sent = self._beat_done = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="creto-store-signals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def on_change(self, fn: Callable[[], None]) -> None:
        self._changed = (*self._changed, fn)

    def committed(self) -> None:
        """This process has: wake the others, if there are any."""
        if self._others:
            self._bell.ring()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._look()
                self._live()
            except Exception:
                log.exception("the store's signals cannot be read")
                self._signals.broke()
                self._stop.wait(0.1)
            self._sleep()
        self._db.close()
        self._bell.close()

    def _sleep(self) -> None:
        """Until it rings, or a look is due. While one commit follows the other, one look is for many of them."""
        if not self._bell.heard:
            self._stop.wait(STORE_SIGNAL_POLL_S)
        elif not self._bell.wait(STORE_SIGNAL_REST_S if self._others else STORE_SIGNAL_ALONE_S):
            self._pause_s = 0.0
        else:
            self._stop.wait(self._pause_s)
            self._bell.forget()
            self._pause_s = min(self._pause_s + STORE_SIGNAL_PAUSE_S, STORE_SIGNAL_PAUSE_S_MAX)

    def _look(self) -> None:
        version = self._one("PRAGMA data_version")
        if version == self._version:
            return
        rows: list[Any] = self._db.execute(NEW, (self._seen,)).fetchall()
        self._version = version
        if rows and rows[0][0] != self._seen + 1:
            self._signals.tell_lost()
        self._others = bool(self._one(OTHERS, self._instance))  # first: who is told may answer at once
        for seq, instance, channel, payload in rows:
            self._seen = seq
            self._signals.deliver(instance, channel, payload)
        for fn in self._changed:
            fn()

    def _one(self, sql: str, *params: str) -> int:
        rows: list[Any] = self._db.execute(sql, params).fetchall()
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
        self._bell.ring()
        self._thread.join()
