"""From an address to a store: the scheme picks the engine."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from creto.common.errors import InternalError, InvalidInput
from creto.common.limits import STORE_POOL_SIZE, STORE_QUEUE_MAX
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
    pool_size: int = STORE_POOL_SIZE,
) -> Store:
    """Open the store at `url` for these parts; `migrate=False` demands that their migrations are applied already.

    `pool_size` is PostgreSQL's: SQLite has one writer.
    """
    parts = _with_own(parts)
    wanted = schema.load(parts)
    if _is_sqlite(url):
        path = sqlite.open_path(url)
        if migrate:
            sqlite.migrate(path, wanted, parts)
        schema.check(sqlite.migration_statuses(path, wanted, parts), pending_allowed=False)
        return sqlite.SqliteStore(path, node, queue_max)
    postgres = _postgres()
    if migrate:
        postgres.migrate(url, wanted, parts)
    schema.check(postgres.migration_statuses(url, wanted, parts), pending_allowed=False)
    store: Store = postgres.PostgresStore(url, node, queue_max, pool_size)
    return store


def migration_status(url: str, *, parts: Sequence[str] = PARTS) -> list[schema.MigrationStatus]:
    """How the database at `url` stands towards the migrations of these parts."""
    parts = _with_own(parts)
    wanted = schema.load(parts)
    if _is_sqlite(url):
        return sqlite.migration_statuses(sqlite.open_path(url), wanted, parts)
    statuses: list[schema.MigrationStatus] = _postgres().migration_statuses(url, wanted, parts)
    return statuses


def pending_migrations(url: str, *, parts: Sequence[str] = PARTS) -> list[schema.Migration]:
    """What opening the store would apply: a dry run."""
    parts = _with_own(parts)
    statuses = migration_status(url, parts=parts)
    schema.check(statuses, pending_allowed=True)
    return schema.pending(schema.load(parts), statuses)


def _is_sqlite(url: str) -> bool:
    """Which engine; an address may hold a password, so an error shows its scheme only."""
    scheme = url.partition(":")[0]
    if scheme not in ("sqlite", "postgresql", "postgres"):
        raise InvalidInput.of("url", got=scheme, expected="sqlite:///… or postgresql://…")
    return scheme == "sqlite"


def _postgres() -> ModuleType:
    """Loaded on use: an installation on SQLite has no PostgreSQL driver."""
    try:
        from creto.store import postgres
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "psycopg":
            raise
        raise InternalError(
            "PL-501", "the PostgreSQL driver is not installed", hint="pip install 'creto[postgres]'"
        ) from error
    return postgres


def _with_own(parts: Sequence[str]) -> tuple[str, ...]:
    """Every store has the ledger and the outbox, whoever uses it."""
    return (*PARTS, *(part for part in dict.fromkeys(parts) if part not in PARTS))
