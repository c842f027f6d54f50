"""Whether a decision file holds, offline, with public keys alone.

    proof = proved(DecisionFile.decode(data), Keys(agents=…))      # raises OV-401
    proof.own        # what humans' own keys prove
    proof.word       # what rests on the word of the service

The outcome is derived again from the votes, by the rules that decided it: seats, quorum, time, grants. What the file says of it is compared,
never believed. A service that lies can still invent what it alone saw: those are named, one by one.

INVARIANT: only the installation's own key seals a decision, and only a human's key is that human's vote.
INVARIANT: nothing in a file is neither derived again, nor signed by a human's own key, nor named as the service's word.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.common.ids import AgentId
from creto.common.limits import CLOCK_SKEW_MS_MAX, OVERSIGHT_HOLD_S_MAX
from creto.common.timestamps import MILLISECOND, SECOND, iso
from creto.contracts import RiskFactor, TimeoutAction
from creto.oversight import edits, escalation, grants
from creto.oversight.arguments import args_hash, batch_hash
from creto.oversight.ballots import check_content, decisive, given, outcome, undenied
from creto.oversight.decisions import (
    FILE_CONTEXT,
    SUITES,
    Attested,
    CastVote,
    DecisionFile,
    OwnKey,
    Witnessed,
    is_decision_file,
)
from creto.oversight.display import terms_of
from creto.oversight.drafts import ADVANCE, REVIEW
from creto.oversight.eligibility import Approver, Seat, channel_assurance, seat_of, shares
from creto.oversight.policies import checked, policy_hash
from creto.oversight.quorum import Vote, needed, tally
from creto.oversight.types import Ask, Backing, BatchItem, GrantKind, RequestState, Verdict
from creto.platform.audit.types import Verdict as FileVerdict
from creto.platform.audit.verify_file import Keys, key_of, register
from creto.platform.consensus import PersonId
from creto.platform.crypto import VerifyKey
from creto.platform.nhi import PrincipalKind

SKEW_NS = CLOCK_SKEW_MS_MAX * MILLISECOND


class Proof(msgspec.Struct, frozen=True):
    """Who voted in the last round; what their own keys prove; what only the service says."""

    people: tuple[PersonId, ...]
    own: tuple[str, ...]
    word: tuple[str, ...]


def proved(file: DecisionFile, keys: Keys) -> Proof:
    """OV-401 for what does not hold."""
    try:
        layer = service_key(file, keys)
        layer.verify(file.signed_bytes(), file.signature, FILE_CONTEXT)
        ask = asked(file)
        check_request(file, ask, keys)
        for place, vote in enumerate(file.votes):
            check_bound(file, vote)
            check_signed(vote, layer, keys)
            check_seat(file, ask, place, keys)
        check_outcome(file, ask, keys)
    except EnablementError as error:
        if error.code == "OV-401":
            raise
        raise SignatureVerificationFailed(
            "OV-401", f"the decision does not hold: {error.message}", field=error.field, caused_by=error
        ) from error
    last = [vote for vote in file.votes if vote.signed.ballot.round == file.round]
    own = [vote for vote in last if isinstance(vote.signed.proof, OwnKey)]
    return Proof(
        tuple(dict.fromkeys(vote.signed.ballot.person for vote in last)),
        tuple(dict.fromkeys(vote.signed.ballot.person for vote in own)),
        tuple(dict.fromkeys(words(file, keys))),
    )


def service_key(file: DecisionFile, keys: Keys) -> VerifyKey:
    """The installation's own key: nobody else's seals a decision, however well their key is known."""
    known = keys.agents.get(file.service)
    if known is None or not known.layer or known.kind is not PrincipalKind.SERVICE:
        raise unproved("service", file.service, "the installation's own key (--agents), which the keys mark as such")
    key = key_of(file.service, keys)
    if key.suite not in SUITES:
        raise unproved("service", key.suite.name, "a hybrid key")
    return key


def asked(file: DecisionFile) -> Ask:
    """The request as the rules see it: without its arguments, of which a file has the hash."""
    return Ask(
        request_id=file.request_id, tenant=file.tenant, agent=file.agent, agent_name="", chain=file.chain,
        excluded=file.excluded, action=file.action, resource=file.resource, arguments=b"", policy=file.policy,
        created_at=file.created_at, assessed=(RiskFactor(name="risk", level=file.risk),), round=file.round,
        break_glass=file.break_glass, advance=file.advance, items=tuple(BatchItem(item_id=one.item_id, arguments=b"", after=one.after) for one in file.items),
    )  # fmt: skip


def check_request(file: DecisionFile, ask: Ask, keys: Keys) -> None:
    if file.state.open:
        raise unproved("state", str(file.state), "a decision")
    checked(file.policy)
    if file.break_glass != (file.action == REVIEW) or (file.advance is not None) != (file.action == ADVANCE):
        raise unproved(
            "action", file.action, f"{REVIEW} for a review, {ADVANCE} for a grant in advance, nothing else for these"
        )
    if file.items and file.args_hash != batch_hash(file.action, file.resource, file.items):
        raise unproved("items", f"{len(file.items)} items", "the items that the votes are bound to")
    if file.advance and file.args_hash != args_hash(file.action, file.resource, terms_of(file.advance)):
        raise unproved("advance", file.advance.grant_id, "the calls that the votes are bound to")
    if not 0 <= file.tier < len(file.policy.tiers):
        raise unproved("tier", file.tier, "a tier of the policy")
    times = [file.created_at, *(vote.at for vote in file.votes), file.decided_at]
    if times != sorted(times):
        raise unproved("decided_at", iso(file.decided_at), "times in their order")
    if len({vote.signed.ballot.nonce for vote in file.votes}) != len(file.votes):
        raise unproved("vote.nonce", "a ballot twice", "each ballot once")
    for agent in (*ask.chain, ask.agent):
        missing = set(behind(agent, keys)) - {*ask.excluded}
        if missing:
            raise unproved("excluded", f"not {sorted(missing)[0]}", f"everybody who stands behind {agent}")


def behind(agent: AgentId, keys: Keys) -> Iterator[PersonId]:
    """An agent, who owns it and theirs, as far as the keys tell."""
    at: AgentId | None = agent
    seen: set[AgentId] = set()
    while at is not None and at in keys.agents and at not in seen:
        seen.add(at)
        yield keys.agents[at].person
        at = keys.agents[at].owner


def check_bound(file: DecisionFile, vote: CastVote) -> None:
    """A vote of the last round is about exactly this; an earlier one about this request."""
    ballot = vote.signed.ballot
    fields = ["installation", "tenant", "request_id", "agent", "action", "resource"]
    if ballot.round == file.round:
        fields += ["args_hash", "display_hash", "risk"]
    for field in fields:
        if getattr(ballot, field) != getattr(file, field):
            raise unproved(f"vote.{field}", getattr(ballot, field), getattr(file, field))
    policy = (ballot.policy_id, ballot.policy_version, ballot.policy_hash)
    if policy != (file.policy.policy_id, file.policy.version, policy_hash(file.policy)):
        raise unproved("vote.policy", f"{ballot.policy_id} version {ballot.policy_version}", "the policy of this file")
    if not 1 <= ballot.round <= file.round:
        raise unproved("vote.round", ballot.round, f"1 to {file.round}")
    if not 0 <= ballot.tier <= file.tier:
        raise unproved("vote.tier", ballot.tier, f"0 to {file.tier}")
    if not file.created_at - SKEW_NS <= ballot.signed_at <= vote.at + SKEW_NS:
        raise unproved("vote.signed_at", iso(ballot.signed_at), f"{iso(file.created_at)} to {iso(vote.at)}")


def check_signed(vote: CastVote, layer: VerifyKey, keys: Keys) -> None:
    """By the human's own key, or by the service with no more assurance than its channel gives; the key is that human's."""
    signed, approver = vote.signed, vote.signed.ballot.approver
    if isinstance(signed.proof, OwnKey) and approver not in keys.agents:
        raise unproved("vote.approver", approver, "an approver whose key is known (--agents)")
    known = keys.agents.get(approver)
    if known is not None and (known.kind, known.person) != (PrincipalKind.HUMAN, signed.ballot.person):
        raise unproved("vote.person", signed.ballot.person, f"the human whose key {approver} is")
    signed.verify(layer if signed.by_service else key_of(approver, keys))
    if isinstance(signed.proof, Attested) and signed.assurance > channel_assurance(signed.proof.evidence.channel):
        raise unproved("vote.assurance", signed.label, f"A{channel_assurance(signed.proof.evidence.channel)} at most")


def check_seat(file: DecisionFile, ask: Ask, place: int, keys: Keys) -> None:
    """The policy gives this human this seat, at this assurance, with what the vote says of the directory of then."""
    vote, ballot = file.votes[place], file.votes[place].signed.ballot
    for name, person in vote.seating.people.items():
        known = keys.agents.get(AgentId(name))
        if known is not None and (known.kind, known.person) != (PrincipalKind.HUMAN, person):
            raise unproved("vote.seat", person, f"the human whose key {name} is")
    seat = seat_of(
        ask, tier=file.tier, directory=vote.seating.directory(), assurance=vote.signed.assurance, now=vote.at,
        approver=Approver(ballot.approver, ballot.person, "", human=True), on_behalf_of=ballot.on_behalf_of,
    )  # fmt: skip
    if (seat.holder, seat.groups) != (vote.seat, vote.groups):
        raise unproved("vote.seat", vote.seat, seat.holder)
    named = shares(file.policy, len(file.policy.tiers), vote.seating.directory()).get(seat.holder, {})
    if vote.shares != named or not within(vote.backing, Seat(vote.seat, vote.groups, seat.shares)):
        raise unproved("vote.shares", sorted(vote.backing.shares), sorted(seat.shares))
    check_content(msgspec.structs.replace(ask, round=ballot.round), ballot, file.votes[:place])


def within(backing: Backing, seat: Seat) -> bool:
    """Whether a vote counted for no more than its seat gives it, by the tiers that were reached."""
    shares = all(
        policy in seat.shares and {*groups} <= {*seat.shares[policy]} for policy, groups in backing.shares.items()
    )
    return {*backing.groups} <= {*seat.groups} and shares


def check_outcome(file: DecisionFile, ask: Ask, keys: Keys) -> None:
    """The votes, the time or a grant say what the file says."""
    verdict, kept = outcome(ask, file.votes, hopes(file, ask))
    wanted = {RequestState.APPROVED: Verdict.APPROVE, RequestState.DENIED: Verdict.DENY}.get(file.state)
    if file.grant is not None:
        check_grant(file, ask, keys)
    elif wanted is not None:
        if verdict is not wanted or (wanted is Verdict.APPROVE and kept != file.approved_items):
            raise unproved("quorum", f"{len(file.votes)} votes", f"the votes that make it {file.state}")
        last = decisive(ask, file.votes, wanted).signed.ballot
        if (last.person, last.reason) != (file.decided_by, file.reason):
            raise unproved("decided_by", file.decided_by, f"{last.person}, with the reason that was signed")
    elif file.decided_by is not None:
        raise unproved("decided_by", file.decided_by, "nobody")
    elif file.state is RequestState.TIMED_OUT:
        check_silence(file, ask, verdict)
    elif verdict is not None and file.decided_at > file.votes[-1].at + OVERSIGHT_HOLD_S_MAX * SECOND:
        raise unproved("state", str(file.state), "what the votes made of it: the time to undo them was over")
    if file.state is not RequestState.TIMED_OUT and file.final_action is not None:
        raise unproved("final_action", str(file.final_action), "none: it did not time out")
    check_approved(file)


def hopes(file: DecisionFile, ask: Ask) -> Callable[[Sequence[Vote]], Sequence[Vote]]:
    """Who might have approved beside those who voted. Where votes decided, nobody: that is the service's word. Else enough for any quorum."""
    quorum = ask.policy.quorum
    groups = tuple(need.group for need in quorum.groups)
    shares: dict[str, tuple[str, ...]] = {
        one.policy_id: tuple(need.group for need in one.quorum.groups) for one in quorum.each
    }
    names = [PersonId(f"somebody {number}") for number in range(needed(quorum))]
    votes = [
        Vote(person=name, seat=name, groups=groups, shares=shares, verdict=Verdict.APPROVE, round=ask.round)
        for name in names
        if file.state in (RequestState.TIMED_OUT, RequestState.CANCELLED)
    ]
    return lambda _: votes


