"""Oversight as a part of the running layer: put together on the layer's store, clock, identities and policies.

asking = await open_oversight(config, ...)       # for `app.py`
"""

from __future__ import annotations

from dataclasses import dataclass

from creto.common.breaker import CircuitBreaker
from creto.common.config import Config
from creto.common.ids import PLATFORM_TENANT, KeyId, TenantId
from creto.common.settings import AuditConfig, OversightConfig, ServerConfig
from creto.common.telemetry import Metrics
from creto.connectors.channels import Channels, open_channels
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
        default_timeout_s=config[OversightConfig].default_timeout_seconds,
    )
    channels = await open_channels(config, oversight, keystore, tenant=tenant)
    breakers += [remembering, *channels.breakers]
    return OversightDesk(oversight, Approvals(oversight), channels)


def link_base_of(config: Config) -> str:
    """Where approvers find the layer."""
    server = config[ServerConfig]
    scheme = "https" if server.tls_cert else "http"
    return config[OversightConfig].link_base or f"{scheme}://{server.host}:{server.rest_port}"


async def decision_key(keystore: Keystore) -> SigningKey:
    """Made once; both signatures, whatever the suites of the rest."""
    return await keystore.ensure(
        PLATFORM_TENANT, DECISION_KEY, SigningKey, lambda: SigningKey.generate(SignatureSuite.HYBRID)
    )
