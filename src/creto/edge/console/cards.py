"""What the approval page shows: from a request as it stands to the words and choices of its card. Pure; the templates only lay it out.

    card(case, viewer, now=clock.now())

The order on the card is fixed: the effect; risk and why a human is asked; every argument and what differs from the last similar approved call;
how far it reaches; what the agent says, fenced off; the votes and who is missing; the time left.

INVARIANT: every line of `Display` stands on the card, whole; marks of what was made visible are set off, never left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from creto.common import wire
from creto.common.fingerprint import fingerprint
from creto.common.ids import RequestId
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.contracts import RiskLevel
from creto.oversight import Case, escalation, grants
from creto.oversight.arguments import parsed
from creto.oversight.decisions import CastVote
from creto.oversight.display import Display, changes, proposal, render
from creto.oversight.hostile import visible
from creto.oversight.letters import how, silence
from creto.oversight.policies import assurance_needed
from creto.oversight.requests import permitting
from creto.oversight.states import canceller, why
from creto.oversight.store import Record
from creto.oversight.types import (
    RISKS,
    Ask,
    Assurance,
    BatchItem,
    Bound,
    GrantTerms,
    Note,
    Progress,
    Quorum,
    RequestState,
    Verdict,
)
from creto.platform.consensus import PersonId

MARK = re.compile(r"(⟦[^⟦⟧]*⟧)")
CUT = "⟦…⟧"
GIST_LINES, GIST_CHARS = 3, 60  # of the arguments in a line of the list
SERIOUS = (RiskLevel.HIGH, RiskLevel.CRITICAL)
STATES = {
    RequestState.PENDING: "Waiting",
    RequestState.ESCALATED: "Escalated",
    RequestState.APPROVED: "Approved",
    RequestState.DENIED: "Denied",
    RequestState.TIMED_OUT: "Timed out",
    RequestState.CANCELLED: "Cancelled",
}


class Care(StrEnum):
    """How deliberate a vote has to be."""

    CLICK = "click"
    HOLD = "hold"  # held down, or said twice
    PASSKEY = "passkey"


class Piece(msgspec.Struct, frozen=True):
    """A stretch of text; odd where it is our mark for something that was hidden in it."""

    text: str
    odd: bool = False


class Change(msgspec.Struct, frozen=True):
    kind: str  # added, removed, changed, or none
    text: str


class Said(msgspec.Struct, frozen=True):
    """A vote as the card tells it."""

    name: str
    verdict: Verdict
    how: str
    reason: str
    instead: str  # what was proposed in its place
    for_name: str  # on whose behalf; empty for oneself
    why_not: str  # it counts no more
    mine: bool
    at: ConsensusTimestamp


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A request in the list."""

    request_id: RequestId
    effect: str
    gist: str  # the first arguments; the card has all
    risk: str
    policy_key: str  # what may be decided together
    state: str
    open: bool
    ends_at: ConsensusTimestamp
    decided_at: ConsensusTimestamp | None
    left: str
    bulk: bool  # may be decided together with others of its policy
    claimed_by: str = ""
    instead: str = ""  # what was proposed in its place


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks: their person, whether they sit in a seat of this request, how many passkeys they have here, and everybody's names."""

    person: PersonId
    seated: bool
    passkeys: int
    names: Mapping[str, str]

    def name(self, person: str) -> str:
        return self.names.get(person, person)


class Card(msgspec.Struct, frozen=True, kw_only=True):
    row: Row
    shown: Display
    display_hash: str
    round: int
    why: str
    edited: tuple[Change, ...]  # what an approver has made of what was asked
    changes: tuple[Change, ...]
    votes: tuple[Said, ...]
    approvals: int
    needed: int
    awaits_me: bool  # who looks was asked and has not voted
    missing: tuple[str, ...]  # who else was, by name
    missing_groups: tuple[str, ...]
    missing_policies: tuple[str, ...]
    notes: tuple[Note, ...]
    items: tuple[BatchItem, ...]
    tier: str
    outcome: str
    settles_at: ConsensusTimestamp | None
    may_vote: bool
    may_undo: bool
    my_vote: Verdict | None  # that counts now
    why_not: str
    approve_by: Care
    deny_by: Care
    edit_by: Care
    own_key: bool  # no vote counts but by the human's own key
    passkey_missing: bool
    grant: GrantTerms | None
    may_edit: bool
    may_propose: bool
    taken_up: bool  # a proposal of this human alone lets the agent do it
    may_claim: bool
    may_extend: bool
    may_revoke: bool
    reason_required: bool
    decided: bool

    @property
    def stands(self) -> str:
        """Another one, when anything here has changed but the time that is left."""
        changing = (
            self.display_hash, self.votes, self.notes, self.awaits_me, self.missing, self.tier, self.outcome, self.settles_at,
            self.row.ends_at, self.row.claimed_by,
        )  # fmt: skip
        return fingerprint(wire.encode(changing)).hex()[:32]


