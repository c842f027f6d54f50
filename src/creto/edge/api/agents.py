"""Identities over the wire: registration, lifecycle, keys, certificates, tokens and delegation chains."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, NotFound, Unauthorized
from creto.common.ids import AgentId, Name, SandboxId
from creto.common.limits import PAGE_ITEMS_DEFAULT, TOKEN_TTL_S_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.authentication import tenant_of
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, Nothing, View
from creto.edge.api.fields import (
    Agent,
    ChainBytes,
    Cursor,
    Id,
    KeyBytes,
    Limit,
    Reason,
    Resource,
    Sandbox,
    Scopes,
    SignatureBytes,
    Tenant,
    TokenSeconds,
    octets,
)
from creto.edge.api.parts import Parts
from creto.gate import Effect
from creto.platform.crypto import VerifyKey
from creto.platform.nhi import (
    Challenge,
    DelegationChain,
    Identity,
    IdentityPage,
    IdentityState,
    PrincipalKind,
    Revocation,
    TokenRevocation,
    ValidatedChain,
    decode_upload,
    narrowing,
    scope,
)


class RegisterAgent(Ask, frozen=True):
    """`verify_key` is the public key with its suite byte; `proof` its signature over the registration."""

    kind: PrincipalKind
    name: Name
    verify_key: KeyBytes
    proof: SignatureBytes
    owner: Agent | None = None


class ListAgents(Ask, frozen=True):
    kind: PrincipalKind | None = None
    state: IdentityState | None = None
    owner: Agent | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class GetAgent(Ask, frozen=True):
    agent: Agent


class ChangeAgent(Ask, frozen=True):
    agent: Agent
    reason: Reason | None = None


class RotateAgent(Ask, frozen=True):
    agent: Agent
    verify_key: KeyBytes
    old_proof: SignatureBytes
    new_proof: SignatureBytes
    overlap_s: Annotated[int, Meta(ge=0, le=30 * 86_400)] = 86_400


class JwkSet(View, frozen=True):
    """RFC 7517; an ML-DSA key is an AKP key of RFC 9964."""

    keys: tuple[dict[str, str], ...]


class BindAgent(Ask, frozen=True):
    agent: Agent
    sandbox_id: Sandbox


class GetBinding(Ask, frozen=True):
    sandbox_id: Sandbox


class Unbind(Ask, frozen=True):
    """Only if it is this agent that the sandbox runs."""

    sandbox_id: Sandbox
    agent: Agent


class BoundAgent(View, frozen=True):
    sandbox_id: SandboxId
    agent: AgentId
    bound_at: ConsensusTimestamp


class PublishBundle(Ask, frozen=True):
    agent: Agent
    upload: Annotated[bytes, octets(1024 * 1024)]


class BundleCounts(View, frozen=True):
    one_time_dh: int
    one_time_kem: int


class BundleView(View, frozen=True):
    bundle: bytes


class RequestCertificate(Ask, frozen=True):
    agent: Agent
    request_der: Annotated[bytes, octets(16 * 1024)]
    proof: SignatureBytes
    hosts: Annotated[tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...], Meta(max_length=16)] = ()
    ttl_s: Annotated[int, Meta(ge=60, le=7 * 86_400)] = 86_400


class CertificateView(View, frozen=True):
    certificate_pem: bytes
    authority_pem: bytes
    uris: tuple[str, ...]
    not_after: ConsensusTimestamp


class AskChallenge(Ask, frozen=True):
    """Where one installation serves many tenants, `tenant` says whose agent it is."""

    agent: Agent
    tenant: Tenant | None = None


class ExchangeChallenge(Ask, frozen=True):
    challenge: Challenge
    signature: SignatureBytes
    scopes: Scopes = ("*",)
    ttl_s: TokenSeconds = TOKEN_TTL_S_MAX


class IssueToken(Ask, frozen=True):
    """For a person or a service; an agent signs a challenge."""

    agent: Agent
    scopes: Scopes
    ttl_s: TokenSeconds = TOKEN_TTL_S_MAX


class RevokeToken(Ask, frozen=True):
    """`token_id` is the token's name, which the log knows from `nhi.token_issued`; the token itself is not asked for."""

    token_id: Id
    reason: Reason | None = None


