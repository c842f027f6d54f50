"""Override tokens: a human's yes to one act, used once.

`issue_override` signs one for an approved request. Who acts presents it:

    token = await authz.consume_durable(text, tenant=…, agent=…, action=…, resource=…, args_digest=…, policy_id=…)      # one write, then act
or  admitted = await authz.admit(text, tenant=…)                                                           # one write ahead of time
    authz.consume(admitted.token_id, agent, action, resource, args_digest, policy_id, tenant=…)            # one look into memory when acting

INVARIANT: the mark that a token is used is on disk before anybody may act on it, and its key is unique: so exactly once over all threads and
processes. A process that dies between mark and act has used the token up: it fails closed.
INVARIANT: a token binds tenant, agent, action, resource, arguments, oversight policy, version of the Cedar policies and time; a try with any
other does not use it up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from sys import intern

from creto.common.errors import InternalError, InvalidInput, Unauthorized
from creto.common.ids import AgentId, PolicyId, TenantId, checked_name, checked_tenant
from creto.common.limits import (
    ARGS_DIGEST_BYTES_MAX,
    AUTHZ_RESOURCE_CHARS_MAX,
    OVERRIDE_TTL_S_MAX,
    OVERRIDES_ADMITTED_MAX,
    OVERSIGHT_JOINT_CHARS_MAX,
)
from creto.common.timestamps import DAY, SECOND, Clock, ConsensusTimestamp
from creto.platform.crypto import SigningKey, VerifyKey, random_bytes
from creto.platform.crypto.jose import b64url_encode
from creto.platform.nhi import Nhi, Standing, lifecycle
from creto.security.authz import store as sql
from creto.security.authz import tokens
from creto.security.authz.core import Core
from creto.security.authz.directory import find_identity
from creto.security.authz.hits import Ticks
from creto.security.authz.types import JOINT, IssuedOverride, OverrideDraft, OverrideStanding, OverrideToken, QuotaHook
from creto.store.types import ReadTx, Store, Tx

KEPT_NS = DAY  # used tokens are remembered this long after they have expired
TOKEN_ID_BYTES = 24  # 192 bits: nobody guesses one
Begins = Callable[
    [ReadTx, OverrideToken, Sequence[AgentId]], None
]  # raises if the humans behind a token do not stand behind it any more
Binding = tuple[str, str, str, str, bytes, str]  # tenant, agent, action, resource, arguments' digest, oversight policy


class Overrides(Core):
    def __init__(
        self, store: Store, clock: Clock, nhi: Nhi, signer: SigningKey | None, quota: QuotaHook | None, ticks: Ticks
    ) -> None:
        self._admitted: dict[str, tuple[Binding, int]] = {}  # by token id; until when, in ticks
        self._admitting = threading.Lock()
        self._losses = 0
        self._begins: Begins | None = None
        super().__init__(store, clock, nhi, signer, quota, ticks)
        self.former: tuple[VerifyKey, ...] = ()
        nhi.on_revoked(self._disown)

    @property
    def _key(self) -> SigningKey:
        if self._signer is None:
            raise InternalError("PL-501", "override tokens need a signing key", hint="Pass `signer` to Authz.")
        return self._signer

    def use_overseer(self, begins: Begins) -> None:
        """Who is asked, in the transaction that uses a token up, whether the act may begin: the token, and the chain under which it is used."""
        self._begins = begins

    async def issue_override(
        self,
        *,
        tenant: TenantId,
        agent: AgentId,
        action: str,
        resource: str,
        args_digest: bytes,
        policy_id: PolicyId,
        ttl_s: int = OVERRIDE_TTL_S_MAX,
        request_id: str = "",
        actor: str,
    ) -> str:
        """A token for one act that was approved. `args_digest` is the digest of the arguments that the human saw."""
        draft = await self.draft_override(
            tenant=tenant, agent=agent, action=action, resource=resource, args_digest=args_digest, policy_id=policy_id,
            ttl_s=ttl_s, request_id=request_id,
        )  # fmt: skip
        await self._store.write(lambda tx: self.issue_draft(tx, draft, actor=actor))
        return draft.text

    async def draft_override(
        self,
        *,
        tenant: TenantId,
        agent: AgentId,
        action: str,
        resource: str,
        args_digest: bytes,
        policy_id: PolicyId,
        ttl_s: int = OVERRIDE_TTL_S_MAX,
        request_id: str = "",
    ) -> OverrideDraft:
        """A signed token that is worth nothing until `issue_draft` has committed: for who issues it together with a change of their own."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        if not 1 <= ttl_s <= OVERRIDE_TTL_S_MAX:
            raise InvalidInput.of("ttl_s", got=ttl_s, expected=f"1 to {OVERRIDE_TTL_S_MAX}")
        if len(args_digest) > ARGS_DIGEST_BYTES_MAX:
            raise InvalidInput.of("args_digest", got=f"{len(args_digest)} bytes", expected=f"{ARGS_DIGEST_BYTES_MAX} bytes at most")  # fmt: skip
        version = await self._store.read(lambda tx: sql.active_number(tx, tenant))
        token = OverrideToken(
            token_id=b64url_encode(random_bytes(TOKEN_ID_BYTES)),
            tenant=tenant,
            agent=AgentId(checked_name(agent, "agent")),
            action=checked_name(action, "action"),
            resource=checked_name(resource, "resource", chars_max=AUTHZ_RESOURCE_CHARS_MAX),
            args_digest=args_digest,
            policy_id=PolicyId(checked_name(policy_id, "policy_id", chars_max=OVERSIGHT_JOINT_CHARS_MAX)),
            policy_version=version,
            issued_at=now,
            expires_at=ConsensusTimestamp(now + ttl_s * SECOND),
            request_id=request_id,
        )
        return OverrideDraft(token, tokens.signed(token, self._key))

    def issue_draft(self, tx: Tx, draft: OverrideDraft, *, actor: str) -> None:
        token = draft.token
        sql.prune_overrides(tx, token.tenant, token.issued_at - KEPT_NS)
        sql.add_override(tx, token.tenant, token.token_id, token.agent, token.expires_at)
        self._record(
            tx, token.tenant, "override_issued", "OverrideIssued", actor=actor, subject=token.agent, now=token.issued_at,
            fields={"token_id": token.token_id, "action": token.action, "resource": token.resource,
                    "request_id": token.request_id, "args_digest": token.args_digest,
                    "policy_id": token.policy_id, "policy_version": token.policy_version, "expires_at": token.expires_at},
        )  # fmt: skip

    def withdraw_override(self, tx: Tx, token_id: str, *, tenant: TenantId) -> bool:
        """Take an issued token back within the caller's transaction; False if it was used or admitted: then it has had its effect, or will."""
        sql.override(tx, tenant, token_id)  # its row is held, as a use holds it
        if sql.is_used(tx, tenant, token_id):
            return False
        sql.revoke_override(tx, tenant, token_id, self._clock.now())
        return True

    def override_used(self, tx: ReadTx, token_id: str, *, tenant: TenantId) -> bool:
        return sql.is_used(tx, tenant, token_id)

    def validate_override_token(self, token: str, *, tenant: TenantId) -> OverrideToken:
        """Whether it is ours, of this tenant and in time; using it is another matter. PL-703, PL-705, PL-706."""
        opened = tokens.opened(token, self._key.public, *self.former)
        if opened.tenant != tenant:
            raise Unauthorized("PL-706", field="tenant")
        if self._clock.now() >= opened.expires_at:
            raise Unauthorized("PL-705")
        return opened

    async def issued_override(self, token: str, *, tenant: TenantId) -> IssuedOverride:
        """What a token is for, and whether it can still be used. PL-703, PL-705, PL-706."""
        opened = self.validate_override_token(token, tenant=tenant)

        def standing(tx: ReadTx) -> OverrideStanding:
            issued = sql.override(tx, tenant, opened.token_id)
            if issued is None:
                raise Unauthorized("PL-703", "the override token was never issued")
            if sql.is_used(tx, tenant, opened.token_id):
                return OverrideStanding.USED
            return OverrideStanding.OPEN if issued[2] is None else OverrideStanding.REVOKED

        return IssuedOverride(opened, await self._store.read(standing))

    async def override_agent(self, token_id: str, *, tenant: TenantId) -> AgentId | None:
        """Whom a token lets act; None if there is no such token."""
        row = await self._store.read(lambda tx: sql.override(tx, checked_tenant(tenant), token_id))
        return None if row is None else AgentId(row[0])

    async def admit(self, token: str, *, tenant: TenantId, actor: str = "") -> OverrideToken:
        """Make the token this process's own: its mark is written now, `consume` uses it. PL-703 … PL-706."""
        opened = self.validate_override_token(token, tenant=tenant)
        if len(self._admitted) >= OVERRIDES_ADMITTED_MAX:
            self._forget_expired()
        if len(self._admitted) >= OVERRIDES_ADMITTED_MAX:
            raise InternalError("PL-503", "too many override tokens wait to be consumed", retry_after_s=1.0)
        losses = self._losses
        self._check_in_force(opened)
        await self._mark(opened, actor or opened.agent)
        left_ns = max(0, opened.expires_at - self._clock.now())
        with self._admitting:
            if losses != self._losses:  # somebody was revoked or the policies changed: it is used up
                self._check_in_force(opened)
                self._check_policies(opened)
            self._admitted[opened.token_id] = bound(opened), self._ticks() + left_ns
        return opened

    def consume(
        self, token_id: str, agent: str, action: str, resource: str, args_digest: bytes, policy_id: str, *, tenant: str
    ) -> None:
        """Use an admitted token: returns once for each token, raises for every other try."""
        admitted = self._admitted
        held, act = admitted.get(token_id), (tenant, agent, action, resource, args_digest, policy_id)
        if held is None or (held[0] != act and not serves(held[0], act)):
            raise self._refusal(tenant, token_id)
        if admitted.pop(token_id, None) is not held:  # another thread was faster
            raise self._refusal(tenant, token_id)
        if self._ticks() >= held[1]:
            raise Unauthorized("PL-705")

    async def consume_durable(
        self, token: str, *, tenant: TenantId, agent: AgentId, action: str, resource: str, args_digest: bytes,
        policy_id: PolicyId, chain: Sequence[AgentId] = (),
    ) -> OverrideToken:  # fmt: skip
        """Check the token against this act and use it up, on disk, before this returns. PL-703 … PL-706, and what the overseer says."""
        opened = self.validate_override_token(token, tenant=tenant)
        binding, act = bound(opened), (tenant, agent, action, resource, args_digest, policy_id)
        if binding != act and not serves(binding, act):
            raise Unauthorized("PL-706")
        self._check_in_force(opened)
        await self._mark(opened, agent, chain)
        return opened

    async def revoke_override(self, token_id: str, *, tenant: TenantId, actor: str) -> bool:
        """Nobody can use it any more, unless it is used or admitted already; whether it was open."""
        tenant, now = checked_tenant(tenant), self._clock.now()

        def revoke(tx: Tx) -> bool:
            if sql.is_used(tx, tenant, token_id) or not sql.revoke_override(tx, tenant, token_id, now):
                return False
            self._record(
                tx, tenant, "override_revoked", "OverrideRevoked", actor=actor, subject=token_id, now=now, fields={}
            )
            return True

        return await self._store.write(revoke)

    async def _mark(self, token: OverrideToken, by: str, chain: Sequence[AgentId] = ()) -> None:
        """The durable mark, in the same transaction as the checks that a token still counts."""
        tenant, now = token.tenant, self._clock.now()

        def mark(tx: Tx) -> None:
            issued = sql.override(tx, tenant, token.token_id)
            if issued is None or issued[2] is not None:
                raise Unauthorized("PL-703", "the override token was revoked" if issued else None)
            if sql.active_number(tx, tenant) != token.policy_version:
                raise policies_changed()
            if self._begins is not None and not sql.is_used(tx, tenant, token.token_id):
                self._begins(tx, token, chain)
            if not sql.mark_used(tx, tenant, token.token_id, by, now, token.expires_at):
                raise Unauthorized("PL-704")
            self._record(
                tx, tenant, "override_used", "OverrideUsed", actor=by, subject=token.agent, now=now,
                fields={"token_id": token.token_id, "action": token.action, "resource": token.resource,
                        "policy_id": token.policy_id, "request_id": token.request_id},
            )  # fmt: skip

        await self._store.write(mark)

    def _check_in_force(self, token: OverrideToken) -> None:
        identity = find_identity(self._nhi, token.tenant, token.agent)
        if identity is None or lifecycle.standing(identity, self._clock.now()) is not Standing.IN_FORCE:
            raise Unauthorized("PL-703", "the identity that the override token names is not in force")

    def _check_policies(self, token: OverrideToken) -> None:
        if self._store.read_now(lambda tx: sql.active_number(tx, token.tenant)) != token.policy_version:
            raise policies_changed()

    def _refusal(self, tenant: str, token_id: str) -> Unauthorized:
        held = self._admitted.get(token_id)
        if held is not None and held[0][0] == tenant:
            return Unauthorized("PL-706")
        known = self._store.read_now(lambda tx: sql.is_used(tx, TenantId(tenant), token_id))
        return Unauthorized("PL-704" if known else "PL-703")

    def _forget_expired(self) -> None:
        now = self._ticks()
        for token_id, (_, until) in tuple(self._admitted.items()):
            if now >= until:
                self._admitted.pop(token_id, None)

    def _disown(self, tenant: str, agent: str | None = None) -> None:
        """Admitted tokens of who was revoked, or of a tenant whose policies changed, are void."""
        with self._admitting:
            self._losses += 1
            for token_id, (binding, _) in tuple(self._admitted.items()):
                if binding[0] == tenant and agent in (None, binding[1]):
                    self._admitted.pop(token_id, None)

    def _policies_changed(self, tenant: TenantId) -> None:
        self._disown(tenant)

    def forget_all(self) -> None:
        super().forget_all()
        with self._admitting:
            self._losses += 1
            self._admitted.clear()


def bound(token: OverrideToken) -> Binding:
    """What a token is for. Interned, names that are the same for many tokens are compared without being read."""
    return (
        intern(token.tenant), intern(token.agent), intern(token.action), intern(token.resource), token.args_digest,
        intern(token.policy_id),
    )  # fmt: skip


def serves(token: Binding, act: Binding) -> bool:
    """Whether a token that is not bound to just this act is for it: what several policies let pass together, each of them would have."""
    return token[:-1] == act[:-1] and {*act[-1].split(JOINT)} <= {*token[-1].split(JOINT)}


def policies_changed() -> Unauthorized:
    return Unauthorized("PL-706", "the policies have changed since the approval", field="policy_version")
