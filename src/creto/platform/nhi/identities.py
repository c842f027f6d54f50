"""Principals: register, look up, list, rotate, suspend, resume, revoke; and which sandbox runs which agent."""

from __future__ import annotations

from collections.abc import Callable

from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId, AgentIdentity, SandboxId, TenantId, checked_name, checked_tenant
from creto.common.limits import (
    PAGE_ITEMS_DEFAULT,
    ROTATION_OVERLAP_S_DEFAULT,
    ROTATION_OVERLAP_S_MAX,
    ROTATIONS_MAX,
)
from creto.common.paging import checked_limit, cut, place_of
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.crypto import SignatureSuite, VerifyKey
from creto.platform.nhi import lifecycle, statements
from creto.platform.nhi import store as sql
from creto.platform.nhi.core import Core
from creto.platform.nhi.registry import Change, RevokedListener, announce
from creto.platform.nhi.types import (
    Binding,
    Identity,
    IdentityPage,
    IdentityState,
    PrincipalKind,
    Revocation,
    Standing,
)
from creto.store.types import Tx

Step = Callable[[Identity, ConsensusTimestamp, str | None], Identity]


class Identities(Core):
    async def register(
        self,
        tenant: TenantId,
        kind: PrincipalKind,
        verify_key: VerifyKey,
        name: str,
        owner: AgentId | None = None,
        *,
        proof: bytes,
        actor: AgentId | None = None,
    ) -> Identity:
        """A new principal. `proof` is `registration_proof(...)`: without the private key nobody takes a name."""
        tenant, name, now = checked_tenant(tenant), checked_name(name, "name"), self._clock.now()
        nhi = statements.nhi_of(checked_suite(verify_key))
        message = statements.registration_bytes(tenant, kind, name, owner, verify_key)
        verify_key.verify(message, proof, statements.REGISTRATION_CONTEXT)
        identity = Identity(
            tenant=tenant,
            nhi=nhi,
            kind=kind,
            name=name,
            public_key_ml_dsa=verify_key.ml_dsa,
            owner=owner,
            origin=nhi,
            registered_at=now,
            changed_at=now,
        )

        def add(tx: Tx) -> None:
            if owner is not None:
                lifecycle.check_in_force(sql.get(tx, tenant, owner), now)
            sql.insert(tx, identity)
            fields: dict[str, object] = {"kind": kind, "name": name, "owner": owner}
            self._record(
                tx, tenant, "registered", "IdentityRegistered", actor=actor or owner or nhi, subject=nhi, now=now,
                fields=fields,
            )  # fmt: skip

        await self._store.write(add)
        return identity

    async def get(self, tenant: TenantId, agent: AgentId) -> Identity:
        """The identity, whatever its state; PL-102 if the tenant has none."""
        return await self._store.read(lambda tx: sql.get(tx, checked_tenant(tenant), agent))

    async def list(
        self,
        tenant: TenantId,
        *,
        kind: PrincipalKind | None = None,
        state: IdentityState | None = None,
        owner: AgentId | None = None,
        limit: int = PAGE_ITEMS_DEFAULT,
        cursor: str | None = None,
    ) -> IdentityPage:
        """A page in order of registration. What is registered meanwhile comes on a later page."""
        tenant, limit = checked_tenant(tenant), checked_limit(limit)
        after = place_of(cursor, tuple[int, str], (-1, ""))
        found = await self._store.read(lambda tx: sql.page(tx, tenant, after, limit + 1, kind, state, owner))
        return IdentityPage(*cut(found, limit, lambda last: (last.registered_at, last.nhi)))

    async def rotate(
        self,
        tenant: TenantId,
        agent: AgentId,
        new_key: VerifyKey,
        *,
        old_proof: bytes,
        new_proof: bytes,
        overlap_s: int = ROTATION_OVERLAP_S_DEFAULT,
        actor: AgentId | None = None,
    ) -> Identity:
        """The successor, under a new key. The old key stays good for `overlap_s` more, and for what it signed before that for ever.

        The proofs are `rotation_proofs(...)`. After a theft do not rotate: revoke.
        """
        tenant, now = checked_tenant(tenant), self._clock.now()
        if not 0 <= overlap_s <= ROTATION_OVERLAP_S_MAX:
            raise InvalidInput.of("overlap_s", got=overlap_s, expected=f"0 to {ROTATION_OVERLAP_S_MAX}")
        nhi = statements.nhi_of(checked_suite(new_key))
        message = statements.rotation_bytes(tenant, agent, new_key)
        old_key = self._in_force(tenant, agent, now).verify_key
        old_key.verify(message, old_proof, statements.ROTATION_CONTEXT)
        new_key.verify(message, new_proof, statements.ROTATION_CONTEXT)

        def succeed(tx: Tx) -> Identity:
            old = sql.get(tx, tenant, agent, lock=True)
            lifecycle.expect(
                old,
                sql.line_length(tx, tenant, old.origin) < ROTATIONS_MAX,
                "rotated",
                f"at most {ROTATIONS_MAX} keys in a line",
            )
            ended, successor = lifecycle.rotated(old, nhi, new_key.ml_dsa, now, overlap_s * SECOND)
            sql.insert(tx, successor)
            sql.update(tx, ended)
            fields: dict[str, object] = {"successor": nhi, "retires_at": ended.retires_at}
            self._record(
                tx, tenant, "rotated", "IdentityRotated", actor=actor or agent, subject=agent, now=now, fields=fields
            )
            announce(tx, Change(tenant, (agent,), lost=True))
            return successor

        return await self._store.write(succeed)

    async def suspend(
        self, tenant: TenantId, agent: AgentId, *, reason: str | None = None, actor: AgentId | None = None
    ) -> Revocation:
        """Until `resume`. Its tokens, certificates and chains, and the chains beneath it, are refused when this returns."""
        changed = await self._step(tenant, agent, "suspended", "IdentitySuspended", lifecycle.suspended, reason, actor)
        return Revocation((changed,), everywhere=await self._store.settled())

    async def resume(
        self, tenant: TenantId, agent: AgentId, *, reason: str | None = None, actor: AgentId | None = None
    ) -> Identity:
        return await self._step(tenant, agent, "resumed", "IdentityResumed", lifecycle.resumed, reason, actor)

    async def revoke(
        self,
        tenant: TenantId,
        agent: AgentId,
        *,
        reason: str | None = None,
        actor: AgentId | None = None,
        whole_line: bool = True,
    ) -> Revocation:
        """For ever, and with it every key it was rotated from or to (unless `whole_line` is False), and every chain through any of them.

        In this process it holds for all threads when this returns. Asking again changes nothing.
        """
        tenant, now = checked_tenant(tenant), self._clock.now()
        why = None if reason is None else checked_name(reason, "reason")

        def end(tx: Tx) -> tuple[Identity, ...]:
            asked = sql.get(tx, tenant, agent, lock=True)
            found = sql.line(tx, tenant, asked.origin) if whole_line else [asked]
            ended = [lifecycle.revoked(i, now, why) for i in found if i.state is not IdentityState.REVOKED]
            for identity in ended:
                sql.update(tx, identity)
                self._record(
                    tx, tenant, "revoked", "IdentityRevoked", actor=actor or agent, subject=identity.nhi, now=now,
                    fields={"reason": why},
                )  # fmt: skip
            if ended:
                self._protected(tx, tenant, asked.origin)
            for start in range(0, len(ended), 32):  # a signal holds about 50 names
                announce(tx, Change(tenant, tuple(i.nhi for i in ended[start : start + 32]), lost=True))
            return tuple(ended) or (asked,)

        ended = await self._store.write(end)
        return Revocation(ended, everywhere=await self._store.settled())

    async def _step(
        self, tenant: TenantId, agent: AgentId, act: str, event: str, step: Step, reason: str | None,
        actor: AgentId | None,
    ) -> Identity:  # fmt: skip
        tenant, now = checked_tenant(tenant), self._clock.now()
        why = None if reason is None else checked_name(reason, "reason")

        def change(tx: Tx) -> Identity:
            changed = step(sql.get(tx, tenant, agent, lock=True), now, why)
            sql.update(tx, changed)
            if changed.state is not IdentityState.ACTIVE:
                self._protected(tx, tenant, changed.origin)
            self._record(tx, tenant, act, event, actor=actor or agent, subject=agent, now=now, fields={"reason": why})
            announce(tx, Change(tenant, (agent,), lost=changed.state is not IdentityState.ACTIVE))
            return changed

        return await self._store.write(change)

    def on_revoked(self, listener: RevokedListener) -> None:
        """Call `listener(tenant, agent)`, before the revocation returns, for every agent that may do less than before.

        That is the agent itself and all agents whose chains through it this process has accepted. It runs on a thread of the store:
        it drops what it must and returns.
        """
        self._registry.on_revoked(listener)

    def is_registered(self, agent: AgentIdentity | AgentId, *, tenant: TenantId) -> bool:
        """Whether the tenant knows it, whatever its state; an identity with another ML-DSA key than ours is not it."""
        try:
            found = self.get_now(tenant, AgentId(str(agent)))
        except EnablementError as error:
            if error.code in ("PL-101", "PL-102"):
                return False
            raise
        claimed = agent.public_key_ml_dsa if isinstance(agent, AgentIdentity) else None
        return claimed is None or claimed == found.public_key_ml_dsa

    def is_revoked(self, agent: AgentIdentity | AgentId, *, tenant: TenantId) -> bool:
        return self.get_now(tenant, AgentId(str(agent))).state is IdentityState.REVOKED

    def standing(
        self, agent: AgentIdentity | AgentId, *, tenant: TenantId, now: ConsensusTimestamp | None = None
    ) -> Standing:
        """What it may do now: in force, suspended, revoked or retired."""
        return lifecycle.standing(self.get_now(tenant, AgentId(str(agent))), self._clock.now() if now is None else now)

    async def bind_identity(
        self, sandbox: SandboxId, agent: AgentId, *, tenant: TenantId, actor: AgentId | None = None
    ) -> Binding:
        """This sandbox runs this agent, and no other until it is unbound (PL-409)."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        checked_name(sandbox, "sandbox_id")
        self._in_force(tenant, agent, now)

        def bind(tx: Tx) -> Binding:
            lifecycle.check_in_force(sql.get(tx, tenant, agent), now)
            if sql.bind(tx, Binding(tenant, sandbox, agent, now)):
                self._record(
                    tx, tenant, "bound", "IdentityBound", actor=actor or agent, subject=agent, now=now,
                    fields={"sandbox_id": sandbox},
                )  # fmt: skip
            return sql.binding(tx, tenant, sandbox) or Binding(tenant, sandbox, agent, now)

        return await self._store.write(bind)

    async def unbind_identity(
        self, sandbox: SandboxId, agent: AgentId, *, tenant: TenantId, actor: AgentId | None = None
    ) -> bool:
        """This sandbox runs this agent no more; whether it did."""
        tenant, now = checked_tenant(tenant), self._clock.now()

        def unbind(tx: Tx) -> bool:
            if not sql.unbind(tx, tenant, sandbox, agent):
                return False
            self._record(
                tx, tenant, "unbound", "IdentityUnbound", actor=actor or agent, subject=agent, now=now,
                fields={"sandbox_id": sandbox},
            )  # fmt: skip
            return True

        return await self._store.write(unbind)

    async def bound_identity(self, sandbox: SandboxId, *, tenant: TenantId) -> Binding | None:
        return await self._store.read(lambda tx: sql.binding(tx, checked_tenant(tenant), sandbox))


def checked_suite(key: VerifyKey) -> VerifyKey:
    """An identity has both halves: who could sign with one alone would be the weakest link of every chain."""
    if key.suite is not SignatureSuite.HYBRID:
        raise InvalidInput.of("verify_key", got=key.suite.name, expected=SignatureSuite.HYBRID.name, code="PL-216")
    return key
