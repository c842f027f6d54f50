"""Entities as policies see them: identities with their roles, tenant and owner; resources with what was stored of them; action groups.

    Agent, Human, Service   attributes nhi, name, kind, owner (if any) and what was stored; in their roles, tenant, owner and stored groups
    resources               attributes uri, for a network host and port, and what was stored; in their tenant and stored groups

INVARIANT: roles, and what was stored of an identity, belong to its line: a rotation changes neither.
INVARIANT: who is owned is in its owner, and in nothing that the owner is in: roles and groups of a human do not pass to their agents.
INVARIANT: a `View` reads each entity once, so one decision sees one state; what it read of other identities is told by `others`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from creto.common.errors import EnablementError
from creto.common.ids import AgentId, TenantId
from creto.platform.nhi import Identity, Nhi
from creto.security.authz import names
from creto.security.authz.cedar.values import Entity, Uid, Value
from creto.security.authz.facts import NOTHING, Facts

ANCESTOR_STEPS_MAX = 256  # entities above one; a longer walk is a mistake


def find_identity(nhi: Nhi, tenant: TenantId, agent: str) -> Identity | None:
    """None if the tenant does not know it."""
    try:
        return nhi.get_now(tenant, AgentId(agent))
    except EnablementError as error:
        if error.code in ("PL-101", "PL-102"):
            return None
        raise


class View(Mapping[Uid, Entity]):
    """The entities of one request, read when a policy or its scope asks for them."""

    def __init__(self, facts: Facts, nhi: Nhi, tenant: TenantId, actions: Mapping[Uid, Entity]) -> None:
        self._facts = facts
        self._nhi = nhi
        self._tenant = tenant
        self._actions = actions
        self._read: dict[Uid, Entity | None] = {}
        self.others: set[str] = set()  # identities that a policy looked at
        self.unregistered = False  # one of them was not registered: that may change without a word

    def get(self, uid: Uid, default: Any = None) -> Any:
        if uid in self._read:
            return self._read[uid]
        found = self._actions.get(uid) if uid.type == "Action" else self._load(uid)
        self._read[uid] = found
        return found

    def __getitem__(self, uid: Uid) -> Entity:
        found = self.get(uid)
        if found is None:
            raise KeyError(uid)
        return found  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Uid]:
        return iter(self._read)

    def __len__(self) -> int:
        return len(self._read)

    def principal(self, identity: Identity) -> Uid:
        uid = names.principal_uid(identity.kind, identity.nhi)
        self._read[uid] = self._principal(uid, identity)
        return uid

    def resource(self, uri: str) -> Uid:
        agent = names.named_agent(uri)
        if agent is None:
            uri = names.canonical(uri)
            uid = names.resource_uid(uri)
            self._read.setdefault(uid, self._resource(uid, uri))
            return uid
        identity = find_identity(self._nhi, self._tenant, agent)
        self.others.add(agent)
        if identity is None:
            self.unregistered = True
            return Uid("Agent", agent)
        uid = names.principal_uid(identity.kind, agent)
        if uid not in self._read:
            self.principal(identity)
        return uid

    def _load(self, uid: Uid) -> Entity | None:
        if uid.type in names.PRINCIPAL_TYPES:
            self.others.add(uid.id)
            identity = find_identity(self._nhi, self._tenant, uid.id)
            if identity is None:
                self.unregistered = True
                return None
            return self._principal(uid, identity) if names.PRINCIPALS[identity.kind] == uid.type else None
        if uid.type in ("Role", "Tenant"):
            return Entity(uid)
        if uid.type in names.URIS:
            return self._resource(uid, names.URIS[uid.type] + uid.id)
        known = self._facts.entity(uid)
        if known is NOTHING:
            return None
        return self._entity(uid, known.attrs, known.parents)

    def _principal(self, uid: Uid, identity: Identity) -> Entity:
        known = self._facts.entity(names.principal_uid(identity.kind, identity.origin))
        roles = self._facts.roles(identity.origin)
        attrs = known.attrs | {"nhi": identity.nhi, "name": identity.name, "kind": str(identity.kind)}
        attrs.pop("owner", None)  # registered, never stored here
        parents = (*map(names.role_uid, roles), names.tenant_uid(self._tenant), *known.parents)
        owner = find_identity(self._nhi, self._tenant, identity.owner) if identity.owner is not None else None
        if owner is not None:
            attrs["owner"] = names.principal_uid(owner.kind, owner.nhi)
            parents = (attrs["owner"], *parents)
        return self._entity(uid, attrs, parents)

    def _resource(self, uid: Uid, uri: str) -> Entity:
        known = self._facts.entity(uid)
        attrs = known.attrs | {"uri": uri}
        if uid.type == "Network":
            host, _, port = uid.id.rpartition(":")
            attrs["host"] = host or uid.id
            if host and port.isascii() and port.isdigit() and len(port) <= 5:
                attrs["port"] = int(port)
        home = () if uid.type == "Tenant" else (names.tenant_uid(self._tenant),)
        return self._entity(uid, attrs, (*home, *known.parents))

    def _entity(self, uid: Uid, attrs: dict[str, Value], parents: tuple[Uid, ...]) -> Entity:
        found: set[Uid] = set()
        pending = list(parents)
        while pending and len(found) < ANCESTOR_STEPS_MAX:
            above = pending.pop()
            if above in found or above == uid:
                continue
            found.add(above)
            if above.type not in ("Tenant", "Role") and above.type not in names.PRINCIPAL_TYPES:
                pending += self._facts.entity(above).parents
        return Entity(uid, attrs, frozenset(found))