def pieces(text: str) -> tuple[Piece, ...]:
    """The text, with our marks set off."""
    return tuple(Piece(part, part.startswith("⟦")) for part in MARK.split(text) if part)


def left(now: ConsensusTimestamp, ends_at: ConsensusTimestamp) -> str:
    """How long still, in two units at most."""
    seconds = max(0, (ends_at - now) // SECOND)
    if seconds == 0:
        return "no time left"
    days, hours, minutes = seconds // 86_400, seconds // 3_600 % 24, seconds // 60 % 60
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s")]
    first = next(i for i, (count, _) in enumerate(units) if count)
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count) + " left"


def row(record: Record, names: Mapping[str, str], *, now: ConsensusTimestamp, counter: Sequence[Bound] = ()) -> Row:
    ask, progress, shown = record.ask, record.progress, render(record.ask)
    ends_at = escalation.ends_at(progress)
    claim = progress.claim
    return Row(
        request_id=ask.request_id,
        effect=shown.effect,
        gist=gist(shown),
        risk=shown.risk,
        policy_key=f"{ask.policy.policy_id}@{ask.policy.version}",
        state="Taking effect" if progress.settles_at is not None else STATES[progress.state],
        open=progress.state.open,
        ends_at=ends_at,
        decided_at=progress.decided_at,
        left=left(now, ends_at),
        bulk=in_bulk(ask, progress),
        claimed_by=names.get(claim.person, claim.person) if claim and claim.until > now else "",
        instead=proposal(counter),
    )


def gist(shown: Display) -> str:
    """What tells it from its neighbours in the list; what it leaves out it counts."""
    lines = [cut(str(line)) for line in shown.arguments]
    more = f" · {len(lines) - GIST_LINES} more" if len(lines) > GIST_LINES else ""
    return " · ".join(lines[:GIST_LINES]) + more


def cut(line: str) -> str:
    """Its head, and no mark of ours in two."""
    if len(line) <= GIST_CHARS:
        return line
    head = line[: GIST_CHARS - len(CUT)]
    return (head[: head.rindex("⟦")] if head.rfind("⟦") > head.rfind("⟧") else head) + CUT


def in_bulk(ask: Ask, progress: Progress) -> bool:
    """Together with others only what is neither serious nor a batch nor demands a signature of its own."""
    plain = ask.risk not in SERIOUS and not ask.items and ask.advance is None
    return plain and progress.state.open and assurance_needed(ask.policy, ask.risk) < Assurance.OWN_KEY


def urgency(record: Record) -> tuple[int, int]:
    """The order of the list: what is riskiest first, then what ends soonest."""
    return -RISKS.index(record.ask.risk), escalation.ends_at(record.progress)


def card(case: Case, viewer: Viewer, *, now: ConsensusTimestamp) -> Card:
    record = case.record
    ask, progress = record.ask, record.progress
    shown = render(ask)
    mine = last_of([vote for vote in case.votes if not case.why_not(vote)], viewer.person, ask.round)
    approve_by, deny_by = care(ask, viewer.passkeys)
    undecided = progress.state.open
    open_to_me = undecided and viewer.seated
    own_key = assurance_needed(ask.policy, ask.risk) is Assurance.OWN_KEY
    return Card(
        row=row(record, viewer.names, now=now),
        shown=shown,
        display_hash=record.display_hash.hex(),
        round=ask.round,
        why=why_asked(ask, shown),
        edited=tuple(change(line) for line in shown.edited),
        changes=tuple(change(line) for line in shown.changes),
        votes=tuple(said(vote, case.why_not(vote), viewer) for vote in case.votes),
        approvals=case.standing.approvals,
        needed=ask.policy.quorum.approvals,
        awaits_me=viewer.person in case.waiting_for,
        missing=tuple(sorted(viewer.name(person) for person in case.waiting_for if person != viewer.person)),
        missing_groups=case.standing.missing_groups,
        missing_policies=case.standing.missing_policies,
        notes=case.notes,
        items=ask.items,
        tier=ask.policy.tiers[progress.tier].name,
        outcome=outcome(ask, progress, viewer, proposal(case.votes[-1].signed.ballot.counter) if case.votes else ""),
        settles_at=progress.settles_at,
        may_vote=open_to_me and (mine is None or (ask.policy.vote_change and progress.settles_at is None)),
        may_undo=open_to_me and mine is not None and (ask.policy.vote_change or progress.settles_at is not None),
        my_vote=mine.signed.ballot.verdict if mine is not None else None,
        why_not=why_not(ask, progress, viewer, mine),
        approve_by=approve_by,
        deny_by=deny_by,
        edit_by=approve_by,
        own_key=own_key,
        passkey_missing=own_key and not viewer.passkeys,
        grant=ask.policy.grants if grants.offered(ask) else None,
        may_edit=not ask.fixed,
        may_propose=not ask.fixed and bool(shown.arguments),
        taken_up=grants.taken_up(ask),
        may_claim=open_to_me and progress.claim is None and viewer.person not in progress.claimed,
        may_extend=open_to_me,
        may_revoke=mine is not None and revocable(ask, progress),
        reason_required=ask.policy.reason_required,
        decided=not undecided,
    )


