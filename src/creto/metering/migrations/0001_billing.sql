-- Versions of plans, as they were made. A version never changes.
CREATE TABLE metering_plan (
  tenant TEXT NOT NULL,
  plan_id TEXT NOT NULL,
  version BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, plan_id, version)
)
--sqlite WITHOUT ROWID
;

-- Who pays for which agent's usage by which plan.
CREATE TABLE metering_subscription (
  tenant TEXT NOT NULL,
  subscription_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  status TEXT NOT NULL,
  changed_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, subscription_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_subscription_agent ON metering_subscription (tenant, agent, subscription_id);

-- Each subscription as it was known from an instant on, so that an invoice can be counted again. No body: it was deleted.
CREATE TABLE metering_subscription_version (
  tenant TEXT NOT NULL,
  subscription_id TEXT NOT NULL,
  changed_at BIGINT NOT NULL,
  agent TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, subscription_id, changed_at)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_subscription_known ON metering_subscription_version (tenant, agent, changed_at);

-- Invoices and credit notes, with the terms by which they were drafted: a recount uses the same.
CREATE TABLE metering_invoice (
  tenant TEXT NOT NULL,
  invoice_id TEXT NOT NULL,
  subscription_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  status TEXT NOT NULL,
  period_start BIGINT NOT NULL,
  number TEXT,
  changed_at BIGINT NOT NULL,
  terms BYTEA NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, invoice_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_invoice_subscription ON metering_invoice (tenant, subscription_id, period_start, invoice_id);
CREATE UNIQUE INDEX metering_invoice_period ON metering_invoice (tenant, subscription_id, period_start)
  WHERE kind = 'invoice' AND status <> 'void';
CREATE UNIQUE INDEX metering_invoice_number ON metering_invoice (tenant, number) WHERE number IS NOT NULL;

-- The last number of each series of invoices.
CREATE TABLE metering_series (
  tenant TEXT NOT NULL,
  series TEXT NOT NULL,
  last BIGINT NOT NULL,
  PRIMARY KEY (tenant, series)
)
--sqlite WITHOUT ROWID
;
