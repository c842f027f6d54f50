-- One row per running clock: `mark` is above every timestamp that it may have given; the line (start, since, error, in the elapsed time
-- of that boot) says where it stands. Time belongs to no tenant.
CREATE TABLE consensus_clock (
  clock TEXT NOT NULL PRIMARY KEY,
  boot TEXT NOT NULL,
  mark BIGINT NOT NULL,
  start BIGINT NOT NULL,
  since BIGINT NOT NULL,
  error BIGINT NOT NULL
);

-- A lease keeps its row when it is free, so that its token never starts anew. A free lease has no holder.
CREATE TABLE consensus_lease (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  holder TEXT NOT NULL,
  token BIGINT NOT NULL,
  acquired_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
)
--sqlite WITHOUT ROWID
;

-- The highest token seen per resource, for leases that are kept elsewhere than in this database.
CREATE TABLE consensus_fence (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  token BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
)
--sqlite WITHOUT ROWID
;
