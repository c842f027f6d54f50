"""Grants: in force, proposed before anybody asks, and break-glass: act now, have it reviewed after.

    grant = await oversight.break_glass("acme", policy_id, agent=bot, action="code.deploy", resource="service:web", by=ann, reason="outage 7")
    record = await oversight.propose_grant("acme", policy_id, agent=bot, action="mail.send", resource="list:team", by=ann, wish=GrantWish(ttl_s=28_800, uses=10))

A proposal is a request that the policy's humans decide as any other; who proposes votes as they do. Arming makes the review in the same transaction: a request that humans other than the armer decide, and that escalates like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import NotFound
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId, checked_name, new_id
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.contracts import RiskFactor, RiskLevel
from creto.oversight import edits, grants
from creto.oversight import store_grants as grant_rows
from creto.oversight.core import checked_text
from creto.oversight.display import terms_of
from creto.oversight.drafts import ADVANCE, RESOURCE_CHARS_MAX, REVIEW
from creto.oversight.eligibility import Approver, anybodys, ineligible
from creto.oversight.granting import REVIEWED
from creto.oversight.requests import paged
from creto.oversight.risks import judged
from creto.oversight.store import Record
from creto.oversight.types import Advance, Ask, Bound, Grant, GrantKind, GrantWish, OversightPolicy
from creto.oversight.waiting import Waiting
from creto.store.types import Tx


class Emergency(Waiting):
    async def break_glass(
        self,
        tenant: TenantId,
        policy_id: PolicyId,
        *,
        agent: AgentId,
        action: str,
        resource: str,
        by: AgentId,
        reason: str,
        ttl_s: int | None = None,
    ) -> Grant:
        """Arm it: the agent's calls are approved at once, for minutes, counted, with an alarm to everybody who may approve."""
        policy, armer = self.policy(tenant, policy_id), self.approver(tenant, by)
        terms = grants.break_glass_terms(policy)
        if not self._arms(tenant, policy, armer):
            raise ineligible("NOT_ELIGIBLE", "the policy does not let this human break the glass")
        lineage = self.lineage(tenant, (agent,))
        if armer.person in lineage and not terms.own_agents:
            raise ineligible("SELF_APPROVAL", "the policy lets nobody break the glass for their own agent")
        now, review_id = self.clock.now(), RequestId(new_id("req-"))
        grant = grants.armed(
            policy, tenant=tenant, agent=agent, action=checked_name(action, "action"),
            resource=checked_name(resource, "resource", chars_max=RESOURCE_CHARS_MAX), by=armer.person,
            reason=checked_text(reason, "reason"), ttl_s=terms.ttl_s_max if ttl_s is None else ttl_s, review=review_id, now=now,
            grant_id=new_id("grant-"),
        )  # fmt: skip
        identity = self.nhi.get_now(tenant, agent)
        behind = {*lineage, armer.person}
        ask = Ask(
            request_id=review_id, tenant=tenant, agent=agent, agent_name=identity.name, chain=(agent,),
            excluded=tuple(sorted(behind)), action=REVIEW, resource=f"{REVIEWED}{grant.grant_id}",
            arguments=wire.encode({"action": action, "resource": resource, "reason": reason, "armed_by": armer.person}),
            policy=policy, created_at=now, blocking=False, break_glass=True,
            assessed=(RiskFactor(name="break-glass", level=RiskLevel.HIGH, description="acts before it was approved"),),
        )  # fmt: skip
        draft = self.drafted(judged(ask, ask.assessed), grant.grant_id)

        def arm(tx: Tx) -> Grant:
            grant_rows.put_grant(tx, grant)
            review = self._add(tx, draft, None)
            self.note_grant(tx, grant, "BreakGlassArmed", by)
            self.alarm(tx, review, draft.directory, self.clock.now())
            return grant

        return await self.write(arm)

    async def propose_grant(
        self,
        tenant: TenantId,
        policy_id: PolicyId,
        *,
        agent: AgentId,
        action: str,
        resource: str,
        wish: GrantWish,
        by: AgentId,
        bounds: Sequence[Bound] = (),
        reason: str = "",
    ) -> Record:
        """Ask the policy's humans to approve calls of the agent that nobody has asked for yet; by one of them. It grants nothing by itself."""
        policy, proposer = self.policy(tenant, policy_id), self.approver(tenant, by)
        grants.advance_terms(policy, wish)
        edits.check_bounds(bounds)
        advance = Advance(
            grant_id=new_id("grant-"), action=checked_name(action, "action"),
            resource=checked_name(resource, "resource", chars_max=RESOURCE_CHARS_MAX), ttl_s=wish.ttl_s, uses=wish.uses,
            proposed_by=proposer.person, proposer=proposer.name, bounds=tuple(bounds), reason=checked_text(reason, "reason"),
        )  # fmt: skip
        about = RiskFactor(name="in advance", level=grants.strictest(policy), description="nobody looks at each call")
        ask = Ask(
            request_id=RequestId(new_id("req-")), tenant=tenant, agent=agent, agent_name=self.nhi.get_now(tenant, agent).name,
            chain=(agent,), excluded=self.lineage(tenant, (agent,)), action=ADVANCE, resource=f"oversight:grant:{advance.grant_id}",
            arguments=terms_of(advance), policy=policy, created_at=self.clock.now(), blocking=False, assessed=(about,),
            advance=advance,
        )  # fmt: skip
        draft = self.drafted(judged(ask, ask.assessed), advance.grant_id)
        if not self.has_seat(draft.record, by):
            raise ineligible("NOT_ELIGIBLE", "only who could approve the calls proposes to approve them in advance")

        def propose(tx: Tx) -> Record:
            self._check_room(tx, ask)
            return self._add(tx, draft, None)

        record = await self.write(propose)
        self.counted(None, record)
        return record

    def sits(self, tenant: TenantId, policy_id: PolicyId, nhi: AgentId) -> bool:
        """Whether there is such a policy, and this human sits in a tier of it: named there, or in the place of who is."""
        policy = self._books.of(tenant).policies.get(policy_id)
        if policy is None:
            return False
        person, directory, now = self.approver(tenant, nhi).person, self.directory(tenant, policy), self.clock.now()
        seats = directory.seats([name for tier in policy.tiers for name in tier.approvers])
        ask = anybodys(policy, tenant, now)
        return person in seats or any(directory.substitute(holder, ask, now) == person for holder in seats)

    def may_arm(self, tenant: TenantId, policy_id: PolicyId, nhi: AgentId) -> bool:
        """Whether there is such a policy, and it lets this human break the glass."""
        policy = self._books.of(tenant).policies.get(policy_id)
        return policy is not None and self._arms(tenant, policy, self.approver(tenant, nhi))

    def _arms(self, tenant: TenantId, policy: OversightPolicy, armer: Approver) -> bool:
        terms = policy.break_glass
        able = terms is not None and armer.human and armer.in_force
        return able and terms is not None and armer.person in self.directory(tenant, policy).seats(terms.armers)

    async def may_end(self, tenant: TenantId, grant_id: str, nhi: AgentId) -> bool:
        """Whether there is such a grant, and this human granted it or could have."""
        grant = await self.store.read(lambda tx: grant_rows.grant(tx, tenant, grant_id))
        return grant is not None and self._ends(grant, self.approver(tenant, nhi))

    def _ends(self, grant: Grant, approver: Approver) -> bool:
        return approver.person == grant.granted_by or self.sits(grant.tenant, grant.policy_id, approver.nhi)

    async def end_grant(self, tenant: TenantId, grant_id: str, *, by: AgentId) -> Grant:
        """Disarm, or take back what was approved in advance: by who granted it, or who could have. Ending twice is once."""
        approver = self.approver(tenant, by)

        def end(tx: Tx) -> Grant:
            grant, now = grant_rows.locked_grant(tx, tenant, grant_id), self.clock.now()
            if grant is None:
                hint = "`creto approvals grants list` shows those that there are."
                raise NotFound("OV-404", "there is no such grant", field="grant_id", got=grant_id, hint=hint)
            if not self._ends(grant, approver):
                raise ineligible("NOT_ELIGIBLE", "only who granted it, or could have, ends a grant")
            if grant.ended_at is not None:
                return grant
            return self.end_now(tx, grant, approver.person, now, by=by)

        return await self.write(end)

    async def grants(self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT) -> list[Grant]:
        return await self.store.read(lambda tx: grant_rows.grants(tx, tenant, after, paged(limit)))

    def could_end(self, grant: Grant, nhi: AgentId) -> bool:
        """Whether this human granted it, or could have."""
        return self._ends(grant, self.approver(grant.tenant, nhi))

    async def expire_grant(self, tenant: TenantId, grant_id: str) -> bool:
        """Its time is over: on record, whoever used it or nobody."""

        def expire(tx: Tx) -> bool:
            grant, now = grant_rows.locked_grant(tx, tenant, grant_id), self.clock.now()
            if grant is None or grant.ended_at is not None or now < grant.expires_at:
                return False
            ended = replace(grant, ended_at=grant.expires_at)
            grant_rows.put_grant(tx, ended)
            event = "BreakGlassExpired" if grant.kind is GrantKind.BREAK_GLASS else "GrantExpired"
            self.note_grant(tx, ended, event, self.service_id)
            return True

        return await self.write(expire)
