"""Override tokens over the wire: a human's yes to one act, given, looked at, taken back."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.errors import EnablementError, Unauthorized
from creto.common.ids import Name, PolicyId
from creto.common.limits import OVERRIDE_TOKEN_BYTES_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Agent, Id, Policies, Resource, octets
from creto.edge.api.parts import Parts
from creto.gate import Effect
from creto.security.authz import IssuedOverride


class IssueOverride(Ask, frozen=True, kw_only=True):
    """Approves one operation: `args_digest` is the digest of its exact arguments, `policy_id` the oversight policy that asks."""

    agent: Agent
    action: Name
    resource: Resource
    args_digest: Annotated[bytes, octets(65, least=32)]
    ttl_s: Annotated[int, Meta(ge=1, le=3_600)] = 600
    request_id: Annotated[str, Meta(max_length=200)] = ""
    policy_id: Policies


class Override(View, frozen=True):
    """`token_id` is the token's name, which the log knows it by."""

    token: str
    expires_at: ConsensusTimestamp
    token_id: str = ""


class CheckOverride(Ask, frozen=True):
    token: Annotated[str, Meta(min_length=1, max_length=OVERRIDE_TOKEN_BYTES_MAX)]


class RevokeOverride(Ask, frozen=True):
    token_id: Id


class OverrideRevoked(View, frozen=True):
    """`first`: it was open until now. What is used, or admitted by whoever acts, has had its effect, or will."""

    token_id: str
    first: bool


DECIDE, AGENT = "oversight:decide", "{agent}"
ISSUE = Endpoint("policies.issue_override", "POST", "/v1/authz/overrides", IssueOverride, Override, DECIDE, "Approve one operation of an agent", status=201, errors=("PL-102", "PL-103"), keyed=False, about=AGENT, effect=Effect.RECORDED)  # fmt: skip
CHECK = Endpoint("policies.validate_override_token", "POST", "/v1/authz/overrides/validate", CheckOverride, IssuedOverride, "authz:read", "What an override token is for, and whether it can still be used", errors=("PL-703", "PL-705", "PL-706"), keyed=False)  # fmt: skip
REVOKE = Endpoint("policies.revoke_override", "DELETE", "/v1/authz/overrides/{token_id}", RevokeOverride, OverrideRevoked, DECIDE, "Take an approval back before it is used")  # fmt: skip

ENDPOINTS = (ISSUE, CHECK, REVOKE)


@concerns(CHECK)
async def checked_subject(parts: Parts, call: Call, ask: CheckOverride) -> str | None:
    """The agent that the token lets act."""
    try:
        return parts.authz.validate_override_token(ask.token, tenant=call.tenant).agent
    except EnablementError:
        return None  # the handler says what is wrong with it


@concerns(REVOKE)
async def revoked_subject(parts: Parts, call: Call, ask: RevokeOverride) -> str | None:
    return await parts.authz.override_agent(ask.token_id, tenant=call.known.tenant)


@handles(ISSUE)
async def issue(parts: Parts, call: Call, ask: IssueOverride) -> Override:
    """Nobody approves their own operation, nor one done for them."""
    me = call.known
    if me.agent == ask.agent:
        raise Unauthorized("OV-403", "an agent cannot approve its own operation", got=me.agent)
    text = await parts.authz.issue_override(
        tenant=call.tenant,
        agent=ask.agent,
        action=ask.action,
        resource=ask.resource,
        args_digest=ask.args_digest,
        policy_id=PolicyId(ask.policy_id),
        ttl_s=ask.ttl_s,
        request_id=ask.request_id,
        actor=me.agent,
    )
    token = parts.authz.validate_override_token(text, tenant=call.tenant)
    return Override(token=text, expires_at=token.expires_at, token_id=token.token_id)


@handles(CHECK)
async def check(parts: Parts, call: Call, ask: CheckOverride) -> IssuedOverride:
    return await parts.authz.issued_override(ask.token, tenant=call.tenant)


@handles(REVOKE)
async def revoke(parts: Parts, call: Call, ask: RevokeOverride) -> OverrideRevoked:
    first = await parts.authz.revoke_override(ask.token_id, tenant=call.tenant, actor=call.known.agent)
    return OverrideRevoked(token_id=ask.token_id, first=first)
