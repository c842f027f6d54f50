-- Up to which batch it was noted which days have events; one row, from the first look on.
CREATE TABLE metering_archive_mark (
  tenant TEXT NOT NULL,
  through BIGINT NOT NULL,
  PRIMARY KEY (tenant)
)
--sqlite WITHOUT ROWID
;

-- Events of a day that no part holds yet: how many, and in which batches the first and the last of them stand.
CREATE TABLE metering_archive_due (
  tenant TEXT NOT NULL,
  day BIGINT NOT NULL,
  first_batch BIGINT NOT NULL,
  last_batch BIGINT NOT NULL,
  events BIGINT NOT NULL,
  seen_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, day)
)
--sqlite WITHOUT ROWID
;

-- Events whose state changed after a part may have taken them: the next part of their day has them again.
CREATE TABLE metering_archive_change (
  tenant TEXT NOT NULL,
  day BIGINT NOT NULL,
  batch BIGINT NOT NULL,
  place BIGINT NOT NULL,
  changed_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, day, batch, place)
)
--sqlite WITHOUT ROWID
;

-- Parts of the archive. One that is in the making has archived_at 0: whoever begins it anew makes it another attempt.
CREATE TABLE metering_archive (
  tenant TEXT NOT NULL,
  day BIGINT NOT NULL,
  part BIGINT NOT NULL,
  object_key TEXT NOT NULL,
  archived_at BIGINT NOT NULL,
  events BIGINT NOT NULL,
  batches BIGINT NOT NULL,
  size BIGINT NOT NULL,
  digest BYTEA NOT NULL,
  root BYTEA NOT NULL,
  PRIMARY KEY (tenant, day, part)
)
--sqlite WITHOUT ROWID
;
