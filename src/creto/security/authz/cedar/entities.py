"""Entities and contexts from Cedar's JSON format."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_EXPRESSION_DEPTH_MAX
from creto.security.authz.cedar.extensions import CONSTRUCTORS, construct
from creto.security.authz.cedar.values import LONG_MAX, LONG_MIN, CedarSet, Entity, EvaluationError, Uid, Value

Json = Any


def value_from_json(json: Json, depth: int = 0) -> Value:
    """A value; `__entity` and `__extn` are Cedar's escapes for what JSON lacks. PL-702 if it is none."""
    if depth > AUTHZ_EXPRESSION_DEPTH_MAX:
        raise invalid(f"a value is nested deeper than {AUTHZ_EXPRESSION_DEPTH_MAX} levels")
    if isinstance(json, bool | str):
        return json
    if isinstance(json, int):
        if not LONG_MIN <= json <= LONG_MAX:
            raise invalid("a number does not fit into 64 bits")
        return json
    if isinstance(json, list | tuple):
        return CedarSet(value_from_json(item, depth + 1) for item in json)
    if isinstance(json, Mapping):
        if "__entity" in json and len(json) == 1:
            return uid_from_json(json["__entity"])
        if "__extn" in json and len(json) == 1:
            return extension_from_json(json["__extn"])
        return record_from_json(json, depth)
    raise invalid(f"a {type(json).__name__} is no Cedar value")


def record_from_json(json: Mapping[Any, Json], depth: int = 0) -> dict[str, Value]:
    if not all(isinstance(name, str) for name in json):
        raise invalid("the names in a record are strings")
    return {name: value_from_json(item, depth + 1) for name, item in json.items()}


def extension_from_json(json: Json) -> Value:
    if not isinstance(json, Mapping) or json.get("fn") not in CONSTRUCTORS or not isinstance(json.get("arg"), str):
        raise invalid("`__extn` needs `fn`, one of " + ", ".join(CONSTRUCTORS) + ", and `arg`, a string")
    try:
        return construct(json["fn"], json["arg"])
    except EvaluationError as error:
        raise invalid(str(error)) from error


def uid_from_json(json: Json) -> Uid:
    if isinstance(json, Mapping) and set(json) == {"__entity"}:
        json = json["__entity"]
    if not isinstance(json, Mapping) or not isinstance(json.get("type"), str) or not isinstance(json.get("id"), str):
        raise invalid("an entity is named by `type` and `id`, both strings")
    return Uid(json["type"], json["id"])


def context_from_json(json: Mapping[str, Json] | None) -> dict[str, Value]:
    return record_from_json(json) if json else {}


def entities_from_json(data: bytes | str) -> dict[Uid, Entity]:
    """Cedar's list of entities, with the parents' parents worked out."""
    read = wire.decode(data, list[dict[str, Any]], code="PL-702", what="entities")
    raw = {uid_from_json(item.get("uid")): item for item in read}
    parents = {uid: frozenset(map(uid_from_json, parents_of(item))) for uid, item in raw.items()}
    return {
        uid: Entity(
            uid,
            record_from_json(mapping(item.get("attrs"))),
            ancestors(uid, parents),
            record_from_json(mapping(item.get("tags"))),
        )
        for uid, item in raw.items()
    }


def parents_of(item: Mapping[str, Json]) -> list[Json]:
    found = item.get("parents", [])
    if not isinstance(found, list):
        raise invalid("`parents` is a list of entities")
    return found


def mapping(json: Json) -> Mapping[str, Json]:
    if json is None:
        return {}
    if not isinstance(json, Mapping):
        raise invalid("`attrs` and `tags` are objects")
    return json


def ancestors(uid: Uid, parents: Mapping[Uid, Iterable[Uid]]) -> frozenset[Uid]:
    """Everything above; a circle is refused, as Cedar does."""
    found: set[Uid] = set()
    pending = list(parents.get(uid, ()))
    while pending:
        above = pending.pop()
        if above not in found:
            found.add(above)
            pending.extend(parents.get(above, ()))
    if uid in found:
        raise invalid(f"`{uid}` is above itself")
    return frozenset(found)


def invalid(reason: str) -> InvalidInput:
    return InvalidInput("PL-702", reason)