def check_silence(file: DecisionFile, ask: Ask, verdict: Verdict | None) -> None:
    if verdict is not None:
        raise unproved("state", str(file.state), "what the votes made of it")
    if file.decided_at < file.deadline_at:
        raise unproved("decided_at", iso(file.decided_at), f"{iso(file.deadline_at)} or later")
    action, left = escalation.final_action(ask), undenied(ask, file.votes)
    if action is TimeoutAction.AUTO_APPROVE and left is None:
        action = TimeoutAction.AUTO_DENY  # silence approves nothing that somebody has denied
    if file.final_action is not action:
        raise unproved("final_action", str(file.final_action), str(action))
    if file.approved_items != (left or () if action is TimeoutAction.AUTO_APPROVE else ()):
        raise unproved("approved_items", file.approved_items, "what nobody had denied")


def check_approved(file: DecisionFile) -> None:
    """What may be executed is what was approved: nothing else, and nothing where nothing was."""
    permits = file.state is RequestState.APPROVED or file.final_action is TimeoutAction.AUTO_APPROVE
    approved = edits.approved_hash(file.action, file.resource, file.args_hash, file.items, file.approved_items)
    if file.approved_hash != (approved if permits else None):
        raise unproved("approved_hash", file.approved_hash and file.approved_hash.hex(), "what was approved")


