-- Nodes whose leases others may reclaim. Whoever reclaims takes the row first: a draw that was under way then ends before, or never happens.
CREATE TABLE metering_quota_node (
  node TEXT PRIMARY KEY
)
--sqlite WITHOUT ROWID
;
