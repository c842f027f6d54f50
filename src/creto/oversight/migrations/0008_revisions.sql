-- Counts the changes of a request, and of what hangs on it: what was worked out from a row is written only to that same row.
ALTER TABLE oversight_request ADD COLUMN rev BIGINT NOT NULL DEFAULT 0;
