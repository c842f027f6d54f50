"""Pipeline mode without a cursor for each statement: what is sent waits, and travels in one packet with what is waited for.

    with Piped(db) as piped:
        piped.send("BEGIN")
        answer = piped.send("SELECT 1 WHERE $1", (True,))
        piped.sync()                      # one round trip
        answer.rows()

psycopg sends each statement by itself and makes a cursor, a query and a transformer for it: of a transaction of ten statements that was most of
its time. Its pipeline does the work still; what stands in its queues is ours.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from typing import Any

import psycopg
from psycopg.adapt import PyFormat
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

from creto.store.postgres.connection import Connection
from creto.store.postgres.statements import Key
from creto.store.types import Row

AUTO = (PyFormat.AUTO,) * 65_535  # as many as a statement can have
UNSENT_BYTES_MAX = 64 * 1024  # what a socket takes without anybody reading at the other end


class Answer:
    """To one statement; psycopg's pipeline hands the results to whatever stands in its queue."""

    __slots__ = ("_db", "_result")

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._result: PGresult | None = None

    def _check_results(self, results: list[PGresult]) -> None:
        for result in results:
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
            if result.status == ExecStatus.PIPELINE_ABORTED:
                raise psycopg.errors.PipelineAborted("pipeline aborted")

    def _set_results(self, results: list[PGresult]) -> None:
        self._result = results[-1]

    def rows(self) -> list[Row]:
        if self._result is None or self._result.status != ExecStatus.TUPLES_OK:
            return []
        transformer = self._db.transformer
        transformer.set_pgresult(self._result)
        return transformer.load_rows(0, self._result.ntuples, tuple)

    @property
    def count(self) -> int:
        """Of the rows that it changed."""
        changed = self._result.command_tuples if self._result is not None else None
        return changed if changed is not None else -1


class Prepared(Answer):
    """The answer to a preparation: only now the name can be relied on."""

    __slots__ = ("_key", "_name")

    def __init__(self, db: Connection, key: Key, name: bytes) -> None:
        super().__init__(db)
        self._key, self._name = key, name

    def _set_results(self, results: list[PGresult]) -> None:
        self._db.statements.prepared(self._key, self._name)


class AtOnce(deque[Callable[[], Any]]):
    """What a pipeline has to send: all of it at its turn."""

    def popleft(self) -> Callable[[], None]:
        commands = list(self)
        self.clear()

        def send() -> None:
            for command in commands:
                command()

        return send


class Piped:
    """Pipeline mode, which can be left and entered again within a transaction."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._stack = ExitStack()
        self._pipeline: Any = None
        self._unsent_bytes = 0

    def __enter__(self) -> Piped:
        self.enter()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # After a failure the server's complaints about what was sent behind it are echoes.
        with suppress(psycopg.Error) if error is not None else nullcontext():
            self._stack.close()

    def enter(self) -> None:
        self._db.statements.pending.clear()
        self._pipeline = self._stack.enter_context(self._db.pipeline())
        self._pipeline.command_queue = AtOnce()

    def leave(self) -> None:
        self._stack.close()
        self._pipeline = None

    def send(self, sql: str, params: Sequence[Any] = ()) -> Answer:
        """Its answer is there after the next `sync`, which raises what the server said."""
        if self._unsent_bytes > UNSENT_BYTES_MAX:
            self.sync()
        transformer = self._db.transformer
        values = transformer.dump_sequence(params, AUTO[: len(params)])
        self._unsent_bytes += sum(map(len, filter(None, values)))
        formats, types = (transformer.formats, transformer.types or ()) if params else (None, ())
        pg, known, key = self._db.pgconn, self._db.statements, (sql, types)
        name = known.names.get(key) or (self._prepare(key) if known.worth_a_name(key) else None)
        answer = Answer(self._db)
        if name is not None:
            self._queue(partial(pg.send_query_prepared, name, values, formats), answer)
        else:
            self._queue(partial(pg.send_query_params, sql.encode(), values, types, formats), answer)
        return answer

    def _prepare(self, key: Key) -> bytes:
        pg, known, (sql, types) = self._db.pgconn, self._db.statements, key
        if (oldest := known.too_many()) is not None:
            self._queue(partial(pg.send_query_params, b"DEALLOCATE " + oldest, None), Answer(self._db))
        name = known.new_name()
        self._queue(partial(pg.send_prepare, name, sql.encode(), types), Prepared(self._db, key, name))
        return name

    def _queue(self, command: Callable[[], Any], answer: Answer) -> None:
        self._pipeline.command_queue.append(command)
        self._pipeline.result_queue.append((answer, None))

    def sync(self) -> None:
        """Wait for the answers to what was sent."""
        self._unsent_bytes = 0
        if self._pipeline is not None:
            self._pipeline.sync()
