-- What was told of quotas, whom humans were asked about it, and what they answered.
CREATE TABLE metering_notice (
  tenant TEXT NOT NULL,
  notice_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  told_at BIGINT NOT NULL,
  request_id TEXT,
  answered_at BIGINT,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, notice_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_notice_agent ON metering_notice (tenant, agent, notice_id);
CREATE INDEX metering_notice_told ON metering_notice (told_at);
CREATE UNIQUE INDEX metering_notice_request ON metering_notice (tenant, request_id) WHERE request_id IS NOT NULL;

-- Acts that were let beyond a quota at a price and have not ended: what each will be billed for.
CREATE TABLE metering_beyond (
  tenant TEXT NOT NULL,
  charge_id TEXT NOT NULL,
  stale_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, charge_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_beyond_stale ON metering_beyond (stale_at);

-- Steps by which a quota was topped up: each was paid once.
CREATE TABLE metering_quota_step (
  tenant TEXT NOT NULL,
  counter TEXT NOT NULL,
  step BIGINT NOT NULL,
  ends_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, counter, step)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_quota_step_end ON metering_quota_step (ends_at);
