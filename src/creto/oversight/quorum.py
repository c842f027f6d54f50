"""Quorum: when the votes decide.

    tally(Quorum(approvals=2, groups=(GroupNeed(group="finance"),)), votes, round=1).verdict

A human is one vote whatever keys, groups and channels they have, and a seat is one vote whoever sits in it. In a quorum across groups each
human stands for one group: who belongs to two does not fill both. Where several policies ask, each has its quorum from those whom it names; who
is named by two counts in both, and a denial under any of them denies.

INVARIANT: a vote of an earlier round counts nothing; the last vote of a human is the one that counts.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from creto.oversight.types import Quorum, Share, Strict, Verdict
from creto.platform.consensus import PersonId


class Vote(Strict, frozen=True, kw_only=True):
    """What one human said, as the rules see it: whose seat they sat in, and the groups of that seat."""

    person: PersonId
    seat: PersonId
    groups: tuple[str, ...]
    verdict: Verdict
    round: int
    items: dict[str, Verdict] = {}  # of a batch, where they differ from the whole
    shares: dict[
        str, tuple[str, ...]
    ] = {}  # where several policies ask: those that name this seat, with its groups there


class Tally(msgspec.Struct, frozen=True):
    approvals: tuple[PersonId, ...]
    denials: tuple[PersonId, ...]
    missing: int  # approvals still needed in all
    missing_groups: tuple[str, ...] = ()
    verdict: Verdict | None = None
    missing_policies: tuple[str, ...] = ()  # of several, those that are not met


def counted(votes: Sequence[Vote], round: int) -> list[Vote]:
    """The votes that count, of those in the order they were given."""
    by_person: dict[PersonId, Vote] = {}
    for vote in votes:
        if vote.round == round:
            by_person.pop(vote.person, None)  # in the order of the last word of each
            by_person[vote.person] = vote
    if len(by_person) < 2:
        return list(by_person.values())
    by_seat: dict[PersonId, Vote] = {}
    for vote in by_person.values():
        before = by_seat.get(vote.seat)
        if before is None or before.person != before.seat:  # whose seat it is has the last word in it
            by_seat[vote.seat] = vote
    return list(by_seat.values())


def tally(quorum: Quorum, votes: Sequence[Vote], *, round: int, item: str | None = None) -> Tally:
    """Where the votes stand; for one item of a batch, or for the whole."""
    if quorum.each:
        return together(quorum.each, counted(votes, round), round, item)
    said = [(vote, vote.items.get(item, vote.verdict) if item else vote.verdict) for vote in counted(votes, round)]
    approving = [vote for vote, verdict in said if verdict is Verdict.APPROVE]
    denying = tuple(vote.person for vote, verdict in said if verdict is Verdict.DENY)
    lacking = unfilled(quorum, approving)
    missing = max(0, quorum.approvals - len(approving))
    verdict = None
    if len(denying) >= quorum.denials:
        verdict = Verdict.DENY
    elif not missing and not lacking:
        verdict = Verdict.APPROVE
    return Tally(tuple(vote.person for vote in approving), denying, missing, lacking, verdict)


def together(each: Sequence[Share], votes: Sequence[Vote], round: int, item: str | None) -> Tally:
    """What several policies make of the votes: all of them approve, or one denies."""
    found = {one.policy_id: tally(one.quorum, named(votes, one.policy_id), round=round, item=item) for one in each}
    verdicts = {one.verdict for one in found.values()}
    verdict = Verdict.DENY if Verdict.DENY in verdicts else None
    return Tally(
        tuple(dict.fromkeys(person for one in found.values() for person in one.approvals)),
        tuple(dict.fromkeys(person for one in found.values() for person in one.denials)),
        max(one.missing for one in found.values()),
        tuple(dict.fromkeys(group for one in found.values() for group in one.missing_groups)),
        Verdict.APPROVE if verdicts == {Verdict.APPROVE} else verdict,
        tuple(policy_id for policy_id, one in found.items() if one.missing or one.missing_groups),
    )


def named(votes: Sequence[Vote], policy_id: str) -> list[Vote]:
    """The votes of whom this policy names, with the groups by which it does."""
    return [replace(vote, groups=vote.shares[policy_id]) for vote in votes if policy_id in vote.shares]


def unfilled(quorum: Quorum, votes: Sequence[Vote]) -> tuple[str, ...]:
    """The groups without their number, each human used once: augmenting paths from each place that a group has."""
    places = [need.group for need in quorum.groups for _ in range(need.approvals)]
    taken: dict[int, int] = {}  # which vote → which place
    lacking = [group for place, group in enumerate(places) if not fill(place, places, votes, taken, set())]
    return tuple(dict.fromkeys(lacking))


def fill(place: int, places: list[str], votes: Sequence[Vote], taken: dict[int, int], tried: set[int]) -> bool:
    for i, vote in enumerate(votes):
        if i in tried or places[place] not in vote.groups:
            continue
        tried.add(i)
        if i not in taken or fill(taken[i], places, votes, taken, tried):
            taken[i] = place
            return True
    return False


def needed(quorum: Quorum) -> int:
    """How many humans at least."""
    if quorum.each:
        return max(needed(one.quorum) for one in quorum.each)
    return max(quorum.approvals, sum(need.approvals for need in quorum.groups))
