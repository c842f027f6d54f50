"""What the use cases share: the store, the clock, the registry, and how they record and announce."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from creto.common.errors import EnablementError, InternalError
from creto.common.ids import AgentId, TenantId, checked_tenant
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.platform.nhi import lifecycle
from creto.platform.nhi import store as sql
from creto.platform.nhi.registry import Registered, Registry
from creto.platform.nhi.secrets import Secrets
from creto.platform.nhi.types import Identity
from creto.store.entries import told
from creto.store.types import ReadTx, Store, Tx

Protector = Callable[[Tx, TenantId, AgentId], None]


class Counted:
    """Counts the errors that come through a `with` block, by code."""

    __slots__ = ("_into",)

    def __init__(self, into: Counter[str]) -> None:
        self._into = into

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, EnablementError):
            self._into[error.code] += 1


class Core:
    def __init__(self, store: Store, clock: Clock, secrets: Secrets | None) -> None:
        self._store = store
        self._clock = clock
        self._registry = Registry(store)
        self._secrets_or_none = secrets
        self.failures: Counter[str] = Counter()  # credentials that did not hold, by code; read by a scrape
        self._counted = Counted(self.failures)
        self._protectors: list[Protector] = []

    def protect(self, protector: Protector) -> None:
        """Call `protector(tx, tenant, origin)` in the transaction that has just ended or stopped keys of this line; it raises to refuse."""
        self._protectors.append(protector)

    def _protected(self, tx: Tx, tenant: TenantId, origin: AgentId) -> None:
        for protector in self._protectors:
            protector(tx, tenant, origin)

    @property
    def _secrets(self) -> Secrets:
        if self._secrets_or_none is None:
            raise InternalError("PL-501", "tokens and certificates need a keystore", hint="Pass `keystore` to Nhi.")
        return self._secrets_or_none

    @property
    def losses(self) -> int:
        """Grows whenever anybody may do less than before, for as long as signals flow."""
        return self._registry.losses

    def get_now(self, tenant: TenantId, agent: AgentId) -> Identity:
        """The identity, from memory or read through on this thread; PL-102 if the tenant has none."""
        return self._registry.get(checked_tenant(tenant), agent).identity

    def line(self, tx: Tx, tenant: TenantId, agent: AgentId) -> list[Identity]:
        """Every key of the identity's line as a transaction sees them, the first at the front; PL-102 if the tenant has none."""
        return sql.line(tx, tenant, self.origin(tx, tenant, agent))

    def origin(self, tx: ReadTx, tenant: TenantId, agent: AgentId) -> AgentId:
        """The first key of its line."""
        return sql.get(tx, checked_tenant(tenant), agent).origin

    async def prefetch(self, tenant: TenantId, *agents: AgentId) -> None:
        """Read these identities on another thread, so that who decides on the loop finds them in memory. What fails is told there."""
        if not self._registry.remembers(tenant, agents):
            with suppress(EnablementError):
                await asyncio.to_thread(self._registry.find, tenant, agents)

    def _in_force(self, tenant: TenantId, agent: AgentId, now: ConsensusTimestamp) -> Registered:
        """PL-102 unknown, PL-103 revoked, PL-104 suspended, PL-133 retired."""
        found = self._registry.get(checked_tenant(tenant), agent)
        lifecycle.check_in_force(found.identity, now)
        return found

    def _record(
        self, tx: Tx, tenant: TenantId, act: str, event: str, *, actor: AgentId, subject: str, now: ConsensusTimestamp,
        fields: dict[str, object],
    ) -> None:  # fmt: skip
        """One entry in the ledger, and the same facts on the bus as `nhi.<act>`."""
        told(
            tx, f"nhi.{act}", event, tenant=tenant, actor=actor, subject=subject, now=now, fields=fields,
            degraded_clock=self._clock.degraded,
        )  # fmt: skip