def check_grant(file: DecisionFile, ask: Ask, keys: Keys) -> None:
    """The grant is for such calls, and follows from the decision in which it was given. Break-glass follows from none."""
    grant, basis = file.grant, file.basis
    assert grant is not None
    if file.state is not RequestState.APPROVED or file.votes or file.decided_by != grant.granted_by:
        raise unproved("grant", grant.grant_id, "an approval by a grant, without votes")
    if not grants.fits(grant, ask, file.decided_at) or (
        not grant.bounds and grant.args_hash not in (None, file.args_hash)
    ):
        raise unproved("grant", grant.grant_id, "a grant for this call")
    if grant.kind is GrantKind.BREAK_GLASS:
        grants.break_glass_terms(file.policy)
        return
    if basis is None or basis.grant is not None or basis.request_id != grant.request_id:
        raise unproved("basis", "none, or another decision", f"the decision on {grant.request_id}")
    if (basis.installation, basis.tenant, basis.service) != (file.installation, file.tenant, file.service):
        raise unproved("basis", basis.installation, file.installation)
    proved(basis, keys)
    verdict = Verdict.APPROVE if basis.state is RequestState.APPROVED else Verdict.DENY
    derived = given(
        asked(basis), basis.votes, verdict, lambda bounds: (grant.bounds and grant.args_hash) or basis.args_hash,
        by=basis.decided_by or PersonId(""), now=basis.decided_at, grant_id=grant.grant_id,
    )  # fmt: skip
    if derived != grant:
        raise unproved("grant", grant.grant_id, "the grant that the votes gave")


