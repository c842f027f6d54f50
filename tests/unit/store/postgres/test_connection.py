"""The layer's SQL in PostgreSQL's spelling."""

from __future__ import annotations

import pytest

pytest.importorskip("psycopg")

from psycopg import errors

from creto.common.errors import AlreadyExists, ConnectionFailed, EnablementError, InternalError, InvalidInput, Timeout
from creto.store.postgres.connection import fault, numbered


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("SELECT ? + ?", "SELECT $1 + $2"),
        ("SELECT '?', 'it''s ?', ?", "SELECT '?', 'it''s ?', $1"),
        ('SELECT "a?b", ?', 'SELECT "a?b", $1'),
        ("SELECT ? -- ?\n, ?", "SELECT $1 -- ?\n, $2"),
        ("SELECT /* ? \n ? */ ?", "SELECT /* ? \n ? */ $1"),
        ("SELECT $$ ? $$, $x$ ? $y$ ? $x$, ?", "SELECT $$ ? $$, $x$ ? $y$ ? $x$, $1"),
        ("SELECT 10 % ?", "SELECT 10 % $1"),
        ("SELECT 1", "SELECT 1"),
    ],
)
def test_parameters_are_numbered_outside_literals(text: str, wanted: str) -> None:
    assert numbered(text) == wanted


@pytest.mark.parametrize(
    ("error", "kind", "retryable"),
    [
        (errors.UniqueViolation("secret"), AlreadyExists, False),
        (errors.SerializationFailure("secret"), ConnectionFailed, True),
        (errors.DeadlockDetected("secret"), ConnectionFailed, True),
        (errors.QueryCanceled("secret"), Timeout, True),
        (errors.NumericValueOutOfRange("secret"), InvalidInput, False),
        (errors.AdminShutdown("secret"), ConnectionFailed, True),
        (errors.UndefinedTable("secret"), InternalError, False),
    ],
)
def test_an_error_has_its_meaning_and_leaks_nothing(
    error: Exception, kind: type[EnablementError], retryable: bool
) -> None:
    found = fault(error)
    assert type(found) is kind
    assert found.retryable is retryable
    assert "secret" not in found.rendered()