def care(ask: Ask, passkeys: int) -> tuple[Care, Care]:
    """How an approval and a denial are given: what is serious is never approved by a slip of the hand."""
    if assurance_needed(ask.policy, ask.risk) is Assurance.OWN_KEY:
        return Care.PASSKEY, Care.PASSKEY
    if ask.risk in SERIOUS:
        return (Care.PASSKEY if passkeys else Care.HOLD), Care.CLICK
    return Care.CLICK, Care.CLICK


def revocable(ask: Ask, progress: Progress) -> bool:
    """Whether the approval can still be taken back, as far as one sees: a token that is used says no when asked."""
    return progress.state is RequestState.APPROVED and ask.policy.revocable and progress.permit.revoked_at is None


def why_asked(ask: Ask, shown: Display) -> str:
    """By the policy; of several each has to be met, by those whom it names."""
    if not ask.policy.joint:
        return f"The policy {shown.policy} asks for {people_asked(ask.policy.quorum)}."
    each = "; ".join(
        f"{one.policy_id} for {people_asked(one.quorum)} of those whom it names" for one in ask.policy.joint
    )
    return f"{len(ask.policy.joint)} policies ask, and each has to be met: {each}."


def people_asked(quorum: Quorum) -> str:
    people = f"{quorum.approvals} approval{'s' if quorum.approvals > 1 else ''}"
    groups = ", ".join(f"{need.approvals} of {need.group}" for need in quorum.groups)
    return f"{people}, among them {groups}" if groups else people


def change(line: str) -> Change:
    kind = line.split(" ", 1)[0]
    return Change(kind if kind in ("added", "removed", "changed") else "none", line)


def instead(ask: Ask, arguments: bytes | None, counter: Sequence[Bound]) -> tuple[str, ...]:
    """What would be approved in place of what was asked."""
    if counter:
        return (f"Proposed instead: {proposal(counter)}.",)
    return changes(ask.arguments, parsed(arguments), set()) if arguments is not None else ()


def last_of(votes: Sequence[CastVote], person: PersonId, round: int) -> CastVote | None:
    mine = [one for one in votes if (one.signed.ballot.person, one.signed.ballot.round) == (person, round)]
    return mine[-1] if mine else None


def said(vote: CastVote, why_not: str, viewer: Viewer) -> Said:
    ballot = vote.signed.ballot
    return Said(
        name=viewer.name(ballot.person),
        verdict=ballot.verdict,
        how=how(vote),
        reason=ballot.reason,
        instead=proposal(ballot.counter),
        for_name=viewer.name(vote.seat) if vote.seat != ballot.person else "",
        why_not=why_not,
        mine=ballot.person == viewer.person,
        at=vote.at,
    )


def outcome(ask: Ask, progress: Progress, viewer: Viewer, proposed: str) -> str:
    """What became of it, and of the act; empty while it is open."""
    if progress.state.open:
        return ""
    by = f" by {viewer.name(progress.decided_by)}" if progress.decided_by else ended_by(progress, viewer)
    taken = f", and taken back by {viewer.name(progress.permit.revoked_by)}" if progress.permit.revoked_by else ""
    other = f" Proposed instead: {proposed}." if proposed and progress.state is RequestState.DENIED else ""
    part = f" {in_part(ask, progress)}" if ask.items and permitting(progress) else ""
    done = {None: "", True: " The agent says that it is done.", False: " The agent says that it failed."}
    return f"{STATES[progress.state]}{by}{taken}.{part}{other}{done[progress.permit.succeeded]}"


def ended_by(progress: Progress, viewer: Viewer) -> str:
    """What ended it, where no human decided."""
    who = canceller(progress, viewer.name)
    reason = f": {visible(why(progress), prose=True).text}" if why(progress) else ""
    return f"{f' by {who}' if who else ''}{reason}{silence(progress.final_action)}"


def in_part(ask: Ask, progress: Progress) -> str:
    """Of a batch: what may be done, and what may not."""
    left_out = [item.item_id for item in ask.items if item.item_id not in progress.approved_items]
    yes = f"May be done: {plainly(progress.approved_items)}."
    return f"{yes} Not: {plainly(left_out)}." if left_out else yes


def plainly(names: Sequence[str]) -> str:
    return ", ".join(visible(name, prose=True).text for name in names)


def why_not(ask: Ask, progress: Progress, viewer: Viewer, mine: CastVote | None) -> str:
    """Why there is no button for this human."""
    if not progress.state.open:
        return ""
    if viewer.person in ask.excluded:
        return "You stand behind this agent, so you cannot decide about it."
    if not viewer.seated:
        return "You are not among those whom the policy asks."
    if mine is not None and not ask.policy.vote_change and progress.settles_at is None:
        return "You have voted, and the policy lets nobody change their vote."
    return ""
