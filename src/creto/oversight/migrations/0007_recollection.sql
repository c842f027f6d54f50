-- Open requests that lack the agent's reasoning because memory was away, and when it is asked again.
CREATE TABLE oversight_missing (
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  next_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, request_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX oversight_missing_due ON oversight_missing (next_at);
--sqlite INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('oversight_missing', 'oversight_missing', '1000 500 1'), ('oversight_missing', 'oversight_missing_due', '1000 1');
--sqlite ANALYZE sqlite_schema;
