"""Policies: upload, versions, activation, difference, dry run, and why a request is decided as it is."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, AgentIdentity, TenantId, checked_tenant
from creto.common.limits import AUTHZ_DRY_RUN_MAX, INTEGER_MAX, PAGE_ITEMS_DEFAULT
from creto.common.paging import checked_limit, cut, place_of
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.crypto import digest
from creto.platform.nhi import Standing, lifecycle
from creto.security.authz import store as sql
from creto.security.authz import texts
from creto.security.authz.checks import UNKNOWN, evaluated
from creto.security.authz.core import Change, Core, Holding, announce
from creto.security.authz.directory import View, find_identity
from creto.security.authz.lattice import decided
from creto.security.authz.types import CheckRequest, Decision, Deny, DryRun, Explanation, PolicyPage, PolicyVersion
from creto.store.types import Tx

NOTE_CHARS_MAX = 1_000


class PolicyBook(Core):
    async def upload_policies(
        self,
        tenant: TenantId,
        text: str,
        *,
        actor: str,
        schema: str = "",
        with_defaults: bool = True,
        note: str = "",
        activate: bool = False,
    ) -> PolicyVersion:
        """A new version, checked whole; what is not valid is refused with its line (PL-701, PL-702) and nothing changes.

        `schema` adds types and actions to the shipped ones. Without `with_defaults` the shipped policies do not hold beside it.
        """
        tenant, now = checked_tenant(tenant), self._clock.now()
        if len(note) > NOTE_CHARS_MAX:
            raise InvalidInput.of("note", got=f"{len(note)} characters", expected=f"{NOTE_CHARS_MAX} at most")
        policies = await asyncio.to_thread(texts.compiled, text, schema, with_defaults=with_defaults)
        fingerprint = digest(f"{int(with_defaults)}\n{len(text)}\n{text}\n{schema}".encode())

        def add(tx: Tx) -> PolicyVersion:
            tx.lock(f"authz_version {tenant}")
            version = PolicyVersion(
                tenant=tenant,
                version=sql.next_version(tx, tenant),
                text=text,
                schema=schema,
                with_defaults=with_defaults,
                digest=fingerprint,
                policies=len(policies.all),
                note=note,
                uploaded_by=actor,
                uploaded_at=now,
            )
            sql.add_version(tx, version)
            self._record_version(tx, "policies_uploaded", "PoliciesUploaded", actor, version, now)
            if activate:
                self._activate(tx, version, actor, now)
            return replace(version, active=activate)

        version = await self._store.write(add)
        self._compiled(version, policies)
        if activate:
            await asyncio.to_thread(self.holding, tenant)
            await self._store.settled()
        return version

    async def activate(self, tenant: TenantId, version: int, *, actor: str) -> bool:
        """From here on this version holds, also an earlier one: that is a rollback. Version 0 is the shipped policies alone.

        It holds for all threads of this process when this returns; the result says whether every live node confirmed it.
        """
        tenant, now = checked_tenant(tenant), self._clock.now()

        def swap(tx: Tx) -> None:
            tx.lock(f"authz_version {tenant}")
            self._activate(tx, sql.version(tx, tenant, version) if version else shipped_version(tenant), actor, now)

        await self._store.write(swap)
        await asyncio.to_thread(self.holding, tenant)  # the next check shall not wait for it
        return await self._store.settled()

    rollback = activate

    async def versions(
        self, tenant: TenantId, *, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> PolicyPage:
        """The newest first."""
        tenant, limit, before = checked_tenant(tenant), checked_limit(limit), place_of(cursor, int, INTEGER_MAX)
        found = await self._store.read(lambda tx: sql.versions(tx, tenant, before, limit + 1))
        return PolicyPage(*cut(found, limit, lambda last: last.version))

    async def policies(self, tenant: TenantId, version: int | None = None) -> PolicyVersion:
        """One version, or the one that holds."""
        tenant = checked_tenant(tenant)
        if version is None:
            found = await self._store.read(lambda tx: sql.active(tx, tenant))
            return found or replace(shipped_version(tenant), active=True)
        if version == 0:
            return shipped_version(tenant)
        return await self._store.read(lambda tx: sql.version(tx, tenant, version))

    async def diff(self, tenant: TenantId, old: int, new: int) -> str:
        """What changed from one version to another, as a unified diff."""
        a, b = await self.policies(tenant, old), await self.policies(tenant, new)
        lines = difflib.unified_diff(
            a.text.splitlines(keepends=True), b.text.splitlines(keepends=True), f"version {old}", f"version {new}"
        )  # fmt: skip
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def dry_run(
        self,
        tenant: TenantId,
        text: str,
        requests: Sequence[CheckRequest],
        *,
        schema: str = "",
        with_defaults: bool = True,
    ) -> tuple[DryRun, ...]:
        """What the requests get now, and what they would get under these policies. Nothing changes and nothing is remembered.

        It computes for some milliseconds per policy: an event loop hands a long text to a thread.
        """
        if len(requests) > AUTHZ_DRY_RUN_MAX:
            raise InvalidInput.of("requests", got=len(requests), expected=f"{AUTHZ_DRY_RUN_MAX} at most")
        tenant = checked_tenant(tenant)
        then, now = tried(text, schema, with_defaults), self.holding(tenant)
        return tuple(
            DryRun(r, self._explain(tenant, now, r).decision, self._explain(tenant, then, r).decision) for r in requests
        )

    def why(
        self,
        agent: AgentId,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        tenant: TenantId,
    ) -> Explanation:
        """The decision with everything that led to it. Quota is not asked."""
        tenant = checked_tenant(tenant)
        return self._explain(tenant, self.holding(tenant), CheckRequest(agent, action, resource, dict(context or {})))

    def _explain(self, tenant: TenantId, holding: Holding, request: CheckRequest) -> Explanation:
        agent = request.agent.nhi if isinstance(request.agent, AgentIdentity) else request.agent
        identity = find_identity(self._nhi, tenant, agent)
        if identity is None:
            return Explanation(UNKNOWN, holding.version)
        view = View(self.facts(tenant), self._nhi, tenant, holding.actions)
        principal = view.principal(identity)
        answer = evaluated(holding, view, principal, request.action, request.resource, request.context)
        standing = lifecycle.standing(identity, self._clock.now())
        decision: Decision = decided(answer)
        if standing is not Standing.IN_FORCE:
            decision = Deny(f"the identity is {standing}")
        named = (*answer.permitting, *answer.forbidding)
        return Explanation(
            decision=decision,
            version=holding.version,
            permits=tuple(policy.name for policy in answer.permitting),
            forbids=tuple(policy.name for policy in answer.forbidding),
            annotations={policy.name: dict(policy.annotations) for policy in named if policy.annotations},
            errors={policy.name: message for policy, message in answer.errors},
            considered=answer.considered,
            cacheable=not answer.reads_context and not view.unregistered,
            reads_context=answer.reads_context,
            principal=str(principal),
            action=request.action,
            resource=str(self._resource_uid(tenant, request.resource)),
        )

    def _resource_uid(self, tenant: TenantId, uri: str) -> object:
        return View(self.facts(tenant), self._nhi, tenant, {}).resource(uri)

    def _activate(self, tx: Tx, version: PolicyVersion, actor: str, now: ConsensusTimestamp) -> None:
        sql.activate(tx, version.tenant, version.version, actor, now)
        self._record_version(tx, "policies_activated", "PoliciesActivated", actor, version, now)
        announce(tx, Change(version.tenant, policies=True))

    def _record_version(
        self, tx: Tx, act: str, event: str, actor: str, v: PolicyVersion, now: ConsensusTimestamp
    ) -> None:
        fields: dict[str, object] = {"version": v.version, "digest": v.digest, "policies": v.policies, "note": v.note}
        self._record(tx, v.tenant, act, event, actor=actor, subject=f"policies:{v.version}", now=now, fields=fields)


def tried(text: str, schema: str, with_defaults: bool) -> Holding:
    """Policies as if they held."""
    policies = texts.compiled(text, schema, with_defaults=with_defaults)
    return Holding(-1, b"", policies, texts.action_entities(texts.parsed_schema(schema)))


def shipped_version(tenant: TenantId) -> PolicyVersion:
    """Version 0: what holds where a tenant has uploaded nothing."""
    text = texts.shipped_policies()
    return PolicyVersion(
        tenant=tenant,
        version=0,
        text=text,
        digest=digest(text.encode()),
        policies=text.count("@id("),
        note="the shipped policies",
        uploaded_by="creto",
        uploaded_at=ConsensusTimestamp(0),
    )
