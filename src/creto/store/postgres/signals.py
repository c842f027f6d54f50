"""Signals over PostgreSQL: NOTIFY carries them, in the order of the commits, to one connection of each process.

A process that is alone sends none: each commit would wake it for nothing.

INVARIANT: while the connection is away nothing is known of what others changed, so `Signals.broke` is told at once, and
`Signals.flows` only after LISTEN holds again. So it is with a commit of our own that nobody heard of.
INVARIANT: who joins is counted, and then waits for every transaction that may have looked before that: from then on everybody tells it. Who was
taken for dead and is not joins anew.
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
from creto.store.postgres.connection import fault
from creto.store.postgres.tx import CHANNEL, NOT_ALONE, SIGNALLING
from creto.store.signals import Signals

log = logging.getLogger("creto.store")

LEFT = "store.left"
QUICK_LOSS = {"keepalives_idle": 1, "keepalives_interval": 1, "keepalives_count": 3, "tcp_user_timeout": 3000}

NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
JOIN = (
    f"INSERT INTO store_node (instance, node, heartbeat_ms) VALUES ($1, $2, {NOW_MS})"
    " ON CONFLICT (instance) DO UPDATE SET heartbeat_ms = excluded.heartbeat_ms"
)
COUNT = "SELECT nextval('store_joined')"
PATIENCE = "SET lock_timeout = '200ms'"  # longer than that nobody who signals waits behind us
WAIT = f"SELECT pg_advisory_lock({SIGNALLING}), pg_advisory_unlock({SIGNALLING})"
WAITS_MAX = 25
JOINED = "SELECT last_value FROM store_joined"
OTHERS = "SELECT EXISTS (SELECT 1 FROM store_node WHERE instance <> $1)"
BEAT = f"UPDATE store_node SET heartbeat_ms = {NOW_MS} WHERE instance = $1"
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
        self.alone_since = NOT_ALONE
        self._distrusted = False
        try:
            self._db = self._listen()
        except psycopg.Error as error:
            raise fault(error) from error
        self._thread = threading.Thread(target=self._run, name="creto-store-signals", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _listen(self) -> psycopg.Connection[Any]:
        """First listen, then be counted among the living: who waits for us may rely on our hearing."""
        self._distrusted = False
        db = self._connect(**QUICK_LOSS)
        try:
            self._notices.clear()
            db.add_notify_handler(lambda notice: self._notices.append(notice.payload))  # what comes beside an answer
            db.execute(f"LISTEN {CHANNEL}".encode())
            db.execute(JOIN.encode(), (self._instance, self._node))
            db.execute(COUNT.encode())
            self._wait_for_signalling(db)
            self._beat(db)
        except BaseException:
            db.close()
            raise
        return db

    def _wait_for_signalling(self, db: psycopg.Connection[Any]) -> None:
        db.execute(PATIENCE.encode())
        for left in reversed(range(WAITS_MAX)):
            try:
                db.execute(WAIT.encode())
            except psycopg.errors.LockNotAvailable:
                if not left:
                    raise
            else:
                return

    def _beat(self, db: psycopg.Connection[Any]) -> None:
        if not db.execute(BEAT.encode(), (self._instance,)).rowcount:
            raise psycopg.OperationalError("taken for dead")
        db.execute(BURY.encode(), (int(10 * STORE_NODE_DEAD_S * 1000),))
        [(joined,)] = db.execute(
            JOINED.encode()
        ).fetchall()  # before looking who is there: who joins is there before it is counted
        [(others,)] = db.execute(OTHERS.encode(), (self._instance,)).fetchall()
        self.alone_since = NOT_ALONE if others else joined
        self._due = time.monotonic() + STORE_HEARTBEAT_S

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                if self._db.closed:
                    self._db = self._listen()
                    if not self._distrusted:
                        self._signals.flows()
                self._hear()
            except (psycopg.Error, EnablementError):
                self._deaf()
            except Exception:
                log.exception("the store's signals cannot be handled")
                self._deaf()
        self._db.close()

    def distrust(self) -> None:
        """On any thread: nobody heard how a commit of ours ended, nor what it changed. Who joins anew has waited for its end."""
        self._distrusted = True
        self._signals.broke()

    def _deaf(self) -> None:
        self.alone_since = NOT_ALONE
        self._db.close()
        self._signals.broke()
        self._stop.wait(0.2)

    def _hear(self) -> None:
        """Until the next beat is due. libpq is read here: each of our own commits comes back, and that must cost next to nothing."""
        pg, socket = self._db.pgconn, select.poll()
        socket.register(pg.socket, select.POLLIN)
        while not self._distrusted and (left_s := self._due - time.monotonic()) > 0:
            while self._notices:
                self._deliver(self._notices.popleft())
                if self._stop.is_set():
                    return
            if socket.poll(left_s * 1000):
                pg.consume_input()
            while (notice := pg.notifies()) is not None:
                self._notices.append(notice.extra.decode())
        if self._distrusted:
            raise psycopg.OperationalError("a commit was not heard of")
        self._beat(self._db)

    def _deliver(self, notice: str) -> None:
        if not notice.startswith(self._mine):  # ours were handled with their commit
            origin, _, channel, payload = _notice.decode(notice)
            self._signals.deliver(origin, channel, payload)

    def stopping(self) -> None:
        """Stop with the next notice: the one that says we left."""
        self.alone_since = NOT_ALONE
        self._stop.set()

    def join(self) -> None:
        self._thread.join()
