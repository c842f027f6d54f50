"""What makes a ballot count, and what the votes of a request amount to: rules on values, without a store.

check_bound(record, hash, ballot)    # OV-401, OV-409: it is about exactly what stands here now
verdict, items = outcome(ask, cast)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

import msgspec

from creto.common.errors import IdempotencyConflict, SignatureVerificationFailed
from creto.common.ids import RequestId
from creto.common.limits import CLOCK_SKEW_MS_MAX, OVERSIGHT_VOTES_MAX
from creto.common.timestamps import MILLISECOND, SECOND, ConsensusTimestamp, iso
from creto.oversight import edits, grants
from creto.oversight.decisions import Ballot, CastVote, Evidence, SignedBallot
from creto.oversight.policies import refusal
from creto.oversight.quorum import Tally, Vote, counted, tally
from creto.oversight.store import Record
from creto.oversight.types import Ask, Assurance, Bound, Grant, GrantWish, RequestState, Verdict
from creto.platform.audit.events import ApprovalReceived, DenialReceived
from creto.platform.consensus import PersonId
from creto.platform.crypto import digest

Able = Callable[[Sequence[Vote]], Sequence[Vote]]


class Counted(StrEnum):
    VOTE = "vote"  # a vote that was not there before
    REPEATED = "repeated"  # the same click, delivery or ballot again: nothing changed


class Receipt(msgspec.Struct, frozen=True):
    """What the approver is told, the same however often they send it."""

    request_id: RequestId
    state: RequestState
    round: int
    approvals: int
    denials: int
    missing: int
    missing_groups: tuple[str, ...] = ()
    counted: Counted = Counted.VOTE
    settles_at: ConsensusTimestamp | None = None  # decided, with effect from then: until then it can be undone
    missing_policies: tuple[str, ...] = ()  # where several ask: those that are not met


def repeated(cast: Sequence[CastVote], ballot: Ballot) -> Ballot | None:
    """The same ballot, or the same human saying the same in the same round: nothing new, as long as that counts."""
    ballots = [vote.signed.ballot for vote in cast]
    same = next((one for one in ballots if one.nonce == ballot.nonce), None)
    mine = [one for one in ballots if one.person == ballot.person]
    return same or (mine[-1] if mine and said(mine[-1]) == said(ballot) else None)


def said(ballot: Ballot) -> tuple[object, ...]:
    """What makes two votes of one human the same."""
    return (ballot.round, ballot.verdict, ballot.items, ballot.wish, ballot.counter, ballot.on_behalf_of)


def outcome(ask: Ask, cast: Sequence[CastVote], able: Able | None = None) -> tuple[Verdict | None, tuple[str, ...]]:
    """The decision, and of a batch the items that may be executed. A batch is decided when each of its items is.

    `able` tells the approvals that may still come, beside the votes that there are; without it every approval may.
    """
    votes = [vote.vote() for vote in cast]
    if not ask.items:
        return verdict_on(ask, votes, able), ()
    each = {item.item_id: verdict_on(ask, votes, able, item.item_id) for item in ask.items}
    if None in each.values():
        return None, ()
    kept = edits.kept_items(ask.items, [item_id for item_id, verdict in each.items() if verdict is Verdict.APPROVE])
    return (Verdict.APPROVE, kept) if kept else (Verdict.DENY, ())


def verdict_on(ask: Ask, votes: Sequence[Vote], able: Able | None, item: str | None = None) -> Verdict | None:
    """A denial short of the policy's number denies too, once whoever has not spoken could not make it an approval."""
    found = tally(ask.policy.quorum, votes, round=ask.round, item=item)
    if found.verdict is not None or not found.denials or able is None:
        return found.verdict
    said = [vote for vote in votes if vote.round == ask.round]
    best = tally(ask.policy.quorum, [*votes, *able(said)], round=ask.round, item=item)
    return None if best.verdict is Verdict.APPROVE else Verdict.DENY


def undenied(ask: Ask, cast: Sequence[CastVote]) -> tuple[str, ...] | None:
    """What nobody has denied in this round: of a batch those items, else nothing to name; None if nothing is left."""
    votes = [vote.vote() for vote in cast]
    if not ask.items:
        return None if tally(ask.policy.quorum, votes, round=ask.round).denials else ()
    free = [one.item_id for one in ask.items if not tally(ask.policy.quorum, votes, round=ask.round, item=one.item_id).denials]  # fmt: skip
    return edits.kept_items(ask.items, free) or None


def decisive(ask: Ask, cast: Sequence[CastVote], verdict: Verdict) -> CastVote:
    """Whose vote decided: the last that says so; of a batch, in which a vote says several things, the last."""
    agreeing = [vote for vote in cast if vote.signed.ballot.verdict is verdict and not ask.items]
    return agreeing[-1] if agreeing else cast[-1]


def given(
    ask: Ask, cast: Sequence[CastVote], verdict: Verdict, bound: Callable[[tuple[Bound, ...]], bytes], *, by: PersonId,
    now: ConsensusTimestamp, grant_id: str,
) -> Grant | None:  # fmt: skip
    """What was approved in advance: by the way, as "approve for …" or the bounds of a counter-proposal; or that it was about.

    `bound` hashes the arguments that a grant with these bounds is for.
    """
    said = {vote.signed.ballot.person: vote.signed for vote in cast if vote.signed.ballot.round == ask.round}
    if verdict is Verdict.DENY:
        last = decisive(ask, cast, verdict).signed.ballot
        if not last.counter:
            return None
        givers: tuple[PersonId, ...] = (last.person,)
        grant = grants.countered(ask, last.counter, args_hash=bound(last.counter), by=by, now=now, grant_id=grant_id)
    else:
        votes = counted([vote.vote() for vote in cast], ask.round)
        givers = tuple(sorted({vote.person for vote in votes if vote.verdict is Verdict.APPROVE}))
        grant = approved_grant(ask, [said[person].ballot.wish for person in givers], bound, by, now, grant_id)
    sure = min((said[person].assurance for person in givers), default=Assurance.BEARER)
    return msgspec.structs.replace(grant, givers=givers, assurance=sure) if grant is not None else None


