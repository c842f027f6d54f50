"""What is seen of an approval over the wire: a line of a list, the whole case, what became of it.

Texts of agents stand in these answers as they were written; `shown` is made visible by us, and is what an approver signs.
INVARIANT: exact arguments in which something is masked as a secret go to nobody but who asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta
from msgspec.structs import asdict

from creto.common.ids import AgentId, PolicyId, RequestId, SandboxId
from creto.common.limits import OVERSIGHT_ARGUMENTS_BYTES_MAX, OVERSIGHT_TEXT_CHARS_MAX
from creto.common.redact import redacted_text
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import ApprovalResult, RiskFactor, RiskLevel, TimeoutAction
from creto.edge.api.endpoint import View
from creto.oversight import (
    Bound,
    BreakGlassTerms,
    Case,
    Channel,
    Display,
    EscalationTier,
    GrantTerms,
    Notice,
    NotificationKind,
    OversightPolicy,
    Quorum,
    Receipt,
    Record,
    RequestState,
    RiskRule,
    Verdict,
    render,
)
from creto.oversight.arguments import leaves, parsed
from creto.oversight.decisions import CastVote
from creto.oversight.display import is_masked
from creto.oversight.escalation import ends_at
from creto.oversight.grants import offered
from creto.oversight.policies import assurance_needed
from creto.oversight.types import DeliveryState, Note, Notification
from creto.platform.nhi import Nhi

Text = Annotated[str, Meta(max_length=OVERSIGHT_TEXT_CHARS_MAX)]
Json = Annotated[str, Meta(max_length=OVERSIGHT_ARGUMENTS_BYTES_MAX)]


AssuranceName = Annotated[str, Meta(pattern="^A[0-3]$", max_length=2)]


class NoticeView(View, frozen=True):
    """What the answer is given in spite of: `OV-202` nobody could be told yet, `OV-503` without the agent's reasons."""

    code: str
    message: str


class OversightPolicyView(View, frozen=True):
    """A policy as it is stored. `joint`: of what several policies ask about together, these; each has to be met.

    `warnings`: of a policy that is asked for itself, whom it names and does not find now, and whether too few sit there. It holds all the same.
    """

    policy_id: PolicyId
    tiers: tuple[EscalationTier, ...]
    version: int
    title: str
    quorum: Quorum
    assurance: str
    assurance_by_risk: dict[RiskLevel, str]
    final_action: TimeoutAction
    vote_change: bool
    reason_required: bool
    revocable: bool
    revalidate: bool
    key_grace_s: int
    warn_percent: int
    execution_s: int
    grants: GrantTerms | None
    break_glass: BreakGlassTerms | None
    always_ask: bool
    risk: RiskLevel
    risk_rules: tuple[RiskRule, ...]
    arguments_schemas: dict[str, str]
    joint: tuple[OversightPolicyView, ...] = ()
    warnings: tuple[str, ...] = ()


class ApprovalView(View, frozen=True):
    """A request as a list has it. `effect` is what it would do, in our words."""

    request_id: RequestId
    state: RequestState
    effect: str
    risk: RiskLevel
    agent: AgentId
    agent_name: str
    action: str
    resource: str
    policy_id: PolicyId
    round: int
    tier: str
    created_at: ConsensusTimestamp
    ends_at: ConsensusTimestamp  # of this tier
    blocking: bool
    break_glass: bool
    claimed_by: AgentId | None = None
    claimed_until: ConsensusTimestamp | None = None
    decided_at: ConsensusTimestamp | None = None
    decided_by: AgentId | None = None
    reason: str = ""
    notices: tuple[NoticeView, ...] = ()


class ApprovalPage(View, frozen=True):
    items: tuple[ApprovalView, ...]
    cursor: str | None = None


class Person(View, frozen=True):
    person: AgentId
    name: str


class VoteView(View, frozen=True):
    """A vote that was cast. `assurance` says who vouches that it was this human; only those of the last round count."""

    person: AgentId
    name: str
    verdict: Verdict
    round: int
    assurance: str
    signed_at: ConsensusTimestamp
    reason: str = ""
    seat: AgentId | None = None  # another human's, in whose seat they sat
    groups: tuple[str, ...] = ()
    counter: tuple[Bound, ...] = ()  # not this, but a call within these bounds
    counts: bool = True
    why_not: str = ""  # it does not count


class ItemView(View, frozen=True):
    item_id: str
    arguments: str
    after: tuple[str, ...] = ()


class ApprovalDetail(View, frozen=True):
    """The whole case. `arguments` are the exact ones, and missing where secrets are masked in what is shown."""

    approval: ApprovalView
    shown: Display
    display_hash: bytes
    args_hash: bytes
    policy: OversightPolicyView
    assurance: str  # the least that this needs, A0 to A3
    grantable: bool  # whether "approve for …" is offered
    chain: tuple[AgentId, ...]
    risk_factors: tuple[RiskFactor, ...]
    standing: Receipt
    votes: tuple[VoteView, ...]
    waiting_for: tuple[Person, ...]
    notes: tuple[Note, ...]
    items: tuple[ItemView, ...] = ()
    approved_items: tuple[str, ...] = ()
    arguments: str | None = None
    final_action: TimeoutAction | None = None
    superseded_by: RequestId | None = None
    grant_id: str | None = None
    revoked_at: ConsensusTimestamp | None = None
    sandbox_id: SandboxId | None = None
    assessed: tuple[RiskFactor, ...] = ()  # ours; `risk_factors` are the agent's own