class TokenView(View, frozen=True):
    token: str
    agent: AgentId
    scopes: tuple[str, ...]
    expires_at: ConsensusTimestamp


class WhoAmI(View, frozen=True):
    tenant: str
    agent: AgentId
    kind: PrincipalKind
    scopes: tuple[str, ...]
    expires_at: ConsensusTimestamp


class Nobody(Ask, frozen=True):
    """A question without parameters."""


class CheckChain(Ask, frozen=True):
    chain: ChainBytes
    agent: Agent | None = None
    action: Name | None = None
    resource: Resource | None = None


class RevokeLink(Ask, frozen=True):
    """The chain whose last link shall not hold any more."""

    chain: ChainBytes
    reason: Reason | None = None


class CheckSignature(Ask, frozen=True):
    agent: Agent
    message: Annotated[bytes, octets(1024 * 1024)]
    signature: SignatureBytes
    context: Annotated[bytes, octets(255)] = b""


READ, WRITE, KEYS = "agents:read", "agents:write", "agents:keys"
AGENT = "{agent}"
NOT_THERE = ("PL-101", "PL-102")
LIFE = ("PL-101", "PL-102", "PL-103", "PL-104", "PL-132")

REGISTER = Endpoint("agents.register", "POST", "/v1/agents", RegisterAgent, Identity, WRITE, "Register an identity by its public key", status=201, errors=("PL-105", "PL-210", "PL-216"))  # fmt: skip
LIST = Endpoint("agents.list", "GET", "/v1/agents", ListAgents, IdentityPage, READ, "List identities")
GET = Endpoint("agents.get", "GET", "/v1/agents/{agent}", GetAgent, Identity, READ, "One identity", errors=NOT_THERE, about=AGENT)  # fmt: skip
ROTATE = Endpoint("agents.rotate", "POST", "/v1/agents/{agent}/rotate", RotateAgent, Identity, KEYS, "Replace the key; the successor is a new identity of the same line", errors=(*LIFE, "PL-105", "PL-210", "PL-216"), about=AGENT)  # fmt: skip
SUSPEND = Endpoint("agents.suspend", "POST", "/v1/agents/{agent}/suspend", ChangeAgent, Revocation, WRITE, "Stop an identity until it is resumed", errors=LIFE, about=AGENT)  # fmt: skip
RESUME = Endpoint("agents.resume", "POST", "/v1/agents/{agent}/resume", ChangeAgent, Identity, WRITE, "Let a suspended identity act again", errors=LIFE, about=AGENT)  # fmt: skip
REVOKE = Endpoint("agents.revoke", "POST", "/v1/agents/{agent}/revoke", ChangeAgent, Revocation, WRITE, "End an identity, for ever and for all who act for it", errors=LIFE, about=AGENT)  # fmt: skip
JWK = Endpoint("agents.jwk", "GET", "/v1/agents/{agent}/jwk", GetAgent, JwkSet, READ, "Its public keys as JWKs", errors=NOT_THERE, about=AGENT)  # fmt: skip
BIND = Endpoint("agents.bind_identity", "POST", "/v1/agents/{agent}/bind", BindAgent, BoundAgent, WRITE, "Bind a sandbox to the agent that it runs", errors=LIFE, about=AGENT)  # fmt: skip
BOUND = Endpoint("agents.bound_identity", "GET", "/v1/bindings/{sandbox_id}", GetBinding, BoundAgent, READ, "The agent that a sandbox runs", about="runtime:sandbox:{sandbox_id}")  # fmt: skip
UNBIND = Endpoint("agents.unbind_identity", "DELETE", "/v1/bindings/{sandbox_id}", Unbind, Nothing, WRITE, "Free a sandbox of the agent that it runs", status=204, about=AGENT)  # fmt: skip
PREKEYS = Endpoint("agents.prekey_counts", "GET", "/v1/agents/{agent}/bundle", GetAgent, BundleCounts, READ, "How many one-time keys are left", errors=NOT_THERE, about=AGENT)  # fmt: skip
PUBLISH_BUNDLE = Endpoint("agents.publish_bundle", "POST", "/v1/agents/{agent}/bundle", PublishBundle, BundleCounts, KEYS, "Publish the keys that others open sessions with", errors=(*LIFE, "PL-210", "PL-216"), about=AGENT)  # fmt: skip
GET_KEY_BUNDLE = Endpoint("agents.get_key_bundle", "POST", "/v1/agents/{agent}/bundle/claim", GetAgent, BundleView, READ, "Take a bundle; its one-time keys are handed out once", errors=(*LIFE, "PL-130"), about=AGENT)  # fmt: skip
CERTIFICATE = Endpoint("agents.issue_certificate", "POST", "/v1/agents/{agent}/certificate", RequestCertificate, CertificateView, KEYS, "A short-lived certificate for mutual TLS", errors=(*LIFE, "PL-131", "PL-210"), about=AGENT)  # fmt: skip
CHALLENGE = Endpoint("auth.challenge", "POST", "/v1/auth/challenge", AskChallenge, Challenge, None, "A challenge to sign", errors=LIFE, open=True)  # fmt: skip
TOKEN = Endpoint("auth.token", "POST", "/v1/auth/token", ExchangeChallenge, TokenView, None, "A bearer token for a signed challenge", errors=(*LIFE, "PL-106", "PL-210"), open=True)  # fmt: skip
ISSUE = Endpoint("auth.issue", "POST", "/v1/auth/tokens", IssueToken, TokenView, "keys:write", "A bearer token for a person or a service", errors=LIFE, keyed=False, about=AGENT, effect=Effect.RECORDED)  # fmt: skip
REVOKE_TOKEN = Endpoint("auth.revoke", "POST", "/v1/auth/tokens/revoke", RevokeToken, TokenRevocation, "keys:write", "End one bearer token and all that were narrowed from it")  # fmt: skip
WHOAMI = Endpoint("auth.whoami", "GET", "/v1/auth/whoami", Nobody, WhoAmI, "time:read", "Who the credential says I am")  # fmt: skip
CHECK_CHAIN = Endpoint("delegations.validate", "POST", "/v1/delegations/validate", CheckChain, ValidatedChain, READ, "Validate a delegation chain", errors=("PL-129", "PL-116"), keyed=False)  # fmt: skip
REVOKE_LINK = Endpoint("delegations.revoke", "POST", "/v1/delegations/revoke", RevokeLink, Revocation, WRITE, "Revoke the last link of a chain", errors=("PL-129", "PL-116"))  # fmt: skip
CHECK_SIGNATURE = Endpoint("agents.validate_signature", "POST", "/v1/agents/{agent}/signatures/validate", CheckSignature, Identity, READ, "Check an agent's signature", errors=(*LIFE, "PL-210"), keyed=False, about=AGENT)  # fmt: skip

