"""Migrations: numbered files per part, applied once, forward only, never edited afterwards.

    src/creto/platform/nhi/migrations/0001_identities.sql

One file serves both engines; a line that starts with `--sqlite ` or `--postgres ` holds only there. What is pending is
applied in one transaction under a lock, so that processes which open the store together find it done.

INVARIANT: what was applied has the fingerprint that was recorded (else PL-840), and the database knows nothing this
program does not (else PL-841).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from importlib import resources

import msgspec

from creto.common.errors import InternalError
from creto.common.fingerprint import fingerprint
from creto.store.types import EngineName

FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")
ENGINE_LINE = re.compile(r"^\s*--(sqlite|postgres) (.*)$")

TABLE = """
    CREATE TABLE IF NOT EXISTS store_migration (
      part TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL,
      checksum BYTEA NOT NULL, applied_at TEXT NOT NULL,
      PRIMARY KEY (part, version)
    )
"""
SELECT = "SELECT part, version, name, checksum, applied_at FROM store_migration ORDER BY part, version"
INSERT = "INSERT INTO store_migration (part, version, name, checksum, applied_at) VALUES (?, ?, ?, ?, ?)"


class MigrationState(StrEnum):
    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed"  # its file is not the one that was applied
    NEWER = "newer"  # the database has it, this program does not


class Migration(msgspec.Struct, frozen=True):
    part: str
    version: int
    name: str
    text: str

    @property
    def checksum(self) -> bytes:
        return fingerprint(self.text.encode())

    def sql(self, engine: EngineName) -> str:
        return "\n".join(line for raw in self.text.splitlines() if (line := _line(raw, engine)) is not None)


class Applied(msgspec.Struct, frozen=True):
    """A row of `store_migration`."""

    part: str
    version: int
    name: str
    checksum: bytes
    applied_at: str


class MigrationStatus(msgspec.Struct, frozen=True):
    part: str
    version: int
    name: str
    state: MigrationState
    applied_at: str | None = None


def _line(raw: str, engine: EngineName) -> str | None:
    match = ENGINE_LINE.match(raw)
    if match is None:
        return raw
    return match[2] if match[1] == engine else None


def load(parts: Sequence[str]) -> tuple[Migration, ...]:
    """The migrations that this program brings, in the order of the parts given."""
    return tuple(migration for part in parts for migration in _load_part(part))


def _load_part(part: str) -> list[Migration]:
    folder = resources.files(part) / "migrations"
    if not folder.is_dir():
        return []
    found = []
    for file in sorted(folder.iterdir(), key=lambda f: f.name):
        match = FILE_NAME.fullmatch(file.name)
        if match:
            found.append(Migration(part, int(match["version"]), match["name"], file.read_text("utf-8")))
        elif file.name.endswith(".sql"):
            raise InternalError("PL-500", f"{part}: a migration is named NNNN_name.sql, not {file.name}")
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise InternalError("PL-500", f"{part}: migrations are numbered from 1 without gaps or doubles")
    return found


def status(wanted: Sequence[Migration], applied: Iterable[Applied], parts: Sequence[str]) -> list[MigrationStatus]:
    """How the database stands towards this program; parts that were not asked for do not count."""
    done = {(row.part, row.version): row for row in applied if row.part in parts}
    found = []
    for migration in wanted:
        row = done.pop((migration.part, migration.version), None)
        if row is None:
            state = MigrationState.PENDING
        else:
            state = MigrationState.APPLIED if row.checksum == migration.checksum else MigrationState.CHANGED
        applied_at = row.applied_at if row else None
        found.append(MigrationStatus(migration.part, migration.version, migration.name, state, applied_at))
    newer = [MigrationStatus(r.part, r.version, r.name, MigrationState.NEWER, r.applied_at) for r in done.values()]
    return found + newer


def check(statuses: Iterable[MigrationStatus], *, pending_allowed: bool) -> None:
    """Refuse a database that does not fit this program."""
    for row in statuses:
        name = f"{row.part} {row.version:04}_{row.name}"
        if row.state is MigrationState.CHANGED:
            raise InternalError("PL-840", f"the migration {name} has changed since it was applied")
        if row.state is MigrationState.NEWER:
            raise InternalError("PL-841", f"the database has the migration {name}, which this program does not know")
        if row.state is MigrationState.PENDING and not pending_allowed:
            raise InternalError("PL-842", f"the database lacks the migration {name}")


def pending(wanted: Sequence[Migration], statuses: Iterable[MigrationStatus]) -> list[Migration]:
    lacking = {(row.part, row.version) for row in statuses if row.state is MigrationState.PENDING}
    return [migration for migration in wanted if (migration.part, migration.version) in lacking]
