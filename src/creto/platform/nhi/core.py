"""What the use cases share: the store, the clock, the registry, and how they record and announce."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, InternalError, InvalidInput, ProductId
from creto.common.ids import AgentId, TenantId, checked_tenant, new_id
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.platform.crypto.jose import b64url_decode, b64url_encode
from creto.platform.nhi import lifecycle
from creto.platform.nhi.registry import Registered, Registry
from creto.platform.nhi.secrets import Secrets
from creto.platform.nhi.types import Identity
from creto.store.types import Entry, EntryId, Outcome, Store, Tx

CURSOR_CHARS_MAX = 400  # a time and an agent id


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

    @property
    def _secrets(self) -> Secrets:
        if self._secrets_or_none is None:
            raise InternalError("PL-501", "tokens and certificates need a keystore", hint="Pass `keystore` to Nhi.")
        return self._secrets_or_none

    def get_now(self, tenant: TenantId, agent: AgentId) -> Identity:
        """The identity, from memory or read through on this thread; PL-102 if the tenant has none."""
        return self._registry.get(checked_tenant(tenant), agent).identity

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
        metadata = wire.encode(fields)
        tx.record(
            Entry(
                event_id=EntryId(new_id()),
                tenant=tenant,
                product=ProductId.PLATFORM,
                agent_nhi=actor,
                action=f"nhi.{act}",
                resource=subject,
                outcome=Outcome.SUCCESS,
                timestamp=now,
                event=event,
                metadata=msgspec.Raw(metadata),
                degraded_clock=self._clock.degraded,
            )
        )
        body = wire.encode({"subject": subject, "actor": actor, "at": now, **fields})
        tx.publish(f"nhi.{act}", body, tenant=tenant, agent=subject)


def cursor_of(position: tuple[int, str]) -> str:
    return b64url_encode(wire.encode(position))


def position_of(cursor: str | None) -> tuple[int, str]:
    if cursor is None:
        return (-1, "")
    try:
        return wire.decode(b64url_decode(cursor[:CURSOR_CHARS_MAX]), tuple[int, str], what="cursor")
    except InvalidInput as error:
        raise InvalidInput.of("cursor", got=cursor, expected="the cursor of the page before") from error
