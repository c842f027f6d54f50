-- The Merkle log: derived from the ledger, row for row, by one sequencer at a time.

-- How far it got: the size of the tree and the ledger position of its last leaf. One row.
CREATE TABLE audit_log (
  id SMALLINT NOT NULL PRIMARY KEY,
  origin TEXT NOT NULL,
  size BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL
);

-- The tree as tlog-tiles; the rightmost tile of each level is partial and is replaced as it grows.
CREATE TABLE audit_tile (
  level SMALLINT NOT NULL,
  tile BIGINT NOT NULL,
  hashes BYTEA NOT NULL,
  PRIMARY KEY (level, tile)
);

-- The time that the entries of a level-0 tile span, so that a query for a time looks at the right part of the log.
CREATE TABLE audit_span (
  tile BIGINT NOT NULL PRIMARY KEY,
  time_min BIGINT NOT NULL,
  time_max BIGINT NOT NULL
)
--sqlite WITHOUT ROWID
;

-- One row per leaf: where its bytes stand in the ledger, and what one may ask for.
CREATE TABLE audit_leaf (
--sqlite   log_index INTEGER PRIMARY KEY,
--postgres log_index BIGINT NOT NULL PRIMARY KEY,
  epoch BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  event_id TEXT NOT NULL,
  tenant TEXT NOT NULL,
  product TEXT NOT NULL,
  agent TEXT NOT NULL,
  action TEXT NOT NULL,
--sqlite   resource TEXT NOT NULL,
--postgres resource TEXT COLLATE "C" NOT NULL,
  outcome TEXT NOT NULL,
  event TEXT NOT NULL,
  time BIGINT NOT NULL
);
CREATE INDEX audit_leaf_event_id ON audit_leaf (event_id);
CREATE INDEX audit_leaf_resource ON audit_leaf (tenant, resource, log_index);
--postgres CREATE INDEX audit_leaf_agent ON audit_leaf (tenant, agent, log_index);
--postgres CREATE INDEX audit_leaf_action ON audit_leaf (tenant, action, log_index);
--postgres CREATE INDEX audit_leaf_event ON audit_leaf (tenant, event, log_index);
--postgres CREATE INDEX audit_leaf_product ON audit_leaf (tenant, product, log_index);
--postgres CREATE INDEX audit_leaf_outcome ON audit_leaf (tenant, outcome, log_index);
--postgres CREATE INDEX audit_leaf_tenant ON audit_leaf (tenant, log_index);

-- Words of the metadata. On SQLite the exact fields stand here too, as terms: it intersects their lists, which it cannot with indexes,
-- and writing them costs a third.
--sqlite CREATE VIRTUAL TABLE audit_text USING fts5 (words, content='', detail=none, columnsize=0,
--sqlite   tokenize="ascii tokenchars '!#$%&()*+,-./:;<=>?@[]^_`{|}~\'");
--postgres CREATE TABLE audit_text (log_index BIGINT NOT NULL PRIMARY KEY, words TSVECTOR NOT NULL);
--postgres CREATE INDEX audit_text_words ON audit_text USING GIN (words);

-- Every checkpoint that was signed, with the cosignatures it has gathered.
CREATE TABLE audit_checkpoint (
  size BIGINT NOT NULL PRIMARY KEY,
  root BYTEA NOT NULL,
  time BIGINT NOT NULL,
  witnessed SMALLINT NOT NULL,
  note BYTEA NOT NULL
);

-- The keys the log has signed with, generation after generation: vkeys, a line each.
CREATE TABLE audit_key (
  generation BIGINT NOT NULL PRIMARY KEY,
  vkeys TEXT NOT NULL,
  since BIGINT NOT NULL
);

-- What a witness has seen: the largest checkpoint of each log it watches.
CREATE TABLE audit_witness (
  origin TEXT NOT NULL PRIMARY KEY,
  size BIGINT NOT NULL,
  root BYTEA NOT NULL,
  note BYTEA NOT NULL
);
