"""Eligibility: who may decide, in whose seat.

    seat = seat_of(ask, tier=1, directory=directory, approver=approver, assurance=Assurance.SESSION, now=now)

A seat belongs to a human whom a reached tier names, by themselves or in a group (groups may hold groups). Who is out of office has somebody
else sit there, from the beginning of the time until just before its end.

INVARIANT: the agent, its owner and its ancestors sit in no seat, and nobody sits in theirs.
INVARIANT: a delegate has the seats of who delegated, never more: no seat in turn delegated to that one for other policies, no group of a
third. A circle of delegations ends where it began, with nobody in the seat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from creto.common.errors import Unauthorized
from creto.common.ids import AgentId
from creto.common.limits import OVERSIGHT_DELEGATION_STEPS_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.oversight.policies import assurance_needed
from creto.oversight.quorum import needed
from creto.oversight.types import Ask, Assurance, Channel, Delegation, OversightPolicy, Strict
from creto.platform.consensus import PersonId

GROUP = "group:"


class Approver(msgspec.Struct, frozen=True):
    """Who wants to decide, as the registry knows them now."""

    nhi: AgentId
    person: PersonId
    name: str
    human: bool
    in_force: bool = True


class Seat(msgspec.Struct, frozen=True):
    """Whose place, and the groups that it counts for."""

    holder: PersonId
    groups: tuple[str, ...]


class Seating(Strict, frozen=True, kw_only=True):
    """The part of a directory that gives somebody their seat: small enough to be kept with their vote."""

    groups: dict[str, tuple[str, ...]] = {}
    people: dict[str, PersonId] = {}
    delegations: tuple[Delegation, ...] = ()

    def directory(self) -> Directory:
        return Directory(self.groups, self.people, self.delegations)


class Directory(msgspec.Struct, frozen=True):
    """A tenant's groups, addresses and delegations. Humans are named by their person, whatever key a policy wrote."""

    groups: Mapping[str, tuple[str, ...]] = {}
    people: Mapping[str, PersonId] = {}  # how approvers are written, addresses too → who that is
    delegations: tuple[Delegation, ...] = ()
    out: frozenset[PersonId] = frozenset()  # revoked, suspended or retired: named, and unable to decide

    def seats(self, approvers: Iterable[str]) -> dict[PersonId, frozenset[str]]:
        """Every human that the list names, with the groups through which it does."""
        found: dict[PersonId, frozenset[str]] = {}
        pending: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in approvers]
        seen = set(pending)
        while pending:
            name, path = pending.pop()
            if not name.startswith(GROUP):
                person = self.people.get(name)
                if person is not None:
                    found[person] = found.get(person, frozenset()) | path
                continue
            group = name.removeprefix(GROUP)
            if group in path:
                continue  # a group within itself
            for member in self.groups.get(group, ()):
                step = (member, path | {group})
                if step not in seen:
                    seen.add(step)
                    pending.append(step)
        return found

    def substitute(self, person: PersonId, policy: OversightPolicy, now: ConsensusTimestamp) -> PersonId | None:
        """Who sits in this one's seats now: themselves when in office; None where the delegations run in a circle."""
        at, seen = person, {person}
        for _ in range(OVERSIGHT_DELEGATION_STEPS_MAX):
            delegation = self.absence(at, policy, now)
            if delegation is None:
                return at
            at = delegation.to
            if at in seen:
                return None
            seen.add(at)
        return None

    def seating(
        self, approvers: Iterable[str], seat: PersonId, person: PersonId, policy: OversightPolicy, now: ConsensusTimestamp
    ) -> Seating:  # fmt: skip
        """What `seats` and `substitute` need to say the same of these two alone."""
        people = {name: found for name, found in self.people.items() if found in (seat, person)}
        leading = set(people)
        while True:
            groups = {name: tuple(m for m in members if m in leading) for name, members in self.groups.items()}
            groups = {name: members for name, members in groups.items() if members}
            if leading >= (found := {GROUP + name for name in groups}):
                break
            leading |= found
        named, absent = {*approvers}, []
        pending = [*named]
        while pending:  # groups that the policy does not reach are nobody's business
            for member in groups.get(pending.pop().removeprefix(GROUP), ()):
                if member not in named:
                    named.add(member)
                    pending.append(member)
        at = seat
        while at != person and (delegation := self.absence(at, policy, now)) is not None:
            absent.append(delegation)
            at = delegation.to
        kept = {name: members for name, members in groups.items() if GROUP + name in named}
        return Seating(
            groups=kept, people={name: one for name, one in people.items() if name in named}, delegations=tuple(absent)
        )

    def absence(self, person: PersonId, policy: OversightPolicy, now: ConsensusTimestamp) -> Delegation | None:
        for one in self.delegations:
            covers = not one.policies or policy.policy_id in one.policies
            if one.of == person and covers and one.starts_at <= now < one.ends_at:
                return one
        return None


