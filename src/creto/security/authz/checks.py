"""The check: a hit from memory, a miss evaluated.

INVARIANT: only decisions that no context attribute could change are kept: no policy whose scope fits the request reads `context`.
INVARIANT: quota is reserved on every check that would be allowed, hit or miss; who checks settles it or releases it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.common.limits import AUTHZ_RESOURCE_CHARS_MAX, AUTHZ_TTL_S, ID_CHARS_MAX
from creto.common.metrics import Tally
from creto.common.timestamps import SECOND
from creto.platform.nhi import Standing, ValidatedChain, lifecycle
from creto.security.authz import names
from creto.security.authz.cedar.entities import context_from_json
from creto.security.authz.cedar.expressions import Request
from creto.security.authz.cedar.policies import Answer
from creto.security.authz.cedar.values import Uid
from creto.security.authz.directory import View, find_identity
from creto.security.authz.hits import Shelf
from creto.security.authz.lattice import decided
from creto.security.authz.types import Allow, Decision, Deny, Granted, RequiresOversight, Reservation

if TYPE_CHECKING:
    from creto.security.authz.core import Core, Holding

TTL_NS = int(AUTHZ_TTL_S * SECOND)
UNKNOWN = Deny("the identity is not registered")


class TenantAuthz:
    """The checks of one tenant: `check = authz.tenant(t).check` is the shortest way for who checks often, and may be held for good.

    It asks for the agent each time: a handle bound to one agent would have to be told when the agent's dict is dropped, and gains nothing
    that can be measured.
    """

    __slots__ = ("_core", "_shelf", "tenant")

    def __init__(self, core: Core, tenant: TenantId, shelf: Shelf) -> None:
        self._core = core
        self._shelf = shelf
        self.tenant = tenant

    def check(
        self,
        agent: AgentId,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        chain: ValidatedChain | None = None,
        amount: int = 1,
        missed: Tally | None = None,
    ) -> Decision:
        try:
            return self._shelf.table[agent][action][resource]
        except (KeyError, TypeError):
            if missed is not None:  # whoever counts their own hits
                missed.add()
            decision = self._miss(agent, action, resource, context)
            return self._metered(decision, agent, action, resource, chain, amount)

    def said(self, agent: AgentId, action: str, resource: str) -> Decision:
        """What the policies say, whatever quota is left: for what an agent may be, rather than do."""
        try:
            return self._shelf.table[agent][action][resource]
        except (KeyError, TypeError):
            return self._miss(agent, action, resource, None)

    def _metered(
        self, decision: Decision, agent: AgentId, action: str, resource: str, chain: ValidatedChain | None, amount: int
    ) -> Decision:
        """With quota held for what is allowed, if there is who keeps it. Where policies ask a human, those of quotas that ask too are named."""
        quota = self._core._quota
        if quota is not None and isinstance(decision, RequiresOversight):
            further = quota.asks(self.tenant, agent, chain, action, amount)
            return decision if further is None else decision.joined(further)
        if quota is None or type(decision) is not Allow:
            return decision
        held = quota.reserve(self.tenant, agent, chain, action, resource, amount)
        return Granted(decision.policies, held) if isinstance(held, Reservation) else held

    def _miss(self, agent: AgentId, action: str, resource: str, context: Mapping[str, Any] | None) -> Decision:
        check_names(agent, action, resource)
        core, tenant = self._core, self.tenant
        core._missed.add()
        epoch = core._hits.epoch
        identity = find_identity(core._nhi, tenant, agent)
        if identity is None:
            return UNKNOWN
        now = core._clock.now()
        standing = lifecycle.standing(identity, now)
        if standing is not Standing.IN_FORCE:
            return Deny(f"the identity is {standing}")
        holding = core.holding(tenant)
        view = View(core.facts(tenant), core._nhi, tenant, holding.actions)
        answer = evaluated(holding, view, view.principal(identity), action, resource, context)
        decision = decided(answer)
        lasting = identity.retires_at is None or identity.retires_at > now + TTL_NS
        if lasting and not answer.reads_context and not view.unregistered and core._store.signals_alive:
            core._hits.keep(self._shelf, agent, action, resource, decision, epoch, view.others)
        return decision


class QuotaTenantAuthz(TenantAuthz):
    """The same, with quota held for hits too."""

    __slots__ = ()

    def check(
        self,
        agent: AgentId,
        action: str,
        resource: str,
        context: Mapping[str, Any] | None = None,
        chain: ValidatedChain | None = None,
        amount: int = 1,
        missed: Tally | None = None,
    ) -> Decision:
        try:
            decision = self._shelf.table[agent][action][resource]
        except (KeyError, TypeError):
            if missed is not None:
                missed.add()
            decision = self._miss(agent, action, resource, context)
        return self._metered(decision, agent, action, resource, chain, amount)


def check_names(agent: object, action: object, resource: object) -> None:
    """Strings that can be kept: a remembered decision holds them for its time to live."""
    for field, value, chars_max in (
        ("agent", agent, ID_CHARS_MAX),
        ("action", action, ID_CHARS_MAX),
        ("resource", resource, AUTHZ_RESOURCE_CHARS_MAX),
    ):
        if not isinstance(value, str) or len(value) > chars_max or not encodable(value):
            raise InvalidInput.of(field, got=value, expected=f"Unicode text of at most {chars_max} characters")


def encodable(text: str) -> bool:
    """Half a surrogate pair is no text: nothing that is written or sent can hold it."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)


def evaluated(
    holding: Holding, view: View, principal: Uid, action: str, resource: str, context: Mapping[str, Any] | None
) -> Answer:
    """PL-702 if the context is no record of Cedar values."""
    request = Request(
        principal, names.action_uid(action), view.resource(resource), context_from_json(context), view
    )  # fmt: skip
    return holding.policies.evaluate(request)
