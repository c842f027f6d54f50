"""Pages: how long a list may be, and what leads to the rest of it.

    limit, after = checked_limit(limit), place_of(cursor, tuple[int, str], (-1, ""))
    found = await store.read(lambda tx: sql.page(tx, tenant, after, limit + 1))      # one more says that there are more
    items, cursor = cut(found, limit, lambda last: (last.registered_at, last.nhi))

A cursor is the place where a page ended, as text that nobody has to understand: base64url of JSON. What is added to a list meanwhile comes
on a later page, and nothing comes twice.

INVARIANT: whatever text comes back as a cursor, what reaches a statement is a place of the list's own type that every engine can compare.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import CURSOR_CHARS_MAX, INTEGER_MAX, PAGE_ITEMS_MAX

T = TypeVar("T")


def checked_limit(limit: int, *, field: str = "limit", code: str = "PL-400") -> int:
    """How many items a page may have; for others PL-400, or the code of the product that was asked."""
    if not 1 <= limit <= PAGE_ITEMS_MAX:
        raise InvalidInput.of(field, got=limit, expected=f"1 to {PAGE_ITEMS_MAX}", code=code)
    return limit


def cursor_of(place: Any) -> str:
    return base64.urlsafe_b64encode(wire.encode(place)).decode().rstrip("=")


def place_of(cursor: str | None, kind: type[T], start: T) -> T:
    """The place that a cursor names, or `start` for the first page; PL-400 for what is no cursor of such a list."""
    if cursor is None:
        return start
    try:
        if len(cursor) > CURSOR_CHARS_MAX:
            raise ValueError("too long")
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        place = wire.decode(data, kind, what="cursor")
        if not comparable(place):
            raise ValueError("beyond what an engine holds")
    except (binascii.Error, ValueError, InvalidInput) as error:
        raise InvalidInput.of("cursor", got=cursor[:100], expected="the cursor of the page before") from error
    return place


def comparable(place: object) -> bool:
    """PostgreSQL takes numbers of 64 bits and text without NUL."""
    if isinstance(place, tuple):
        return all(map(comparable, place))
    if isinstance(place, str):
        return "\0" not in place
    return isinstance(place, int) and -INTEGER_MAX <= place <= INTEGER_MAX


def cut(found: Sequence[T], limit: int, place: Callable[[T], Any]) -> tuple[tuple[T, ...], str | None]:
    """A page of up to `limit` of the items found, and its cursor if more were found."""
    items = tuple(found[:limit])
    return items, cursor_of(place(items[-1])) if len(found) > limit else None
