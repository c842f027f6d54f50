-- What an endpoint of a tenant wants to hear of metering.
CREATE TABLE metering_webhook_wish (
  tenant TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  events BYTEA NOT NULL,
  PRIMARY KEY (tenant, endpoint_id)
)
--sqlite WITHOUT ROWID
;

-- What goes to an endpoint: once for each message, until it is delivered or given up.
CREATE TABLE metering_webhook_delivery (
  tenant TEXT NOT NULL,
  endpoint_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  state TEXT NOT NULL,
  next_at BIGINT NOT NULL,
  changed_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, endpoint_id, message_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX metering_webhook_delivery_due ON metering_webhook_delivery (next_at) WHERE state = 'queued';
CREATE INDEX metering_webhook_delivery_old ON metering_webhook_delivery (changed_at) WHERE state <> 'queued';
