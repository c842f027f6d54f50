"""Signals over PostgreSQL: NOTIFY carries them, in the order of the commits, to one connection of each process.

INVARIANT: while the connection is away nothing is known of what others changed, so `Signals.broke` is told at once, and
`Signals.flows` only after LISTEN holds again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg

from creto.common.errors import EnablementError
from creto.common.limits import STORE_HEARTBEAT_S, STORE_NODE_DEAD_S
from creto.store.postgres.tx import CHANNEL
from creto.store.signals import Signals

log = logging.getLogger("creto.store")

LEFT = "store.left"
QUICK_LOSS = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 3000}

NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
BEAT = (
    f"INSERT INTO store_node (instance, node, heartbeat_ms) VALUES ($1, $2, {NOW_MS})"
    " ON CONFLICT (instance) DO UPDATE SET heartbeat_ms = excluded.heartbeat_ms"
)
BURY = f"DELETE FROM store_node WHERE heartbeat_ms < {NOW_MS} - $1"

_notice = msgspec.json.Decoder(tuple[str, int, str, str])


class PostgresListener:
    """The thread that hears signals, and that says now and then that this process lives."""

    def __init__(
        self, connect: Callable[..., psycopg.Connection[Any]], signals: Signals, instance: str, node: str
    ) -> None:
        self._connect = connect
        self._signals = signals
        self._instance = instance
        self._node = node
        self._stop = threading.Event()
        self._db = self._listen()
        self._thread = threading.Thread(target=self._run, name="creto-store-signals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _listen(self) -> psycopg.Connection[Any]:
        """First listen, then be counted among the living: who waits for us may rely on our hearing."""
        db = self._connect(**QUICK_LOSS)
        db.execute(f"LISTEN {CHANNEL}".encode())
        self._beat(db)
        return db

    def _beat(self, db: psycopg.Connection[Any]) -> None:
        db.execute(BEAT.encode(), (self._instance, self._node))
        db.execute(BURY.encode(), (int(10 * STORE_NODE_DEAD_S * 1000),))
        self._due = time.monotonic() + STORE_HEARTBEAT_S

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._db.closed:
                    self._db = self._listen()
                    self._signals.flows()
                self._hear()
            except (psycopg.Error, EnablementError):
                self._db.close()
                self._signals.broke()
                self._stop.wait(0.2)
            except Exception:
                log.exception("the store's signals cannot be handled")
                self._db.close()
                self._signals.broke()
                self._stop.wait(0.2)
        self._db.close()

    def _hear(self) -> None:
        for notice in self._db.notifies(timeout=max(0.0, self._due - time.monotonic())):
            origin, _, channel, payload = _notice.decode(notice.payload)
            self._signals.deliver(origin, channel, payload)
            if self._stop.is_set():
                return
            if time.monotonic() >= self._due:
                break
        if time.monotonic() >= self._due:
            self._beat(self._db)

    def stopping(self) -> None:
        """Stop with the next notice: the one that says we left."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join()
