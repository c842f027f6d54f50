"""Facts for policies over the wire: who has a role, and attributes and groups of identities and resources."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_PARENTS_MAX, PAGE_ITEMS_DEFAULT
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Cursor, Id, Limit, Resource
from creto.edge.api.parts import Parts
from creto.security.authz import EntityPage, RolePage, StoredEntity
from creto.security.authz.cedar.values import Uid


class ListMembers(Ask, frozen=True):
    role: Id
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class ListEntities(Ask, frozen=True):
    """With `group_type` and `group_id` only what is in that group."""

    group_type: Id | None = None
    group_id: Id | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class GetEntity(Ask, frozen=True):
    """`uri` is an agent id or a resource, as `object:reports/1`."""

    uri: Resource


class Group(Ask, frozen=True):
    type: Id
    id: Id


class PutEntity(Ask, frozen=True):
    """`attrs` in Cedar's JSON. What was stored before is replaced whole."""

    uri: Resource
    attrs: Annotated[dict[str, Any], Meta(max_length=100)] = {}
    parents: Annotated[tuple[Group, ...], Meta(max_length=AUTHZ_PARENTS_MAX)] = ()


class EntityDropped(View, frozen=True):
    """`first`: there was something to forget."""

    uri: str
    first: bool


READ, WRITE, URI = "authz:read", "authz:write", "{uri}"
MEMBERS = Endpoint("policies.members", "GET", "/v1/roles/{role}/members", ListMembers, RolePage, READ, "Who has a role, each under the first id of their line", about="role:{role}")  # fmt: skip
LIST = Endpoint("policies.list_entities", "GET", "/v1/authz/entities", ListEntities, EntityPage, READ, "What is stored of identities and resources for policies to read")  # fmt: skip
GET = Endpoint("policies.get_entity", "GET", "/v1/authz/entities/{uri}", GetEntity, StoredEntity, READ, "What is stored of one", about=URI)  # fmt: skip
PUT = Endpoint("policies.put_entity", "PUT", "/v1/authz/entities/{uri}", PutEntity, StoredEntity, WRITE, "Store attributes and groups of an identity or a resource", errors=("PL-702",), about=URI)  # fmt: skip
DROP = Endpoint("policies.drop_entity", "DELETE", "/v1/authz/entities/{uri}", GetEntity, EntityDropped, WRITE, "Forget what is stored of one", about=URI)  # fmt: skip

ENDPOINTS = (MEMBERS, LIST, GET, PUT, DROP)


@handles(MEMBERS)
async def members(parts: Parts, call: Call, ask: ListMembers) -> RolePage:
    return await parts.authz.members(call.tenant, ask.role, cursor=ask.cursor, limit=ask.limit)


@handles(LIST)
async def list_entities(parts: Parts, call: Call, ask: ListEntities) -> EntityPage:
    group = None
    if ask.group_type is not None and ask.group_id is not None:
        group = Uid(ask.group_type, ask.group_id)
    elif ask.group_type is not None or ask.group_id is not None:
        raise InvalidInput.of("group_type", got="half a name", expected="group_type and group_id, or neither")
    return await parts.authz.entities(call.tenant, group=group, cursor=ask.cursor, limit=ask.limit)


@handles(GET)
async def get(parts: Parts, call: Call, ask: GetEntity) -> StoredEntity:
    return await parts.authz.entity(call.tenant, ask.uri)


@handles(PUT)
async def put(parts: Parts, call: Call, ask: PutEntity) -> StoredEntity:
    groups = [Uid(group.type, group.id) for group in ask.parents]
    await parts.authz.put_entity(call.tenant, ask.uri, ask.attrs, groups, actor=call.known.agent)
    return await parts.authz.entity(call.tenant, ask.uri)


@handles(DROP)
async def drop(parts: Parts, call: Call, ask: GetEntity) -> EntityDropped:
    first = await parts.authz.drop_entity(call.tenant, ask.uri, actor=call.known.agent)
    return EntityDropped(uri=ask.uri, first=first)
