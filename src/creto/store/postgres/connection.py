"""Connections to PostgreSQL: the layer's spelling of SQL and of values, and what the server's errors mean."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import abc, errors
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader, Transformer
from psycopg.pq import TransactionStatus

from creto.common.errors import (
    AlreadyExists,
    ConnectionFailed,
    EnablementError,
    InternalError,
    InvalidInput,
    Timeout,
)
from creto.store.postgres.statements import Statements
from creto.store.types import Row


class Connection(psycopg.Connection[Row]):
    """One thread at a time uses it."""

    statements: Statements
    transformer: abc.Transformer  # of values: it knows by now what it has met


STALE = (errors.FeatureNotSupported, errors.InvalidSqlStatementName)  # what was prepared fits the tables no more
DURABLE = "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"

# Strings, quoted names, comments and dollar quotes are stepped over; what is left of `?` are parameters.
TOKEN = re.compile(
    r"""'(?:[^']|'')*' | "(?:[^"]|"")*" | --[^\n]* | /\*.*?\*/ | \$(\w*)\$.*?\$\1\$ | (?P<mark>\?)""",
    re.VERBOSE | re.DOTALL,
)


@lru_cache(maxsize=4096)
def numbered(text: str) -> str:
    """`?` → `$1`, `$2`, … : the server's own placeholders, so that `%` needs no care."""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        if match["mark"] is None:
            return match[0]
        count += 1
        return f"${count}"

    return TOKEN.sub(number, text)


class BoolAsInt(Dumper):
    """The layer keeps truth as 0 and 1, as SQLite does."""

    oid = psycopg.adapters.types["int2"].oid

    def dump(self, obj: bool) -> Buffer:
        return b"1" if obj else b"0"


class WholeNumeric(Loader):
    """A SUM over bigint is a numeric on PostgreSQL; it is a whole number all the same."""

    def load(self, data: Buffer) -> Any:
        text = bytes(data).decode()
        return int(text) if text.lstrip("-").isdigit() else float(text)


def connect(url: str, **options: Any) -> Connection:
    options = {"connect_timeout": 5, "application_name": "creto", **options}
    db: Connection | None = None
    try:
        db = Connection.connect(
            url, autocommit=True, cursor_factory=psycopg.RawCursor, prepare_threshold=None, **options
        )
        db.statements = Statements()
        db.adapters.register_dumper(bool, BoolAsInt)
        db.adapters.register_loader("numeric", WholeNumeric)
        db.transformer = Transformer(db)
        db.execute(DURABLE)
    except psycopg.Error as error:
        if db is not None:
            db.close()
        raise fault(error) from error
    return db


def fault(error: Exception) -> EnablementError:
    """What an error of PostgreSQL means to a caller, without the server's details: they repeat the row's values."""
    said = (error.diag.message_primary if isinstance(error, psycopg.Error) else None) or type(error).__name__
    if isinstance(error, errors.UniqueViolation):
        return AlreadyExists("PL-409", said)
    if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
        return ConnectionFailed("PL-503", "too many transactions want the same rows", retry_after_s=0.1)
    if isinstance(error, errors.QueryCanceled | errors.LockNotAvailable):
        return Timeout("PL-504", f"PostgreSQL: {said}")
    if isinstance(error, psycopg.DataError):
        return InvalidInput("PL-400", f"a value does not fit its column: {said}")
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return ConnectionFailed("PL-503", f"PostgreSQL is not reachable: {said}", retry_after_s=0.5)
    return InternalError("PL-500", f"PostgreSQL: {said}")


def cleared(db: Connection) -> bool:
    """Whether the connection can be used again; whatever was open on it is undone."""
    try:
        if not db.closed and db.info.transaction_status is not TransactionStatus.IDLE:
            db.execute("ROLLBACK")
    except psycopg.Error:
        db.close()
    return not db.closed
