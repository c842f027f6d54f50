-- What events count on quotas and is not on the counters yet, or has just come there.
CREATE TABLE metering_quota_due (
  tenant TEXT NOT NULL,
  due TEXT NOT NULL,
  booked SMALLINT NOT NULL,
  came_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, due)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_quota_due_came ON metering_quota_due (came_at);

-- Quotas as they were when they counted events.
CREATE TABLE metering_quota_known (
  tenant TEXT NOT NULL,
  known BYTEA NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, known)
)
--sqlite WITHOUT ROWID
;

-- By which of them a batch was counted, or an event that was let in later.
CREATE TABLE metering_quota_counted (
  batch BIGINT NOT NULL,
  place BIGINT NOT NULL,
  tenant TEXT NOT NULL,
  known BYTEA NOT NULL,
  PRIMARY KEY (batch, place)
)
--sqlite WITHOUT ROWID
;

-- What a node had unspent of a counter after it last drew: it has no more than that.
ALTER TABLE metering_quota_held ADD COLUMN unspent BIGINT NOT NULL DEFAULT 0;
CREATE INDEX metering_quota_held_counter ON metering_quota_held (tenant, counter);

-- What a tenant has said for all of its metering.
CREATE TABLE metering_setting (
  tenant TEXT PRIMARY KEY,
  body BYTEA NOT NULL
)
--sqlite WITHOUT ROWID
;