class Outcome(View, frozen=True):
    """What became of a request; without a result nobody has decided yet. `questions` are those that its agent has not answered."""

    request_id: RequestId
    state: RequestState
    result: ApprovalResult | None = None
    questions: tuple[Note, ...] = ()
    notices: tuple[NoticeView, ...] = ()  # while it is open


class NotificationView(View, frozen=True):
    """One message to one human, and how far it got."""

    notification_id: str
    request_id: RequestId
    person: AgentId
    channel: Channel
    address: str
    kind: NotificationKind
    state: DeliveryState
    attempts: int
    next_at: ConsensusTimestamp
    seen_at: ConsensusTimestamp | None = None
    error: str | None = None


def policy_view(policy: OversightPolicy, warnings: tuple[str, ...] = ()) -> OversightPolicyView:
    told = {
        "assurance": policy.assurance.label,
        "assurance_by_risk": {risk: one.label for risk, one in policy.assurance_by_risk.items()},
        "joint": tuple(map(policy_view, policy.joint)),
        "warnings": warnings,
    }
    return OversightPolicyView(**(asdict(policy) | told))


def noticed(notices: Sequence[Notice]) -> tuple[NoticeView, ...]:
    return tuple(NoticeView(code=one.code, message=one.message) for one in notices)


def line(record: Record, notices: Sequence[Notice] = ()) -> ApprovalView:
    ask, progress = record.ask, record.progress
    claim = progress.claim if progress.state.open else None
    return ApprovalView(
        request_id=ask.request_id, state=progress.state, effect=render(ask).effect, risk=ask.risk, agent=ask.agent,
        agent_name=ask.agent_name, action=ask.action, resource=redacted_text(ask.resource), policy_id=ask.policy.policy_id, round=ask.round,
        tier=ask.policy.tiers[progress.tier].name, created_at=ask.created_at, ends_at=ends_at(progress), blocking=ask.blocking,
        break_glass=ask.break_glass, claimed_by=AgentId(claim.person) if claim else None,
        claimed_until=claim.until if claim else None, decided_at=progress.decided_at,
        decided_by=AgentId(progress.decided_by) if progress.decided_by else None, reason=progress.reason,
        notices=noticed(notices),
    )  # fmt: skip


def detail(case: Case, nhi: Nhi, *, own: bool, notices: Sequence[Notice] = ()) -> ApprovalDetail:
    """`own`: for who asked."""
    ask, progress = case.record.ask, case.record.progress
    shows = own or not any(is_masked(path, leaf) for path, leaf in leaves(parsed(ask.arguments)))

    def named(person: str) -> str:
        return nhi.get_now(ask.tenant, AgentId(person)).name

    return ApprovalDetail(
        approval=line(case.record, notices), shown=render(ask), display_hash=case.record.display_hash, args_hash=case.record.args_hash,
        policy=policy_view(ask.policy), assurance=assurance_needed(ask.policy, ask.risk).label, grantable=offered(ask), chain=ask.chain,
        risk_factors=ask.risk_factors, assessed=(*ask.assessed, *ask.by_arguments), standing=case.standing,
        votes=tuple(cast(vote, named(vote.signed.ballot.person), case.why_not(vote)) for vote in case.votes),
        waiting_for=tuple(Person(person=AgentId(one), name=named(one)) for one in case.waiting_for), notes=case.notes,
        items=tuple(
            ItemView(item_id=item.item_id, arguments=item.arguments.decode(), after=item.after) for item in ask.items if shows
        ),
        approved_items=progress.approved_items, arguments=ask.arguments.decode() if shows else None,
        final_action=progress.final_action, superseded_by=progress.superseded_by, grant_id=progress.grant_id,
        revoked_at=progress.permit.revoked_at, sandbox_id=ask.sandbox_id,
    )  # fmt: skip


def cast(vote: CastVote, name: str, why_not: str) -> VoteView:
    ballot = vote.signed.ballot
    return VoteView(
        person=AgentId(ballot.person), name=name, verdict=ballot.verdict, round=ballot.round, assurance=vote.signed.label,
        signed_at=ballot.signed_at, reason=ballot.reason, seat=AgentId(vote.seat) if vote.seat != ballot.person else None,
        groups=vote.groups, counter=ballot.counter, counts=not why_not, why_not=why_not,
    )  # fmt: skip


def told(one: Notification) -> NotificationView:
    return NotificationView(
        notification_id=one.notification_id, request_id=one.request_id, person=AgentId(one.person), channel=one.channel,
        address=one.address, kind=one.kind, state=one.state, attempts=one.attempts, next_at=one.next_at, seen_at=one.seen_at,
        error=one.error,
    )  # fmt: skip
