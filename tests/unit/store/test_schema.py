"""Migrations as values: which lines hold where, and how a database stands towards a program."""

from __future__ import annotations

import pytest

from creto.common.errors import InternalError
from creto.store.schema import Applied, Migration, MigrationState, check, load, pending, status
from creto.store.types import EngineName

TEXT = """CREATE TABLE t (
--sqlite   seq INTEGER PRIMARY KEY,
  --postgres seq BIGINT,
  -- a comment
  name TEXT
)
--sqlite WITHOUT ROWID
;"""
PARTS = ("a", "b")
ONE, TWO = Migration("a", 1, "one", TEXT), Migration("b", 1, "two", "SELECT 1;")


def applied(migration: Migration) -> Applied:
    return Applied(migration.part, migration.version, migration.name, migration.checksum, "2026-01-01")


def test_a_line_of_one_engine_holds_only_there() -> None:
    sqlite, postgres = ONE.sql(EngineName.SQLITE), ONE.sql(EngineName.POSTGRES)
    assert "INTEGER PRIMARY KEY" in sqlite
    assert "WITHOUT ROWID" in sqlite
    assert "BIGINT" not in sqlite
    assert "seq BIGINT," in postgres
    assert "ROWID" not in postgres
    assert "-- a comment" in sqlite
    assert "-- a comment" in postgres


def test_each_state() -> None:
    changed = Applied("b", 1, "two", b"other", "2026-01-01")
    newer = Applied("a", 2, "later", b"x", "2026-01-01")
    foreign = Applied("c", 9, "foreign", b"x", "2026-01-01")
    found = status((ONE, TWO), [newer, changed, foreign], PARTS)
    assert [(row.part, row.version, row.state) for row in found] == [
        ("a", 1, MigrationState.PENDING),
        ("b", 1, MigrationState.CHANGED),
        ("a", 2, MigrationState.NEWER),
    ]


@pytest.mark.parametrize(
    ("rows", "pending_allowed", "code"),
    [
        ([Applied("a", 1, "one", b"other", "")], True, "PL-840"),
        ([applied(ONE), applied(TWO), Applied("a", 2, "later", b"", "")], True, "PL-841"),
        ([applied(ONE)], False, "PL-842"),
    ],
)
def test_a_database_that_does_not_fit_is_refused(rows: list[Applied], pending_allowed: bool, code: str) -> None:
    with pytest.raises(InternalError) as raised:
        check(status((ONE, TWO), rows, PARTS), pending_allowed=pending_allowed)
    assert raised.value.code == code


def test_only_what_is_lacking_is_applied() -> None:
    assert pending((ONE, TWO), status((ONE, TWO), [applied(ONE)], PARTS)) == [TWO]


def test_the_store_brings_its_own_migrations() -> None:
    assert [m.version for m in load(("creto.store",))] == [1, 2, 3]
