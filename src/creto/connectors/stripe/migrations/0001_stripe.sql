-- What of ours exists at Stripe, or was asked for there: the id that it has, or the request that is on its way.
CREATE TABLE stripe_object (
  tenant TEXT NOT NULL,
  kind TEXT NOT NULL,
  our_id TEXT NOT NULL,
  state TEXT NOT NULL,
  stripe_id TEXT,
  attempt BIGINT NOT NULL,
  asked_at BIGINT NOT NULL,
  params BYTEA NOT NULL,
  PRIMARY KEY (tenant, kind, our_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX stripe_object_there ON stripe_object (stripe_id, kind) WHERE stripe_id IS NOT NULL;
CREATE INDEX stripe_object_asked ON stripe_object (tenant, asked_at) WHERE state <> 'there';

-- Who pays for an agent, as Stripe shall know them.
CREATE TABLE stripe_payer (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  changed_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, agent)
)
--sqlite WITHOUT ROWID
;

-- How much of a charge's quantity in a period a meter at Stripe has been told, or is being told.
CREATE TABLE stripe_meter (
  tenant TEXT NOT NULL,
  meter TEXT NOT NULL,
  told BIGINT NOT NULL,
  events BIGINT NOT NULL,
  PRIMARY KEY (tenant, meter)
)
--sqlite WITHOUT ROWID
;

-- Where the payment of an invoice or a purchase stands, by the newest thing that Stripe said about it.
CREATE TABLE stripe_payment (
  tenant TEXT NOT NULL,
  our_id TEXT NOT NULL,
  status TEXT NOT NULL,
  said_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, our_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX stripe_payment_status ON stripe_payment (tenant, status, our_id);

-- Webhooks that were received. Their ids are Stripe's, over all tenants.
CREATE TABLE stripe_event (
  event_id TEXT NOT NULL,
  received_at BIGINT NOT NULL,
  PRIMARY KEY (event_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX stripe_event_received ON stripe_event (received_at);

-- Since when the connector takes what metering publishes: an invoice that was final before is collected elsewhere.
CREATE TABLE stripe_start (
  name TEXT NOT NULL,
  since BIGINT NOT NULL,
  PRIMARY KEY (name)
)
--sqlite WITHOUT ROWID
;
