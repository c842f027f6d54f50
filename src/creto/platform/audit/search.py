"""How each engine finds the leaves that fit a query, in a window of the log and in its order.

SQLite intersects the lists of its full-text index, where the exact fields stand as terms. PostgreSQL walks the index of one field in
the log's order and compares the rest; how far it may have to walk decides how wide a window it gets.

INVARIANT: every statement compares the tenant, and every field that was asked for, of every row it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

import msgspec

from creto.common.limits import QUERY_SORTED_MAX, QUERY_WINDOW, QUERY_WINDOW_COMBINED, QUERY_WINDOW_UNINDEXED
from creto.platform.audit.types import AuditQuery
from creto.platform.audit.words import asked_words, resource_beginning, tenant_word, term
from creto.store.types import EngineName, ReadTx, Row

LAST_CHARACTER = "\U0010ffff"
COLUMNS: dict[LiteralString, str] = {  # and the kind of their terms
    "agent": "a", "action": "c", "event": "e", "product": "p", "outcome": "o", "resource": "r",
}  # fmt: skip
QUERY_WINDOW_SAMPLED = 5_000  # where words that stand in every fiftieth entry fill a page
SELECT: LiteralString = "SELECT a.log_index, a.epoch, a.seq FROM "

Find = Callable[
    [ReadTx, AuditQuery, int, int], list[Row]
]  # in the window [first, last): one match more than the page holds


class Search(msgspec.Struct, frozen=True):
    """A way to find, and how much of the log it may look at for one page."""

    find: Find
    window: int


class Where(msgspec.Struct):
    """Conditions on the columns of a leaf, as SQL and its parameters."""

    sql: LiteralString
    params: list[Any]

    def add(self, sql: LiteralString, *params: Any) -> None:
        self.sql += " AND " + sql
        self.params += params


def search_of(tx: ReadTx, query: AuditQuery) -> Search:
    if query.resource_prefix is not None and query.text is None and is_narrow(tx, query, query.resource_prefix):
        return Search(by_narrow_prefix, QUERY_WINDOW)
    if tx.engine is EngineName.SQLITE:
        return Search(by_terms, QUERY_WINDOW if prefix_is_term(query) else QUERY_WINDOW_UNINDEXED)
    if query.text is not None:
        return Search(by_words, QUERY_WINDOW)
    exact = sum(getattr(query, column) is not None for column in COLUMNS)
    if query.resource_prefix is not None:
        return Search(by_column, QUERY_WINDOW_UNINDEXED)
    return Search(by_column, QUERY_WINDOW if exact < 2 else QUERY_WINDOW_COMBINED)


def is_narrow(tx: ReadTx, query: AuditQuery, prefix: str) -> bool:
    """Whether so few resources begin like this that all of them can be taken and sorted."""
    count = tx.value(
        "SELECT COUNT(*) FROM (SELECT 1 FROM audit_leaf WHERE tenant = ? AND resource >= ? AND resource < ? LIMIT ?) AS few",
        query.tenant, prefix, prefix + LAST_CHARACTER, QUERY_SORTED_MAX + 1,
    )  # fmt: skip
    return bool(count <= QUERY_SORTED_MAX)


def prefix_is_term(query: AuditQuery) -> bool:
    """Whether the index knows the prefix, so that no row has to be compared in vain."""
    prefix = query.resource_prefix
    return prefix is None or resource_beginning(prefix) == f"b={prefix}"


def where(query: AuditQuery, first: int, last: int) -> Where:
    """All conditions but those on words and on the beginning of the resource."""
    found = Where("a.tenant = ? AND a.log_index >= ? AND a.log_index < ?", [query.tenant, first, last])
    for column in COLUMNS:
        value = getattr(query, column)
        if value is not None:
            found.add("a." + column + " = ?", str(value))
    if query.since is not None:
        found.add("a.time >= ?", query.since)
    if query.until is not None:
        found.add("a.time < ?", query.until)
    return found


def compared_prefix(found: Where, query: AuditQuery) -> Where:
    """The beginning of the resource, compared row by row: spelled so that no planner takes the index of resources for it."""
    if query.resource_prefix is not None:
        found.add("substr(a.resource, 1, ?) = ?", len(query.resource_prefix), query.resource_prefix)
    return found


def in_order(query: AuditQuery, column: LiteralString) -> LiteralString:
    return " ORDER BY " + column + (" DESC" if query.newest_first else "") + " LIMIT ?"


def by_narrow_prefix(tx: ReadTx, query: AuditQuery, first: int, last: int) -> list[Row]:
    found = where(query, first, last)
    prefix = query.resource_prefix or ""
    found.add("a.resource >= ? AND a.resource < ?", prefix, prefix + LAST_CHARACTER)
    sql = SELECT + "audit_leaf a WHERE " + found.sql + in_order(query, "a.log_index")
    return tx.all(sql, *found.params, query.limit + 1)


def by_terms(tx: ReadTx, query: AuditQuery, first: int, last: int) -> list[Row]:
    """SQLite. CROSS JOIN is the order in which it is to walk; it would not know how few the matches are."""
    found = compared_prefix(where(query, first, last), query)
    sql: LiteralString = (
        SELECT + "audit_text t CROSS JOIN audit_leaf a ON a.log_index = t.rowid"
        " WHERE t.audit_text MATCH ? AND t.rowid >= ? AND t.rowid < ? AND "
    )
    sql += found.sql + in_order(query, "t.rowid")
    return tx.all(sql, match_of(query), first, last, *found.params, query.limit + 1)


def match_of(query: AuditQuery) -> str:
    """The words and terms that must all be there, in FTS5's language."""
    terms = [tenant_word(query.tenant)]
    terms += [
        term(kind, str(value)) for column, kind in COLUMNS.items() if (value := getattr(query, column)) is not None
    ]
    if query.resource_prefix is not None and (beginning := resource_beginning(query.resource_prefix)):
        terms.append(beginning)
    wanted = [(one, False) for one in terms] + (asked_words(query.text) if query.text is not None else [])
    return " AND ".join('"' + word.replace('"', '""') + '"' + ("*" if begins else "") for word, begins in wanted)