def approved_grant(
    ask: Ask, wishes: Sequence[GrantWish | None], bound: Callable[[tuple[Bound, ...]], bytes], by: PersonId,
    now: ConsensusTimestamp, grant_id: str,
) -> Grant | None:  # fmt: skip
    if ask.advance is not None:
        return grants.in_advance(ask, ask.advance, by=by, now=now)
    wish = grants.agreed(wishes)
    return grants.granted(ask, wish, args_hash=bound(()), by=by, now=now, grant_id=grant_id) if wish else None


def check_bound(record: Record, policy_hash: bytes, ballot: Ballot) -> None:
    """The ballot is about exactly what stands here now."""
    ask = record.ask
    if ballot.round != ask.round:
        raise changed(ask)
    bound = {
        "request_id": ask.request_id, "agent": ask.agent, "action": ask.action, "resource": ask.resource,
        "args_hash": record.args_hash, "display_hash": record.display_hash, "risk": ask.risk,
        "policy_id": ask.policy.policy_id, "policy_version": ask.policy.version, "policy_hash": policy_hash,
    }  # fmt: skip
    for field, value in bound.items():
        if getattr(ballot, field) != value:
            raise not_ours(field, getattr(ballot, field))
    if not 0 <= ballot.tier <= record.progress.tier:
        raise not_ours("tier", ballot.tier)


def check_time(ask: Ask, signed: SignedBallot, now: ConsensusTimestamp) -> None:
    skew = CLOCK_SKEW_MS_MAX * MILLISECOND
    if not ask.created_at - skew <= signed.ballot.signed_at <= now + skew:
        raise not_ours("signed_at", iso(signed.ballot.signed_at))


def in_grace(ask: Ask, ballot: Ballot, revoked_at: int, now: ConsensusTimestamp) -> bool:
    return ballot.signed_at < revoked_at and now - revoked_at <= ask.policy.key_grace_s * SECOND


def check_content(ask: Ask, ballot: Ballot, cast: Sequence[CastVote]) -> None:
    if len(cast) >= OVERSIGHT_VOTES_MAX:
        raise refusal("votes", len(cast), f"{OVERSIGHT_VOTES_MAX} at most")
    if ask.policy.reason_required and ballot.verdict is Verdict.DENY and not ballot.reason.strip():
        raise refusal("reason", "no reason", "why it is denied")
    voted = [
        vote for vote in cast if vote.signed.ballot.person == ballot.person and vote.signed.ballot.round == ask.round
    ]
    if voted and not ask.policy.vote_change:
        raise IdempotencyConflict(
            "OV-409", "the policy lets nobody change their vote", field="verdict", got=str(ballot.verdict)
        )
    if ballot.counter and ballot.verdict is not Verdict.DENY:
        raise refusal(
            "counter", str(ballot.verdict), "a denial: a counter-proposal says what would be approved instead"
        )
    if ballot.counter and ask.break_glass:
        raise refusal("counter", "a counter-proposal", "none: what is reviewed was done already")
    edits.check_bounds(ballot.counter)
    edits.check_verdicts(ask, ballot.items)
    grants.check_wish(ask, ballot.wish)


def said_event(ask: Ask, ballot: Ballot) -> ApprovalReceived | DenialReceived:
    if ballot.verdict is Verdict.APPROVE:
        return ApprovalReceived(request_id=ask.request_id, approver=ballot.person)
    return DenialReceived(request_id=ask.request_id, approver=ballot.person, reason=ballot.reason or None)


def receipt(record: Record, cast: Sequence[CastVote], what: Counted) -> Receipt:
    ask = record.ask
    now: Tally = tally(ask.policy.quorum, [vote.vote() for vote in cast], round=ask.round)
    return Receipt(
        ask.request_id, record.progress.state, ask.round, len(now.approvals), len(now.denials), now.missing,
        now.missing_groups, what, record.progress.settles_at, now.missing_policies,
    )  # fmt: skip


def delivery_nonce(request_id: RequestId, evidence: Evidence) -> str:
    """One delivery of one channel is one ballot, however often it is sent."""
    return digest(f"{evidence.channel}\n{request_id}\n{evidence.delivery}".encode()).hex()


def changed(ask: Ask) -> IdempotencyConflict:
    return IdempotencyConflict(
        "OV-409",
        "SUPERSEDED: the request was edited since this was shown",
        field="round",
        expected=f"round {ask.round}",
        hint="Look at it as it is now, then vote.",
    )


def withdrawn() -> IdempotencyConflict:
    return IdempotencyConflict(
        "OV-409", "the ballot was used before, and taken back", field="nonce",
        expected="a new ballot",
    )  # fmt: skip


def not_enrolled() -> SignatureVerificationFailed:
    return SignatureVerificationFailed.of(
        "passkey", got="one that is not enrolled", expected="a passkey of this human", code="OV-401"
    )


def not_ours(field: str, got: object) -> SignatureVerificationFailed:
    return SignatureVerificationFailed.of(field, got=got, expected="what was shown for this request", code="OV-401")
