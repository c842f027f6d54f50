"""The store: transactions with a ledger, an outbox and signals, on SQLite or PostgreSQL.

    store = open_store("sqlite:///creto.db")
    await store.write(lambda tx: tx.record(entry))            # on disk when it returns
    rows = await store.read(lambda tx: tx.ledger_tail(Position(), 100))
    store.close()

`types` says what every engine offers; `open_store` picks the engine by the scheme of the address.
"""

from creto.store.idempotency import (
    AlreadyProcessed,
    IdempotencyCheck,
    IdempotencyGuard,
    Once,
    ProceedWithLock,
    Retry,
)
from creto.store.opening import migration_status, open_store, pending_migrations
from creto.store.schema import Migration, MigrationState, MigrationStatus
from creto.store.types import (
    EngineName,
    Entry,
    EntryId,
    Grade,
    Isolation,
    LedgerRow,
    OutboxRow,
    Outcome,
    Position,
    ReadTx,
    Row,
    Store,
    Tail,
    Tx,
)

__all__ = [
    "AlreadyProcessed",
    "EngineName",
    "Entry",
    "EntryId",
    "Grade",
    "IdempotencyCheck",
    "IdempotencyGuard",
    "Isolation",
    "LedgerRow",
    "Migration",
    "MigrationState",
    "MigrationStatus",
    "Once",
    "OutboxRow",
    "Outcome",
    "Position",
    "ProceedWithLock",
    "ReadTx",
    "Retry",
    "Row",
    "Store",
    "Tail",
    "Tx",
    "migration_status",
    "open_store",
    "pending_migrations",
]
