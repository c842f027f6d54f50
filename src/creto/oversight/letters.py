"""What a channel says to one human: the request as it stands now, ready to be laid out. No channel decides what to show.

    letter = await oversight.letter(notification)
    letter.heading, letter.shown, letter.full, letter.link, letter.standing

INVARIANT: a letter says what is true when it leaves: a request that was decided in the meantime is not asked about any more.
INVARIANT: arguments leave for a channel only where the policy lets it show them; their digest always does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from creto.common.limits import OVERSIGHT_NOTES_TOLD_MAX
from creto.common.redact import redacted_text
from creto.common.timestamps import iso
from creto.contracts import TimeoutAction
from creto.oversight import escalation
from creto.oversight.ballots import Counted, Receipt, receipt
from creto.oversight.decisions import CastVote
from creto.oversight.display import Display, proposal, render
from creto.oversight.hostile import visible
from creto.oversight.states import canceller, why
from creto.oversight.store import Record
from creto.oversight.types import (
    Channel,
    DeliveryState,
    Note,
    NoteKind,
    Notification,
    NotificationKind,
    RequestState,
    Verdict,
)

HEADINGS = {
    NotificationKind.ASKED: "Approval needed",
    NotificationKind.ESCALATED: "Approval needed: nobody before you has decided",
    NotificationKind.WARNED: "Little time is left to decide",
    NotificationKind.EDITED: "Changed, and to be approved again",
    NotificationKind.CLOSED: "Decided",
    NotificationKind.QUESTION: "A question",
    NotificationKind.ANSWERED: "The agent has answered",
    NotificationKind.ALARM: "Break-glass was armed",
}


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    notification: Notification
    record: Record
    shown: Display
    link: str
    full: bool  # the policy lets this channel show the arguments
    cards: tuple[Notification, ...]  # what this address was sent about the request before, oldest first
    votes: tuple[str, ...]
    notes: tuple[str, ...]  # what was asked, answered and said, where the policy lets this channel show it
    tally: Receipt
    decision: str  # "" while it is open

    @staticmethod
    def of(
        one: Notification, record: Record, *, link: str, cards: tuple[Notification, ...], votes: tuple[str, ...],
        notes: tuple[str, ...], cast: list[CastVote], name: Callable[[str], str],
    ) -> Letter:  # fmt: skip
        return Letter(
            notification=one,
            record=record,
            shown=render(record.ask),
            link=link,
            full=full_on(record, one.channel),
            cards=cards,
            votes=votes,
            notes=notes if full_on(record, one.channel) else (),
            tally=receipt(record, cast, Counted.REPEATED),
            decision="" if record.progress.state.open else decision_line(record, cast, name),
        )

    @property
    def open(self) -> bool:
        return self.record.progress.state.open

    @property
    def wanted(self) -> bool:
        """Whether the message still helps: closing needs a card, asking an open request, an alarm nothing."""
        if self.notification.kind is NotificationKind.ALARM:
            return True
        return bool(self.cards) if self.notification.kind is NotificationKind.CLOSED else self.open

    @property
    def heading(self) -> str:
        if self.notification.kind is NotificationKind.ALARM and not self.open:
            return "Break-glass was not reviewed in time"
        return HEADINGS[self.notification.kind]

    @property
    def digest(self) -> str:
        """The name of the exact arguments, on every channel the same."""
        return self.record.args_hash.hex()

    @property
    def ends_at(self) -> str:
        return f"{iso(escalation.ends_at(self.record.progress))[:19]}Z"

    @property
    def standing(self) -> str:
        """The votes so far, and what is missing; or how it ended."""
        if not self.open:
            return self.decision
        missing = f"{self.tally.missing} more needed" if self.tally.missing else "waiting"
        policies = [f"the policy {name}" for name in self.tally.missing_policies]
        names = ", ".join(shown_text(name) for name in (*self.tally.missing_groups, *policies))
        return "; ".join([*self.votes, f"{missing}{f' (of {names})' if names else ''}; open until {self.ends_at}"])


def addressed(other: Notification, one: Notification) -> bool:
    """Whether `other` is a card that reached the same address about the same request."""
    return (
        (other.channel, other.address, other.person) == (one.channel, one.address, one.person)
        and other.state is DeliveryState.SENT
        and other.kind is not NotificationKind.CLOSED
    )


def full_on(record: Record, channel: Channel) -> bool:
    tiers = record.ask.policy.tiers[: record.progress.tier + 1]
    return any(one.channel is channel and one.full_arguments for tier in tiers for one in tier.channels)


def vote_line(name: str, vote: CastVote, why_not: str = "") -> str:
    """`why_not`: it counts no more."""
    ballot = vote.signed.ballot
    said = "approved" if ballot.verdict is Verdict.APPROVE else "denied"
    reason = f": {shown_text(ballot.reason)}" if ballot.reason else ""
    lost = f" [counts no more: {why_not}]" if why_not else ""
    return f"{shown_text(name)} {said} ({how(vote)}){reason}{instead_of(vote)}{lost}"


def told_notes(notes: Sequence[Note], name: Callable[[str], str]) -> tuple[str, ...]:
    """The latest, and how many came before them."""
    earlier = len(notes) - OVERSIGHT_NOTES_TOLD_MAX
    lines = [line for note in notes[-OVERSIGHT_NOTES_TOLD_MAX:] for line in note_lines(note, name(note.author))]
    return (f"({earlier} earlier ones are shown on the page.)", *lines) if earlier > 0 else tuple(lines)


def note_lines(note: Note, name: str) -> list[str]:
    """Who says it, and each line of it behind a mark."""
    who = {
        NoteKind.QUESTION: f"Asked by {shown_text(name)}:",
        NoteKind.COMMENT: f"Said by {shown_text(name)}:",
        NoteKind.ANSWER: "The agent answers (not verified):",
    }[note.kind]
    return [who, *(f"| {shown_text(redacted_text(line))}" for line in note.text.split("\n"))]


def instead_of(vote: CastVote) -> str:
    """What the vote proposes in place of what was asked."""
    bounds = vote.signed.ballot.counter
    return f"; proposed instead: {proposal(bounds)}" if bounds else ""


def how(vote: CastVote) -> str:
    """Who vouches that it was this human, in words."""
    label = vote.signed.label
    words = {"session:web": "signed in", "session:api": "signed in, by program", "bearer:email": "by a mail's link"}
    return words.get(label) or (f"by {label.removeprefix('relayed:')}, relayed" if label.startswith("relayed:") else label)  # fmt: skip


def decision_line(record: Record, cast: Sequence[CastVote], name: Callable[[str], str]) -> str:
    """Who, how sure, when and why."""
    progress = record.progress
    words = {RequestState.TIMED_OUT: "Timed out", RequestState.CANCELLED: "Cancelled"}.get(
        progress.state, str(progress.state).capitalize()
    )
    last = next((v for v in reversed(cast) if v.signed.ballot.person == progress.decided_by), None)
    who = name(progress.decided_by) if progress.decided_by is not None else canceller(progress, name)
    by = f" by {shown_text(who)}" if who else ""
    sure = f" ({how(last)})" if last is not None else ""
    at = f" at {iso(progress.decided_at)[:19]}Z" if progress.decided_at is not None else ""
    instead = f"; replaced by {progress.superseded_by}" if progress.superseded_by else ""
    reason = f": {shown_text(why(progress))}{silence(progress.final_action)}" if why(progress) else ""
    if record.ask.items and progress.approved_items:
        reason += f"; of the batch: {', '.join(shown_text(one) for one in progress.approved_items)}"
    return f"{words}{by}{sure}{at}{reason}{instead_of(last) if last is not None else ''}{instead}"


def silence(action: TimeoutAction | None) -> str:
    """What it means that nobody decided in time; nothing where somebody did."""
    if action is None:
        return ""
    return f", which {'approves' if action is TimeoutAction.AUTO_APPROVE else 'denies'} it"


def shown_text(text: str) -> str:
    """A name or a reason that a human typed, with everything doubtful in it spelled out."""
    return visible(text, prose=True).text
