-- Quotas and rates of a tenant, as they hold.
CREATE TABLE metering_quota (
  tenant TEXT NOT NULL,
  quota_id TEXT NOT NULL,
  changed_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, quota_id)
)
--sqlite WITHOUT ROWID
;
CREATE TABLE metering_rate (
  tenant TEXT NOT NULL,
  counts TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, counts)
)
--sqlite WITHOUT ROWID
;

-- What all nodes together have taken of each limit of each subject in each window, spent or not.
CREATE TABLE metering_quota_counter (
  tenant TEXT NOT NULL,
  counter TEXT NOT NULL,
  ends_at BIGINT NOT NULL,
  taken BIGINT NOT NULL,
  PRIMARY KEY (tenant, counter)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_quota_counter_end ON metering_quota_counter (ends_at);

-- What each node has drawn of it, and in which slot of its journal the unspent rest stands.
CREATE TABLE metering_quota_held (
  node TEXT NOT NULL,
  tenant TEXT NOT NULL,
  counter TEXT NOT NULL,
  slot BIGINT NOT NULL,
  drawn BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  PRIMARY KEY (node, tenant, counter)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_quota_held_end ON metering_quota_held (ends_at);

-- Who was told of which mark: nobody twice.
CREATE TABLE metering_quota_notice (
  tenant TEXT NOT NULL,
  counter TEXT NOT NULL,
  mark BIGINT NOT NULL,
  told_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, counter, mark)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_quota_notice_end ON metering_quota_notice (ends_at);

-- Reservations that any node may settle.
CREATE TABLE metering_quota_hold (
  tenant TEXT NOT NULL,
  reservation_id TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, reservation_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_quota_hold_expiry ON metering_quota_hold (expires_at);

-- Limits on cost at which humans are asked, told, or acts stop.
CREATE TABLE metering_threshold (
  tenant TEXT NOT NULL,
  threshold_id TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, threshold_id)
)
--sqlite WITHOUT ROWID
;

-- Running totals of cost, of each agent with all that acts below it.
CREATE TABLE metering_cost (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  currency TEXT NOT NULL,
  period TEXT NOT NULL,
  starts_at BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  event_type TEXT NOT NULL,
  micros BIGINT NOT NULL,
  PRIMARY KEY (tenant, agent, currency, period, starts_at, event_type)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_cost_end ON metering_cost (ends_at);

-- Events that wait for a human.
CREATE TABLE metering_waiting (
  tenant TEXT NOT NULL,
  event_id TEXT NOT NULL,
  threshold_id TEXT NOT NULL,
  request_id TEXT,
  waits_since BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, event_id)
)
--sqlite WITHOUT ROWID
;
CREATE UNIQUE INDEX metering_waiting_request ON metering_waiting (tenant, request_id) WHERE request_id IS NOT NULL;