ENDPOINTS = (REGISTER, LIST, GET, ROTATE, SUSPEND, RESUME, REVOKE, JWK, BIND, BOUND, UNBIND, PREKEYS, PUBLISH_BUNDLE, GET_KEY_BUNDLE, CERTIFICATE, CHALLENGE, TOKEN, ISSUE, REVOKE_TOKEN, WHOAMI, CHECK_CHAIN, REVOKE_LINK, CHECK_SIGNATURE)  # fmt: skip


@concerns(CHECK_CHAIN, REVOKE_LINK)
async def chain_subject(parts: Parts, call: Call, ask: CheckChain | RevokeLink) -> str | None:
    """The agent that the chain lets act."""
    try:
        return DelegationChain.from_bytes(ask.chain).current().nhi
    except EnablementError:
        return None  # the handler says what is wrong with it


@handles(REGISTER)
async def register(parts: Parts, call: Call, ask: RegisterAgent) -> Identity:
    key = VerifyKey.from_bytes(ask.verify_key)
    return await parts.nhi.register(
        call.tenant, ask.kind, key, ask.name, ask.owner, proof=ask.proof, actor=call.known.agent
    )


@handles(LIST)
async def list_agents(parts: Parts, call: Call, ask: ListAgents) -> IdentityPage:
    return await parts.nhi.list(
        call.tenant, kind=ask.kind, state=ask.state, owner=ask.owner, limit=ask.limit, cursor=ask.cursor
    )


