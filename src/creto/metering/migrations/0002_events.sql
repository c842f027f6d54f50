-- The delegation chains behind events, each once: events name theirs by its print.
CREATE TABLE metering_chain (
  tenant TEXT NOT NULL,
  chain BYTEA NOT NULL,
  agents BYTEA NOT NULL,
  PRIMARY KEY (tenant, chain)
)
--sqlite WITHOUT ROWID
;

-- In which chains an agent stands, wherever in them.
CREATE TABLE metering_member (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  chain BYTEA NOT NULL,
  PRIMARY KEY (tenant, agent, chain)
)
--sqlite WITHOUT ROWID
;

-- What came together: one entry of the ledger. `events`: how many those are at most. `folded`: they are in the running totals and have places.
CREATE TABLE metering_batch (
--sqlite   batch INTEGER PRIMARY KEY AUTOINCREMENT,
--postgres batch BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant TEXT NOT NULL,
  entry TEXT NOT NULL,
  came_at BIGINT NOT NULL,
  events BIGINT NOT NULL,
  folded SMALLINT NOT NULL DEFAULT 0
)
;
CREATE INDEX metering_batch_waiting ON metering_batch (tenant, batch) WHERE folded = 0;
CREATE INDEX metering_batch_oldest ON metering_batch (batch, events) WHERE folded = 0;

-- Ids and idempotency keys that are taken, where the event stands that has them, and its state.
CREATE TABLE metering_name (
  name BYTEA PRIMARY KEY,
  print BYTEA NOT NULL,
  agent BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  place BIGINT NOT NULL,
  state SMALLINT NOT NULL
)
--sqlite WITHOUT ROWID
;

-- Events, as they came. `agent` is the print of the agent's name, by which the table is spread; `event_key` is empty where it is the id.
CREATE TABLE metering_event (
  batch BIGINT NOT NULL,
  place BIGINT NOT NULL,
  agent BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  chain BYTEA NOT NULL,
  happened_at BIGINT NOT NULL,
  changed_at BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  form SMALLINT NOT NULL,
  event_type TEXT NOT NULL,
  event_id BYTEA NOT NULL,
  event_key BYTEA NOT NULL,
  properties BYTEA NOT NULL,
  PRIMARY KEY (batch, place, agent)
)
--sqlite WITHOUT ROWID
--postgres PARTITION BY HASH (agent)
;
--postgres CREATE TABLE metering_event_0 PARTITION OF metering_event FOR VALUES WITH (MODULUS 8, REMAINDER 0);
--postgres CREATE TABLE metering_event_1 PARTITION OF metering_event FOR VALUES WITH (MODULUS 8, REMAINDER 1);
--postgres CREATE TABLE metering_event_2 PARTITION OF metering_event FOR VALUES WITH (MODULUS 8, REMAINDER 2);
--postgres CREATE TABLE metering_event_3 PARTITION OF metering_event FOR VALUES WITH (MODULUS 8, REMAINDER 3);
--postgres CREATE TABLE metering_event_4 PARTITION OF metering_event FOR VALUES WITH (MODULUS 8, REMAINDER 4);
--postgres CREATE TABLE metering_event_5 PARTITION OF metering_event FOR VALUES WITH (MODULUS 8, REMAINDER 5);
--postgres CREATE TABLE metering_event_6 PARTITION OF metering_event FOR VALUES WITH (MODULUS 8, REMAINDER 6);
--postgres CREATE TABLE metering_event_7 PARTITION OF metering_event FOR VALUES WITH (MODULUS 8, REMAINDER 7);

-- Where the events of a chain stand, in the order of time. Written when a batch is folded: there, many events change a page at once.
CREATE TABLE metering_place (
  chain BYTEA NOT NULL,
  happened_at BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  place BIGINT NOT NULL,
  agent BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  PRIMARY KEY (chain, happened_at, batch, place)
)
--sqlite WITHOUT ROWID
;

-- Signatures of events that were signed one by one; they are as long as twenty events.
CREATE TABLE metering_signature (
  batch BIGINT NOT NULL,
  place BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  signature BYTEA NOT NULL,
  PRIMARY KEY (batch, place)
)
--sqlite WITHOUT ROWID
;

-- What was done to an event after it came: held, finalized, released, voided, corrected.
CREATE TABLE metering_act (
  tenant TEXT NOT NULL,
  event_id TEXT NOT NULL,
  done_at BIGINT NOT NULL,
  act TEXT NOT NULL,
  by_agent TEXT NOT NULL,
  reason TEXT NOT NULL,
  batch BIGINT NOT NULL,
  place BIGINT NOT NULL,
  PRIMARY KEY (tenant, event_id, done_at)
)
--sqlite WITHOUT ROWID
;

-- Running totals: what events of a type came to under a chain, by hours and by days of UTC. `cell` is the tenant's print, the grain, the
-- chain, when the hour or day begins, and the type: cells of a chain lie side by side, in the order of time.
CREATE TABLE metering_total (
  cell BYTEA PRIMARY KEY,
  tenant TEXT NOT NULL,
  begins_at BIGINT NOT NULL,
  changed_at BIGINT NOT NULL,
  body BYTEA NOT NULL
)
--sqlite WITHOUT ROWID
--postgres WITH (fillfactor = 60)
;

-- Events from the bus that could not be taken, for a human to look at.
CREATE TABLE metering_dead_letter (
  tenant TEXT NOT NULL,
  letter_id TEXT NOT NULL,
  died_at BIGINT NOT NULL,
  subject TEXT NOT NULL,
  reason BYTEA NOT NULL,
  payload BYTEA NOT NULL,
  PRIMARY KEY (tenant, letter_id)
)
--sqlite WITHOUT ROWID
;
