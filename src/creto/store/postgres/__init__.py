"""The store on one PostgreSQL database. Loading it loads psycopg, so `open_store` does so only when it is wanted."""

from creto.store.postgres.migrating import migrate, migration_statuses
from creto.store.postgres.store import PostgresStore

__all__ = ["PostgresStore", "migrate", "migration_statuses"]
