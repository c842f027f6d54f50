"""Migrations on SQLite: in one transaction, under the file's write lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import apsw

from creto.store import schema
from creto.store.sqlite.connection import connect, fault
from creto.store.types import EngineName


def migration_statuses(
    path: str, wanted: Sequence[schema.Migration], parts: Sequence[str]
) -> list[schema.MigrationStatus]:
    db = connect(path)
    try:
        return schema.status(wanted, _applied(db), parts)
    finally:
        db.close()


def _applied(db: apsw.Connection) -> list[schema.Applied]:
    db.execute(schema.TABLE)
    rows: list[Any] = db.execute(schema.SELECT).fetchall()
    return [schema.Applied(*row) for row in rows]


def migrate(path: str, wanted: Sequence[schema.Migration], parts: Sequence[str]) -> None:
    """Apply what is pending, in one transaction; other processes wait for its lock and then find nothing to do."""
    db = connect(path)
    try:
        db.execute("BEGIN IMMEDIATE")
        statuses = schema.status(wanted, _applied(db), parts)
        schema.check(statuses, pending_allowed=True)
        for migration in schema.pending(wanted, statuses):
            db.execute(migration.sql(EngineName.SQLITE)).fetchall()
            now = datetime.now(UTC).isoformat()
            db.execute(schema.INSERT, (migration.part, migration.version, migration.name, migration.checksum, now))
        db.execute("COMMIT")
    except apsw.Error as error:
        raise fault(error) from error
    finally:
        db.close()
