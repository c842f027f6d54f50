"""Eligibility: who may decide, in whose seat.

    seat = seat_of(ask, tier=1, directory=directory, approver=approver, assurance=Assurance.SESSION, now=now)

A seat belongs to a human whom a reached tier names, by themselves or in a group (groups may hold groups). Who is out of office has somebody
else sit there, from the beginning of the time until just before its end.

INVARIANT: the agent, its owner, its ancestors and who asked for it sit in no seat, nobody sits in theirs, and they appoint nobody.
INVARIANT: whoever is not in force has no seat left to hand over, and hands nothing on: a delegation to who cannot sit there leaves the seat
with who delegated.
INVARIANT: a delegate has the seats of who delegated, never more: no seat in turn delegated to that one for other policies, no group of a
third. A circle of delegations ends where it began, with nobody in the seat.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from itertools import islice, product

import msgspec

from creto.common.errors import Unauthorized
from creto.common.ids import AgentId, RequestId, TenantId
from creto.common.limits import OVERSIGHT_DELEGATION_STEPS_MAX, OVERSIGHT_SEATINGS_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.oversight.groups import GROUP, closure, ways
from creto.oversight.policies import assurance_needed
from creto.oversight.quorum import Vote, tally
from creto.oversight.types import Ask, Assurance, Channel, Delegation, OversightPolicy, Strict, Verdict
from creto.platform.consensus import PersonId


class Approver(msgspec.Struct, frozen=True):
    """Who wants to decide, as the registry knows them now."""

    nhi: AgentId
    person: PersonId
    name: str
    human: bool
    in_force: bool = True


class Seat(msgspec.Struct, frozen=True):
    """Whose place, and the groups that it counts for; where several policies ask, those that name it, with its groups in each."""

    holder: PersonId
    groups: tuple[str, ...]
    shares: dict[str, tuple[str, ...]] = {}


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

    @property
    def everybody(self) -> Collection[PersonId]:
        """Whom the policy names, and who may stand in for them."""
        return self.people.values()

    def seats(self, approvers: Iterable[str]) -> dict[PersonId, frozenset[str]]:
        """Every human that the list names, with the groups through which it does."""
        found: dict[PersonId, frozenset[str]] = {}
        for names, passed in ways(tuple(approvers), self.groups):
            for name in names:
                person = None if name.startswith(GROUP) else self.people.get(name)
                if person is not None:
                    found[person] = found.get(person, frozenset()) | passed
        return found

    def substitute(self, person: PersonId, ask: Ask, now: ConsensusTimestamp) -> PersonId | None:
        """Who sits in this one's seats now: themselves when in office; None for who has none, and where the delegations run in a circle."""
        barred = self.out.union(ask.excluded)
        if person in barred:
            return None
        at, seen = person, {person}
        for _ in range(OVERSIGHT_DELEGATION_STEPS_MAX):
            delegation = self.absence(at, ask.policy, now, barred)
            if delegation is None:
                return at
            at = delegation.to
            if at in seen:
                return None
            seen.add(at)
        return None

    def seating(self, ask: Ask, tier: int, seat: Seat, person: PersonId, now: ConsensusTimestamp) -> Seating:
        """What `seat_of` needs to say the same of this human alone."""
        named = {name: one for name, one in self.people.items() if one in (seat.holder, person)}
        groups = self._leading(named) if self.groups else {}
        reachable = closure(reached(ask.policy, len(ask.policy.tiers) if ask.policy.joint else tier), groups)
        return Seating(
            groups={name: members for name, members in groups.items() if GROUP + name in reachable},
            people={name: one for name, one in named.items() if name in reachable},
            delegations=self._stand_ins(seat.holder, person, ask, now),
        )

    def _leading(self, names: Container[str]) -> dict[str, tuple[str, ...]]:
        """The groups through which one comes to these names, with no other members."""
        found: dict[str, tuple[str, ...]] = {}
        while True:
            inner = {GROUP + name for name in found}
            groups = {group: tuple(m for m in all if m in names or m in inner) for group, all in self.groups.items()}
            groups = {group: members for group, members in groups.items() if members}
            if groups == found:
                return found
            found = groups

    def _stand_ins(self, seat: PersonId, person: PersonId, ask: Ask, now: ConsensusTimestamp) -> tuple[Delegation, ...]:
        """By which delegations this human sits there."""
        barred, at, found = self.out.union(ask.excluded), seat, []
        while at != person and (delegation := self.absence(at, ask.policy, now, barred)) is not None:
            found.append(delegation)
            at = delegation.to
        return tuple(found)

    def absence(
        self, person: PersonId, policy: OversightPolicy, now: ConsensusTimestamp, barred: Container[PersonId] = ()
    ) -> Delegation | None:
        asking = {each.policy_id for each in policy.joint or (policy,)}
        for one in self.delegations:
            covers = not one.policies or asking <= {*one.policies}
            if one.of == person and covers and one.to not in barred and one.starts_at <= now < one.ends_at:
                return one
        return None


