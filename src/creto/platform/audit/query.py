"""Queries: which part of the log to look at, and the SQL that looks there.

A page looks at a bounded window of the log, in the log's order. Its cursor is a place in the log, so pages neither skip nor repeat an
entry however much is appended between them. A time range becomes a range of places first: the log is nearly in time order.

INVARIANT: every statement compares the tenant of every row it returns.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, LiteralString

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.fingerprint import fingerprint
from creto.common.ids import checked_tenant
from creto.common.limits import (
    INDEX_CHARS_MAX,
    INTEGER_MAX,
    PAGE_ITEMS_MAX,
    QUERY_SORTED_MAX,
    QUERY_WINDOW,
    QUERY_WINDOW_UNINDEXED,
)
from creto.platform.audit.store import BODY_ON
from creto.platform.audit.tiles import WIDTH
from creto.platform.audit.types import AuditQuery, LoggedEntry, Page, decoded_entry
from creto.platform.audit.words import asked_words, resource_beginning, tenant_word, term
from creto.store.types import EngineName, ReadTx

LAST_CHARACTER = "\U0010ffff"
COLUMNS: tuple[tuple[LiteralString, str], ...] = (
    ("agent", "a"), ("action", "c"), ("event", "e"), ("product", "p"), ("outcome", "o"), ("resource", "r"),
)  # fmt: skip


class Cursor(msgspec.Struct, frozen=True, array_like=True):
    """Where the last page ended, and a mark of the query it belongs to."""

    place: int
    mark: str

    def encode(self) -> str:
        return base64.urlsafe_b64encode(wire.encode(self)).decode().rstrip("=")

    @staticmethod
    def decode(text: str, query: AuditQuery) -> Cursor:
        try:
            data = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
            cursor = msgspec.json.decode(data, type=Cursor)
        except (binascii.Error, UnicodeError, msgspec.DecodeError) as error:
            raise InvalidInput.of("cursor", got=text, expected="the cursor of the page before") from error
        if cursor.mark != mark_of(query) or cursor.place < 0:
            raise InvalidInput.of("cursor", got=text, expected="the cursor of a page of this very query")
        return cursor


def mark_of(query: AuditQuery) -> str:
    same = msgspec.structs.replace(query, cursor=None, limit=0)
    return fingerprint(wire.encode(same))[1:9].hex()


class Where(msgspec.Struct):
    """The conditions on columns, as SQL and its parameters."""

    sql: LiteralString
    params: list[Any]


def checked(query: AuditQuery) -> AuditQuery:
    checked_tenant(query.tenant)
    if not 1 <= query.limit <= PAGE_ITEMS_MAX:
        raise InvalidInput.of("limit", got=query.limit, expected=f"1 to {PAGE_ITEMS_MAX}")
    if query.resource is not None and query.resource_prefix is not None:
        raise InvalidInput.of("resource_prefix", got=query.resource_prefix, expected="a resource or a prefix, not both")
    if query.resource_prefix == "":
        raise InvalidInput.of("resource_prefix", got="", expected="at least one character")
    for name in (*(column for column, _ in COLUMNS), "resource_prefix"):
        value = getattr(query, name) or ""
        if len(value) > INDEX_CHARS_MAX or "\0" in value:
            raise InvalidInput.of(name, got=value, expected=f"at most {INDEX_CHARS_MAX} characters, none of them NUL")
    for name in ("since", "until", "after"):
        number = getattr(query, name) or 0
        if not -INTEGER_MAX <= number <= INTEGER_MAX:
            raise InvalidInput.of(name, got=number, expected="a number of 64 bits")
    return query


def page(tx: ReadTx, query: AuditQuery, size: int) -> Page:
    """One page of the answer from the log as it is now: `size` entries."""
    checked(query)
    low, high = places(tx, query, size)
    mark = mark_of(query)
    if query.cursor is not None:
        place = Cursor.decode(query.cursor, query).place
        low, high = (low, min(high, place)) if query.newest_first else (max(low, place + 1), high)
    if low >= high:
        return Page(())
    narrow = is_narrow(tx, query)
    width = window(query, narrow)
    first, last = (max(low, high - width), high) if query.newest_first else (low, min(high, low + width))
    found = rows(tx, query, first, last, narrow=narrow)
    items = tuple(LoggedEntry(index, decoded_entry(body), bytes(body)) for index, body in found[: query.limit])
    if len(found) > query.limit:
        return Page(items, Cursor(items[-1].index, mark).encode())
    done = first <= low if query.newest_first else last >= high
    return Page(items, None if done else Cursor(first if query.newest_first else last - 1, mark).encode())


def places(tx: ReadTx, query: AuditQuery, size: int) -> tuple[int, int]:
    """The part of the log, `[low, high)`, that can hold what is asked for."""
    low, high = 0, size
    if query.after is not None:
        low = max(low, query.after + 1)
    if query.since is not None:
        tile = tx.value("SELECT tile FROM audit_span WHERE time_max >= ? ORDER BY tile LIMIT 1", query.since)
        low = max(low, size if tile is None else tile * WIDTH)
    if query.until is not None:
        tile = tx.value("SELECT tile FROM audit_span WHERE time_min < ? ORDER BY tile DESC LIMIT 1", query.until)
        high = min(high, 0 if tile is None else (tile + 1) * WIDTH)
    return low, high


def is_narrow(tx: ReadTx, query: AuditQuery) -> bool:
    """Whether so few resources begin like this that all of them can be taken and sorted."""
    prefix = query.resource_prefix
    if prefix is None or query.text is not None:
        return False
    count = tx.value(
        "SELECT COUNT(*) FROM (SELECT 1 FROM audit_leaf WHERE tenant = ? AND resource >= ? AND resource < ? LIMIT ?) AS few",
        query.tenant, prefix, prefix + LAST_CHARACTER, QUERY_SORTED_MAX + 1,
    )  # fmt: skip
    return bool(count <= QUERY_SORTED_MAX)


def window(query: AuditQuery, narrow: bool) -> int:
    """How much of the log one page looks at; a prefix that no index knows is compared entry by entry."""
    prefix = query.resource_prefix
    if prefix is None or narrow or resource_beginning(prefix) == f"b={prefix}":
        return QUERY_WINDOW
    return QUERY_WINDOW_UNINDEXED


def where(query: AuditQuery, first: int, last: int) -> Where:
    found = Where("a.tenant = ? AND a.log_index >= ? AND a.log_index < ?", [query.tenant, first, last])
    for column, _ in COLUMNS:
        value = getattr(query, column)
        if value is not None:
            found.sql += " AND a." + column + " = ?"
            found.params.append(str(value))
    if query.resource_prefix is not None:
        found.sql += " AND a.resource >= ? AND a.resource < ?"
        found.params += [query.resource_prefix, query.resource_prefix + LAST_CHARACTER]
    if query.since is not None:
        found.sql += " AND a.time >= ?"
        found.params.append(query.since)
    if query.until is not None:
        found.sql += " AND a.time < ?"
        found.params.append(query.until)
    return found


def rows(tx: ReadTx, query: AuditQuery, first: int, last: int, *, narrow: bool) -> list[tuple[int, bytes]]:
    """One match more than the page holds, so that we know whether another page follows."""
    order: LiteralString = " DESC" if query.newest_first else ""
    conditions = where(query, first, last)
    source: LiteralString = "audit_leaf a"
    column: LiteralString = "a.log_index"
    params: list[Any] = []
    if tx.engine is EngineName.SQLITE and not narrow:
        # CROSS JOIN: the order in which SQLite is to walk; it would not know that the terms are few.
        source = "audit_text CROSS JOIN audit_leaf a ON a.log_index = audit_text.rowid"
        conditions.sql = "audit_text MATCH ? AND audit_text.rowid >= ? AND audit_text.rowid < ? AND " + conditions.sql
        params = [sqlite_match(query), first, last]
        column = "audit_text.rowid"
    elif query.text is not None:
        source = "audit_text t JOIN audit_leaf a ON a.log_index = t.log_index"
        conditions.sql = "t.words @@ CAST(? AS tsquery) AND " + conditions.sql
        params = [postgres_match(query.text, query.tenant)]
    sql: LiteralString = "SELECT a.log_index, l.body FROM " + source + " CROSS JOIN store_ledger l"
    sql += " WHERE " + conditions.sql + " AND " + BODY_ON[tx.engine] + " ORDER BY " + column + order + " LIMIT ?"
    return [(row[0], row[1]) for row in tx.all(sql, *params, *conditions.params, query.limit + 1)]


def sqlite_match(query: AuditQuery) -> str:
    """The words and terms that must all be there, in FTS5's language."""
    terms = [tenant_word(query.tenant)]
    terms += [term(kind, str(value)) for column, kind in COLUMNS if (value := getattr(query, column)) is not None]
    if query.resource_prefix is not None and (beginning := resource_beginning(query.resource_prefix)):
        terms.append(beginning)
    wanted = [(one, False) for one in terms] + (asked_words(query.text) if query.text is not None else [])
    return " AND ".join('"' + word.replace('"', '""') + '"' + ("*" if begins else "") for word, begins in wanted)


def postgres_match(text: str, tenant: str) -> str:
    wanted = [(tenant_word(tenant), False), *asked_words(text)]
    return " & ".join(f"'{word}'" + (":*" if begins else "") for word, begins in wanted)
