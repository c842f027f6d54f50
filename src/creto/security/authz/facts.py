"""What the store knows of a tenant's entities and roles, held in memory whole where it fits, so that a check does not read the store.

INVARIANT: what was read before a change is never kept after it: `changes` is compared under the lock that every change takes.
"""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, TenantId
from creto.common.limits import AUTHZ_ENTITIES_MAX
from creto.security.authz import store as sql
from creto.security.authz.cedar.entities import record_from_json, uid_from_json
from creto.security.authz.cedar.values import Uid, Value
from creto.store.types import ReadTx, Store

Key = Uid | str  # a stored entity, or the roles of an identity
Fact = Any  # Known or tuple[str, ...]


class Known(msgspec.Struct, frozen=True):
    """What is stored of an entity."""

    attrs: dict[str, Value]
    parents: tuple[Uid, ...]


NOTHING = Known({}, ())


class Facts:
    def __init__(self, store: Store, tenant: TenantId) -> None:
        self._store = store
        self._tenant = tenant
        self._lock = threading.Lock()
        self._changes = 0
        self._known: dict[Key, Fact] = {}
        self._stale: set[Key] = set()
        self._load_wanted = True
        self._complete = False  # what is not known and not stale does not exist

    def entity(self, uid: Uid) -> Known:
        found: Known = self._get(uid)
        return found

    def roles(self, agent: str) -> tuple[str, ...]:
        found: tuple[str, ...] = self._get(agent)
        return found

    def holds(self, key: Key) -> bool:
        """Whether this is known, or known to be absent, without the store."""
        return not self._load_wanted and (key in self._known or (self._complete and key not in self._stale))

    def _get(self, key: Key) -> Fact:
        if self._store.signals_alive:
            found = self._known.get(key)
            if found is not None:
                return found
            if self._complete and key not in self._stale:
                return NOTHING if type(key) is Uid else ()
        changes = self._changes
        found = self._store.read_now(lambda tx: read(tx, self._tenant, key))
        with self._lock:
            if changes == self._changes and self._store.signals_alive:
                if len(self._known) >= 2 * AUTHZ_ENTITIES_MAX:
                    self._forget(reload=False)
                self._known[key] = found
                self._stale.discard(key)
        return found

    def load(self) -> None:
        """Read everything, once after everything was forgotten, if it is not too much."""
        if not self._load_wanted or not self._store.signals_alive:
            return
        self._load_wanted = False
        changes = self._changes
        rows = self._store.read_now(lambda tx: read_all(tx, self._tenant))
        with self._lock:
            if rows is not None and changes == self._changes and self._store.signals_alive:
                self._known, self._complete, self._stale = rows, True, set()

    def changed(self, key: Key) -> None:
        with self._lock:
            self._changes += 1
            self._stale.add(key)  # first: a reader without the lock must not take it for absent
            self._known.pop(key, None)
            if len(self._stale) > AUTHZ_ENTITIES_MAX:
                self._forget(reload=True)

    def forget(self) -> None:
        with self._lock:
            self._changes += 1
            self._forget(reload=True)

    def _forget(self, *, reload: bool) -> None:
        self._complete, self._load_wanted = False, reload
        self._known, self._stale = {}, set()


def read(tx: ReadTx, tenant: TenantId, key: Key) -> Fact:
    if isinstance(key, Uid):
        row = sql.entity(tx, tenant, key)
        return known_of(*row) if row else NOTHING
    return sql.roles(tx, tenant, AgentId(key))


def read_all(tx: ReadTx, tenant: TenantId) -> dict[Key, Fact] | None:
    entities = sql.all_entities(tx, tenant, AUTHZ_ENTITIES_MAX + 1)
    roles = sql.all_roles(tx, tenant, AUTHZ_ENTITIES_MAX + 1)
    if len(entities) > AUTHZ_ENTITIES_MAX or len(roles) > AUTHZ_ENTITIES_MAX:
        return None
    found: dict[Key, Fact] = {Uid(type, id): known_of(attrs, parents) for type, id, attrs, parents in entities}
    for agent, role in roles:
        found[agent] = (*found.get(agent, ()), role)
    return found


def known_of(attrs: bytes, parents: bytes) -> Known:
    record = wire.decode(bytes(attrs), dict[str, Any], code="PL-702", what="attrs")
    above = wire.decode(bytes(parents), list[dict[str, str]], code="PL-702", what="parents")
    return Known(record_from_json(record), tuple(map(uid_from_json, above)))