@handles(GET)
async def get_agent(parts: Parts, call: Call, ask: GetAgent) -> Identity:
    return await parts.nhi.get(call.tenant, ask.agent)


@handles(ROTATE)
async def rotate(parts: Parts, call: Call, ask: RotateAgent) -> Identity:
    return await parts.nhi.rotate(
        call.tenant,
        ask.agent,
        VerifyKey.from_bytes(ask.verify_key),
        old_proof=ask.old_proof,
        new_proof=ask.new_proof,
        overlap_s=ask.overlap_s,
        actor=call.known.agent,
    )


@handles(SUSPEND)
async def suspend(parts: Parts, call: Call, ask: ChangeAgent) -> Revocation:
    return await parts.nhi.suspend(call.tenant, ask.agent, reason=ask.reason, actor=call.known.agent)


@handles(RESUME)
async def resume(parts: Parts, call: Call, ask: ChangeAgent) -> Identity:
    return await parts.nhi.resume(call.tenant, ask.agent, reason=ask.reason, actor=call.known.agent)


@handles(REVOKE)
async def revoke(parts: Parts, call: Call, ask: ChangeAgent) -> Revocation:
    return await parts.nhi.revoke(call.tenant, ask.agent, reason=ask.reason, actor=call.known.agent)


@handles(JWK)
async def jwk(parts: Parts, call: Call, ask: GetAgent) -> JwkSet:
    identity = await parts.nhi.get(call.tenant, ask.agent)
    keys = (msgspec.to_builtins(key) for key in parts.nhi.to_jwk(identity))
    return JwkSet(keys=tuple({k: v for k, v in key.items() if v is not None} for key in keys))


@handles(BIND)
async def bind(parts: Parts, call: Call, ask: BindAgent) -> BoundAgent:
    bound = await parts.nhi.bind_identity(ask.sandbox_id, ask.agent, tenant=call.tenant, actor=call.known.agent)
    return BoundAgent(sandbox_id=bound.sandbox, agent=bound.agent, bound_at=bound.bound_at)


@handles(BOUND)
async def bound_identity(parts: Parts, call: Call, ask: GetBinding) -> BoundAgent:
    bound = await parts.nhi.bound_identity(ask.sandbox_id, tenant=call.tenant)
    if bound is None:
        raise NotFound("PL-404", f"{ask.sandbox_id} runs no agent")
    return BoundAgent(sandbox_id=bound.sandbox, agent=bound.agent, bound_at=bound.bound_at)


@handles(UNBIND)
async def unbind(parts: Parts, call: Call, ask: Unbind) -> Nothing:
    if not await parts.nhi.unbind_identity(ask.sandbox_id, ask.agent, tenant=call.tenant, actor=call.known.agent):
        raise NotFound("PL-404", f"{ask.sandbox_id} does not run {ask.agent}")
    return Nothing()


@handles(PREKEYS)
async def prekey_counts(parts: Parts, call: Call, ask: GetAgent) -> BundleCounts:
    counts = await parts.nhi.prekey_counts(call.tenant, ask.agent)
    return BundleCounts(one_time_dh=counts.one_time_dh, one_time_kem=counts.one_time_kem)


@handles(PUBLISH_BUNDLE)
async def publish_bundle(parts: Parts, call: Call, ask: PublishBundle) -> BundleCounts:
    upload = decode_upload(ask.upload)
    counts = await parts.nhi.publish_bundle(call.tenant, ask.agent, upload, actor=call.known.agent)
    return BundleCounts(one_time_dh=counts.one_time_dh, one_time_kem=counts.one_time_kem)


