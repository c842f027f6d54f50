-- The state of an identity from each of its versions on, so that the past can be asked. What went before this table is known only of the
-- present version.
CREATE TABLE nhi_state (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  version BIGINT NOT NULL,
  since BIGINT NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (tenant, agent, version)
)
--sqlite WITHOUT ROWID
;
INSERT INTO nhi_state (tenant, agent, version, since, state)
  SELECT tenant, agent, version, changed_at, state FROM nhi_identity;
