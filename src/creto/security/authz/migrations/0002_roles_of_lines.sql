-- A role is held by a line of keys, under the id of its first: what was given to a later key goes there.
INSERT INTO authz_role (tenant, agent, role, assigned_by, assigned_at)
  SELECT r.tenant, i.origin, r.role, MIN(r.assigned_by), MIN(r.assigned_at) FROM authz_role r
  JOIN nhi_identity i ON i.tenant = r.tenant AND i.agent = r.agent
  WHERE i.origin <> i.agent GROUP BY r.tenant, i.origin, r.role
  ON CONFLICT (tenant, agent, role) DO NOTHING;
DELETE FROM authz_role WHERE EXISTS (
  SELECT 1 FROM nhi_identity i WHERE i.tenant = authz_role.tenant AND i.agent = authz_role.agent AND i.origin <> i.agent
);
