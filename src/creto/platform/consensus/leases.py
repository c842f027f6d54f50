"""Leases: one holder at a time, for a while, with a token that grows at every change of hands.

    leases = Leases(store, clock)
    async with leases.hold("metering.sequencer", ttl_ns=10 * SECOND) as lease:
        await store.write(lease.fenced(sequence))          # refused (PL-304) when the lease has moved on meanwhile

A lease alone protects nothing: its holder may be stopped, wake up after another took over, and write. The fencing token does: it is
checked inside the transaction that writes, on the row that a takeover must change.

INVARIANT: of two holders of one lease the later has the greater token; a transaction that passed `check_fence` commits before any takeover.
INVARIANT: a lease is taken over only when its time is over by consensus time, or when it was given back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec

from creto.common.errors import AlreadyExists, InvalidInput
from creto.common.ids import DEFAULT_TENANT, AgentId, TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import LEASE_TTL_S_MAX
from creto.common.timestamps import MILLISECOND, SECOND, Clock, ConsensusTimestamp, iso
from creto.platform.consensus import store as rows
from creto.platform.consensus.fence import stale
from creto.platform.consensus.hold import Pause, acquire_when_free, kept
from creto.platform.consensus.types import Lease
from creto.store.types import Isolation, Store, Tx

LEASE_SIGNAL = "consensus.lease"


class Leases:
    """Leases as rows of the store. Every call of `acquire` is a contender of its own, also within one process."""

    def __init__(self, store: Store, clock: Clock, *, tenant: TenantId = DEFAULT_TENANT) -> None:
        self._store = store
        self._clock = clock
        self._tenant = checked_tenant(tenant)
        self._waiters: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        store.on_signal(LEASE_SIGNAL, self._on_freed)

    async def acquire(
        self, name: str, ttl_ns: int, *, tenant: TenantId | None = None, by: AgentId | None = None
    ) -> Lease:
        """`by` is the identity that holds it, where that is not this node; the holder's name begins with it."""
        checked_name(name, "lease")
        checked_ttl(ttl_ns)
        tenant = self._tenant if tenant is None else checked_tenant(tenant)
        holder = new_id(f"{by or self._store.node}/")
        now = self._clock.now()

        def take(tx: Tx) -> Lease:
            known = rows.locked_lease(tx, tenant, name)
            if known is not None and known.holder and known.expires_at > now:
                raise held(name, known, now)
            token = 1 if known is None else known.token + 1
            rows.put_lease(tx, tenant, name, rows.LeaseRow(holder, token, now, now + ttl_ns))
            return Lease(tenant, name, holder, token, now, ConsensusTimestamp(now + ttl_ns))

        return await self._store.write(take, isolation=Isolation.READ_COMMITTED)

    async def renew(self, lease: Lease, ttl_ns: int) -> Lease:
        """Also after its time is over, as long as nobody took it: the token says that nobody did."""
        checked_ttl(ttl_ns)
        now = self._clock.now()
        longer = msgspec.structs.replace(lease, expires_at=ConsensusTimestamp(max(lease.expires_at, now + ttl_ns)))

        def extend(tx: Tx) -> Lease:
            known = rows.locked_lease(tx, lease.tenant, lease.name)
            if known is None or known.token != lease.token or known.holder != lease.holder:
                raise stale(lease.name, lease.token, known.token if known else None)
            rows.put_lease(
                tx, lease.tenant, lease.name,
                rows.LeaseRow(lease.holder, lease.token, lease.acquired_at, longer.expires_at),
            )  # fmt: skip
            return longer

        return await self._store.write(extend, isolation=Isolation.READ_COMMITTED)

    async def release(self, lease: Lease) -> bool:
        def free(tx: Tx) -> bool:
            known = rows.locked_lease(tx, lease.tenant, lease.name)
            if known is None or known.token != lease.token or known.holder != lease.holder:
                return False
            rows.put_lease(tx, lease.tenant, lease.name, rows.LeaseRow("", lease.token, lease.acquired_at, 0))
            tx.signal(LEASE_SIGNAL, lease.name)
            return True

        return await self._store.write(free, isolation=Isolation.READ_COMMITTED)

    async def current(self, name: str, *, tenant: TenantId | None = None) -> Lease | None:
        now, whose = self._clock.now(), self._tenant if tenant is None else checked_tenant(tenant)
        known = await self._store.read(lambda tx: rows.find_lease(tx, whose, name))
        if known is None or not known.holder or known.expires_at <= now:
            return None
        return Lease(
            whose,
            name,
            known.holder,
            known.token,
            ConsensusTimestamp(known.acquired_at),
            ConsensusTimestamp(known.expires_at),
        )

    @asynccontextmanager
    async def hold(
        self,
        name: str,
        ttl_ns: int = 10 * SECOND,
        *,
        wait: bool = True,
        pause: Pause = asyncio.sleep,
    ) -> AsyncIterator[Lease]:
        """Hold it for the length of the block, renewed in the background.

        When it is lost, because the store was away for too long or another took over, the block is cancelled and PL-304 raised.
        `wait=False` raises PL-303 at once while another holds it.
        """
        if not wait:
            lease = await self.acquire(name, ttl_ns)
        else:
            freed = asyncio.Event()
            waiter = (asyncio.get_running_loop(), freed)
            self._waiters.add(waiter)
            try:
                lease = await acquire_when_free(self, name, ttl_ns, pause, freed)
            finally:
                self._waiters.discard(waiter)
        async with kept(self, lease, ttl_ns, self._clock, pause):
            yield lease

    def _on_freed(self, _: str) -> None:
        """Called on the store's thread."""
        for loop, event in tuple(self._waiters):
            with suppress(RuntimeError):  # that loop has ended
                loop.call_soon_threadsafe(event.set)


def held(name: str, known: rows.LeaseRow, now: int) -> AlreadyExists:
    return AlreadyExists(
        "PL-303",
        f"the lease {name} is held until {iso(known.expires_at)}",
        field=f"lease {name}",
        got=f"held by {known.holder}",
        expected="a free lease",
        retry_after_s=(known.expires_at - now) / SECOND,
    )


def checked_ttl(ttl_ns: int) -> None:
    if not MILLISECOND <= ttl_ns <= LEASE_TTL_S_MAX * SECOND:
        raise InvalidInput.of("ttl_ns", got=ttl_ns, expected=f"1 ms to {LEASE_TTL_S_MAX} s")
