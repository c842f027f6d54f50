CREATE TABLE crypto_key (
  tenant TEXT NOT NULL,
  key_id TEXT NOT NULL,
  version BIGINT NOT NULL,
  kind TEXT NOT NULL,
  suite SMALLINT NOT NULL,
  public BYTEA NOT NULL,
  kek_id TEXT NOT NULL,
  sealed BYTEA NOT NULL,
  created_at BIGINT,
  PRIMARY KEY (tenant, key_id, version)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX crypto_key_by_kek ON crypto_key (kek_id);
