-- A passkey signs its human in: found by the handle that the browser kept of tenant and person, with what the session reached that enrolled it.
-- Those from before have neither: they vote, and sign nobody in.
ALTER TABLE oversight_passkey ADD COLUMN user_handle BYTEA;
ALTER TABLE oversight_passkey ADD COLUMN scopes TEXT;
CREATE INDEX oversight_passkey_handle ON oversight_passkey (user_handle, credential_id);
