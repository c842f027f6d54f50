-- Whose passkey it is: the key and the site are in the body. A credential is one human's.
CREATE TABLE oversight_passkey (
  tenant TEXT NOT NULL,
  credential_id BYTEA NOT NULL,
  person TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, credential_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX oversight_passkey_person ON oversight_passkey (tenant, person);
