"""Several policies that ask about one act: one request, decided as all of them demand.

    policy = joined("large-transfer + new-payee", (large_transfer, new_payee))

Each keeps its own approvers and its own quorum, which `quorum.tally` counts apart: whom only the weaker names satisfies only the weaker. Where
the policies differ in anything else, the stricter holds.

INVARIANT: what the joint policy lets pass, each of its policies would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from creto.common.ids import PolicyId, checked_name
from creto.common.limits import OVERSIGHT_JOINT_CHARS_MAX
from creto.contracts import RiskLevel, TimeoutAction
from creto.oversight.types import (
    RISKS,
    Assurance,
    Channel,
    EscalationTier,
    GrantTerms,
    NotificationChannel,
    OversightPolicy,
    Quorum,
    RiskRule,
    Share,
)


def joined(policy_id: str, policies: Sequence[OversightPolicy]) -> OversightPolicy:
    """The one policy that demands what each of them does; of one, itself."""
    if len(policies) == 1:
        return policies[0]
    return OversightPolicy(
        policy_id=PolicyId(checked_name(policy_id, "policy_id", chars_max=OVERSIGHT_JOINT_CHARS_MAX)),
        version=sum(one.version for one in policies),  # grows with each of them
        title=" + ".join(one.title or one.policy_id for one in policies) if any(one.title for one in policies) else "",
        tiers=tuple(tier(policies, place) for place in range(max(len(one.tiers) for one in policies))),
        quorum=quorum(policies),
        assurance=max(one.assurance for one in policies),
        assurance_by_risk={risk: assurance(policies, risk) for risk in RISKS},
        final_action=TimeoutAction.AUTO_APPROVE
        if all(one.final_action is TimeoutAction.AUTO_APPROVE for one in policies)
        else TimeoutAction.AUTO_DENY,
        vote_change=all(one.vote_change for one in policies),
        reason_required=any(one.reason_required for one in policies),
        revocable=any(one.revocable for one in policies),
        revalidate=any(one.revalidate for one in policies),
        key_grace_s=min(one.key_grace_s for one in policies),
        warn_percent=max(one.warn_percent for one in policies),
        execution_s=min(one.execution_s for one in policies),
        grants=grants(policies),
        always_ask=any(one.always_ask for one in policies),
        risk=max((one.risk for one in policies), key=RISKS.index),
        risk_rules=rules(policies),
        joint=tuple(policies),
    )


def tier(policies: Iterable[OversightPolicy], place: int) -> EscalationTier:
    """Everybody whom one of them asks at this place, for the shortest time that one of them gives."""
    tiers = [one.tiers[place] for one in policies if place < len(one.tiers)]
    return EscalationTier(
        name=" + ".join(dict.fromkeys(one.name for one in tiers)),
        approvers=tuple(dict.fromkeys(name for one in tiers for name in one.approvers)),
        timeout_s=min(one.timeout_s for one in tiers),
        channels=channels(tiers),
    )


def channels(tiers: Sequence[EscalationTier]) -> tuple[NotificationChannel, ...]:
    """All that one of them names, or all there are; a channel shows the arguments where nobody who names it minds."""
    if any(not one.channels for one in tiers):
        return ()
    full: dict[Channel, bool] = {}
    for one in (channel for tier in tiers for channel in tier.channels):
        full[one.channel] = full.get(one.channel, True) and one.full_arguments
    return tuple(NotificationChannel(channel=channel, full_arguments=shown) for channel, shown in full.items())


def quorum(policies: Sequence[OversightPolicy]) -> Quorum:
    """`each` decides; the rest is what a reader expects at least."""
    each = tuple(Share(policy_id=one.policy_id, quorum=one.quorum) for one in policies)
    return Quorum(
        approvals=max(one.quorum.approvals for one in policies),
        denials=min(one.quorum.denials for one in policies),
        each=each,
    )


def assurance(policies: Sequence[OversightPolicy], risk: RiskLevel) -> Assurance:
    return max(max(one.assurance, one.assurance_by_risk.get(risk, one.assurance)) for one in policies)


def grants(policies: Sequence[OversightPolicy]) -> GrantTerms | None:
    """Only what each would grant."""
    terms = [one.grants for one in policies if one.grants is not None]
    if len(terms) < len(policies):
        return None
    return GrantTerms(ttl_s_max=min(one.ttl_s_max for one in terms), uses_max=min(one.uses_max for one in terms))


def rules(policies: Sequence[OversightPolicy]) -> tuple[RiskRule, ...]:
    return tuple(dict.fromkeys(rule for one in policies for rule in one.risk_rules))
