"""Roles of principals, and attributes and groups of any entity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId, TenantId, checked_name, checked_tenant
from creto.common.limits import (
    AUTHZ_CONTEXT_BYTES_MAX,
    AUTHZ_PARENTS_MAX,
    AUTHZ_RESOURCE_CHARS_MAX,
    PAGE_ITEMS_DEFAULT,
    PAGE_ITEMS_MAX,
)
from creto.common.paging import checked_limit, cut, place_of
from creto.platform.nhi import Identity
from creto.security.authz import names
from creto.security.authz import store as sql
from creto.security.authz.cedar.entities import record_from_json
from creto.security.authz.cedar.values import Uid
from creto.security.authz.core import OPERATOR_ROLE, Change, Core, announce, operators
from creto.security.authz.directory import find_identity
from creto.security.authz.types import EntityName, EntityPage, RoleAssignment, RolePage, StoredEntity
from creto.store.types import Tx

LINE_NAMES_MAX = 32


class EntityBook(Core):
    async def assign_role(self, tenant: TenantId, agent: AgentId, role: str, *, actor: str) -> RoleAssignment:
        """Make the identity a member of Role::"…", whichever key of its line it uses. Asking again changes nothing. PL-102 if nobody knows it."""
        tenant, role, now = checked_tenant(tenant), checked_name(role, "role"), self._clock.now()

        def assign(tx: Tx) -> RoleAssignment:
            line = self._nhi.line(tx, tenant, agent)
            assignment = RoleAssignment(tenant, line[0].origin, role, actor, now)
            if sql.assign(tx, assignment):
                self._record(
                    tx, tenant, "role_assigned", "RoleAssigned", actor=actor, subject=agent, now=now, fields={"role": role}
                )  # fmt: skip
                announce_roles(tx, line)
            return assignment

        assignment = await self._store.write(assign)
        await self._store.settled()
        return assignment

    async def unassign_role(self, tenant: TenantId, agent: AgentId, role: str, *, actor: str) -> bool:
        """Whether it had the role. When this returns no thread of this process grants what the role granted. PL-102 if nobody knows it."""
        tenant, now = checked_tenant(tenant), self._clock.now()

        def unassign(tx: Tx) -> bool:
            line = self._nhi.line(tx, tenant, agent)
            if not sql.unassign(tx, tenant, line[0].origin, role):
                return False
            self._record(
                tx, tenant, "role_unassigned", "RoleUnassigned", actor=actor, subject=agent, now=now, fields={"role": role}
            )  # fmt: skip
            if role == OPERATOR_ROLE:
                self._keep_an_operator(tx, tenant, line[0].origin)
            announce_roles(tx, line)
            return True

        done = await self._store.write(unassign)
        await self._store.settled()
        return done

    async def roles(self, tenant: TenantId, agent: AgentId) -> tuple[str, ...]:
        """The roles of its line. PL-102 if nobody knows it."""
        tenant = checked_tenant(tenant)
        return await self._store.read(lambda tx: sql.roles(tx, tenant, self._nhi.origin(tx, tenant, agent)))

    async def operators(self, tenant: TenantId) -> int:
        """How many hold the role operator and can act."""
        tenant = checked_tenant(tenant)
        return await self._store.read(lambda tx: operators(tx, tenant))

    async def members(
        self, tenant: TenantId, role: str, *, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> RolePage:
        """Who has a role, each under the first id of their line, in order."""
        tenant, limit, after = checked_tenant(tenant), checked_limit(limit), place_of(cursor, str, "")
        found = await self._store.read(lambda tx: sql.members(tx, tenant, role, after, limit + 1))
        return RolePage(*cut(found, limit, lambda last: last.agent))

    def uid_of(self, tenant: TenantId, uri: str) -> Uid:
        """The entity that a resource string or an identity means: of an identity its line."""
        checked_name(uri, "uri", chars_max=AUTHZ_RESOURCE_CHARS_MAX)
        agent = names.named_agent(uri)
        if agent is None:
            return names.resource_uid(uri)
        identity = find_identity(self._nhi, tenant, agent)
        return Uid("Agent", agent) if identity is None else names.principal_uid(identity.kind, identity.origin)

    async def put_entity(
        self, tenant: TenantId, uri: str, attrs: Mapping[str, Any], parents: Sequence[Uid] = (), *, actor: str
    ) -> Uid:  # fmt: skip
        """What policies shall know of an identity or a resource beside what the layer knows: attributes in Cedar's JSON, and groups."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        uid = self.uid_of(tenant, uri)
        record_from_json(attrs)
        if uid.type in ("Role", "Tenant", "Action"):
            raise InvalidInput.of("uri", got=uri, expected="an identity or a resource", code="PL-702")
        if len(parents) > AUTHZ_PARENTS_MAX or any(parent.type in ("Role", "Action", *names.PRINCIPAL_TYPES) for parent in parents):  # fmt: skip
            raise InvalidInput.of("parents", got=f"{len(parents)} parents", expected=f"{AUTHZ_PARENTS_MAX} at most, none a Role", code="PL-702")  # fmt: skip
        body = wire.encode(attrs)
        above = wire.encode([{"type": parent.type, "id": parent.id} for parent in parents])
        if len(body) > AUTHZ_CONTEXT_BYTES_MAX:
            raise InvalidInput.of("attrs", got=f"{len(body)} bytes", expected=f"{AUTHZ_CONTEXT_BYTES_MAX} at most", code="PL-702")  # fmt: skip

        def put(tx: Tx) -> None:
            sql.put_entity(tx, tenant, uid, body, above, now)
            self._record(
                tx, tenant, "entity_changed", "EntityChanged", actor=actor, subject=uri, now=now, fields={"entity": str(uid)}
            )  # fmt: skip
            announce(tx, Change(tenant, entity=(uid.type, uid.id)))

        await self._store.write(put)
        await self._store.settled()
        return uid

    async def entity(self, tenant: TenantId, uri: str) -> StoredEntity:
        """What is stored of an identity or a resource; PL-404 if nothing is."""
        tenant = checked_tenant(tenant)
        uid = self.uid_of(tenant, uri)
        row = await self._store.read(lambda tx: sql.entity(tx, tenant, uid))
        if row is None:
            raise NotFound("PL-404", f"nothing is stored of {uri}")
        return stored(uri, uid, *row)

    async def entities(
        self, tenant: TenantId, *, group: Uid | None = None, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> EntityPage:
        """What is stored, by type and id; with a group only what names it as its parent.

        A page looks at a bounded part of them: with a cursor there may be more, even if it is empty.
        """
        tenant, limit = checked_tenant(tenant), checked_limit(limit)
        after = place_of(cursor, tuple[str, str], ("", ""))
        seen_max = limit if group is None else PAGE_ITEMS_MAX
        rows = await self._store.read(lambda tx: sql.entities(tx, tenant, after, seen_max + 1))
        seen, following = cut(rows, seen_max, lambda row: (row[0], row[1]))
        found = [stored(names.uri_of(uid := Uid(type, id)), uid, attrs, parents) for type, id, attrs, parents in seen]
        members = [e for e in found if group is None or EntityName(*group) in e.parents]
        items, more = cut(members, limit, lambda last: (last.type, last.id))
        return EntityPage(items, more or following)

    async def drop_entity(self, tenant: TenantId, uri: str, *, actor: str) -> bool:
        """Forget what was stored; whether there was anything."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        uid = self.uid_of(tenant, uri)

        def drop(tx: Tx) -> bool:
            if not sql.drop_entity(tx, tenant, uid):
                return False
            self._record(
                tx, tenant, "entity_dropped", "EntityDropped", actor=actor, subject=uri, now=now, fields={"entity": str(uid)}
            )  # fmt: skip
            announce(tx, Change(tenant, entity=(uid.type, uid.id)))
            return True

        done = await self._store.write(drop)
        await self._store.settled()
        return done


def stored(uri: str, uid: Uid, attrs: bytes, parents: bytes) -> StoredEntity:
    return StoredEntity(
        uri=uri,
        type=uid.type,
        id=uid.id,
        attrs=wire.decode(bytes(attrs), dict[str, Any], what="attrs"),
        parents=wire.decode(bytes(parents), tuple[EntityName, ...], what="parents"),
    )


def announce_roles(tx: Tx, line: Sequence[Identity]) -> None:
    """Whoever speaks for the line has other roles now. A signal holds about 50 names."""
    tenant, origin = line[0].tenant, line[0].origin
    for start in range(0, len(line), LINE_NAMES_MAX):
        names = tuple(i.nhi for i in line[start : start + LINE_NAMES_MAX])
        announce(tx, Change(tenant, roles_of=origin, line=names))
