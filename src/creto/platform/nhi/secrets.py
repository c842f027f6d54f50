"""The deployment's own keys: the root of the bearer tokens, and the certificate authority. They live sealed in the keystore.

Every node uses the same: the first to need a key makes it, the others find it.
"""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

from creto.common.errors import NotFound
from creto.common.ids import PLATFORM_TENANT
from creto.platform.crypto import Keystore, SecretKey, SignatureSuite, SigningKey, mac
from creto.platform.crypto.service import of_kind

if TYPE_CHECKING:
    from creto.platform.crypto.x509 import Authority

TOKEN_ROOT = "nhi-token-root"
AUTHORITY = "nhi-certificate-authority"
TOKEN_ROOTS_KEPT = 2  # tokens of the root before the last rotation still end by themselves


class Secrets:
    def __init__(self, keystore: Keystore, trust_domain: str) -> None:
        self._keystore = keystore
        self.trust_domain = trust_domain
        self._token_roots: dict[str, bytes] = {}

    async def load(self) -> None:
        """Make or find all keys, so that nothing waits for them later; also the token roots before the newest."""
        await self._keystore.ensure(PLATFORM_TENANT, TOKEN_ROOT, SecretKey)
        version = (await self._keystore.record(PLATFORM_TENANT, TOKEN_ROOT)).version
        for older in range(max(1, version - TOKEN_ROOTS_KEPT + 1), version + 1):
            self._keep(await self._keystore.secret_key(PLATFORM_TENANT, TOKEN_ROOT, older))
        await self._kept_authority()

    async def token_root(self) -> tuple[str, bytes]:
        """The newest root and its id."""
        return self._keep(await self._keystore.ensure(PLATFORM_TENANT, TOKEN_ROOT, SecretKey))

    def token_root_of(self, root_id: str) -> bytes | None:
        """The root with this id; from memory but for the first time after a rotation elsewhere."""
        if root_id not in self._token_roots:
            try:
                self._keep(of_kind(self._keystore.get_now(PLATFORM_TENANT, TOKEN_ROOT), SecretKey, TOKEN_ROOT))
            except NotFound:
                return None
        return self._token_roots.get(root_id)

    async def _kept_authority(self) -> None:
        await self._keystore.ensure(
            PLATFORM_TENANT, AUTHORITY, SigningKey, lambda: SigningKey.generate(SignatureSuite.ED25519)
        )

    async def authority(self) -> Authority:
        await self._kept_authority()
        return await asyncio.to_thread(lambda: self.authority_now)  # loads X.509

    @cached_property
    def authority_now(self) -> Authority:
        """Raises NotFound PL-214 if no node has issued a certificate yet."""
        from creto.platform.crypto.x509 import Authority  # X.509 takes 60 ms to load, and few processes need it

        key = of_kind(self._keystore.get_now(PLATFORM_TENANT, AUTHORITY), SigningKey, AUTHORITY)
        return Authority(key, f"{self.trust_domain} NHI authority")

    def _keep(self, key: SecretKey) -> tuple[str, bytes]:
        root_id = mac(key.reveal(), b"creto/token-root-id/v1")[:8].hex()
        self._token_roots[root_id] = key.reveal()
        while len(self._token_roots) > TOKEN_ROOTS_KEPT:
            del self._token_roots[next(iter(self._token_roots))]
        return root_id, key.reveal()
