-- Counts the changes of a request, and of what hangs on it: what was worked out from a row is written only to that same row.
ALTER TABLE oversight_request ADD COLUMN rev BIGINT NOT NULL DEFAULT 0;

-- What was last approved of the same kind is looked for among the last requests of that kind: by an index that a decision does not touch.
DROP INDEX oversight_request_similar;
CREATE INDEX oversight_request_kind ON oversight_request (tenant, agent, action, request_id);
--sqlite INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES ('oversight_request', 'oversight_request_kind', '1000000 200000 1000 100 1');
--sqlite ANALYZE sqlite_schema;