def reached(policy: OversightPolicy, tier: int) -> list[str]:
    """The approvers of the tiers so far: they are cumulative."""
    return [approver for one in policy.tiers[: tier + 1] for approver in one.approvers]


def seat_of(
    ask: Ask,
    *,
    tier: int,
    directory: Directory,
    approver: Approver,
    assurance: Assurance,
    now: ConsensusTimestamp,
    on_behalf_of: PersonId | None = None,
) -> Seat:
    """The seat from which this human decides; OV-403 with the rule that forbids it."""
    if approver.person in ask.excluded:
        raise ineligible("SELF_APPROVAL", "the agent, its owner and its ancestors cannot approve")
    if not approver.human:
        raise ineligible("NOT_HUMAN", "only a human can decide")
    if not approver.in_force:
        raise ineligible("NOT_IN_FORCE", "the approver's identity is not in force")
    seats = directory.seats(reached(ask.policy, tier))
    holder = seated(ask, seats, directory, approver.person, on_behalf_of, now)
    least = assurance_needed(ask.policy, ask.risk)
    if assurance < least:
        raise ineligible("ASSURANCE", f"the policy asks for assurance A{least}, this is A{assurance}")
    return Seat(holder, tuple(sorted(seats[holder])))


def seated(
    ask: Ask,
    seats: Mapping[PersonId, frozenset[str]],
    directory: Directory,
    person: PersonId,
    on_behalf_of: PersonId | None,
    now: ConsensusTimestamp,
) -> PersonId:
    if on_behalf_of is not None and on_behalf_of in ask.excluded:
        raise ineligible("SELF_APPROVAL", f"nobody can approve on behalf of {on_behalf_of}")
    if on_behalf_of in (None, person) and person in seats:
        return person
    wanted = [on_behalf_of] if on_behalf_of is not None else sorted(seats)
    for holder in wanted:
        open_to_others = holder in seats and holder not in ask.excluded and holder != person
        if open_to_others and directory.substitute(holder, ask.policy, now) == person:
            return holder
    raise ineligible("NOT_ELIGIBLE", "no tier that was reached names this human, nor somebody they stand in for")


def told(ask: Ask, tier: int, directory: Directory, now: ConsensusTimestamp) -> dict[PersonId, PersonId]:
    """Who is to be asked at a tier, each with the seat; empty where nobody of it can decide."""
    found: dict[PersonId, PersonId] = {}
    for holder in sorted(directory.seats(ask.policy.tiers[tier].approvers)):
        sits = directory.substitute(holder, ask.policy, now)
        if holder not in ask.excluded and sits is not None and sits not in ask.excluded and sits not in directory.out:
            found.setdefault(sits, holder)
    return found


def why_nobody(ask: Ask, tier: int, directory: Directory, now: ConsensusTimestamp) -> str:
    """For the record: why a tier was passed over."""
    seats = directory.seats(ask.policy.tiers[tier].approvers)
    if not seats:
        return "it names nobody who is registered"
    looped = [p for p in seats if p not in ask.excluded and directory.substitute(p, ask.policy, now) is None]
    if looped:
        return f"the delegations of {', '.join(sorted(looped))} run in a circle"
    return "its people are the agent's owner or ancestors, or not in force"


def attainable(ask: Ask, directory: Directory, now: ConsensusTimestamp) -> bool:
    """Whether all tiers together have enough humans for the quorum, in all and of each group."""
    people: set[PersonId] = set()
    barred = {*ask.excluded, *directory.out}
    for tier in range(len(ask.policy.tiers)):
        people.update(told(ask, tier, directory, now))
    seats = directory.seats(reached(ask.policy, len(ask.policy.tiers)))
    for need in ask.policy.quorum.groups:
        if sum(need.group in groups and person not in barred for person, groups in seats.items()) < need.approvals:
            return False
    return len(people) >= needed(ask.policy.quorum)


def channel_assurance(channel: Channel) -> Assurance:
    """What a channel can vouch for at most."""
    return Assurance.SESSION if channel in (Channel.WEB, Channel.API) else Assurance.RELAYED


def ineligible(rule: str, message: str) -> Unauthorized:
    return Unauthorized("OV-403", f"{rule}: {message}", field="approver", got=rule, expected="an eligible approver")
