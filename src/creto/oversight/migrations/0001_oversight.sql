-- Policies as they were uploaded; a version never changes, the highest holds.
CREATE TABLE oversight_policy (
  tenant TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  version BIGINT NOT NULL,
  body BYTEA NOT NULL,
  uploaded_by TEXT NOT NULL,
  uploaded_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, policy_id, version)
)
--sqlite WITHOUT ROWID
;

CREATE TABLE oversight_group (
  tenant TEXT NOT NULL,
  name TEXT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, name)
)
--sqlite WITHOUT ROWID
;

CREATE TABLE oversight_contact (
  tenant TEXT NOT NULL,
  channel TEXT NOT NULL,
  address TEXT NOT NULL,
  person TEXT NOT NULL,
  PRIMARY KEY (tenant, channel, address)
)
--sqlite WITHOUT ROWID
;

CREATE TABLE oversight_delegation (
  tenant TEXT NOT NULL,
  delegation_id TEXT NOT NULL,
  ends_at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, delegation_id)
)
--sqlite WITHOUT ROWID
;

-- One row per request. `ask` changes with an edit alone, `progress` with every transition; the row's lock is what makes a transition one.
CREATE TABLE oversight_request (
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  action TEXT NOT NULL,
  resource TEXT NOT NULL,
  policy_id TEXT NOT NULL,
  ask_key TEXT NOT NULL,
  payload BYTEA NOT NULL,
  state TEXT NOT NULL,
  due_at BIGINT,
  created_at BIGINT NOT NULL,
  decided_at BIGINT,
  args_hash BYTEA NOT NULL,
  display_hash BYTEA NOT NULL,
  ask BYTEA NOT NULL,
  progress BYTEA NOT NULL,
  decision BYTEA,
  PRIMARY KEY (tenant, request_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX oversight_request_key ON oversight_request (tenant, ask_key, request_id);
CREATE INDEX oversight_request_agent ON oversight_request (tenant, agent, request_id);
CREATE INDEX oversight_request_open ON oversight_request (tenant, request_id) WHERE due_at IS NOT NULL;
CREATE INDEX oversight_request_due ON oversight_request (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX oversight_request_similar ON oversight_request (tenant, agent, action, decided_at) WHERE state = 'approved';

-- Every vote that was accepted, changed ones too. A nonce counts once: so a replay is no second vote.
CREATE TABLE oversight_vote (
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  seq BIGINT NOT NULL,
  person TEXT NOT NULL,
  nonce TEXT NOT NULL,
  at BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, request_id, seq)
)
--sqlite WITHOUT ROWID
;
CREATE UNIQUE INDEX oversight_vote_nonce ON oversight_vote (tenant, nonce);
CREATE INDEX oversight_vote_person ON oversight_vote (tenant, person, request_id);

CREATE TABLE oversight_note (
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  seq BIGINT NOT NULL,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, request_id, seq)
)
--sqlite WITHOUT ROWID
;

CREATE TABLE oversight_snooze (
  tenant TEXT NOT NULL,
  request_id TEXT NOT NULL,
  person TEXT NOT NULL,
  until BIGINT NOT NULL,
  PRIMARY KEY (tenant, request_id, person)
)
--sqlite WITHOUT ROWID
;

CREATE TABLE oversight_grant (
  tenant TEXT NOT NULL,
  grant_id TEXT NOT NULL,
  agent TEXT NOT NULL,
  action TEXT NOT NULL,
  resource TEXT NOT NULL,
  expires_at BIGINT,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, grant_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX oversight_grant_agent ON oversight_grant (tenant, agent, action, resource) WHERE expires_at IS NOT NULL;
CREATE INDEX oversight_grant_expiry ON oversight_grant (expires_at) WHERE expires_at IS NOT NULL;

-- One message to one human on one channel. What waits has next_at.
CREATE TABLE oversight_notification (
  tenant TEXT NOT NULL,
  notification_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  person TEXT NOT NULL,
  channel TEXT NOT NULL,
  state TEXT NOT NULL,
  next_at BIGINT,
  reference TEXT,
  body BYTEA NOT NULL,
  PRIMARY KEY (tenant, notification_id)
)
--sqlite WITHOUT ROWID
;
CREATE INDEX oversight_notification_request ON oversight_notification (tenant, request_id);
CREATE INDEX oversight_notification_due ON oversight_notification (channel, next_at) WHERE next_at IS NOT NULL;
CREATE INDEX oversight_notification_reference ON oversight_notification (tenant, channel, reference) WHERE reference IS NOT NULL;
