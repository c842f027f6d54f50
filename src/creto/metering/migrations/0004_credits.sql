-- Credits: what was granted and where it is now, in millionths of the currency. Books that do not balance are refused here, too.
CREATE TABLE metering_grant (
  tenant TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  currency TEXT NOT NULL,
  granted BIGINT NOT NULL,
  remaining BIGINT NOT NULL CHECK (remaining >= 0),
  used BIGINT NOT NULL CHECK (used >= 0),
  expired BIGINT NOT NULL CHECK (expired >= 0),
  voided BIGINT NOT NULL CHECK (voided >= 0),
  postings BIGINT NOT NULL,
  seen_at BIGINT NOT NULL,
  ages_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, grant_id),
  CHECK (granted = remaining + used + expired + voided)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_grant_wallet ON metering_grant (tenant, agent, currency, grant_id);
CREATE INDEX metering_grant_aging ON metering_grant (ages_at);

-- The double entry: every movement from one account of a grant to another, and what for.
CREATE TABLE metering_posting (
  tenant TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  number BIGINT NOT NULL,
  at BIGINT NOT NULL,
  source TEXT NOT NULL,
  target TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  ref TEXT NOT NULL,
  PRIMARY KEY (tenant, grant_id, number),
  CHECK (source <> target)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_posting_ref ON metering_posting (tenant, ref);

-- When to buy more for whom.
CREATE TABLE metering_top_up (
  tenant TEXT NOT NULL,
  rule_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  currency TEXT NOT NULL,
  last_at BIGINT,
  next_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, rule_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_top_up_wallet ON metering_top_up (tenant, agent, currency);
CREATE INDEX metering_top_up_next ON metering_top_up (next_at);

-- What was asked for and is paid, or not yet.
CREATE TABLE metering_purchase (
  tenant TEXT NOT NULL,
  purchase_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  currency TEXT NOT NULL,
  state TEXT NOT NULL,
  amount BIGINT NOT NULL CHECK (amount > 0),
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, purchase_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_purchase_pending ON metering_purchase (tenant, agent, currency) WHERE state = 'pending';
