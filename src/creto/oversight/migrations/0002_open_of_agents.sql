-- How many requests of an agent wait is counted with every new one.
CREATE INDEX oversight_request_open_of_agent ON oversight_request (tenant, agent) WHERE due_at IS NOT NULL;
