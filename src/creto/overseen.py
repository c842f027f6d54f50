"""Oversight as a part of the running layer: put together on the layer's store, clock, identities and policies.

asking = await open_oversight(config, ...)       # for `app.py`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from creto.common.breaker import CircuitBreaker
from creto.common.config import Config
from creto.common.errors import Detail, OversightRequired
from creto.common.ids import PLATFORM_TENANT, KeyId, TenantId
from creto.common.settings import AuditConfig, OversightConfig, link_base_of
from creto.common.telemetry import Metrics
from creto.connectors.channels import Channels, open_channels
from creto.edge.api.idempotency import unclaimed
from creto.edge.forms import check_edit
from creto.gate import Operation
from creto.oversight import Approvals, Oversight
from creto.platform.consensus import ConsensusClient
from creto.platform.crypto import Keystore, SignatureSuite, SigningKey
from creto.platform.nhi import Nhi
from creto.security.authz import Authz
from creto.security.memory import Memory
from creto.store import Store

DECISION_KEY = KeyId("decisions")  # seals humans' decisions: Ed25519 and ML-DSA-65, whatever suite the rest is in


@dataclass(frozen=True)
class OversightDesk:
    oversight: Oversight
    approvals: Approvals
    channels: Channels

    async def asked(self, operation: Operation, refused: OversightRequired) -> Mapping[str, Detail]:
        """What the gate asks humans about. The question is no effect of the request: its key stays for the act itself."""
        with unclaimed():
            return await self.approvals.asked(operation, refused)


async def open_oversight(
    config: Config, store: Store, clock: ConsensusClient, nhi: Nhi, authz: Authz, keystore: Keystore, memory: Memory,
    metrics: Metrics, breakers: list[CircuitBreaker], *, tenant: TenantId,
) -> OversightDesk:  # fmt: skip
    """Whoever opens it closes its channels."""
    remembering = CircuitBreaker("memory")
    oversight = Oversight(
        store,
        clock,
        nhi,
        authz,
        signer=await decision_key(keystore),
        memory=memory,
        metrics=metrics,
        installation=config[AuditConfig].origin,
        link_base=link_base_of(config),
        breaker=remembering,
        check_edit=check_edit,
        default_timeout_s=config[OversightConfig].default_timeout_seconds,
    )
    channels = await open_channels(config, oversight, keystore, tenant=tenant)
    breakers += [remembering, *channels.breakers]
    return OversightDesk(oversight, Approvals(oversight), channels)


async def decision_key(keystore: Keystore) -> SigningKey:
    """Made once; both signatures, whatever the suites of the rest."""
    return await keystore.ensure(
        PLATFORM_TENANT, DECISION_KEY, SigningKey, lambda: SigningKey.generate(SignatureSuite.HYBRID)
    )