# What only the service says


def words(file: DecisionFile, keys: Keys) -> Iterator[str]:
    for vote in file.votes:
        if vote.signed.ballot.round == file.round:
            yield from words_of_vote(vote, keys)
    if not any(isinstance(vote.signed.proof, OwnKey | Witnessed) for vote in file.votes):
        yield "what the policy was, what was shown, and how risky it is"
    if file.agent not in keys.agents:
        yield f"who stands behind {file.agent}: its key is not known"
    if file.grant is None and file.decided_by is not None and denied_early(file):
        yield "that nobody else was left who could have made a denial an approval"
    if file.state is RequestState.TIMED_OUT:
        yield f"that nobody decided before {iso(file.deadline_at)}"
    if file.state is RequestState.CANCELLED:
        yield f"that it was cancelled: {file.reason}"
    if file.grant is not None:
        yield from words_of_grant(file, keys)
    yield "the times, and for whom the agent acted"


def denied_early(file: DecisionFile) -> bool:
    """Whether it was denied by fewer than the policy's number."""
    votes = [vote.vote() for vote in file.votes]
    items: list[str | None] = [one.item_id for one in file.items] or [None]
    return any(not tally(file.policy.quorum, votes, round=file.round, item=item).verdict for item in items)


def words_of_vote(vote: CastVote, keys: Keys) -> Iterator[str]:
    ballot, proof = vote.signed.ballot, vote.signed.proof
    if isinstance(proof, Attested):
        yield f"that {ballot.person} did: {proof.evidence.channel} says it was the account {proof.evidence.account}"
    if isinstance(proof, Witnessed):
        yield f"that the passkey {proof.enrolled.name or proof.enrolled.passkey.credential_id.hex()} is of {ballot.person}"
    for group in dict.fromkeys((*vote.groups, *(group for named in vote.shares.values() for group in named))):
        yield f"that {vote.seat} was in the group {group}"
    if vote.lessened is not None:
        yield from words_of_lessened(vote, vote.lessened)
    for name, person in vote.seating.people.items():
        if AgentId(name) not in keys.agents:
            yield f"that {name} was {person}"
    for one in vote.seating.delegations:
        yield f"that {one.to} stood in for {one.of}"


