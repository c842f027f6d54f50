-- When a human last said that what an agent does is its habit, so that a habit which is rebuilt knows it.
CREATE TABLE metering_forgiven (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  forgiven_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, agent)
)
--sqlite WITHOUT ROWID
;
