"""Validation of delegation chains: rules first, state next, signatures last, state once more.

What a chain says never changes, so its verified facts are kept under its fingerprint. Who is revoked, suspended or retired and what time it
is are looked at every time. Cold, a chain of eight costs eight hybrid verifications; warm, a few dictionary look-ups.

INVARIANT: one `now` serves a whole validation, and the result carries the tightest window, so expiry cannot fall between two phases.
INVARIANT: a validation that began after a revocation returned refuses; one that overlaps it either refuses or is started again.
"""

from __future__ import annotations

import msgspec

from creto.common.errors import ConnectionFailed, EnablementError, SignatureVerificationFailed, Unauthorized
from creto.common.ids import AgentId, TenantId
from creto.common.limits import CHAIN_LINKS_MAX, CHAINS_CACHED_MAX, LINKS_VERIFIED_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.nhi import lifecycle, narrowing, scope
from creto.platform.nhi.bounded import Bounded
from creto.platform.nhi.chain import LINK_CONTEXT, Budget, DelegationChain, DelegationLink
from creto.platform.nhi.dependents import Member
from creto.platform.nhi.registry import Registered, Registry
from creto.platform.nhi.types import PrincipalKind, Standing

ROUNDS_MAX = 100  # revocations during one validation; each round is microseconds


class ValidatedChain(msgspec.Struct, frozen=True, kw_only=True):
    """What a valid chain grants to its last agent. Only `Nhi.validate` and `Nhi.rooted` make one; check it again where it is used."""

    tenant: TenantId
    agents: tuple[AgentId, ...]  # from the root to the current agent
    links: tuple[bytes, ...]  # the hashes of the links
    root_kind: PrincipalKind
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    budgets: tuple[Budget | None, ...]  # of each link, from the root's down: every one of them must hold
    depth_left: int
    not_before: ConsensusTimestamp
    not_after: ConsensusTimestamp  # the tightest of all links and retirements
    validated_at: ConsensusTimestamp

    @property
    def root(self) -> AgentId:
        return self.agents[0]

    @property
    def agent(self) -> AgentId:
        """Who acts."""
        return self.agents[-1]

    @property
    def ancestors(self) -> tuple[AgentId, ...]:
        return self.agents[:-1]

    @property
    def budget(self) -> Budget | None:
        """The narrowest: a link may only narrow, so it is the last."""
        return self.budgets[-1] if self.budgets else None

    def check(self, *, now: ConsensusTimestamp, action: str | None = None, resource: str | None = None) -> None:
        """Whether it still holds at `now` and covers the operation; for revocations ask `Nhi.recheck`."""
        narrowing.check_window(self.not_before, self.not_after, now)
        if action is not None and not scope.any_matches(self.actions, action):
            raise narrowing.refusal("PL-134", action, " or ".join(self.actions))
        if resource is not None and not scope.any_matches(self.resources, resource):
            raise narrowing.refusal("PL-135", resource, " or ".join(self.resources))


class Facts(msgspec.Struct, frozen=True):
    """What never changes about a chain whose rules and signatures hold."""

    tenant: TenantId
    agents: tuple[AgentId, ...]
    links: tuple[bytes, ...]
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    budgets: tuple[Budget | None, ...]
    depth_left: int
    not_before: ConsensusTimestamp
    not_after: ConsensusTimestamp


