"""Drafts: a request before it is written, from what was asked, what the policies say and what is known. It needs no lock.

    draft = self.draft(request, …)       # OV-403 under another policy than the act needs, OV-424 if nobody could ever approve
    found = await self.requirement(request)         # whether a human has to agree, who and how sure; nothing is asked

INVARIANT: nobody who asks picks a weaker policy than the act needs, nor leaves one of several out. Where policies forbid the act, or ask about it
and none permits it, no human is asked: a yes could not be theirs to give.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.breaker import CircuitBreaker
from creto.common.errors import EnablementError, Unauthorized
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import (
    OVERSIGHT_REASONING_CHARS_MAX,
    OVERSIGHT_REASONING_ITEMS,
    OVERSIGHT_REASONING_S_MAX,
    OVERSIGHT_RISK_FACTORS_MAX,
)
from creto.common.telemetry import trace_id
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import NotRequired, OversightRequest, OversightRequirement, Prohibited, RuntimeOversightRequest
from creto.oversight import edits, eligibility, escalation, grants, schemas
from creto.oversight import store as sql
from creto.oversight import store_grants as grant_rows
from creto.oversight.arguments import parsed
from creto.oversight.core import checked_text
from creto.oversight.display import proposal, render
from creto.oversight.eligibility import Directory
from creto.oversight.hostile import visible
from creto.oversight.joint import joined
from creto.oversight.policies import between, of_requirement, refusal
from creto.oversight.risks import cedar_risk, judged
from creto.oversight.seats import Seats
from creto.oversight.store import Record
from creto.oversight.types import Ask, BatchItem, Grant, OversightPolicy, Progress, RequestState
from creto.platform.consensus import PersonId
from creto.platform.crypto import digest
from creto.platform.nhi import PrincipalKind
from creto.security.authz import Allow, Demand, Deny, RequiresOversight
from creto.security.authz.lattice import SILENT
from creto.security.memory import Memory

RESOURCE_CHARS_MAX = 1_024
REVIEW, ADVANCE = "break_glass_review", "grant_in_advance"  # the layer's own questions: nobody else asks so
Reasoning = tuple[tuple[str, ...], str | None]  # the agent's own words, or why they are missing


class Draft(msgspec.Struct, frozen=True):
    """A request before it is written, with what its transaction needs."""

    record: Record
    ask_key: str
    payload: bytes
    directory: Directory
    skipped: tuple[str, ...] = ()
    named: bool = False  # by a key of its own


class Needed(msgspec.Struct, frozen=True):
    """What an act would need: the request as it would be made, the first tier that would be asked, who could decide at it and at each after it,
    and the grant that would approve it at once."""

    ask: Ask
    tier: int
    people: tuple[tuple[PersonId, ...], ...]
    grant: Grant | None = None


class Drafting(Seats):
    _memory: Memory | None
    _breaker: CircuitBreaker

    async def _counter_of(self, request: OversightRequest, denied: RequestId) -> str:
        """What a human proposed in that request's place; OV-400 unless this is it, whether it is another agent's or nobody's."""
        tenant, call = checked_tenant(request.tenant), (request.action.name, resource_of(request))
        record, votes = await self.store.read(lambda tx: (sql.find(tx, tenant, denied), sql.votes(tx, tenant, denied)))
        same = (
            record is not None
            and record.progress.state is RequestState.DENIED
            and (record.ask.action, record.ask.resource) == call
            and self.own(tenant, request.agent_nhi, record.ask.agent)
        )
        bounds = votes[-1].signed.ballot.counter if same and votes else ()
        if not bounds:
            raise refusal("takes_up", denied, "a request of this agent that was denied with a counter-proposal")
        if not edits.within(bounds, bytes(request.action.parameters)):
            raise refusal("arguments", "a call beyond the counter-proposal", proposal(bounds))
        name = visible(self.approver(tenant, votes[-1].signed.ballot.approver).name, prose=True).text
        return f"{name} denied {denied} and proposed this in its place: {proposal(bounds)}."

    async def requirement(
        self, request: OversightRequest, *, items: Sequence[BatchItem] = ()
    ) -> Needed | NotRequired | Prohibited:
        """Whether a human would have to agree to this act now, and who: as the policies say, and where they say nothing, by the one it names."""
        tenant, arguments = checked_tenant(request.tenant), spelled_of(request, tuple(items))
        said = self.policy_says(
            tenant, request.agent_nhi, request.action.name, resource_of(request), edits.as_context(arguments) or None
        )
        if isinstance(said, Allow):
            return NotRequired()
        if said == SILENT and request.policy_id:
            said = RequiresOversight(request.policy_id)
        if not isinstance(said, RequiresOversight):
            more = ", nor asks about it: a human can be asked under a policy that is named" if said == SILENT else ""
            return Prohibited(reason=f"{said.reason}{more}")
        asks = replace(request, policy_id=PolicyId(said.under))
        draft, now = self._draft(asks, None, tuple(items), (), None, said, ((), None)), self.clock.now()
        ask, first = draft.record.ask, draft.record.progress.tier
        found = await self.store.read(lambda tx: grant_rows.live_grants(tx, ask))
        grant = next((one for one in found if self.covers(one, ask, draft.directory, now)), None)
        people = tuple(
            tuple(eligibility.told(ask, tier, draft.directory, now)) for tier in range(first, len(ask.policy.tiers))
        )
        return Needed(ask, first, people, grant)

    def covers(self, grant: Grant, ask: Ask, directory: Directory, now: ConsensusTimestamp) -> bool:
        """Whether this call was approved in advance by humans who still could."""
        if not grants.covers(grant, ask, now):
            return False
        try:
            self.check_givers(grant, ask, directory)
        except Unauthorized:
            return False
        return True

    def _draft(
        self,
        request: OversightRequest,
        key: str | None,
        items: tuple[BatchItem, ...],
        facts: tuple[str, ...],
        by: AgentId | None,
        needed: RequiresOversight | None,
        reasoning: Reasoning,
    ) -> Draft:
        tenant, now = checked_tenant(request.tenant), self.clock.now()
        arguments = spelled_of(request, items)
        if request.action.name in (REVIEW, ADVANCE):
            raise refusal("action", request.action.name, "an act of the agent's: this is the layer's own")
        checked_text(request.action_description, "action_description")
        between("risk_factors", len(request.risk_factors), 0, OVERSIGHT_RISK_FACTORS_MAX)
        for factor in request.risk_factors:
            checked_text(factor.name, "risk_factors.name")
            checked_text(factor.description, "risk_factors.description")
        if needed is None:
            context = edits.as_context(arguments) or None
            said = self.policy_says(tenant, request.agent_nhi, request.action.name, resource_of(request), context)
            if isinstance(said, Deny) and said.policies:
                raise Unauthorized(
                    "OV-403", f"POLICY: nobody is asked about this act, for {said.reason}", field="action",
                    got=request.action.name, details={"policies": ", ".join(said.policies)},
                )  # fmt: skip
            needed = said if isinstance(said, RequiresOversight) else RequiresOversight(request.policy_id)
        policy = self.policy_for(tenant, request, needed)
        chain = tuple(request.delegation_chain) or (request.agent_nhi,)
        by = by if by != request.agent_nhi else None
        if by is not None:
            self._check_known(tenant, request.agent_nhi, chain)
            facts = (*facts, f"It was asked for by {visible(self.nhi.get_now(tenant, by).name).text} ({by}).")
        ask = Ask(
            request_id=RequestId(new_id("req-")), tenant=tenant, agent=request.agent_nhi, agent_name=self.nhi.get_now(tenant, request.agent_nhi).name, chain=chain,
            excluded=self.lineage(tenant, (*chain, request.agent_nhi, *((by,) if by else ()))), action=checked_name(request.action.name, "action"), resource=resource_of(request),
            arguments=arguments, policy=policy, created_at=now, description=request.action_description,
            risk_factors=request.risk_factors, reasoning=reasoning[0], reasoning_code=reasoning[1], items=items,
            blocking=request.blocking, form=request.form, facts=facts, trace_id=trace_id(),
            sandbox_id=request.sandbox_id if isinstance(request, RuntimeOversightRequest) else None,
            asked_by=by,
        )  # fmt: skip
        schemas.check(ask)
        return self.drafted(judged(ask, (*request.assessed, *cedar_risk(needed.risk))), key)

    def drafted(self, ask: Ask, key: str | None) -> Draft:
        """The request at the first tier in which anybody can decide; OV-424 if all of them together could not."""
        now = self.clock.now()
        directory = self.directory(ask.tenant, ask.policy)
        if not eligibility.attainable(ask, directory, now):
            raise Unauthorized("OV-424", f"the policy {ask.policy.policy_id} could never be met for this agent", field="policy_id", got=ask.policy.policy_id)  # fmt: skip
        tier, skipped = 0, []
        while not eligibility.told(ask, tier, directory, now):
            skipped.append(f"tier {ask.policy.tiers[tier].name}: {eligibility.why_nobody(ask, tier, directory, now)}")
            tier += 1
        hash, policy_id = edits.bound_hash(ask), ask.policy.policy_id
        line = self.nhi.get_now(ask.tenant, ask.agent).origin  # it asks the same under another key
        own = (
            wire.encode(["key", line, key])
            if key is not None
            else wire.encode([line, ask.action, ask.resource, hash, policy_id])
        )
        payload = digest(wire.encode([line, ask.resource, hash, policy_id]))
        return Draft(
            hashed(ask, escalation.begun(ask, tier, now)),
            digest(own).hex(),
            payload,
            directory,
            tuple(skipped),
            key is not None,
        )

    def policy_for(self, tenant: TenantId, request: OversightRequest, needed: RequiresOversight) -> OversightPolicy:
        """What the act needs: each policy that asks, together."""
        names = [one.policy_id for one in needed.demands]
        if request.policy_id not in (needed.under, *names):
            raise Unauthorized(
                "OV-403", f"POLICY: the policies ask about this act under {needed.under}", field="policy_id",
                got=request.policy_id, expected=needed.under,
            )  # fmt: skip
        each = [self.policy_of(tenant, one, request.requirement) for one in needed.demands]
        return joined(needed.under, sorted(each, key=lambda one: one.policy_id))

    def policy_of(
        self, tenant: TenantId, demand: Demand, requirement: OversightRequirement | None = None
    ) -> OversightPolicy:
        """The stored policy; where there is none, what the Cedar policy says, or else the product that asks."""
        stored = self._books.of(tenant).policies.get(PolicyId(demand.policy_id))
        if stored is not None:
            return stored
        said = demand.requirement or requirement
        if said is None:
            error = refusal("policy_id", demand.policy_id, "a stored oversight policy, or a requirement")
            error.hint = "`creto approvals policies list` shows those that are stored."
            raise error
        return of_requirement(PolicyId(checked_name(demand.policy_id, "policy_id")), said)

    def _check_known(self, tenant: TenantId, agent: AgentId, chain: tuple[AgentId, ...]) -> None:
        """Who asks for an agent says on whose behalf that acts: else one of those could approve it."""
        if chain[-1] != agent:
            raise refusal("chain", chain[-1], f"a chain that ends with {agent}")
        identity = self.nhi.get_now(tenant, agent)
        if identity.kind is PrincipalKind.AGENT and identity.owner is None and len(chain) == 1:
            raise refusal("chain", "nothing", "the chain from the root to this agent: it has no owner")

    def lineage(self, tenant: TenantId, chain: Sequence[AgentId]) -> tuple[PersonId, ...]:
        """Everybody who stands behind the agents of a chain, and they themselves: none of them can approve."""
        found: set[PersonId] = set()
        for nhi in chain:
            at: AgentId | None = nhi
            while at is not None:
                identity = self.nhi.get_now(tenant, at)
                if PersonId(identity.origin) in found:
                    break
                found.add(PersonId(identity.origin))
                at = identity.owner
        return tuple(sorted(found))

    async def _reasoning(self, tenant: TenantId, agent: AgentId, action: str) -> Reasoning:
        """What the agent thought about it. Without memory the request goes on, and says that this is missing."""
        memory = self._memory
        if memory is None:
            return (), None
        try:
            async with asyncio.timeout(OVERSIGHT_REASONING_S_MAX):
                found = await self._breaker.call(
                    lambda: memory.fetch_reasoning_context(tenant, agent, action, OVERSIGHT_REASONING_ITEMS)
                )
        except (EnablementError, TimeoutError, OSError):
            return (), "OV-503"
        texts, room = [], OVERSIGHT_REASONING_CHARS_MAX
        for one in found:
            texts.append(one.text[: room + 1])
            room -= len(one.text)
            if room < 0:
                break
        return tuple(texts), None


def spelled_of(request: OversightRequest, items: tuple[BatchItem, ...]) -> bytes:
    """The exact bytes that are asked about: JSON, or OV-400."""
    edits.check_items(items)
    arguments = edits.batch_arguments(items) if items else bytes(request.action.parameters)
    parsed(arguments)
    return arguments


def hashed(ask: Ask, progress: Progress) -> Record:
    return Record(ask, progress, edits.bound_hash(ask), render(ask).hash)


def resource_of(request: OversightRequest) -> str:
    """`<type>:<id>`, or the id alone where it names its type itself."""
    kind, id = request.resource.resource_type, request.resource.resource_id
    return checked_name(
        id if not kind or id.startswith(f"{kind}:") else f"{kind}:{id}", "resource", chars_max=RESOURCE_CHARS_MAX
    )
