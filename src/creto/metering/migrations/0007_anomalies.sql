-- Agents that were told of as running away: the last time of each, until a human has looked.
CREATE TABLE metering_anomaly (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  told_at BIGINT NOT NULL,
  until BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, agent)
)
--sqlite WITHOUT ROWID
;
