"""Signals over PostgreSQL: NOTIFY carries them, in the order of the commits, to one connection of each process.

INVARIANT: while the connection is away nothing is known of what others changed, so `Signals.broke` is told at once, and
`Signals.flows` only after LISTEN holds again.
"""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
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
        self._mine = f'["{instance}"'
        self._notices: deque[str] = deque()  # heard, not yet told
        self._stop = threading.Event()
        self._db = self._listen()
        self._thread = threading.Thread(target=self._run, name="creto-store-signals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _listen(self) -> psycopg.Connection[Any]:
        """First listen, then be counted among the living: who waits for us may rely on our hearing."""
        db = self._connect(**QUICK_LOSS)
        self._notices.clear()
        db.add_notify_handler(lambda notice: self._notices.append(notice.payload))  # what comes beside an answer
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
        """Until the next beat is due. libpq is read here: each of our own commits comes back, and that must cost next to nothing."""
        pg, socket = self._db.pgconn, select.poll()
        socket.register(pg.socket, select.POLLIN)
        while (left_s := self._due - time.monotonic()) > 0:
            while self._notices:
                self._deliver(self._notices.popleft())
                if self._stop.is_set():
                    return
            if socket.poll(left_s * 1000):
                pg.consume_input()
            while (notice := pg.notifies()) is not None:
                self._notices.append(notice.extra.decode())
        self._beat(self._db)

    def _deliver(self, notice: str) -> None:
        if not notice.startswith(self._mine):  # ours were handled with their commit
            origin, _, channel, payload = _notice.decode(notice)
            self._signals.deliver(origin, channel, payload)

    def stopping(self) -> None:
        """Stop with the next notice: the one that says we left."""
        self._stop.set()

    def join(self) -> None:
        self._thread.join()