class ChainValidator:
    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._facts: Bounded[bytes, Facts] = Bounded(CHAINS_CACHED_MAX)
        self._noted: Bounded[bytes, int] = Bounded(CHAINS_CACHED_MAX)
        self._proofs: Bounded[bytes, bool] = Bounded(LINKS_VERIFIED_MAX)

    def validate(
        self, chain: DelegationChain, tenant: TenantId, agent: AgentId | None, now: ConsensusTimestamp
    ) -> ValidatedChain:
        """The chain's grant, or the error of the first rule it breaks."""
        if not 0 < len(chain.links) <= CHAIN_LINKS_MAX:
            narrowing.check_shape(chain)
        for _ in range(ROUNDS_MAX):
            losses = self._registry.losses
            facts = self._facts.get(chain.fingerprint)
            if facts is None:
                facts = self._verified(chain, tenant, agent, now)
            elif facts.tenant != tenant:
                raise narrowing.refusal("PL-115", facts.tenant, tenant)
            elif agent is not None and facts.agents[-1] != agent:
                raise narrowing.refusal("PL-127", facts.agents[-1], agent)
            if self._noted.get(chain.fingerprint) != self._registry.dependents.generation:
                self._note(chain.fingerprint, facts)
            valid = self._standing(facts, now)
            if losses == self._registry.losses:
                return valid
        raise ConnectionFailed("PL-503", "identities were revoked faster than this chain could be validated")

    def recheck(self, valid: ValidatedChain, now: ConsensusTimestamp, action: str | None, resource: str | None) -> None:
        """The same questions again at the time of use, without the signatures."""
        valid.check(now=now, action=action, resource=resource)
        self._members(valid.tenant, valid.agents, valid.links, now)

    def verify_link(self, link: DelegationLink, parent: Registered) -> None:
        """PL-116 unless the parent signed these terms."""
        if self._proofs.get(link.proof) is not None:
            return
        try:
            parent.verify_key.verify(link.canonical_bytes, link.signature, LINK_CONTEXT)
        except EnablementError as error:
            raise SignatureVerificationFailed(
                "PL-116", field="chain.signature", expected=f"the signature of {link.parent}", caused_by=error
            ) from error
        self._proofs.put(link.proof, True)

    def _verified(
        self, chain: DelegationChain, tenant: TenantId, agent: AgentId | None, now: ConsensusTimestamp
    ) -> Facts:
        """Everything in order of cost; the signatures of a chain that could not hold anyway are not looked at."""
        narrowing.check_chain(chain, tenant, agent)
        facts = facts_of(chain)
        narrowing.check_window(facts.not_before, facts.not_after, now)
        members = self._members(tenant, facts.agents, facts.links, now)
        for link in chain.links:
            self.verify_link(link, members[link.parent])
        self._facts.put(chain.fingerprint, facts)
        return facts

    def _note(self, fingerprint: bytes, facts: Facts) -> None:
        """Have every later revocation along the chain reach its agent. Full means: forget everybody, and begin again."""
        members: tuple[Member, ...] = (*facts.agents, *facts.links)
        generation = self._registry.dependents.note(facts.tenant, members, facts.agents[-1])
        if generation is None:
            self._registry.forget_all()
        else:
            self._noted.put(fingerprint, generation)

    def _standing(self, facts: Facts, now: ConsensusTimestamp) -> ValidatedChain:
        narrowing.check_window(facts.not_before, facts.not_after, now)
        members = self._members(facts.tenant, facts.agents, facts.links, now)
        ends = [m.identity.retires_at for m in members.values() if m.identity.retires_at is not None]
        return ValidatedChain(
            tenant=facts.tenant,
            agents=facts.agents,
            links=facts.links,
            root_kind=members[facts.agents[0]].identity.kind,
            actions=facts.actions,
            resources=facts.resources,
            budgets=facts.budgets,
            depth_left=facts.depth_left,
            not_before=facts.not_before,
            not_after=min([facts.not_after, *ends]),
            validated_at=now,
        )

    def _members(
        self, tenant: TenantId, agents: tuple[AgentId, ...], links: tuple[bytes, ...], now: ConsensusTimestamp
    ) -> dict[AgentId, Registered]:
        """All of them known, in force, none of the links revoked, and a root at the top."""
        members = self._registry.find(tenant, agents)
        for agent in agents:
            member = members.get(agent)
            if member is None:
                raise narrowing.refusal("PL-125", agent, f"an identity of tenant {tenant}")
            found = lifecycle.standing(member.identity, now)
            if found is not Standing.IN_FORCE:
                raise narrowing.refusal(lifecycle.CHAIN_CODES[found], f"{agent} {found}", "in force")
        if not members[agents[0]].identity.kind.is_root:
            raise narrowing.refusal("PL-112", f"{agents[0]}, an agent", "a human or a service at the root")
        if links and (revoked := self._registry.revoked_link(tenant, links)) is not None:
            raise Unauthorized(
                "PL-124", field="chain", got=f"link {revoked.hex()}", expected="links that are not revoked"
            )
        return members


def facts_of(chain: DelegationChain) -> Facts:
    last = chain.links[-1]
    return Facts(
        tenant=last.tenant,
        agents=chain.agents,
        links=tuple(link.hash for link in chain.links),
        actions=last.actions,
        resources=last.resources,
        budgets=tuple(link.budget for link in chain.links),
        depth_left=last.depth_left,
        not_before=max(link.not_before for link in chain.links),
        not_after=min(link.not_after for link in chain.links),
    )
