"""The short way to a commit: the event loop sends what only writes, and hears the answer itself. No thread wakes in between.

    way = ShortWay(db, loop)
    done = way.write(lambda piped: …, told)      # a future, or None where it could not be sent
    await done                                   # psycopg.Error: the server did not do it; Unheard: nobody knows

One transaction at a time is under way; the threads do the others.

INVARIANT: there is no BEGIN: until the Sync is sent nothing can be committed, and what fails before it closes the connection.
"""

from __future__ import annotations

import asyncio
import logging
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from creto.store.postgres.connection import STALE, Connection
from creto.store.postgres.pipe import Piped

log = logging.getLogger("creto.store")

COMMITTED = "SET default_transaction_isolation = 'read committed'"
CLOSE_S_MAX = 10.0
LOOK_S = 0.05  # a loop that stops says so to nobody


class Unheard(Exception):
    """The connection broke while a commit was under way."""


class ShortWay:
    def __init__(self, db: Connection, loop: asyncio.AbstractEventLoop, unheard: Callable[[], None]) -> None:
        """On the loop."""
        self.db = db
        self._loop = loop
        self._unheard = unheard  # called where a commit may have been, whoever waits by then
        self._socket = db.pgconn.socket
        self._piped: Piped | None = None  # what is under way
        self._done: asyncio.Future[None] = loop.create_future()
        self._told: Callable[[], None] = lambda: None
        self._ended = False
        loop.add_reader(self._socket, self._heard)

    @property
    def free(self) -> bool:
        return self._piped is None and not self.db.closed

    @property
    def closed(self) -> bool:
        return self.db.closed

    def write(self, send: Callable[[Piped], bool], told: Callable[[], None]) -> asyncio.Future[None] | None:
        """`told` is called when it is committed, whoever waits by then."""
        piped = Piped(self.db)
        try:
            piped.__enter__()
            sent = send(piped)
            all_gone = sent and piped.ask()
        except Exception:  # noqa: BLE001 - a thread does it, and meets it again
            self._end()
            return None
        if not sent:
            piped.leave()
            return None
        if not all_gone:
            self._loop.add_writer(self._socket, self._go_on)
        self._piped, self._told, self._done = piped, told, self._loop.create_future()
        return self._done

    def _go_on(self) -> None:
        with suppress(psycopg.Error):  # it is heard of
            if self.db.pgconn.flush():
                return
        self._loop.remove_writer(self._socket)

    def _heard(self) -> None:
        """The server has said something, or has gone."""
        piped = self._piped
        try:
            if piped is None:
                self.db.pgconn.consume_input()
                return
            if not piped.hear():
                return
            piped.leave()
        except Exception:  # whatever it is, nobody will hear more
            log.debug("the short way has ended", exc_info=True)
            self._end()
            return
        self._piped = None
        try:
            if piped.failure is None:
                self._told()
        finally:
            if isinstance(piped.failure, STALE):
                self._end()
            self._settle(piped.failure)

    def _settle(self, failure: Exception | None) -> None:
        if self._done.done() or self._loop.is_closed():  # who waited was cancelled, or went with the loop
            return
        if failure is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(failure)

    def _end(self) -> None:
        """No more of it. What is under way may have been done."""
        if self._ended:  # by now the number of the socket may be another's
            return
        self._ended = True
        with suppress(RuntimeError):  # the loop has ended
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        self.db.close()
        if self._piped is not None:
            self._piped = None
            self._unheard()
            self._settle(Unheard())

    def close(self) -> None:
        """Wait for what is under way, then let go; on any thread."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here or not self._asked_loop():
            self._finish()

    def _asked_loop(self) -> bool:
        """Have the loop finish; False if it ends before it comes to it."""
        ended = threading.Event()

        def finish() -> None:
            self._finish()
            ended.set()

        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(finish)
            give_up_at = time.monotonic() + CLOSE_S_MAX
            while self._loop.is_running():
                if ended.wait(LOOK_S) or time.monotonic() > give_up_at:
                    return True
        return ended.is_set()

    def _finish(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while self._piped is not None and poll.poll(CLOSE_S_MAX * 1000):
            self._heard()
        self._end()
