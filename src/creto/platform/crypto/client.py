"""The client's face of crypto: sign for an agent by name, verify by identity.

crypto = CryptoClient(keystore)
signature = await crypto.sign(SignRequest(tenant, agent, data))
await crypto.verify(VerifyRequest(agent, data, signature))
"""

from __future__ import annotations

from creto.common.errors import SignatureVerificationFailed
from creto.platform.crypto.keys import SigningKey, VerifyKey
from creto.platform.crypto.service import Keystore
from creto.platform.crypto.types import SignatureSuite, SignRequest, VerifyRequest


class CryptoClient:
    """An agent's key stands in the keystore under the agent's id."""

    def __init__(self, keystore: Keystore) -> None:
        self._keystore = keystore

    async def sign(self, request: SignRequest) -> bytes:
        """Raises NotFound PL-214, or CryptoError PL-211 if the agent's key lacks the algorithm."""
        key = await self._keystore.signing_key(request.tenant, request.agent.nhi)
        return key.component(request.algorithm).sign(request.data, request.context)

    async def verify(self, request: VerifyRequest) -> bool:
        """True, or SignatureVerificationFailed PL-210: there is no False to overlook."""
        agent = request.agent
        if request.algorithm != SignatureSuite.ED25519 and agent.public_key_ml_dsa is None:
            raise SignatureVerificationFailed(
                "PL-210", "the agent has no post-quantum key", got="Ed25519 only", expected=request.algorithm.name
            )
        key = VerifyKey.of(agent.public_key_ed25519, agent.public_key_ml_dsa).component(request.algorithm)
        key.verify(request.data, request.signature, request.context)
        return True

    def sign_hybrid(self, key: SigningKey, data: bytes, context: bytes = b"") -> bytes:
        return key.component(SignatureSuite.HYBRID).sign(data, context)

    def sign_ed25519(self, key: SigningKey, data: bytes, context: bytes = b"") -> bytes:
        return key.component(SignatureSuite.ED25519).sign(data, context)

    def sign_ml_dsa(self, key: SigningKey, data: bytes, context: bytes = b"") -> bytes:
        return key.component(SignatureSuite.ML_DSA_65).sign(data, context)
