"""The identity service in one object.

INVARIANT: a change and its ledger entry, its message on the bus and its signal to every node's memory are one transaction.
INVARIANT: when a revocation or suspension has returned, no thread of this process accepts the identity, its tokens, its certificates or a
chain through it; other nodes follow within 50 ms or distrust their memory.
"""

from __future__ import annotations

from msgspec.structs import replace

from creto.common.timestamps import Clock
from creto.platform.crypto import Keystore, VerifyKey, jose
from creto.platform.nhi.access import Access
from creto.platform.nhi.bundles import Bundles
from creto.platform.nhi.certificates import Certificates
from creto.platform.nhi.delegations import Delegations
from creto.platform.nhi.identities import Identities
from creto.platform.nhi.secrets import Secrets
from creto.platform.nhi.types import Identity
from creto.store.types import Store

TRUST_DOMAIN_DEFAULT = "creto.local"


class Nhi(Identities, Delegations, Access, Certificates, Bundles):
    """Who is who, who acts for whom, and who calls.

    Without a keystore there are no tokens and certificates (PL-501); all else works. `trust_domain` names the deployment in certificates.
    """

    def __init__(
        self, store: Store, clock: Clock, keystore: Keystore | None = None, *, trust_domain: str = TRUST_DOMAIN_DEFAULT
    ) -> None:
        super().__init__(store, clock, Secrets(keystore, trust_domain) if keystore is not None else None)

    async def start(self) -> None:
        """Make or find the deployment's keys, so that the first caller does not wait for them."""
        if self._secrets_or_none is not None:
            await self._secrets_or_none.load()

    def to_jwk(self, identity: Identity) -> tuple[jose.Jwk, ...]:
        """The identity's keys as JSON Web Keys: OKP for Ed25519, AKP (RFC 9964) for ML-DSA-65; a hybrid signature needs both."""
        keys = jose.to_jwks(VerifyKey.of(identity.agent.public_key_ed25519, identity.public_key_ml_dsa))
        return tuple(replace(key, kid=f"{identity.nhi}#{jose.thumbprint(key)}", use="sig") for key in keys)


NhiRegistry = Nhi  # the client's name
NhiClient = Nhi  # the client's name
