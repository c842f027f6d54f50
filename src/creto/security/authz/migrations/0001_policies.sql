-- Policies as they were uploaded; a version never changes.
CREATE TABLE authz_version (
  tenant TEXT NOT NULL,
  version BIGINT NOT NULL,
  text TEXT NOT NULL,
  schema TEXT NOT NULL,
  with_defaults SMALLINT NOT NULL,
  digest BYTEA NOT NULL,
  policies BIGINT NOT NULL,
  note TEXT NOT NULL,
  uploaded_by TEXT NOT NULL,
  uploaded_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, version)
)
--sqlite WITHOUT ROWID
;

-- Which version holds. A tenant without a row has the shipped policies alone, as version 0.
CREATE TABLE authz_active (
  tenant TEXT NOT NULL PRIMARY KEY,
  version BIGINT NOT NULL,
  activated_by TEXT NOT NULL,
  activated_at BIGINT NOT NULL
)
--sqlite WITHOUT ROWID
;

CREATE TABLE authz_role (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  role TEXT NOT NULL,
  assigned_by TEXT NOT NULL,
  assigned_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, agent, role)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX authz_role_members ON authz_role (tenant, role, agent);

-- What is known of an entity beside its name: attributes and parents in Cedar's JSON.
CREATE TABLE authz_entity (
  tenant TEXT NOT NULL,
  type TEXT NOT NULL,
  id TEXT NOT NULL,
  attrs BYTEA NOT NULL,
  parents BYTEA NOT NULL,
  changed_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, type, id)
)
--sqlite WITHOUT ROWID
;

-- Override tokens that were issued, and those that were used: the second row is the mark that makes it once.
CREATE TABLE authz_override (
  tenant TEXT NOT NULL,
  token_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  revoked_at BIGINT,
  PRIMARY KEY (tenant, token_id)
)
--sqlite WITHOUT ROWID
;
CREATE TABLE authz_override_used (
  tenant TEXT NOT NULL,
  token_id TEXT NOT NULL,
  used_at BIGINT NOT NULL,
  used_by TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, token_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX authz_override_expiry ON authz_override (tenant, expires_at);
CREATE INDEX authz_override_used_expiry ON authz_override_used (tenant, expires_at);
