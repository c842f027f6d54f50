"""Delegation chains and signatures, as services ask about them."""

from __future__ import annotations

from msgspec.structs import replace

from creto.common.envelope import Verifier
from creto.common.errors import EnablementError, Unauthorized
from creto.common.ids import AgentId, AgentIdentity, TenantId, checked_tenant
from creto.common.limits import CHAIN_LINKS_MAX, INTEGER_MAX
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.platform.crypto import VerifyKey
from creto.platform.nhi import lifecycle, narrowing
from creto.platform.nhi import store as sql
from creto.platform.nhi.chain import DelegationChain, DelegationLink
from creto.platform.nhi.core import Core
from creto.platform.nhi.grant import delegate
from creto.platform.nhi.registry import Change, announce
from creto.platform.nhi.secrets import Secrets
from creto.platform.nhi.types import Identity, IdentityState, Revocation
from creto.platform.nhi.validation import ChainValidator, ValidatedChain
from creto.store.types import Store, Tx


class Delegations(Core):
    def __init__(self, store: Store, clock: Clock, secrets: Secrets | None) -> None:
        super().__init__(store, clock, secrets)
        self._validator = ChainValidator(self._registry)

    delegate = staticmethod(delegate)

    def validate(
        self,
        chain: DelegationChain,
        *,
        tenant: TenantId,
        agent: AgentId | None = None,
        now: ConsensusTimestamp | None = None,
        action: str | None = None,
        resource: str | None = None,
    ) -> ValidatedChain:
        """What the chain grants to `agent`, its last; or the error of the first rule it breaks, PL-110 to PL-129, PL-133 to PL-135.

        With `action` and `resource` also whether the grant covers them.
        """
        now = self._clock.now() if now is None else now
        valid = self._validator.validate(chain, checked_tenant(tenant), agent, now)
        valid.check(now=now, action=action, resource=resource)
        return valid

    def rooted(self, agent: AgentId, *, tenant: TenantId, now: ConsensusTimestamp | None = None) -> ValidatedChain:
        """The grant of a human or a service that acts on its own account: everything, while it is in force. PL-110 for an agent."""
        now = self._clock.now() if now is None else now
        identity = self._in_force(tenant, agent, now).identity
        if not identity.kind.is_root:
            raise Unauthorized("PL-110", field="chain", got=f"{agent}, an agent", expected="a delegation chain")
        return ValidatedChain(
            tenant=identity.tenant,
            agents=(agent,),
            links=(),
            root_kind=identity.kind,
            actions=("*",),
            resources=("*",),
            budgets=(),
            depth_left=CHAIN_LINKS_MAX,
            not_before=identity.registered_at,
            not_after=identity.retires_at or ConsensusTimestamp(INTEGER_MAX),
            validated_at=now,
        )

    def recheck(
        self,
        valid: ValidatedChain,
        *,
        now: ConsensusTimestamp | None = None,
        action: str | None = None,
        resource: str | None = None,
    ) -> None:
        """At the moment of use: still in its window, nobody on it revoked or suspended since, and the operation covered."""
        self._validator.recheck(valid, self._clock.now() if now is None else now, action, resource)

    def verify_delegation_chain(
        self, agent: AgentIdentity | AgentId, chain: DelegationChain, *, tenant: TenantId
    ) -> ValidatedChain:
        """The client's name for `validate`."""
        return self.validate(chain, tenant=tenant, agent=AgentId(str(agent)))

    def validate_delegation_chain(self, chain: DelegationChain, *, tenant: TenantId) -> ValidatedChain:
        """The client's name for `validate`, whichever agent it ends at."""
        return self.validate(chain, tenant=tenant)

    def verify_delegation(self, link: DelegationLink, *, tenant: TenantId) -> None:
        """Whether this parent signed this link (PL-116) and it was not revoked; whether it may, only a chain can say."""
        narrowing.check_link(link)
        if link.tenant != checked_tenant(tenant):
            raise narrowing.refusal("PL-115", link.tenant, tenant)
        self._validator.verify_link(link, self._registry.get(tenant, link.parent))
        if self._registry.revoked_link(tenant, (link.hash,)) is not None:
            raise narrowing.refusal("PL-124", f"link {link.hash.hex()}", "a link that is not revoked")

    async def revoke_link(
        self, link: DelegationLink, *, tenant: TenantId, reason: str | None = None, actor: AgentId | None = None
    ) -> Revocation:
        """Withdraw one grant, and everything handed on beneath it. The identities stay in force. Asking again changes nothing."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        try:
            self.verify_delegation(link, tenant=tenant)
        except EnablementError as error:
            if error.code != "PL-124":
                raise

        def withdraw(tx: Tx) -> None:
            if sql.revoke_link(tx, tenant, link.hash, link.parent, link.child, now):
                self._record(
                    tx, tenant, "link_revoked", "DelegationRevoked", actor=actor or link.parent, subject=link.child,
                    now=now, fields={"link": link.hash.hex(), "parent": link.parent, "reason": reason},
                )  # fmt: skip
            announce(tx, Change(tenant, links=(link.hash,), lost=True))

        await self._store.write(withdraw)
        return Revocation((), (link.hash,), everywhere=await self._store.settled())

    def verify_key(self, agent: AgentId, *, tenant: TenantId) -> VerifyKey:
        """The key of an identity in whatever state: the past stays verifiable."""
        return self._registry.get(checked_tenant(tenant), agent).verify_key

    def validate_signature(
        self,
        agent: AgentIdentity | AgentId,
        message: bytes,
        signature: bytes,
        context: bytes,
        *,
        tenant: TenantId,
        at: ConsensusTimestamp | None = None,
    ) -> Identity:
        """The signer, if it signed the message for this context (PL-210) and was in force `at` that time, or is now.

        `at` must come from us (a ledger's timestamp), never from whoever sent the message.
        """
        found = self._registry.get(checked_tenant(tenant), AgentId(str(agent)))
        found.verify_key.verify(message, signature, context)
        if at is None:
            lifecycle.check_in_force(found.identity, self._clock.now())
        else:
            check_in_force_at(found.identity, self._state_at(found.identity, at), at)
        return found.identity

    def _state_at(self, identity: Identity, at: ConsensusTimestamp) -> IdentityState | None:
        """An identity that never changed needs no look into its past."""
        if identity.version == 1 and at >= identity.registered_at:
            return identity.state
        return self._store.read_now(lambda tx: sql.state_at(tx, identity.tenant, identity.nhi, at))

    def verifier(self, tenant: TenantId) -> Verifier:
        """For event envelopes of one tenant."""
        return TenantVerifier(self, checked_tenant(tenant))


class TenantVerifier:
    def __init__(self, nhi: Delegations, tenant: TenantId) -> None:
        self._nhi = nhi
        self._tenant = tenant

    def verify(self, agent: AgentId, message: bytes, signature: bytes, context: bytes) -> None:
        self._nhi.validate_signature(agent, message, signature, context, tenant=self._tenant)


def check_in_force_at(identity: Identity, state: IdentityState | None, at: int) -> None:
    """In the past: registered by then, and neither revoked, suspended nor retired. `state` is what it was in; what nobody knows is refused."""
    if at < identity.registered_at:
        raise Unauthorized("PL-103", "the identity was not registered yet", got=at, expected=identity.registered_at)
    if state is None:
        raise Unauthorized("PL-103", "nobody kept what the identity was then", got=at, expected=identity.changed_at)
    lifecycle.check_in_force(replace(identity, state=state), at)
