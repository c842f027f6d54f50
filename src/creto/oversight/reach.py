"""Reach: whether a chain ends in somebody who can be told, and in enough of them, known before it is needed.

    oversight.unreachable("acme")        # the tiers of each policy in which nobody could be told
    oversight.short("acme")              # the policies that could not be met by everybody who could be told, and why
    oversight.doubts("acme", policy)     # what of this one leads to nobody, or to too few
    oversight.lost("acme", members)      # what of these leads to nobody

Asked of who sits in the seats now, for an agent behind whom none of them stands.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Mapping, Sequence

from creto.common.ids import PolicyId, TenantId, checked_tenant
from creto.oversight import eligibility
from creto.oversight.eligibility import Directory
from creto.oversight.emergency import Emergency
from creto.oversight.groups import GROUP, bare
from creto.oversight.quorum import Vote, needed, tally
from creto.oversight.types import Ask, Channel, Contact, EscalationTier, OversightPolicy
from creto.platform.consensus import PersonId

Addresses = Mapping[PersonId, Collection[Contact]]


class Reach(Emergency):
    offered: frozenset[Channel] | None = None  # the channels that this installation delivers on; None: not said
    served: Mapping[Channel, Collection[TenantId]] = {}  # those that serve some tenants alone

    def unreachable(
        self, tenant: TenantId, dead: Container[tuple[Channel, str]] = ()
    ) -> dict[PolicyId, tuple[str, ...]]:
        """The tiers of each policy in which nobody could be told, known before they are needed; `dead` addresses tell nobody."""
        tenant, found = checked_tenant(tenant), {}
        addresses = self._working(tenant, dead)
        for policy in self.policies(tenant):
            told = self._told_by_tier(tenant, policy, addresses)
            silent = tuple(policy.tiers[tier].name for tier, people in enumerate(told) if not people)
            if silent:
                found[policy.policy_id] = silent
        return found

    def short(self, tenant: TenantId, dead: Container[tuple[Channel, str]] = ()) -> dict[PolicyId, str]:
        """The policies whose quorum could not come from everybody who could be told; or from anybody at all."""
        tenant, found, now = checked_tenant(tenant), {}, self.clock.now()
        addresses = self._working(tenant, dead)
        for policy in self.policies(tenant):
            ask, directory = eligibility.anybodys(policy, tenant, now), self.directory(tenant, policy)
            able = eligibility.able(ask, directory, now)
            people = set().union(*self._told_by_tier(tenant, policy, addresses))
            told = [one for one in able if one.person in people]  # where that is nobody, every tier is unreachable
            for who, what in ((able, "sit"), *(((told, "can be told"),) if told else ())):
                why = too_few(ask, who, what)
                if why is not None:
                    found[policy.policy_id] = why
                    break
        return found

    def doubts(self, tenant: TenantId, policy: OversightPolicy) -> tuple[str, ...]:
        """What who writes a policy should hear at once: the groups and people it names that are none yet, and whether enough sit there."""
        directory, now = self.directory(tenant, policy), self.clock.now()
        named = [name for tier in policy.tiers for name in tier.approvers]
        named += policy.break_glass.armers if policy.break_glass else ()
        lost = leading_nowhere(named, directory)
        needs = [GROUP + need.group for need in policy.quorum.groups if need.group not in directory.groups]
        lost += [nobody(name, directory.groups) for name in needs]
        ask = eligibility.anybodys(policy, tenant, now)
        why = too_few(ask, eligibility.able(ask, directory, now), "sit")
        return (*dict.fromkeys(lost), *([f"it cannot be met: {why}"] if why is not None else ()))

    def lost(self, tenant: TenantId, members: tuple[str, ...]) -> tuple[str, ...]:
        """What who writes a group should hear at once: the groups and people it names that are none yet."""
        named = OversightPolicy(policy_id=PolicyId(""), tiers=(EscalationTier(name="", approvers=members),))
        return tuple(dict.fromkeys(leading_nowhere(members, self.directory(tenant, named))))

    def delivers(self, channel: Channel, tenant: TenantId | None = None) -> bool:
        serves = tenant is None or channel not in self.served or tenant in self.served[channel]
        return serves and (self.offered is None or channel in self.offered)

    def _working(self, tenant: TenantId, dead: Container[tuple[Channel, str]]) -> Addresses:
        return {
            person: [one for one in known if (one.channel, one.address) not in dead and self.delivers(one.channel, tenant)]
            for person, known in self.contacts(tenant).items()
        }  # fmt: skip

    def _told_by_tier(self, tenant: TenantId, policy: OversightPolicy, addresses: Addresses) -> list[set[PersonId]]:
        """Whoever sits at each tier and has an address on one of its channels."""
        now, directory = self.clock.now(), self.directory(tenant, policy)
        found = []
        for number, tier in enumerate(policy.tiers):
            wanted = {one.channel for one in tier.channels}
            sits = eligibility.told(eligibility.anybodys(policy, tenant, now), number, directory, now)
            found.append(
                {one for one in sits if any(not wanted or c.channel in wanted for c in addresses.get(one, ()))}
            )
        return found


def too_few(ask: Ask, votes: Sequence[Vote], what: str) -> str | None:
    """Why these, if they all agreed, would not be enough."""
    quorum = ask.policy.quorum
    lacking = tally(quorum, votes, round=ask.round)
    if not lacking.missing and not lacking.missing_groups:
        return None
    of = f", and too few for {', '.join(lacking.missing_groups)}" if lacking.missing_groups else ""
    return f"{needed(quorum)} have to agree, {len(votes)} {what}{of}"


def leading_nowhere(named: Iterable[str], directory: Directory) -> list[str]:
    return [nobody(name, directory.groups) for name in named if not directory.seats((name,))]


def nobody(name: str, groups: Container[str]) -> str:
    """In words, what an approver is that leads to no human."""
    if not name.startswith(GROUP):
        return f"{name} is no registered human"
    return f"nobody is in the group {bare(name)}" if bare(name) in groups else f"there is no group {bare(name)}"
