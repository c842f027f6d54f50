"""Migrations on PostgreSQL: in one transaction, under an advisory lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import psycopg

from creto.store import schema
from creto.store.postgres.connection import Connection, connect, fault, numbered
from creto.store.types import EngineName

MIGRATION_LOCK = 0x637265746F  # "creto"


def migration_statuses(
    url: str, wanted: Sequence[schema.Migration], parts: Sequence[str]
) -> list[schema.MigrationStatus]:
    with connect(url) as db:
        if db.execute("SELECT to_regclass('store_migration')").fetchall() == [(None,)]:
            return schema.status(wanted, [], parts)
        return schema.status(wanted, _applied(db), parts)


def _applied(db: Connection) -> list[schema.Applied]:
    return [schema.Applied(*row) for row in db.execute(schema.SELECT).fetchall()]


def migrate(url: str, wanted: Sequence[schema.Migration], parts: Sequence[str]) -> None:
    """Apply what is pending, in one transaction; other processes wait for its lock and then find nothing to do."""
    with connect(url) as db:
        try:
            db.execute("BEGIN")
            db.execute("SELECT pg_advisory_xact_lock($1)", (MIGRATION_LOCK,))
            db.execute(schema.TABLE)
            statuses = schema.status(wanted, _applied(db), parts)
            schema.check(statuses, pending_allowed=True)
            for migration in schema.pending(wanted, statuses):
                db.execute(migration.sql(EngineName.POSTGRES).encode())
                now = datetime.now(UTC).isoformat()
                row = (migration.part, migration.version, migration.name, migration.checksum, now)
                db.execute(numbered(schema.INSERT).encode(), row)
            _lift_epochs(db)
            db.execute("COMMIT")
        except psycopg.Error as error:
            raise fault(error) from error


def _lift_epochs(db: Connection) -> None:
    """A dump restored on another server brings epochs above its transaction ids: new ones begin above those."""
    highest = "SELECT GREATEST((SELECT max(epoch) FROM store_ledger), (SELECT max(epoch) FROM store_outbox))"
    [(newest,)] = db.execute(highest.encode()).fetchall()
    [(current, base)] = db.execute("SELECT pg_current_xact_id()::text::bigint, store_epoch_base()").fetchall()
    if newest is not None and newest > current + base:
        body = f"SELECT {int(newest)}::bigint"
        db.execute(
            "CREATE OR REPLACE FUNCTION store_epoch_base() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE"
            f" AS '{body}'".encode()
        )
