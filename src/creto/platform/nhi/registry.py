"""Identities in memory, read through and never stale.

Whoever changes an identity signals it in the same transaction. The store calls us on every node, and in the writing process before
`write` returns; so when a revocation has returned, no thread of this process finds the old record.

INVARIANT: a record read before a change is never kept after it: what a reader brings is dropped if anything was signalled meanwhile.
INVARIANT: while signals may be lost nothing is kept, every look-up reads the store.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.common.limits import CHAINS_CACHED_MAX, IDENTITIES_CACHED_MAX, TOKENS_CACHED_MAX
from creto.platform.crypto import VerifyKey
from creto.platform.nhi import store as sql
from creto.platform.nhi.bounded import Bounded
from creto.platform.nhi.dependents import Dependents, Member
from creto.platform.nhi.types import Identity
from creto.store.types import Store, Tx

CHANGED = "nhi.changed"
K = TypeVar("K")
V = TypeVar("V")
RevokedListener = Callable[[TenantId, AgentId], None]


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signal. `lost` says that somebody may do less than before, so that decisions must be forgotten."""

    tenant: TenantId
    agents: tuple[AgentId, ...] = ()
    links: tuple[bytes, ...] = ()
    tokens: tuple[str, ...] = ()
    lost: bool = False


def announce(tx: Tx, change: Change) -> None:
    tx.signal(CHANGED, wire.encode(change).decode())


class Registered(msgspec.Struct, frozen=True):
    """An identity as memory holds it: with its key parsed."""

    identity: Identity
    verify_key: VerifyKey


class Registry:
    def __init__(self, store: Store, entries_max: int = IDENTITIES_CACHED_MAX) -> None:
        self._store = store
        self._known: Bounded[tuple[TenantId, AgentId], Registered] = Bounded(entries_max)
        self._live_links: Bounded[tuple[TenantId, bytes], bool] = Bounded(CHAINS_CACHED_MAX)
        self._live_tokens: Bounded[tuple[TenantId, str], bool] = Bounded(TOKENS_CACHED_MAX)
        self._changes = 0
        self._losses = 0
        self._lock = threading.Lock()
        self._listeners: list[RevokedListener] = []
        self.dependents = Dependents()
        store.on_signal(CHANGED, self._on_change)
        store.on_signal_lost(self.forget_all)

    @property
    def losses(self) -> int:
        """Grows whenever anybody may do less than before; who decides compares it before and after."""
        return self._losses

    def on_revoked(self, listener: RevokedListener) -> None:
        """Call `listener(tenant, agent)` for every agent that may do less: itself, an ancestor or a link was revoked or suspended."""
        self._listeners.append(listener)

    def get(self, tenant: TenantId, agent: AgentId) -> Registered:
        """One identity; PL-102 if the tenant does not have it."""
        found = self._known.get((tenant, agent)) if self._store.signals_alive else None
        found = found or self.find(tenant, (agent,)).get(agent)
        if found is None:
            raise sql.not_registered(agent)
        return found

    def remembers(self, tenant: TenantId, agents: Sequence[AgentId], token: str | None = None) -> bool:
        """Whether these can be looked up without the store."""
        if not self._store.signals_alive:
            return False
        known = all(self._known.get((tenant, agent)) is not None for agent in agents)
        return known and (token is None or self._live_tokens.get((tenant, token)) is not None)

    def find(self, tenant: TenantId, agents: Sequence[AgentId]) -> dict[AgentId, Registered]:
        """Those that the tenant has, in one read for all that memory lacks."""
        found: dict[AgentId, Registered] = {}
        if self._store.signals_alive:
            found = {agent: known for agent in agents if (known := self._known.get((tenant, agent))) is not None}
        missing = [agent for agent in agents if agent not in found]
        if missing:
            changes = self._changes
            for agent, identity in self._store.read_now(lambda tx: sql.find(tx, tenant, missing)).items():
                registered = Registered(
                    identity, VerifyKey.of(identity.agent.public_key_ed25519, identity.public_key_ml_dsa)
                )
                found[agent] = registered
                self._keep(self._known, (tenant, agent), registered, changes)
        return found

    def revoked_link(self, tenant: TenantId, links: Sequence[bytes]) -> bytes | None:
        """The first of these links that was revoked."""
        missing = links
        if self._store.signals_alive:
            missing = [link for link in links if self._live_links.get((tenant, link)) is None]
        if not missing:
            return None
        changes = self._changes
        revoked = self._store.read_now(lambda tx: sql.revoked_links(tx, tenant, missing))
        for link in missing:
            if link not in revoked:
                self._keep(self._live_links, (tenant, link), True, changes)
        return next((link for link in missing if link in revoked), None)

    def token_revoked(self, tenant: TenantId, token: str) -> bool:
        """Whether this token was revoked; a token seen before costs a look-up in memory."""
        if self._store.signals_alive and self._live_tokens.get((tenant, token)) is not None:
            return False
        changes = self._changes
        revoked = self._store.read_now(lambda tx: sql.token_revoked(tx, tenant, token))
        if not revoked:
            self._keep(self._live_tokens, (tenant, token), True, changes)
        return revoked

    def _keep(self, cache: Bounded[K, V], key: K, value: V, changes: int) -> None:
        """Unless something changed since it was read."""
        with self._lock:
            if changes == self._changes and self._store.signals_alive:
                cache.put(key, value)

    def _on_change(self, payload: str) -> None:
        try:
            change = wire.decode(payload, Change, what=CHANGED)
        except InvalidInput:  # from another release: all it says is that something changed
            return self.forget_all()
        with self._lock:
            self._changes += 1
            for agent in change.agents:
                self._known.drop((change.tenant, agent))
            for link in change.links:
                self._live_links.drop((change.tenant, link))
            for token in change.tokens:
                self._live_tokens.drop((change.tenant, token))
            self._losses += change.lost
        if change.lost:
            self._tell(change.tenant, (*change.agents, *change.links))

    def _tell(self, tenant: TenantId, members: Sequence[Member]) -> None:
        affected = {agent: None for agent in members if isinstance(agent, str)}
        for member in members:
            affected.update(dict.fromkeys(self.dependents.of(tenant, member)))
        for agent in affected:
            for listener in self._listeners:
                listener(tenant, agent)

    def forget_all(self) -> None:
        """Trust nothing in memory any more, and have the listeners do the same for everybody they may know through us."""
        with self._lock:
            self._changes += 1
            self._losses += 1
            self._known.clear()
            self._live_links.clear()
            self._live_tokens.clear()
        for tenant, agent in self.dependents.drain():
            for listener in self._listeners:
                listener(tenant, agent)
