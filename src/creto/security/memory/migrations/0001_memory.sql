-- Every row belongs to one tenant, one agent and one generation of that agent's memory. Erasing an agent removes the generation's
-- key in one statement; rows of a generation that no memory_agent row names are invisible at once and removed page by page.
CREATE TABLE memory_agent (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  generation TEXT NOT NULL,
  key_version BIGINT NOT NULL,
  sealed_key BYTEA NOT NULL,
  last_seq BIGINT NOT NULL,
  items BIGINT NOT NULL,
  turns BIGINT NOT NULL,
  states BIGINT NOT NULL,
  dimensions BIGINT NOT NULL,
  erasures BIGINT NOT NULL,
  PRIMARY KEY (tenant, agent)
);
CREATE INDEX memory_agent_key ON memory_agent (tenant, key_version);

CREATE TABLE memory_item (
  --sqlite num INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  generation TEXT NOT NULL,
  seq BIGINT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  action TEXT NOT NULL,
  content_type TEXT NOT NULL,
  written_by TEXT NOT NULL,
  written_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  trace_id TEXT,
  content BYTEA NOT NULL,
  --postgres words TSVECTOR NOT NULL,
  --sqlite UNIQUE (tenant, agent, generation, seq)
  --postgres PRIMARY KEY (tenant, agent, generation, seq)
);
CREATE UNIQUE INDEX memory_item_id ON memory_item (tenant, agent, id);
CREATE INDEX memory_item_action ON memory_item (tenant, agent, generation, action, seq);
CREATE INDEX memory_item_kind ON memory_item (tenant, agent, generation, kind, seq);
CREATE INDEX memory_item_expiry ON memory_item (expires_at);

-- Words are keyed digests: one agent's query cannot spell another agent's word.
--sqlite CREATE VIRTUAL TABLE memory_words USING fts5 (words, content='', contentless_delete=1, tokenize='ascii');
--postgres CREATE INDEX memory_item_words ON memory_item USING GIN (words);

CREATE TABLE memory_vector (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  generation TEXT NOT NULL,
  seq BIGINT NOT NULL,
  id TEXT NOT NULL,
  expires_at BIGINT NOT NULL,
  vector BYTEA NOT NULL,
  PRIMARY KEY (tenant, agent, generation, seq)
)
--sqlite WITHOUT ROWID
;

CREATE TABLE memory_turn (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  generation TEXT NOT NULL,
  conversation TEXT NOT NULL,
  seq BIGINT NOT NULL,
  id TEXT NOT NULL,
  role TEXT NOT NULL,
  written_by TEXT NOT NULL,
  written_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  trace_id TEXT,
  content BYTEA NOT NULL,
  PRIMARY KEY (tenant, agent, generation, conversation, seq)
);
CREATE INDEX memory_turn_expiry ON memory_turn (expires_at);

CREATE TABLE memory_state (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  generation TEXT NOT NULL,
  --sqlite state_key TEXT NOT NULL,
  --postgres state_key TEXT COLLATE "C" NOT NULL,
  version BIGINT NOT NULL,
  written_by TEXT NOT NULL,
  written_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  trace_id TEXT,
  content BYTEA NOT NULL,
  PRIMARY KEY (tenant, agent, generation, state_key)
);
CREATE INDEX memory_state_expiry ON memory_state (expires_at);

-- Generations whose key is gone and whose rows are still being removed.
CREATE TABLE memory_erasing (
  tenant TEXT NOT NULL,
  agent TEXT NOT NULL,
  generation TEXT NOT NULL,
  PRIMARY KEY (tenant, agent, generation)
);
