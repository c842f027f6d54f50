-- Every suite policy that was ever in force, the newest last, with the signed list of what it offers.
CREATE TABLE crypto_suites (
  version BIGINT NOT NULL PRIMARY KEY,
  policy BYTEA NOT NULL,
  signed BYTEA NOT NULL
)
--sqlite WITHOUT ROWID
;
