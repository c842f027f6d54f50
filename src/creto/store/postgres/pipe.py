"""A transaction's statements in few packets: what is small waits, and travels with what is waited for.

    with Piped(db) as piped:
        piped.send("BEGIN")
        answer = piped.send("SELECT 1 WHERE $1", (True,))
        piped.sync()                      # one round trip
        answer.rows()

This is libpq's pipeline mode. psycopg offers it too, with a packet, a cursor, a query and a transformer for each statement: of a transaction of
ten statements that was most of its time. Here it converts values, names errors, and is the connection; who waits is ours.

INVARIANT: what has a name at the server got it here: connections are made without psycopg's own, which it takes back, all of them, with a ROLLBACK.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from functools import partial

import psycopg
from psycopg.adapt import PyFormat
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, PipelineStatus
from psycopg.pq.abc import PGresult

from creto.store.postgres.connection import Connection
from creto.store.postgres.statements import Key
from creto.store.types import Row

AUTO = (PyFormat.AUTO,) * 65_535  # as many as a statement can have
UNSENT_BYTES_MAX = 4 * 1024  # then it goes: while we think about the rest, the server works on it
STATEMENT_BYTES = 100  # of what is sent, beside values and text
GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY)


class Answer:
    """To one statement."""

    __slots__ = ("_db", "_named", "_result")

    def __init__(self, db: Connection, named: Callable[[], None] | None = None) -> None:
        self._db = db
        self._named = named  # what to do when the answer is that a name stands
        self._result: PGresult | None = None

    def take(self, result: PGresult) -> None:
        self._result = result
        if self._named is not None:
            self._named()

    def rows(self) -> list[Row]:
        if self._result is None or self._result.status != ExecStatus.TUPLES_OK:
            return []
        transformer = self._db.transformer
        transformer.set_pgresult(self._result)
        rows = transformer.load_rows(0, self._result.ntuples, tuple)
        transformer.set_pgresult(None)  # the connection lives long, the result may be large
        return rows

    @property
    def count(self) -> int:
        """Of the rows that it changed."""
        changed = self._result.command_tuples if self._result is not None else None
        return changed if changed is not None else -1


class Piped:
    """Pipeline mode, which can be left and entered again within a transaction."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._pg = db.pgconn
        self._socket = select.poll()
        self._waiting: list[Answer] = []
        self._unsent_bytes = 0
        self._heard = 0  # answers
        self.failure: psycopg.Error | None = None  # the first since the last `sync`

    def __enter__(self) -> Piped:
        self._db.statements.pending.clear()
        self.enter()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self.leave()
        except psycopg.Error:
            if error is None:
                raise  # else it is an echo: what was sent behind a failure fails too
        finally:
            if self._entered and self._pg.status != ConnStatus.BAD:
                self._db.close()  # whoever comes next would get our answers

    @property
    def _entered(self) -> bool:
        return self._pg.pipeline_status != PipelineStatus.OFF

    def enter(self) -> None:
        if self._db.closed:
            raise psycopg.OperationalError("the connection is closed")
        self._socket.register(self._pg.socket, select.POLLIN)
        while self._socket.poll(0):  # a word that nobody asked for: most likely its last
            self._pg.consume_input()
        self._pg.enter_pipeline_mode()

    def leave(self) -> None:
        """Wait for what was sent; then psycopg has the connection."""
        try:
            if self._waiting:
                self.sync()
        finally:
            if self._entered and not self._waiting:
                self._pg.exit_pipeline_mode()

    def send(self, sql: str, params: Sequence[object] = ()) -> Answer:
        """Its answer is there after the next `sync`, which raises what the server said."""
        transformer = self._db.transformer
        values = transformer.dump_sequence(params, AUTO[: len(params)])
        formats, types = (transformer.formats, transformer.types or ()) if params else (None, ())
        known, key = self._db.statements, (sql, types)
        name = known.names.get(key) or (self._prepare(key) if known.worth_a_name(key) else None)
        if name is not None:
            self._pg.send_query_prepared(name, values, formats)
        else:
            self._pg.send_query_params(sql.encode(), values, types, formats)
        self._unsent_bytes += sum(map(len, filter(None, values))) + len(sql) + STATEMENT_BYTES
        if self._unsent_bytes > UNSENT_BYTES_MAX:
            self._flush()
        return self._asked(Answer(self._db))

    def _prepare(self, key: Key) -> bytes:
        known, (sql, types) = self._db.statements, key
        if (oldest := known.too_many()) is not None:
            self._pg.send_query_params(b"DEALLOCATE " + oldest, None)
            self._asked(Answer(self._db))
        name = known.new_name()
        self._pg.send_prepare(name, sql.encode(), types)
        self._asked(Answer(self._db, partial(known.prepared, key, name)))  # only then the name can be relied on
        return name

    def _asked(self, answer: Answer) -> Answer:
        self._waiting.append(answer)
        return answer

    def ask(self) -> bool:
        """Ask for the answers to what was sent, without waiting; whether all of it has gone."""
        self._pg.pipeline_sync()
        return not self._pg.flush()

    def hear(self) -> bool:
        """Take the answers that have come, on a socket that can be read; whether they were the last."""
        self._pg.consume_input()
        return self._take()

    def _take(self) -> bool:
        while not self._pg.is_busy():
            result = self._pg.get_result()
            if result is None:  # the end of one answer
                if self._pg.status == ConnStatus.BAD:
                    raise self.failure or psycopg.OperationalError("the connection is lost")
                continue
            if result.status == ExecStatus.PIPELINE_SYNC:
                self._waiting, self._heard = [], 0
                return True
            if result.status in GOOD:
                self._waiting[self._heard].take(result)
            elif self.failure is None:
                self.failure = said(result)
            self._heard += 1  # and one more where the commit itself failed
        return False

    def sync(self) -> None:
        """Wait for the answers to what was sent. The first that is an error is raised; what was sent behind it was not done."""
        self._pg.pipeline_sync()
        self._flush()
        while not self._take():
            self._socket.poll()
            self._pg.consume_input()
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    def _flush(self) -> None:
        """Both sides may have more to say than a socket takes: who sends must listen."""
        self._unsent_bytes = 0
        while self._pg.flush():
            self._socket.modify(self._pg.socket, select.POLLIN | select.POLLOUT)
            for _, event in self._socket.poll():
                if event & ~select.POLLOUT:
                    self._pg.consume_input()
            self._socket.modify(self._pg.socket, select.POLLIN)


def said(result: PGresult) -> psycopg.Error:
    """What the server did not do, as an error."""
    if result.status == ExecStatus.PIPELINE_ABORTED:
        return psycopg.errors.PipelineAborted("pipeline aborted")
    return error_from_result(result)
