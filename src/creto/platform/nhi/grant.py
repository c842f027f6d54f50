"""Making a link: what a parent does, on its own machine, with its own key."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, TenantId, checked_tenant
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.crypto import SigningKey, random_bytes
from creto.platform.nhi import narrowing
from creto.platform.nhi.chain import LINK_CONTEXT, NONCE_BYTES, Budget, DelegationChain, DelegationLink
from creto.platform.nhi.statements import nhi_of


def delegate(
    parent_key: SigningKey,
    parent_chain: DelegationChain | None,
    child: AgentId,
    *,
    actions: Sequence[str],
    resources: Sequence[str],
    not_before: ConsensusTimestamp,
    not_after: ConsensusTimestamp,
    budget_micros: int | None = None,
    currency: str | None = None,
    depth_left: int = 0,
    tenant: TenantId | None = None,
) -> DelegationLink:
    """A signed link from the key's owner to `child`. A root passes no chain, and its tenant; an agent passes the chain it holds.

    What would be refused later is refused here, before it is signed. `depth_left` 0 means that the child hands nothing on.
    """
    if (budget_micros is None) != (currency is None):
        raise InvalidInput.of("currency", got=currency, expected="a budget and its currency, or neither")
    above = parent_chain.links[-1] if parent_chain and parent_chain.links else None
    link = DelegationLink(
        tenant=checked_tenant(tenant or (above.tenant if above else None)),
        parent=nhi_of(parent_key.public),
        child=child,
        actions=tuple(actions),
        resources=tuple(resources),
        budget=Budget(budget_micros, currency) if budget_micros is not None and currency is not None else None,
        depth_left=depth_left,
        not_before=not_before,
        not_after=not_after,
        nonce=random_bytes(NONCE_BYTES),
        parent_link=above.hash if above else b"",
    )
    chain = (parent_chain or DelegationChain(())).extended(link)
    narrowing.check_chain(chain, link.tenant, child)
    return replace(link, signature=parent_key.sign(link.canonical_bytes, LINK_CONTEXT))
