-- Who reads what: everything up to the cursor was handed out (and then stands in bus_delivery until it is acked) or did not match.
CREATE TABLE bus_durable (
  name TEXT NOT NULL PRIMARY KEY,
  pattern TEXT NOT NULL,
  kind TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

-- Messages between the cursor and their ack. The body stands here only if the outbox may no longer have it.
CREATE TABLE bus_delivery (
  durable TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  deliveries BIGINT NOT NULL,
  owner TEXT NOT NULL,
  ready_at BIGINT NOT NULL,
  reason BYTEA,
  body BYTEA,
  PRIMARY KEY (durable, epoch, seq)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX bus_delivery_ready ON bus_delivery (durable, ready_at);
CREATE INDEX bus_delivery_agent ON bus_delivery (durable, tenant, agent, epoch, seq);

CREATE TABLE bus_dead_letter (
  tenant TEXT NOT NULL,
  durable TEXT NOT NULL,
  message_id TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  agent TEXT NOT NULL,
  deliveries BIGINT NOT NULL,
  reason BYTEA NOT NULL,
  body BYTEA NOT NULL,
  died_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, message_id, durable)
);

-- Who relays the outbox to a broker's stream, and how far; then one row per relayed batch until every durable has acked it.
CREATE TABLE bus_relay (
  stream TEXT NOT NULL PRIMARY KEY,
  owner TEXT NOT NULL,
  lease_until BIGINT NOT NULL,
  identity TEXT NOT NULL,
  stream_seq BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL
);
CREATE TABLE bus_relayed (
  stream TEXT NOT NULL,
  stream_seq BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  PRIMARY KEY (stream, stream_seq)
);