def by_column(tx: ReadTx, query: AuditQuery, first: int, last: int) -> list[Row]:
    """PostgreSQL: each field has an index in the order of the log."""
    found = compared_prefix(where(query, first, last), query)
    sql = SELECT + "audit_leaf a WHERE " + found.sql + in_order(query, "a.log_index")
    return tx.all(sql, *found.params, query.limit + 1)


def by_words(tx: ReadTx, query: AuditQuery, first: int, last: int) -> list[Row]:
    """PostgreSQL. Frequent words fill a page from a small part of the log; for rare ones the index of words is quick."""
    near = (
        (max(first, last - QUERY_WINDOW_SAMPLED), last)
        if query.newest_first
        else (first, min(last, first + QUERY_WINDOW_SAMPLED))
    )
    some = matching_words(tx, query, *near, "COALESCE(t.words @@ CAST(? AS tsquery), FALSE)")
    if len(some) > query.limit or near == (first, last):
        return some
    return matching_words(tx, query, first, last, "t.words @@ CAST(? AS tsquery)")


def matching_words(tx: ReadTx, query: AuditQuery, first: int, last: int, match: LiteralString) -> list[Row]:
    found = compared_prefix(where(query, first, last), query)
    hits: LiteralString = "SELECT t.log_index FROM audit_text t WHERE t.log_index >= ? AND t.log_index < ? AND " + match
    sql: LiteralString = "WITH t AS MATERIALIZED (" + hits + ") " + SELECT
    sql += "t JOIN audit_leaf a ON a.log_index = t.log_index WHERE " + found.sql + in_order(query, "a.log_index")
    return tx.all(sql, first, last, tsquery_of(query), *found.params, query.limit + 1)


def tsquery_of(query: AuditQuery) -> str:
    wanted = [(tenant_word(query.tenant), False), *asked_words(query.text or "")]
    return " & ".join(f"'{word}'" + (":*" if begins else "") for word, begins in wanted)
