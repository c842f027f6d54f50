-- An object is a row and its blobs. The row holds the wrapped data key, so re-wrapping touches no blob and a deleted row
-- leaves nothing that can be decrypted. Keys are compared byte by byte on both engines: cursors depend on it.
CREATE TABLE storage_object (
  tenant TEXT NOT NULL,
  --sqlite object_key TEXT NOT NULL,
  --postgres object_key TEXT COLLATE "C" NOT NULL,
  version TEXT NOT NULL,
  size BIGINT NOT NULL,
  segments BYTEA NOT NULL,
  digest BYTEA NOT NULL,
  key_version BIGINT NOT NULL,
  envelope BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  retain_until BIGINT NOT NULL,
  legal_hold SMALLINT NOT NULL,
  PRIMARY KEY (tenant, object_key)
);
CREATE UNIQUE INDEX storage_object_version ON storage_object (tenant, version);

CREATE TABLE storage_upload (
  tenant TEXT NOT NULL,
  upload TEXT NOT NULL,
  object_key TEXT NOT NULL,
  condition TEXT NOT NULL,
  retain_until BIGINT NOT NULL,
  key_version BIGINT NOT NULL,
  envelope BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  created_by TEXT NOT NULL,
  PRIMARY KEY (tenant, upload)
);

CREATE TABLE storage_part (
  tenant TEXT NOT NULL,
  upload TEXT NOT NULL,
  number BIGINT NOT NULL,
  blob TEXT NOT NULL,
  size BIGINT NOT NULL,
  root BYTEA NOT NULL,
  PRIMARY KEY (tenant, upload, number)
);

-- Blobs that no row names any more: removed when their readers have had time to finish.
CREATE TABLE storage_garbage (
  tenant TEXT NOT NULL,
  blob TEXT NOT NULL,
  due_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, blob)
);
CREATE INDEX storage_garbage_due ON storage_garbage (due_at);
