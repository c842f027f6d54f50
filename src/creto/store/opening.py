"""From an address to a store: the scheme picks the engine."""

from __future__ import annotations

from collections.abc import Sequence

from creto.common.errors import InvalidInput
from creto.common.limits import STORE_QUEUE_MAX
from creto.store import schema, sqlite
from creto.store.types import Store

PARTS = ("creto.store",)


def open_store(
    url: str,
    *,
    parts: Sequence[str] = PARTS,
    node: str | None = None,
    migrate: bool = True,
    queue_max: int = STORE_QUEUE_MAX,
) -> Store:
    """Open the store at `url` for these parts, applying their migrations (or, with `migrate=False`, demanding that they are applied)."""
    parts = _with_own(parts)
    wanted = schema.load(parts)
    if url.startswith("sqlite:"):
        path = sqlite.open_path(url)
        if migrate:
            sqlite.migrate(path, wanted, parts)
        schema.check(sqlite.migration_statuses(path, wanted, parts), pending_allowed=False)
        return sqlite.SqliteStore(path, node, queue_max)
    raise InvalidInput.of("url", got=url.split(":")[0], expected="sqlite:///… or postgresql://…")


def migration_status(url: str, *, parts: Sequence[str] = PARTS) -> list[schema.MigrationStatus]:
    """How the database at `url` stands towards the migrations of these parts."""
    parts = _with_own(parts)
    wanted = schema.load(parts)
    if url.startswith("sqlite:"):
        return sqlite.migration_statuses(sqlite.open_path(url), wanted, parts)
    raise InvalidInput.of("url", got=url.split(":")[0], expected="sqlite:///… or postgresql://…")


def pending_migrations(url: str, *, parts: Sequence[str] = PARTS) -> list[schema.Migration]:
    """What opening the store would apply: a dry run."""
    parts = _with_own(parts)
    statuses = migration_status(url, parts=parts)
    schema.check(statuses, pending_allowed=True)
    return schema.pending(schema.load(parts), statuses)


def _with_own(parts: Sequence[str]) -> tuple[str, ...]:
    """Every store has the ledger and the outbox, whoever uses it."""
    return (*PARTS, *(part for part in dict.fromkeys(parts) if part not in PARTS))
