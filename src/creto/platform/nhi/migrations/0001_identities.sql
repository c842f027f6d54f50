-- Principals: humans, services and agents. A rotation adds a row and links the two.
CREATE TABLE nhi_identity (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  ml_dsa BYTEA,
  owner TEXT,
  origin TEXT NOT NULL,
  state TEXT NOT NULL,
  registered_at BIGINT NOT NULL,
  changed_at BIGINT NOT NULL,
  retires_at BIGINT,
  predecessor TEXT,
  successor TEXT,
  reason TEXT,
  version BIGINT NOT NULL,
  PRIMARY KEY (tenant, agent)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX nhi_identity_order ON nhi_identity (tenant, registered_at, agent);
CREATE INDEX nhi_identity_origin ON nhi_identity (tenant, origin);
CREATE INDEX nhi_identity_owner ON nhi_identity (tenant, owner, registered_at, agent);

-- Links that were withdrawn before they ended. Kept for ever: they are few, and small.
CREATE TABLE nhi_revoked_link (
  tenant TEXT NOT NULL,
  link BYTEA NOT NULL,
  parent TEXT NOT NULL,
  child TEXT NOT NULL,
  revoked_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, link)
)
--sqlite WITHOUT ROWID
;

-- Which agent a sandbox runs.
CREATE TABLE nhi_binding (
  tenant TEXT NOT NULL,
  sandbox TEXT NOT NULL,
  agent TEXT NOT NULL,
  bound_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, sandbox)
)
--sqlite WITHOUT ROWID
;

-- Challenges that were answered, until they would have expired anyway.
CREATE TABLE nhi_used_challenge (
  tenant TEXT NOT NULL,
  nonce BYTEA NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, nonce)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX nhi_used_challenge_expiry ON nhi_used_challenge (expires_at);

-- One-time logins of people, by the digest of their secret.
CREATE TABLE nhi_login (
  secret BYTEA NOT NULL PRIMARY KEY,
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  scopes TEXT NOT NULL,
  ttl_s BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
)
--sqlite WITHOUT ROWID
;
CREATE INDEX nhi_login_expiry ON nhi_login (expires_at);

-- Key bundles. Every upload has a higher number than the one before, so that an old one cannot bring used keys back.
CREATE TABLE nhi_bundle (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  batch_last BIGINT NOT NULL,
  PRIMARY KEY (tenant, agent)
)
--sqlite WITHOUT ROWID
;

-- One signature covers the Merkle root over an upload's keys; it is kept as long as one of them is.
CREATE TABLE nhi_key_batch (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  batch BIGINT NOT NULL,
  size BIGINT NOT NULL,
  signature BYTEA NOT NULL,
  PRIMARY KEY (tenant, agent, batch)
)
--sqlite WITHOUT ROWID
;
CREATE TABLE nhi_prekey (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  kind SMALLINT NOT NULL,
  id BIGINT NOT NULL,
  public BYTEA NOT NULL,
  batch BIGINT NOT NULL,
  leaf BIGINT NOT NULL,
  path BYTEA NOT NULL,
  PRIMARY KEY (tenant, agent, kind, id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX nhi_prekey_batch ON nhi_prekey (tenant, agent, batch);
