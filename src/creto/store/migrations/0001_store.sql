-- The ledger and the outbox: only ever appended to; a row's position is (epoch, seq).
-- On PostgreSQL the epoch is the id of the writing transaction, so that a tail can tell which rows nothing can precede any more.
-- The base lifts the ids of a new server above those that a restored dump brought along; the store sets it when it opens.
--postgres CREATE FUNCTION store_epoch_base() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 0::bigint';
CREATE TABLE store_ledger (
--sqlite   seq INTEGER PRIMARY KEY AUTOINCREMENT,
--postgres seq BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
--postgres epoch BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint + store_epoch_base()),
  agent TEXT NOT NULL,
  tenant TEXT NOT NULL,
  event_id TEXT NOT NULL,
  body BYTEA NOT NULL
)
--postgres PARTITION BY HASH (agent)
;
--postgres CREATE INDEX store_ledger_position ON store_ledger (epoch, seq);
--postgres CREATE TABLE store_ledger_0 PARTITION OF store_ledger FOR VALUES WITH (MODULUS 8, REMAINDER 0);
--postgres CREATE TABLE store_ledger_1 PARTITION OF store_ledger FOR VALUES WITH (MODULUS 8, REMAINDER 1);
--postgres CREATE TABLE store_ledger_2 PARTITION OF store_ledger FOR VALUES WITH (MODULUS 8, REMAINDER 2);
--postgres CREATE TABLE store_ledger_3 PARTITION OF store_ledger FOR VALUES WITH (MODULUS 8, REMAINDER 3);
--postgres CREATE TABLE store_ledger_4 PARTITION OF store_ledger FOR VALUES WITH (MODULUS 8, REMAINDER 4);
--postgres CREATE TABLE store_ledger_5 PARTITION OF store_ledger FOR VALUES WITH (MODULUS 8, REMAINDER 5);
--postgres CREATE TABLE store_ledger_6 PARTITION OF store_ledger FOR VALUES WITH (MODULUS 8, REMAINDER 6);
--postgres CREATE TABLE store_ledger_7 PARTITION OF store_ledger FOR VALUES WITH (MODULUS 8, REMAINDER 7);

CREATE TABLE store_outbox (
--sqlite   seq INTEGER PRIMARY KEY AUTOINCREMENT,
--postgres seq BIGINT NOT NULL GENERATED ALWAYS AS IDENTITY,
--postgres epoch BIGINT NOT NULL DEFAULT (pg_current_xact_id()::text::bigint + store_epoch_base()),
  agent TEXT NOT NULL,
  tenant TEXT NOT NULL,
  message_id TEXT NOT NULL,
  subject TEXT NOT NULL,
  payload BYTEA NOT NULL,
  headers TEXT NOT NULL
)
--postgres PARTITION BY HASH (agent)
;
--postgres CREATE INDEX store_outbox_position ON store_outbox (epoch, seq);
--postgres CREATE TABLE store_outbox_0 PARTITION OF store_outbox FOR VALUES WITH (MODULUS 8, REMAINDER 0);
--postgres CREATE TABLE store_outbox_1 PARTITION OF store_outbox FOR VALUES WITH (MODULUS 8, REMAINDER 1);
--postgres CREATE TABLE store_outbox_2 PARTITION OF store_outbox FOR VALUES WITH (MODULUS 8, REMAINDER 2);
--postgres CREATE TABLE store_outbox_3 PARTITION OF store_outbox FOR VALUES WITH (MODULUS 8, REMAINDER 3);
--postgres CREATE TABLE store_outbox_4 PARTITION OF store_outbox FOR VALUES WITH (MODULUS 8, REMAINDER 4);
--postgres CREATE TABLE store_outbox_5 PARTITION OF store_outbox FOR VALUES WITH (MODULUS 8, REMAINDER 5);
--postgres CREATE TABLE store_outbox_6 PARTITION OF store_outbox FOR VALUES WITH (MODULUS 8, REMAINDER 6);
--postgres CREATE TABLE store_outbox_7 PARTITION OF store_outbox FOR VALUES WITH (MODULUS 8, REMAINDER 7);

-- Who shares this store; a node is a process, its instance changes with every start.
CREATE TABLE store_node (
  instance TEXT NOT NULL PRIMARY KEY,
  node TEXT NOT NULL,
  heartbeat_ms BIGINT NOT NULL
);

-- Signals between the processes that share a SQLite file; PostgreSQL has NOTIFY.
--sqlite CREATE TABLE store_signal (
--sqlite   seq INTEGER PRIMARY KEY AUTOINCREMENT,
--sqlite   instance TEXT NOT NULL,
--sqlite   channel TEXT NOT NULL,
--sqlite   payload TEXT NOT NULL,
--sqlite   at_ms BIGINT NOT NULL
--sqlite );

-- Idempotency: the key is its scope (tenant, product, operation) and then the caller's key. Nothing else is indexed, so that
-- time-ordered keys are appended.
CREATE TABLE store_idempotency (
  key BYTEA NOT NULL PRIMARY KEY,
  payload BYTEA NOT NULL,
  state SMALLINT NOT NULL,
  expires_at BIGINT NOT NULL,
  lock BYTEA,
  result BYTEA
)
--sqlite WITHOUT ROWID
;
