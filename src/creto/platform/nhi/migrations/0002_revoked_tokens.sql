-- Bearer tokens that were withdrawn before they ended, until they would have ended anyway.
CREATE TABLE nhi_revoked_token (
  tenant TEXT NOT NULL,
  token TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, token)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX nhi_revoked_token_expiry ON nhi_revoked_token (expires_at);