def words_of_lessened(vote: CastVote, kept: Backing) -> Iterator[str]:
    """What a vote did not stand for any more, where more tiers alone would not have given it that."""
    for group in vote.groups:
        if group not in kept.groups:
            yield f"that {vote.seat} had left the group {group}"
    for policy, groups in vote.shares.items():
        if kept.shares.get(policy) != groups:
            yield f"that {vote.seat} counted less under {policy} when it was decided"


def words_of_grant(file: DecisionFile, keys: Keys) -> Iterator[str]:
    grant = file.grant
    assert grant is not None
    yield f"that the grant still had one of its {grant.uses_max} uses, and nobody had ended it"
    if grant.kind is GrantKind.BREAK_GLASS:
        yield f"that {grant.granted_by} broke the glass: {grant.reason}"
    if grant.bounds:
        yield "that the arguments keep the bounds of the grant, and are otherwise those that were asked about"
    if file.basis is not None:
        yield from words(file.basis, keys)


# As a kind of file


def verify_decision_file(data: bytes, keys: Keys) -> FileVerdict:
    """What was decided, by whom, how sure it is that it was them, and what one has to take the service's word for."""
    if not keys.agents:
        raise InvalidInput.of(
            "keys", got="no keys of identities", expected="the installation's and the approvers' keys (--agents)"
        )
    file = DecisionFile.decode(data.strip())
    proof = proved(file, keys)
    last = [vote.signed for vote in file.votes if vote.signed.ballot.round == file.round]
    return FileVerdict(
        "oversight decision",
        (
            f"{file.state}: {file.action} on {file.resource} by {file.agent}, at {iso(file.decided_at)}",
            f"under the policy {file.policy.policy_id} version {file.policy.version}, at {file.risk} risk",
            *(f"{one.ballot.verdict} by {one.ballot.person} ({one.label})" for one in last),
            *how(file),
            f"proved by humans' own keys: {len(proof.own)} of {len(proof.people)} who voted",
            *(f"on the service's word: {one}" for one in proof.word),
        ),
        {
            "request_id": file.request_id,
            "state": str(file.state),
            "final_action": file.final_action and str(file.final_action),
            "people": proof.people,
            "assurance": [one.label for one in last],
            "own_keys": proof.own,
            "service_word": proof.word,
        },
    )


def how(file: DecisionFile) -> Iterator[str]:
    """What decided it, where no vote did."""
    if file.final_action is not None:
        yield f"nobody decided in time, which is {file.final_action}"
    if file.grant is not None:
        kind = str(file.grant.kind).replace("_", "-")
        yield f"approved in advance by {file.grant.granted_by}: {kind} grant {file.grant.grant_id}"
    if file.basis is not None:
        given_by = [vote.signed for vote in file.basis.votes if vote.signed.ballot.round == file.basis.round]
        yield from (f"   there {one.ballot.verdict} by {one.ballot.person} ({one.label})" for one in given_by)


def unproved(field: str, got: object, expected: object) -> SignatureVerificationFailed:
    return SignatureVerificationFailed.of(field, got=got, expected=expected, code="OV-401")


register("oversight decision", is_decision_file, verify_decision_file)
