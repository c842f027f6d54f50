"""Authorization in one object: checks, policies, roles, entities and override tokens.

INVARIANT: when a revocation, a policy change, an unassigned role or a changed entity has returned, no thread of this process gets a decision that
rests on what was before; other nodes follow within 50 ms or keep nothing.
INVARIANT: what cannot be decided is denied: an unknown or revoked identity, a store that does not answer, policies that do not compile.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, overload

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, AgentIdentity, TenantId
from creto.common.timestamps import Clock
from creto.platform.crypto import SigningKey, VerifyKey
from creto.platform.nhi import Nhi, ValidatedChain
from creto.security.authz.checks import TenantAuthz
from creto.security.authz.entitybook import EntityBook
from creto.security.authz.hits import Ticks
from creto.security.authz.overrides import Overrides
from creto.security.authz.replays import Replays
from creto.security.authz.types import (
    UNLIMITED,
    Allow,
    AuthzRequest,
    CheckRequest,
    Decision,
    Granted,
    QuotaDecision,
    QuotaDenied,
    QuotaHook,
    RequiresOversight,
    Reservation,
)
from creto.store.types import Store


class Authz(Replays, EntityBook, Overrides):
    """May this agent do this to that? `nhi` says who is in force; `quota` is asked on every allowed check; `signer` signs override tokens,
    those of the `former` keys, of other suites, hold until they end."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        nhi: Nhi,
        *,
        signer: SigningKey | None = None,
        quota: QuotaHook | None = None,
        ticks: Ticks = time.monotonic_ns,
        former: Sequence[VerifyKey] = (),
    ) -> None:
        super().__init__(store, clock, nhi, signer, quota, ticks)
        self.former = tuple(former)

    async def start(self) -> None:
        """From here on decisions are remembered."""
        self._sweeper.start()

    def check_quota(self, agent: AgentId, event_type: str, *, tenant: TenantId) -> QuotaDecision:
        """Whether something of a quota is left; nothing is taken. Without metering everything is allowed."""
        quota = self._quota
        return quota.check_quota(tenant, agent, event_type) if quota is not None else UNLIMITED

    def reserve_approved(
        self,
        agent: AgentId,
        action: str,
        resource: str,
        *,
        tenant: TenantId,
        chain: ValidatedChain | None = None,
        amount: int = 1,
        approved: frozenset[str],
    ) -> Reservation | QuotaDenied | RequiresOversight | None:
        """Hold quota alone, for an act that was left to humans who have said yes under these policies; None where nobody keeps quotas."""
        quota = self._quota
        if quota is None:
            return None
        return quota.reserve(tenant, agent, chain, action, resource, amount, approved=approved)

    def settle(self, reservation: Reservation | None, amount: int | None = None) -> None:
        """The act that was allowed has happened."""
        if reservation is not None and self._quota is not None:
            self._quota.settle(reservation, amount)

    def release(self, reservation: Reservation | None) -> None:
        """The act that was allowed has not happened."""
        if reservation is not None and self._quota is not None:
            self._quota.release(reservation)

    def remembered(self) -> int:
        """How many decisions are kept."""
        return len(self._hits)

    def close(self) -> None:
        self._sweeper.stop()

    def tenant(self, tenant: TenantId) -> TenantAuthz:
        """The checks of one tenant: the shortest way for who checks often."""
        return self._views.get(tenant) or self._open(tenant)

    @overload
    def check(self, agent: CheckRequest | AuthzRequest, *, tenant: TenantId) -> Decision: ...

    @overload
    def check(
        self,
        agent: AgentId,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        *,
        tenant: TenantId,
    ) -> Decision: ...

    def check(
        self,
        agent: AgentId | CheckRequest | AuthzRequest,
        action: str | None = None,
        resource: str = "",
        context: Mapping[str, Any] | None = None,
        *,
        tenant: TenantId,
    ) -> Decision:
        """Allow, Deny, RequiresOversight or QuotaDenied. Context are attributes of this one request, in Cedar's JSON.

        A question: what it would take of a quota is given back. Who goes on to act asks `tenant(t).check` and settles.
        """
        shelf = self._shelves.get(tenant)
        if shelf is not None:  # a hit without a further call
            try:
                return shelf.table[agent][action][resource]  # type: ignore[index]
            except (KeyError, TypeError):
                pass
        if action is None:
            return self._check_request(agent, tenant)
        decision = (self._views.get(tenant) or self._open(tenant)).check(agent, action, resource, context)  # type: ignore[arg-type]  # a miss looks at what it is given
        return decision if type(decision) is not Granted else self._given_back(decision)

    def _given_back(self, granted: Granted) -> Allow:
        self.release(granted.reservation)
        return Allow(granted.policies)

    def _check_request(self, request: object, tenant: TenantId) -> Decision:
        """A request as one value, as the client writes it."""
        if not isinstance(request, CheckRequest | AuthzRequest):
            raise InvalidInput.of("agent", got=request, expected="an agent, an action and a resource, or one request")
        agent = request.agent.nhi if isinstance(request.agent, AgentIdentity) else request.agent
        return self.check(agent, request.action, request.resource, request.context or None, tenant=tenant)


AuthzClient = Authz  # the client's name