def shares(policy: OversightPolicy, tier: int, directory: Directory) -> dict[PersonId, dict[str, tuple[str, ...]]]:
    """Of several policies that ask together: by which of them, and by which of its groups, each seat is named up to this tier."""
    found: dict[PersonId, dict[str, tuple[str, ...]]] = {}
    for one in policy.joint:
        for holder, groups in directory.seats(reached(one, tier)).items():
            found.setdefault(holder, {})[one.policy_id] = tuple(sorted(groups))
    return found


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
        raise ineligible("SELF_APPROVAL", "the agent, its owner, its ancestors and who asked for it cannot approve")
    if not approver.human:
        raise ineligible("NOT_HUMAN", "only a human can decide")
    if not approver.in_force:
        raise ineligible("NOT_IN_FORCE", "the approver's identity is not in force")
    seats = directory.seats(reached(ask.policy, tier))
    holder = seated(ask, seats, directory, approver.person, on_behalf_of, now)
    least = assurance_needed(ask.policy, ask.risk)
    if assurance < least:
        raise ineligible("ASSURANCE", f"the policy asks for assurance A{least}, this is A{assurance}")
    if ask.policy.joint:
        return Seat(holder, (), shares(ask.policy, tier, directory).get(holder, {}))
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
        open_to_others = holder in seats and holder != person
        if open_to_others and directory.substitute(holder, ask, now) == person:
            return holder
    raise ineligible("NOT_ELIGIBLE", "no tier that was reached names this human, nor somebody they stand in for")


def holders(ask: Ask, tier: int, directory: Directory, person: PersonId, now: ConsensusTimestamp) -> list[PersonId]:
    """In whose seats this human can sit: their own, and of whom they stand in for."""
    seats = directory.seats(reached(ask.policy, tier))
    return [one for one in sorted(seats) if one == person or directory.substitute(one, ask, now) == person]


def told(ask: Ask, tier: int, directory: Directory, now: ConsensusTimestamp) -> dict[PersonId, PersonId]:
    """Who is to be asked at a tier, each with the seat; empty where nobody of it can decide."""
    found: dict[PersonId, PersonId] = {}
    for holder in sorted(directory.seats(ask.policy.tiers[tier].approvers)):
        sits = directory.substitute(holder, ask, now)
        if sits is not None:
            found.setdefault(sits, holder)
    return found


def why_nobody(ask: Ask, tier: int, directory: Directory, now: ConsensusTimestamp) -> str:
    """For the record: why a tier was passed over."""
    seats = directory.seats(ask.policy.tiers[tier].approvers)
    if not seats:
        return "it names nobody who is registered"
    barred = directory.out.union(ask.excluded)
    looped = [p for p in seats if p not in barred and directory.substitute(p, ask, now) is None]
    if looped:
        return f"the delegations of {', '.join(sorted(looped))} run in a circle"
    return "its people are the agent's owner or ancestors, asked for it, or are not in force"


def able(ask: Ask, directory: Directory, now: ConsensusTimestamp, said: Sequence[Vote] = ()) -> list[Vote]:
    """The approvals that may still come, at whatever tier: of everybody who sits in a seat and has said nothing."""
    taken, spoken = {vote.seat for vote in said}, {vote.person for vote in said}
    last, found = len(ask.policy.tiers), dict[PersonId, frozenset[str]]()
    shared, named = shares(ask.policy, last, directory), dict[PersonId, list[dict[str, tuple[str, ...]]]]()
    for holder, groups in directory.seats(reached(ask.policy, last)).items():
        sits = directory.substitute(holder, ask, now)
        if sits is not None and sits not in spoken and (holder not in taken or holder == sits):
            found[sits] = found.get(sits, frozenset()) | groups
            named.setdefault(sits, []).append(shared.get(holder, {}))
    people = sorted(found)
    votes: list[Vote] = []
    for seats in islice(product(*(named[one] for one in people)), OVERSIGHT_SEATINGS_MAX if ask.policy.joint else 1):
        votes = [
            Vote(person=one, seat=one, groups=tuple(sorted(found[one])), shares=seat, verdict=Verdict.APPROVE, round=ask.round)
            for one, seat in zip(people, seats, strict=True)
        ]  # fmt: skip
        if tally(ask.policy.quorum, [*said, *votes], round=ask.round).verdict is Verdict.APPROVE:
            break  # of several seats each votes from one: from those that together are enough, if there are any
    return votes


def anybodys(policy: OversightPolicy, tenant: TenantId, now: ConsensusTimestamp) -> Ask:
    """A request under the policy, of an agent behind whom nobody stands."""
    return Ask(
        request_id=RequestId(""), tenant=tenant, agent=AgentId(""), agent_name="", chain=(), excluded=(), action="",
        resource="", arguments=b"{}", policy=policy, created_at=now,
    )  # fmt: skip


def attainable(ask: Ask, directory: Directory, now: ConsensusTimestamp) -> bool:
    """Whether everybody who sits at any tier, if they all agreed, would be enough: in all, and each for one group."""
    return tally(ask.policy.quorum, able(ask, directory, now), round=ask.round).verdict is Verdict.APPROVE


def channel_assurance(channel: Channel) -> Assurance:
    """What a channel can vouch for at most."""
    return Assurance.SESSION if channel in (Channel.WEB, Channel.API) else Assurance.RELAYED


def ineligible(rule: str, message: str) -> Unauthorized:
    return Unauthorized("OV-403", f"{rule}: {message}", field="approver", got=rule, expected="an eligible approver")
