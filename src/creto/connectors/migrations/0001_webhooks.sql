-- Where a tenant's webhooks go. The secrets are in the keystore; the row names their versions.
CREATE TABLE connectors_webhook (
  tenant TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, endpoint_id)
)
--sqlite WITHOUT ROWID
;
