-- Days and lifetimes are sums of hours and of months now.
DELETE FROM metering_cost WHERE period IN ('current_day', 'lifetime');
DROP INDEX metering_cost_end;
CREATE INDEX metering_cost_old ON metering_cost (ends_at) WHERE period = 'current_hour';
--postgres ALTER TABLE metering_cost SET (fillfactor = 60);
-- Names are compared by their bytes, as on the other engine: their order means nothing.
--postgres ALTER TABLE metering_cost ALTER COLUMN tenant TYPE TEXT COLLATE "C", ALTER COLUMN agent TYPE TEXT COLLATE "C", ALTER COLUMN currency TYPE TEXT COLLATE "C", ALTER COLUMN period TYPE TEXT COLLATE "C", ALTER COLUMN event_type TYPE TEXT COLLATE "C";
