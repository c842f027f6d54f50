"""The OpenAPI 3.1 document, from the table of endpoints: schemas by msgspec, parameters from the path and the query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from creto.common.codes import row
from creto.edge.api.endpoint import Blob, Endpoint, Nothing
from creto.edge.api.fields import BASE64, agent_fields
from creto.edge.rest.problem import MEDIA_TYPE, Problem

COMMON_CODES = ("PL-400", "PL-401", "PL-403", "PL-404", "PL-406", "PL-408", "PL-409", "PL-411", "PL-412", "PL-413", "PL-415", "PL-429", "PL-202", "PL-503", "PL-504")  # fmt: skip
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[!-~]+$"},
}
DECIMAL = r"^-?[0-9]{1,20}(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,2})?$"
REF = "#/components/schemas/{name}"


def openapi(endpoints: Iterable[Endpoint[..., Any]], *, version: str, title: str = "creto") -> dict[str, Any]:
    table = list(endpoints)
    types: list[Any] = [Problem]
    for op in table:
        types += [op.request_type, op.response, *op.hints.values()]
    schemas, components = msgspec.json.schema_components([t for t in types if t is not bytes], ref_template=REF)
    for schema in (*schemas, *components.values()):
        spell_out(schema)
    named = dict(zip(map(key, (t for t in types if t is not bytes)), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for op in table:
        paths.setdefault(op.path, {})[op.method.lower()] = described(op, named, components)
    used = referenced(paths, components)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "security": [{"bearer": []}],
        "tags": [{"name": part} for part in dict.fromkeys(op.part for op in table)],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in components.items() if name in used},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def spell_out(schema: Any) -> None:
    """Bytes travel as base64; `contentEncoding` alone is a remark that validators ignore, a pattern is not.

    A decimal is text, or where somebody asks a number: its form is said too.
    """
    if isinstance(schema, dict):
        if schema.get("format") == "decimal":
            schema.pop("type", None)
            schema["anyOf"] = [
                {"type": "string", "pattern": DECIMAL},
                {"type": "number", "minimum": 0},
            ]
            return
        if schema.get("contentEncoding") == "base64":
            schema.setdefault("pattern", BASE64)
        for part in schema.values():
            spell_out(part)
    elif isinstance(schema, list):
        for part in schema:
            spell_out(part)


def key(type_: Any) -> str:
    return repr(type_)


def described(op: Endpoint[..., Any], named: Mapping[str, Any], components: Mapping[str, Any]) -> dict[str, Any]:
    types = op.hints
    fields = {f.name: f for f in msgspec.structs.fields(op.request_type)}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": named[key(types[name])]} for name in op.path_fields
    ]
    parameters += [
        {"name": name, "in": "query", "required": fields[name].required, **query_form(named[key(types[name])])}
        for name in op.query_fields
    ]
    if op.takes_key:
        parameters.append(IDEMPOTENCY_KEY)
    result: dict[str, Any] = {
        "operationId": op.name.replace(".", "_"),
        "tags": [op.part],
        "summary": op.summary,
        "parameters": parameters,
        "responses": {str(op.status): answer(op, named), **refusals(op)},
    }
    if op.open:
        result["security"] = []
    if op.raw_body:
        # No bytes are bytes too: an empty object, an empty part.
        result["requestBody"] = {"required": False, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}  # fmt: skip
    elif op.body_fields:
        schema = body_schema(op, components)
        content = {"application/json": {"schema": schema}}
        content |= {kind: {"schema": named[key(types[field])]} for kind, field in op.forms}
        result["requestBody"] = {"required": bool(schema_required(op)), "content": content}
    return result


def schema_required(op: Endpoint[..., Any]) -> list[str]:
    return [f.name for f in msgspec.structs.fields(op.request_type) if f.required and f.name in op.body_fields]


def body_schema(op: Endpoint[..., Any], components: Mapping[str, Any]) -> dict[str, Any]:
    """The request's schema without the fields that come in the path."""
    whole = components[op.request_type.__name__]
    if not op.path_fields:
        return {"$ref": REF.format(name=op.request_type.__name__)}
    schema = {k: v for k, v in whole.items() if k not in ("properties", "required")}
    schema["properties"] = {k: v for k, v in whole["properties"].items() if k not in op.path_fields}
    schema["required"] = [k for k in whole.get("required", []) if k not in op.path_fields]
    return schema


def query_form(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that holds names with values is one JSON text."""
    stated = query_schema(schema)
    return (
        {"content": {"application/json": {"schema": stated}}} if stated.get("type") == "object" else {"schema": stated}
    )


def query_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is absent rather than null."""
    variants = [v for v in schema.get("anyOf", []) if v != {"type": "null"}]
    if len(variants) == 1:
        return dict(variants[0])
    return schema


def answer(op: Endpoint[..., Any], named: Mapping[str, Any]) -> dict[str, Any]:
    if op.response is Nothing:
        return {"description": op.summary}
    if op.response is Blob:
        content: dict[str, Any] = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    else:
        content = {"application/json": {"schema": named[key(op.response)]}}
    return {"description": op.summary, "content": content}


def refusals(op: Endpoint[..., Any]) -> dict[str, Any]:
    """Every status that an error of this endpoint can have, with the codes behind it."""
    by_status: dict[int, list[str]] = {}
    malformed = ("PL-101",) if agent_fields(op.request_type) else ()
    for code in dict.fromkeys((*COMMON_CODES, *malformed, *op.errors)):
        by_status.setdefault(row(code).http, []).append(code)
    return {
        str(status): {
            "description": "; ".join(f"{code}: {row(code).title}" for code in codes),
            "content": {MEDIA_TYPE: {"schema": {"$ref": REF.format(name="Problem")}}},
        }
        for status, codes in sorted(by_status.items())
        if status != op.status
    }


def referenced(part: Any, components: Mapping[str, Any]) -> set[str]:
    """The names of all schemas that are used, directly or through others."""
    found: set[str] = set()
    todo: list[Any] = [part]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            ref = node.get("$ref")
            name = ref.rsplit("/", 1)[1] if isinstance(ref, str) else None
            if name and name not in found:
                found.add(name)
                todo.append(components[name])
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return found
