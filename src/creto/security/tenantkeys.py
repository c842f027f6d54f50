"""A tenant's wrapping key for one purpose: versions in the keystore, the newest wraps, the older ones still open.

    keys = TenantKeys(keystore, "storage")
    version, key = await keys.current(tenant)                 # made on first use
    old = await keys.get(tenant, version)

INVARIANT: a version never changes its bytes, so what is cached under a version stays true.
"""

from __future__ import annotations

from collections import OrderedDict

from creto.common.errors import NotFound
from creto.common.ids import TenantId
from creto.platform.crypto import Keystore, SecretKey

KEYS_CACHED_MAX = 4_096  # 32 bytes each


class TenantKeys:
    def __init__(self, keystore: Keystore, purpose: str) -> None:
        self._keystore = keystore
        self.suites = keystore.suites  # what new bytes under these keys are sealed with
        self._purpose = purpose
        self._versions: OrderedDict[tuple[TenantId, int], bytes] = OrderedDict()
        self._newest: dict[TenantId, tuple[SecretKey, int]] = {}

    async def current(self, tenant: TenantId) -> tuple[int, bytes]:
        """The version to wrap with."""
        newest = await self._keystore.ensure(tenant, self._purpose, SecretKey)
        known = self._newest.get(tenant)
        # The keystore hands out one object until the key is rotated anywhere: while it is the same, so is the version.
        if known is not None and known[0] is newest:
            return known[1], newest.reveal()
        record = await self._keystore.record(tenant, self._purpose)
        key = await self.get(tenant, record.version)
        if key == newest.reveal():
            if len(self._newest) >= KEYS_CACHED_MAX:
                self._newest.clear()
            self._newest[tenant] = newest, record.version
        return record.version, key

    async def get(self, tenant: TenantId, version: int) -> bytes:
        """A version that something was wrapped with; PL-214 if it was removed."""
        key = self._versions.get((tenant, version))
        if key is None:
            key = (await self._keystore.secret_key(tenant, self._purpose, version)).reveal()
            self._versions[tenant, version] = key
            if len(self._versions) > KEYS_CACHED_MAX:
                self._versions.popitem(last=False)
        return key

    async def check(self, tenant: TenantId) -> None:
        """Read and open the key as it is stored, if the tenant has one yet. Raises PL-215 if it does not open here."""
        try:
            record = await self._keystore.record(tenant, self._purpose)
        except NotFound:
            return
        await self._keystore.secret_key(tenant, self._purpose, record.version)

    async def rotate(self, tenant: TenantId) -> int:
        """Put a fresh version in use."""
        await self.current(tenant)
        return (await self._keystore.rotate(tenant, self._purpose)).version
