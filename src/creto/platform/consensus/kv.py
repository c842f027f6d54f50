"""Leases in a JetStream key-value bucket, for installations whose nodes share a broker but no database.

    leases = await KvLeases.open("nats://127.0.0.1:4222", clock)

A value holds the lease; it is written only over the revision that was read, so that of many contenders one wins. The token stands in the
value, not in the revision: deleting the bucket's history does not make it start anew as long as the key is there.
A database that a holder writes to checks the token with `advance_fence`, which remembers the highest it saw.

A broker that loses acknowledged writes can hand out a lease twice; the fence is what protects the data.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import AlreadyExists, ConnectionFailed, EnablementError
from creto.common.ids import DEFAULT_TENANT, TenantId, checked_name, checked_tenant, new_id
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp
from creto.platform.consensus.fence import advance_fence, stale
from creto.platform.consensus.hold import Pause, acquire_when_free, kept
from creto.platform.consensus.leases import checked_ttl, held
from creto.platform.consensus.store import LeaseRow
from creto.platform.consensus.types import Lease
from creto.store.types import Tx

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.js.kv import KeyValue

T = TypeVar("T")
BUCKET = "creto_leases"
TIMEOUT_S = 2.0
ATTEMPTS_MAX = 3  # a write over an old revision is tried again on the new one


class KvLeases:
    """The same promises as `Leases`, and the same conformance suite."""

    def __init__(self, bucket: KeyValue, clock: Clock, *, tenant: TenantId = DEFAULT_TENANT, node: str = "") -> None:
        self._bucket = bucket
        self._clock = clock
        self._tenant = checked_tenant(tenant)
        self._node = node
        self._client: Client | None = None

    @staticmethod
    async def open(url: str, clock: Clock, *, tenant: TenantId = DEFAULT_TENANT, bucket: str = BUCKET) -> KvLeases:
        import nats
        from nats.errors import Error
        from nats.js.errors import BucketNotFoundError

        try:
            async with AsyncExitStack() as stack:
                client = await nats.connect(url, connect_timeout=int(TIMEOUT_S), allow_reconnect=True)
                stack.push_async_callback(client.close)
                stream = client.jetstream(timeout=TIMEOUT_S)
                try:
                    found = await stream.key_value(bucket)
                except BucketNotFoundError:
                    found = await stream.create_key_value(bucket=bucket, history=1)
                stack.pop_all()
        except (Error, OSError) as error:
            raise ConnectionFailed("PL-503", "the lease bucket cannot be reached") from error
        leases = KvLeases(found, clock, tenant=tenant)
        leases._client = client
        return leases

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def acquire(self, name: str, ttl_ns: int) -> Lease:
        checked_name(name, "lease")
        checked_ttl(ttl_ns)
        holder = new_id(f"{self._node}/")
        for _ in range(ATTEMPTS_MAX):
            now = self._clock.now()
            known, revision = await self._read(name)
            if known is not None and known.holder and known.expires_at > now:
                raise held(name, known, now)
            token = 1 if known is None else known.token + 1
            if await self._write(name, LeaseRow(holder, token, now, now + ttl_ns), revision):
                return Lease(self._tenant, name, holder, token, now, ConsensusTimestamp(now + ttl_ns))
        raise AlreadyExists("PL-303", f"the lease {name} is being taken by others")

    async def renew(self, lease: Lease, ttl_ns: int) -> Lease:
        checked_ttl(ttl_ns)
        expires_at = ConsensusTimestamp(max(lease.expires_at, self._clock.now() + ttl_ns))
        await self._change(lease, LeaseRow(lease.holder, lease.token, lease.acquired_at, expires_at))
        return msgspec.structs.replace(lease, expires_at=expires_at)

    async def release(self, lease: Lease) -> bool:
        try:
            await self._change(lease, LeaseRow("", lease.token, lease.acquired_at, 0))
        except EnablementError as error:
            if error.code == "PL-304":
                return False
            raise
        return True

    async def current(self, name: str) -> Lease | None:
        known, _ = await self._read(name)
        if known is None or not known.holder or known.expires_at <= self._clock.now():
            return None
        return Lease(
            self._tenant, name, known.holder, known.token,
            ConsensusTimestamp(known.acquired_at), ConsensusTimestamp(known.expires_at),
        )  # fmt: skip

    @asynccontextmanager
    async def hold(
        self, name: str, ttl_ns: int = 10 * SECOND, *, wait: bool = True, pause: Pause = asyncio.sleep
    ) -> AsyncIterator[Lease]:
        """As `Leases.hold`."""
        if wait:
            lease = await acquire_when_free(self, name, ttl_ns, pause, asyncio.Event())
        else:
            lease = await self.acquire(name, ttl_ns)
        async with kept(self, lease, ttl_ns, self._clock, pause):
            yield lease

    def fenced(self, lease: Lease, fn: Callable[[Tx], T]) -> Callable[[Tx], T]:
        """The transaction, refused (PL-304) once a later holder has written to the same database."""

        def guarded(tx: Tx) -> T:
            advance_fence(tx, lease.name, lease.token, tenant=lease.tenant)
            return fn(tx)

        return guarded

    async def _change(self, lease: Lease, row: LeaseRow) -> None:
        for _ in range(ATTEMPTS_MAX):
            known, revision = await self._read(lease.name)
            if known is None or known.token != lease.token or known.holder != lease.holder:
                raise stale(lease.name, lease.token, known.token if known else None)
            if await self._write(lease.name, row, revision):
                return
        raise ConnectionFailed("PL-300", f"the lease {lease.name} changed too often")

    async def _read(self, name: str) -> tuple[LeaseRow | None, int]:
        from nats.errors import Error
        from nats.js.errors import KeyNotFoundError

        try:
            entry = await self._bucket.get(self._key(name))
        except KeyNotFoundError:
            return None, 0
        except (Error, OSError, TimeoutError) as error:
            raise ConnectionFailed("PL-300", "the lease bucket does not answer") from error
        return wire.decode(entry.value or b"", LeaseRow, what="lease"), entry.revision or 0

    async def _write(self, name: str, row: LeaseRow, revision: int) -> bool:
        """Whether nobody else wrote since `revision`."""
        from nats.errors import Error
        from nats.js.errors import KeyWrongLastSequenceError

        try:
            if revision:
                await self._bucket.update(self._key(name), wire.encode(row), last=revision)
            else:
                await self._bucket.create(self._key(name), wire.encode(row))
        except KeyWrongLastSequenceError:
            return False
        except (Error, OSError, TimeoutError) as error:
            raise ConnectionFailed("PL-300", "the lease bucket does not answer") from error
        return True

    def _key(self, name: str) -> str:
        """Any name, in the letters that a key may have."""
        return f"{self._tenant.encode().hex()}.{name.encode().hex()}"
