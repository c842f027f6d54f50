"""Oversight: humans decide about risky acts; nothing is lost, and nothing forged.

oversight = Oversight(store, clock, nhi, authz, signer=layer_key, memory=memory)
await oversight.put_policy("acme", OversightPolicy(policy_id="large-transfer", tiers=(tier,), quorum=Quorum(approvals=2)), by=operator)

record = await oversight.create(OversightRequest(tenant="acme", agent_nhi=bot, policy_id="large-transfer", …))
ballot = await oversight.ballot("acme", record.ask.request_id, approver=ann, verdict=Verdict.APPROVE)
await oversight.submit_response("acme", sign(ballot, ann_key))
result = await oversight.await_decision("acme", record.ask.request_id)      # Approved, with a token for exactly this act, once
proof = await oversight.decision_file("acme", record.ask.request_id)        # `creto verify` reads it
"""

from creto.contracts import (
    ApprovalGate,
    OversightDecision,
    OversightDecisionEvent,
    OversightRequest,
    OversightRequirement,
    RuntimeOversightRequest,
    SandboxAction,
)
from creto.oversight.approvals import Approvals
from creto.oversight.arguments import args_hash, canonical, of_call
from creto.oversight.ballots import Counted, Receipt
from creto.oversight.decisions import Ballot, DecisionFile, Evidence, SignedBallot, attest, sign
from creto.oversight.delivery import Health
from creto.oversight.desk import Case
from creto.oversight.display import Display, render
from creto.oversight.proof import Proof, proved
from creto.oversight.service import Oversight
from creto.oversight.sources import of_cost_threshold, of_operation, of_quota_breach, of_sandbox_action
from creto.oversight.store import Record
from creto.oversight.timer import Timer
from creto.oversight.types import (
    Advance,
    ApproverGroup,
    Ask,
    Assurance,
    BatchItem,
    Bound,
    BreakGlassTerms,
    Channel,
    Contact,
    Delegation,
    EscalationTier,
    Grant,
    GrantTerms,
    GrantWish,
    GroupNeed,
    Notice,
    Notification,
    NotificationChannel,
    NotificationKind,
    OversightPolicy,
    Progress,
    Quorum,
    RequestState,
    RiskRule,
    Verdict,
)

OversightService = Oversight  # the client's name

__all__ = [
    "Advance",
    "ApprovalGate",
    "Approvals",
    "ApproverGroup",
    "Ask",
    "Assurance",
    "Ballot",
    "BatchItem",
    "Bound",
    "BreakGlassTerms",
    "Case",
    "Channel",
    "Contact",
    "Counted",
    "DecisionFile",
    "Delegation",
    "Display",
    "EscalationTier",
    "Evidence",
    "Grant",
    "GrantTerms",
    "GrantWish",
    "GroupNeed",
    "Health",
    "Notice",
    "Notification",
    "NotificationChannel",
    "NotificationKind",
    "Oversight",
    "OversightDecision",
    "OversightDecisionEvent",
    "OversightPolicy",
    "OversightRequest",
    "OversightRequirement",
    "OversightService",
    "Progress",
    "Proof",
    "Quorum",
    "Receipt",
    "Record",
    "RequestState",
    "RiskRule",
    "RuntimeOversightRequest",
    "SandboxAction",
    "SignedBallot",
    "Timer",
    "Verdict",
    "args_hash",
    "attest",
    "canonical",
    "of_call",
    "of_cost_threshold",
    "of_operation",
    "of_quota_breach",
    "of_sandbox_action",
    "proved",
    "render",
    "sign",
]
