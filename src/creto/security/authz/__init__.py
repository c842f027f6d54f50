"""Authorization: Cedar policies, decisions that are remembered, roles, override tokens.

authz = Authz(store, clock, nhi, signer=key)
await authz.start()
await authz.assign_role("default", ada, "operator", actor=ada)
assert authz.check(ada, "sandbox.spawn", "runtime:sandbox:sb-1", tenant="default") == Allow(("creto.operator",))
await authz.upload_policies("default", '''
    @id("big") @oversight("large-transfer")
    forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > 10000 };
''', actor=ada, activate=True)
authz.check(ada, "funds.transfer", "bank:acme", {"amount": 50000}, tenant="default")    # RequiresOversight("large-transfer", …)

Who checks often holds `check = authz.tenant(t).check`. Metering hands its QuotaHook to `authz.use_quota`. A product's acts stand in
`creto.cedarschema`, its resources' prefixes in `names.py`; the groups of acts there are what the shipped roles in `default.cedar` speak of.
"""

from creto.security.authz.checks import TenantAuthz
from creto.security.authz.core import OPERATOR_ROLE, operators
from creto.security.authz.service import Authz, AuthzClient
from creto.security.authz.types import (
    JOINT,
    Allow,
    AuthzDecision,
    AuthzRequest,
    CheckRequest,
    Decision,
    Demand,
    Deny,
    DryRun,
    EntityName,
    EntityPage,
    Explanation,
    Granted,
    IssuedOverride,
    OverrideDraft,
    OverrideStanding,
    OverrideToken,
    OversightRequirement,
    PolicyPage,
    PolicyVersion,
    QuotaDecision,
    QuotaDenied,
    QuotaHook,
    QuotaOutcome,
    Replay,
    Replayed,
    RequiresOversight,
    Reservation,
    RoleAssignment,
    RolePage,
    StoredEntity,
    TimeoutAction,
)

__all__ = [
    "JOINT",
    "OPERATOR_ROLE",
    "Allow",
    "Authz",
    "AuthzClient",
    "AuthzDecision",
    "AuthzRequest",
    "CheckRequest",
    "Decision",
    "Demand",
    "Deny",
    "DryRun",
    "EntityName",
    "EntityPage",
    "Explanation",
    "Granted",
    "IssuedOverride",
    "OverrideDraft",
    "OverrideStanding",
    "OverrideToken",
    "OversightRequirement",
    "PolicyPage",
    "PolicyVersion",
    "QuotaDecision",
    "QuotaDenied",
    "QuotaHook",
    "QuotaOutcome",
    "Replay",
    "Replayed",
    "RequiresOversight",
    "Reservation",
    "RoleAssignment",
    "RolePage",
    "StoredEntity",
    "TenantAuthz",
    "TimeoutAction",
    "operators",
]
