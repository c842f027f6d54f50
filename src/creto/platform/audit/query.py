"""Queries: which part of the log to look at, and the SQL that looks there.

A page looks at a bounded window of the log, in the log's order. Its cursor is a place in the log, so pages neither skip nor repeat an
entry however much is appended between them. A time range becomes a range of places first: the log is nearly in time order.

INVARIANT: every statement compares the tenant of every row it returns.
"""

from __future__ import annotations

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.fingerprint import fingerprint
from creto.common.ids import checked_tenant
from creto.common.limits import INDEX_CHARS_MAX, INTEGER_MAX
from creto.common.paging import checked_limit, cursor_of, place_of
from creto.platform.audit.search import COLUMNS, search_of
from creto.platform.audit.store import logged
from creto.platform.audit.tiles import WIDTH
from creto.platform.audit.types import AuditQuery, Page
from creto.store.types import ReadTx


def ended_at(query: AuditQuery, mark: str) -> int | None:
    """Where the last page ended; its cursor also holds a mark of the query it belongs to."""
    if query.cursor is None:
        return None
    place, of = place_of(query.cursor, tuple[int, str], (0, ""))
    if of != mark or place < 0:
        raise InvalidInput.of("cursor", got=query.cursor, expected="the cursor of a page of this very query")
    return place


def mark_of(query: AuditQuery) -> str:
    same = msgspec.structs.replace(query, cursor=None, limit=0)
    return fingerprint(wire.encode(same))[1:9].hex()


def checked(query: AuditQuery) -> AuditQuery:
    checked_tenant(query.tenant)
    checked_limit(query.limit)
    if query.resource is not None and query.resource_prefix is not None:
        raise InvalidInput.of("resource_prefix", got=query.resource_prefix, expected="a resource or a prefix, not both")
    if query.resource_prefix == "":
        raise InvalidInput.of("resource_prefix", got="", expected="at least one character")
    for name in (*COLUMNS, "resource_prefix"):
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
    place = ended_at(query, mark)
    if place is not None:
        low, high = (low, min(high, place)) if query.newest_first else (max(low, place + 1), high)
    if low >= high:
        return Page(())
    search = search_of(tx, query)
    first, last = (
        (max(low, high - search.window), high) if query.newest_first else (low, min(high, low + search.window))
    )
    found = search.find(tx, query, first, last)
    items = tuple(logged(tx, found[: query.limit]))
    if len(found) > query.limit:
        return Page(items, cursor_of((items[-1].index, mark)))
    done = first <= low if query.newest_first else last >= high
    return Page(items, None if done else cursor_of((first if query.newest_first else last - 1, mark)))


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