@handles(GET_KEY_BUNDLE)
async def get_key_bundle(parts: Parts, call: Call, ask: GetAgent) -> BundleView:
    bundle = await parts.nhi.get_key_bundle(call.tenant, ask.agent, requester=call.known.agent)
    return BundleView(bundle=wire.encode(bundle))


@handles(CERTIFICATE)
async def certificate(parts: Parts, call: Call, ask: RequestCertificate) -> CertificateView:
    issued = await parts.nhi.issue_certificate(
        call.tenant,
        ask.agent,
        ask.request_der,
        proof=ask.proof,
        hosts=ask.hosts,
        ttl_s=ask.ttl_s,
        actor=call.known.agent,
    )
    return CertificateView(
        certificate_pem=issued.certificate_pem,
        authority_pem=issued.authority_pem,
        uris=issued.uris,
        not_after=issued.not_after,
    )


@handles(CHALLENGE)
async def challenge(parts: Parts, call: Call, ask: AskChallenge) -> Challenge:
    return await parts.nhi.challenge(tenant_of(parts.config, ask.tenant), ask.agent)


@handles(TOKEN)
async def token(parts: Parts, call: Call, ask: ExchangeChallenge) -> TokenView:
    issued = await parts.nhi.exchange(ask.challenge, ask.signature, scopes=ask.scopes, ttl_s=ask.ttl_s)
    return token_view(issued.token, issued.caller.agent, issued.caller.scopes, issued.caller.expires_at)


@handles(ISSUE)
async def issue(parts: Parts, call: Call, ask: IssueToken) -> TokenView:
    """A token never covers more than the token of whoever asks for it."""
    mine = call.known.scopes
    beyond = scope.uncovered(mine, ask.scopes)
    if beyond is not None:
        raise Unauthorized("PL-109", field="scopes", got=beyond, expected=", ".join(mine))
    if (await parts.nhi.get(call.tenant, ask.agent)).kind is PrincipalKind.AGENT:
        raise InvalidInput.of("agent", got=ask.agent, expected="a person or a service; an agent signs a challenge")
    issued = await parts.nhi.issue_token(
        call.tenant, ask.agent, scopes=ask.scopes, ttl_s=ask.ttl_s, actor=call.known.agent
    )
    return token_view(issued.token, issued.caller.agent, issued.caller.scopes, issued.caller.expires_at)


@handles(REVOKE_TOKEN)
async def revoke_token(parts: Parts, call: Call, ask: RevokeToken) -> TokenRevocation:
    return await parts.nhi.revoke_token(call.tenant, ask.token_id, reason=ask.reason, actor=call.known.agent)


def token_view(token: str, agent: AgentId, scopes: tuple[str, ...], expires_at: ConsensusTimestamp) -> TokenView:
    return TokenView(token=token, agent=agent, scopes=scopes, expires_at=expires_at)


@handles(WHOAMI)
async def whoami(parts: Parts, call: Call, ask: Nobody) -> WhoAmI:
    me = call.known
    return WhoAmI(tenant=me.tenant, agent=me.agent, kind=me.kind, scopes=me.scopes, expires_at=me.expires_at)


@handles(CHECK_CHAIN)
async def check_chain(parts: Parts, call: Call, ask: CheckChain) -> ValidatedChain:
    chain = DelegationChain.from_bytes(ask.chain)
    return parts.nhi.validate(chain, tenant=call.tenant, agent=ask.agent, action=ask.action, resource=ask.resource)


@handles(REVOKE_LINK)
async def revoke_link(parts: Parts, call: Call, ask: RevokeLink) -> Revocation:
    """The last link alone counts: it may be withdrawn before it holds, and whatever has become of those above."""
    chain = DelegationChain.from_bytes(ask.chain)
    narrowing.check_shape(chain)
    return await parts.nhi.revoke_link(chain.links[-1], tenant=call.tenant, reason=ask.reason, actor=call.known.agent)


@handles(CHECK_SIGNATURE)
async def check_signature(parts: Parts, call: Call, ask: CheckSignature) -> Identity:
    return parts.nhi.validate_signature(ask.agent, ask.message, ask.signature, ask.context, tenant=call.tenant)
