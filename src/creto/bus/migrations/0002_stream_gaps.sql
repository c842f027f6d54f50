-- What the stream may be without: everything up to this sequence is acked by every durable, or published again after it.
ALTER TABLE bus_relay ADD COLUMN needed_after BIGINT NOT NULL DEFAULT 0;
-- How often the stream lost something in its middle: part of the id that the broker drops duplicates by.
ALTER TABLE bus_relay ADD COLUMN round BIGINT NOT NULL DEFAULT 0;
