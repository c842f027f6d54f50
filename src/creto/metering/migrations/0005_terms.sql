-- Coupons, how often each was given to a subscription, and on which invoices it came off.
CREATE TABLE metering_coupon (
  tenant TEXT NOT NULL,
  coupon_id TEXT NOT NULL,
  redeemed BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, coupon_id)
)
--sqlite WITHOUT ROWID
;
CREATE TABLE metering_coupon_use (
  tenant TEXT NOT NULL,
  subscription_id TEXT NOT NULL,
  coupon_id TEXT NOT NULL,
  invoice_id TEXT NOT NULL,
  PRIMARY KEY (tenant, subscription_id, coupon_id, invoice_id)
)
--sqlite WITHOUT ROWID
;

-- Taxes as they are now; what an invoice was taxed with stands in its terms.
CREATE TABLE metering_tax (
  tenant TEXT NOT NULL,
  code TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, code)
)
--sqlite WITHOUT ROWID
;

-- How a tenant's invoices are made where systems differ.
CREATE TABLE metering_rules (
  tenant TEXT PRIMARY KEY,
  body BYTEA NOT NULL
)
--sqlite WITHOUT ROWID
;

-- What one unit of a currency was in another, from an instant on.
CREATE TABLE metering_exchange_rate (
  tenant TEXT NOT NULL,
  base TEXT NOT NULL,
  quote TEXT NOT NULL,
  at BIGINT NOT NULL,
  rate TEXT NOT NULL,
  PRIMARY KEY (tenant, base, quote, at)
)
--sqlite WITHOUT ROWID
;

-- The entry of the ledger that names the digest of a final invoice.
CREATE TABLE metering_invoice_entry (
  tenant TEXT NOT NULL,
  invoice_id TEXT NOT NULL,
  entry_id TEXT NOT NULL,
  PRIMARY KEY (tenant, invoice_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_invoice_status ON metering_invoice (tenant, status, invoice_id);

-- Who stands on paper as the sender of all invoices (no subscription), and as the customer of one subscription.
CREATE TABLE metering_party (
  tenant TEXT NOT NULL,
  subscription_id TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, subscription_id)
)
--sqlite WITHOUT ROWID
;
