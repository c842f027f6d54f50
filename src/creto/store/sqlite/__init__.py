"""The store on one SQLite file."""

from creto.store.sqlite.connection import open_path
from creto.store.sqlite.migrating import migrate, migration_statuses
from creto.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore", "migrate", "migration_statuses", "open_path"]
