-- When a delegation begins, who sits in the seats is told what waits there; then it is NULL.
ALTER TABLE oversight_delegation ADD COLUMN begins_at BIGINT;
CREATE INDEX oversight_delegation_begins ON oversight_delegation (begins_at) WHERE begins_at IS NOT NULL;
--sqlite INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('oversight_delegation', 'oversight_delegation_begins', '1000 1');
--sqlite ANALYZE sqlite_schema;
