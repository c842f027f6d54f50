"""Authorization over the wire: decisions and their reasons, policies and their versions, roles. Entities and override tokens are beside it."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from msgspec import Meta

from creto.common.ids import AgentId, Name
from creto.common.limits import AUTHZ_DRY_RUN_MAX, INTEGER_MAX, PAGE_ITEMS_DEFAULT
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Agent, Cursor, Id, Limit, Nanos, Resource
from creto.edge.api.parts import Parts
from creto.security.authz import (
    CheckRequest,
    Decision,
    Explanation,
    PolicyPage,
    PolicyVersion,
    Replayed,
    RoleAssignment,
)
from creto.store.types import Outcome

PolicyText = Annotated[str, Meta(max_length=1024 * 1024)]
Version = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Context = Annotated[dict[str, Any], Meta(max_length=100)]


class CheckAccess(Ask, frozen=True):
    """May `agent` do `action` on `resource`? `context` are attributes of this one request."""

    agent: Agent
    action: Name
    resource: Resource
    context: Context = {}


class Checked(View, frozen=True):
    decision: Decision


class ListPolicies(Ask, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class GetPolicies(Ask, frozen=True):
    """Without a version, those that hold now."""

    version: Version | None = None


class UploadPolicies(Ask, frozen=True):
    """`policy_schema` adds to the shipped schema; `with_defaults` keeps the shipped policies beside these."""

    text: PolicyText
    policy_schema: PolicyText = ""
    with_defaults: bool = True
    note: Annotated[str, Meta(max_length=200)] = ""
    activate: bool = False


class ActivatePolicies(Ask, frozen=True):
    version: Version


class Activated(View, frozen=True):
    """`everywhere` says that each live node confirmed the change in time; the others follow within 50 ms."""

    version: int
    everywhere: bool


class DiffPolicies(Ask, frozen=True):
    old: Version
    new: Version


class Difference(View, frozen=True):
    diff: str


class TryPolicies(Ask, frozen=True):
    text: PolicyText
    requests: Annotated[tuple[CheckAccess, ...], Meta(min_length=1, max_length=1_000)]
    policy_schema: PolicyText = ""
    with_defaults: bool = True


class Tried(View, frozen=True):
    request: CheckAccess
    now: Decision
    then: Decision
    changed: bool


class TriedAll(View, frozen=True):
    items: tuple[Tried, ...]


class TryRecorded(Ask, frozen=True):
    """The last `limit` decisions of the log, back to `since`, under other policies."""

    text: PolicyText
    limit: Annotated[int, Meta(ge=1, le=AUTHZ_DRY_RUN_MAX)] = 1_000
    since: Nanos | None = None
    policy_schema: PolicyText = ""
    with_defaults: bool = True


class Retried(View, frozen=True):
    """`doubtful`: the context was not recorded, and some policy reads it. `at`, `outcome` and `code` are of the newest of `times`."""

    request: CheckAccess
    now: Decision
    then: Decision
    changed: bool
    doubtful: bool
    times: int
    outcome: Outcome
    at: ConsensusTimestamp
    code: str | None = None


class RetriedAll(View, frozen=True):
    """Only what would change or cannot be told. `entries` of the log were looked at, back to `since`; `requests` of them were decisions."""

    items: tuple[Retried, ...]
    entries: int
    requests: int
    changed: int
    doubtful: int
    since: ConsensusTimestamp | None = None


class GetRoles(Ask, frozen=True):
    agent: Agent


class Roles(View, frozen=True):
    roles: tuple[str, ...]


class ChangeRole(Ask, frozen=True):
    agent: Agent
    role: Id


class RoleChanged(View, frozen=True):
    agent: AgentId
    role: str
    held: bool


READ, WRITE, AGENT = "authz:read", "authz:write", "{agent}"
CHECK = Endpoint("policies.check", "POST", "/v1/authz/check", CheckAccess, Checked, READ, "Decide", keyed=False, about=AGENT)  # fmt: skip
WHY = Endpoint("policies.why", "POST", "/v1/authz/why", CheckAccess, Explanation, READ, "Decide, and say which policies decided", keyed=False, about=AGENT)  # fmt: skip
LIST = Endpoint("policies.list", "GET", "/v1/policies", ListPolicies, PolicyPage, READ, "The versions, the newest first")  # fmt: skip
GET = Endpoint("policies.get", "GET", "/v1/policies/text", GetPolicies, PolicyVersion, READ, "The text of a version")  # fmt: skip
UPLOAD = Endpoint("policies.upload", "POST", "/v1/policies", UploadPolicies, PolicyVersion, WRITE, "Upload a version; refused with line and reason if it does not validate", status=201, errors=("PL-701", "PL-702"))  # fmt: skip
ACTIVATE = Endpoint("policies.activate", "POST", "/v1/policies/activate", ActivatePolicies, Activated, WRITE, "Put a version into force, also an older one", errors=("PL-701", "PL-702"), about="policies:{version}")  # fmt: skip
DIFF = Endpoint("policies.diff", "GET", "/v1/policies/diff", DiffPolicies, Difference, READ, "What changed between two versions")  # fmt: skip
DRY_RUN = Endpoint("policies.dry_run", "POST", "/v1/policies/dry-run", TryPolicies, TriedAll, READ, "What requests would get under other policies", errors=("PL-701", "PL-702"), keyed=False)  # fmt: skip
DRY_RUN_RECORDED = Endpoint("policies.dry_run_recorded", "POST", "/v1/policies/dry-run/recorded", TryRecorded, RetriedAll, "audit:read", "What recorded decisions would be under other policies", errors=("PL-701", "PL-702"), keyed=False)  # fmt: skip
ROLES = Endpoint("policies.roles", "GET", "/v1/agents/{agent}/roles", GetRoles, Roles, READ, "The roles of an identity, whichever key of its line it uses", errors=("PL-102",), about=AGENT)  # fmt: skip
ASSIGN = Endpoint("policies.assign_role", "PUT", "/v1/agents/{agent}/roles/{role}", ChangeRole, RoleAssignment, WRITE, "Give an identity a role", errors=("PL-102",), about=AGENT)  # fmt: skip
UNASSIGN = Endpoint("policies.unassign_role", "DELETE", "/v1/agents/{agent}/roles/{role}", ChangeRole, RoleChanged, WRITE, "Take a role away", errors=("PL-102",), about=AGENT)  # fmt: skip

ENDPOINTS = (
    CHECK,
    WHY,
    LIST,
    GET,
    UPLOAD,
    ACTIVATE,
    DIFF,
    DRY_RUN,
    DRY_RUN_RECORDED,
    ROLES,
    ASSIGN,
    UNASSIGN,
)


@handles(CHECK)
async def check(parts: Parts, call: Call, ask: CheckAccess) -> Checked:
    decision = parts.authz.check(ask.agent, ask.action, ask.resource, ask.context or None, tenant=call.tenant)
    return Checked(decision=decision)


@handles(WHY)
async def why(parts: Parts, call: Call, ask: CheckAccess) -> Explanation:
    return parts.authz.why(ask.agent, ask.action, ask.resource, ask.context or None, tenant=call.tenant)


@handles(LIST)
async def list_versions(parts: Parts, call: Call, ask: ListPolicies) -> PolicyPage:
    return await parts.authz.versions(call.tenant, cursor=ask.cursor, limit=ask.limit)


@handles(GET)
async def get(parts: Parts, call: Call, ask: GetPolicies) -> PolicyVersion:
    return await parts.authz.policies(call.tenant, ask.version)


@handles(UPLOAD)
async def upload(parts: Parts, call: Call, ask: UploadPolicies) -> PolicyVersion:
    return await parts.authz.upload_policies(
        call.tenant,
        ask.text,
        actor=call.known.agent,
        schema=ask.policy_schema,
        with_defaults=ask.with_defaults,
        note=ask.note,
        activate=ask.activate,
    )


@handles(ACTIVATE)
async def activate(parts: Parts, call: Call, ask: ActivatePolicies) -> Activated:
    everywhere = await parts.authz.activate(call.tenant, ask.version, actor=call.known.agent)
    return Activated(version=ask.version, everywhere=everywhere)


@handles(DIFF)
async def diff(parts: Parts, call: Call, ask: DiffPolicies) -> Difference:
    return Difference(diff=await parts.authz.diff(call.tenant, ask.old, ask.new))


@handles(DRY_RUN)
async def dry_run(parts: Parts, call: Call, ask: TryPolicies) -> TriedAll:
    requests = [CheckRequest(r.agent, r.action, r.resource, r.context) for r in ask.requests]
    found = await asyncio.to_thread(
        parts.authz.dry_run,
        call.tenant,
        ask.text,
        requests,
        schema=ask.policy_schema,
        with_defaults=ask.with_defaults,
    )
    pairs = zip(ask.requests, found, strict=True)
    return TriedAll(items=tuple(Tried(request=r, now=f.now, then=f.then, changed=f.changed) for r, f in pairs))


@handles(DRY_RUN_RECORDED)
async def dry_run_recorded(parts: Parts, call: Call, ask: TryRecorded) -> RetriedAll:
    found = await parts.authz.dry_run_recorded(
        parts.audit,
        call.tenant,
        ask.text,
        limit=ask.limit,
        since=ask.since,
        schema=ask.policy_schema,
        with_defaults=ask.with_defaults,
    )
    return RetriedAll(
        items=tuple(map(retried, found.items)),
        entries=found.entries,
        requests=found.requests,
        changed=found.changed,
        doubtful=found.doubtful,
        since=found.since,
    )


def retried(item: Replayed) -> Retried:
    r = item.request
    return Retried(
        request=CheckAccess(agent=AgentId(str(r.agent)), action=r.action, resource=r.resource, context=r.context),
        now=item.now,
        then=item.then,
        changed=item.changed,
        doubtful=item.doubtful,
        times=item.times,
        outcome=item.outcome,
        at=item.at,
        code=item.code,
    )


@handles(ROLES)
async def roles(parts: Parts, call: Call, ask: GetRoles) -> Roles:
    return Roles(roles=await parts.authz.roles(call.tenant, ask.agent))


@handles(ASSIGN)
async def assign(parts: Parts, call: Call, ask: ChangeRole) -> RoleAssignment:
    return await parts.authz.assign_role(call.tenant, ask.agent, ask.role, actor=call.known.agent)


@handles(UNASSIGN)
async def unassign(parts: Parts, call: Call, ask: ChangeRole) -> RoleChanged:
    await parts.authz.unassign_role(call.tenant, ask.agent, ask.role, actor=call.known.agent)
    return RoleChanged(agent=ask.agent, role=ask.role, held=False)
