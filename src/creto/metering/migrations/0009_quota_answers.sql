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
