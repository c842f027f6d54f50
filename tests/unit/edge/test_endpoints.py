"""The table of endpoints: what must hold of every row, and of what is derived from it."""

from __future__ import annotations

import base64
import enum
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import jsonschema_rs
import msgspec
import pytest

from creto.common.codes import CODES
from creto.common.errors import InvalidInput
from creto.common.limits import INTEGER_MAX
from creto.edge.api import ENDPOINTS
from creto.edge.api.agents import GetAgent
from creto.edge.api.approvers import DelegateSeats, LinkContact
from creto.edge.api.dispatch import HANDLERS
from creto.edge.api.endpoint import Ask, Blob, Endpoint, Nothing
from creto.edge.api.fields import GROUPS_COUNTED_MAX, octets
from creto.edge.rest.openapi import openapi
from creto.sdk import client, parts
from creto.sdk.line import Composed, Method
from creto.security.authz import texts

DOCUMENT = openapi(ENDPOINTS, version="1")
each_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.name)


def test_every_endpoint_has_its_handler_and_every_handler_its_endpoint() -> None:
    assert {e.name for e in ENDPOINTS} == set(HANDLERS)


def test_names_and_routes_are_unique() -> None:
    assert len({e.name for e in ENDPOINTS}) == len(ENDPOINTS)
    assert len({(e.method, e.path) for e in ENDPOINTS}) == len(ENDPOINTS)


@each_endpoint
def test_a_row_is_in_order(endpoint: Endpoint[..., Any]) -> None:
    request = endpoint.request_type
    assert issubclass(request, Ask)
    assert request.__struct_config__.forbid_unknown_fields
    assert endpoint.path.startswith("/v1/")
    assert set(endpoint.path_fields) <= set(request.__struct_fields__)
    assert set(endpoint.about_fields) <= set(request.__struct_fields__)
    assert endpoint.raw_body in (None, *request.__struct_fields__)
    assert set(endpoint.errors) <= set(CODES)
    assert endpoint.summary[0].isupper()
    assert not endpoint.summary.endswith(".")
    required = {f.name for f in msgspec.structs.fields(request) if f.required}
    assert set(endpoint.path_fields) <= required


@each_endpoint
def test_every_text_and_every_number_has_a_limit(endpoint: Endpoint[..., Any]) -> None:
    unbounded = [
        name for name, hint in endpoint.hints.items() if name != endpoint.raw_body and not bounded(hint, set())
    ]
    assert unbounded == []


def bounded(hint: Any, seen: set[Any]) -> bool:
    """Whether a value of this type fits into a row and a message: integers into 64 bits, texts and lists into a length."""
    meta: list[msgspec.Meta] = []
    while get_origin(hint) is Annotated or hasattr(hint, "__supertype__"):
        if hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        else:
            meta += [m for m in get_args(hint)[1:] if isinstance(m, msgspec.Meta)]
            hint = get_args(hint)[0]
    origin = get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return True
    if hint is int:
        return any(m.ge is not None for m in meta) and any(m.le is not None and m.le <= INTEGER_MAX for m in meta)
    if hint in (str, bytes):
        return any(m.max_length is not None for m in meta)
    if origin in (tuple, list):
        return any(m.max_length for m in meta) and all(bounded(a, seen) for a in get_args(hint) if a is not ...)
    if origin is dict:
        return any(m.max_length for m in meta)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        if hint in seen or not issubclass(hint, Ask):  # a part's own struct is checked by the part
            return True
        return all(bounded(h, seen | {hint}) for h in get_type_hints(hint, include_extras=True).values())
    if origin is not None:  # a union
        return all(bounded(a, seen) for a in get_args(hint) if a is not type(None))
    return hint in (bool, float, Decimal, type(None))  # of decimals metering counts the digits


def test_every_action_is_known_to_the_policies() -> None:
    known = {uid.id for uid in texts.action_entities(texts.parsed_schema())}
    assert {e.action for e in ENDPOINTS if e.action} <= known


def test_secrets_and_questions_take_no_idempotency_key() -> None:
    keyed = {e.name for e in ENDPOINTS if e.takes_key}
    assert keyed.isdisjoint({"auth.challenge", "auth.token", "auth.issue", "policies.check", "memory.nearest"})
    assert {"agents.register", "agents.get_key_bundle", "objects.put", "leases.acquire"} <= keyed
    for endpoint in ENDPOINTS:
        if endpoint.method in ("PUT", "DELETE") and endpoint.name != "objects.put_part":  # a part replaces itself
            assert endpoint.takes_key


def methods() -> Iterator[tuple[str, Method[..., Any] | Composed[..., Any]]]:
    for name in dir(parts):
        part = getattr(parts, name)
        if isinstance(part, type) and issubclass(part, parts.Part) and part is not parts.Part:
            yield from (
                (f"{name}.{key}", value) for key, value in vars(part).items() if isinstance(value, Method | Composed)
            )


def test_the_sdk_offers_every_endpoint_exactly_once() -> None:
    offered = [method.endpoint.name for _, method in methods()]
    assert sorted(offered) == sorted(e.name for e in ENDPOINTS)


def test_both_clients_have_the_same_face() -> None:
    def face(kind: type[Any]) -> set[str]:
        return {name for name in dir(kind) if not name.startswith("_")}

    assert face(client.Creto) - {"close"} == face(client.AsyncCreto)


def test_the_document_is_openapi() -> None:
    assert DOCUMENT["openapi"].startswith("3.1")
    assert set(DOCUMENT["paths"]) == {e.path for e in ENDPOINTS}
    operations = [op for path in DOCUMENT["paths"].values() for op in path.values()]
    assert len({op["operationId"] for op in operations}) == len(ENDPOINTS)


def test_every_reference_of_the_document_resolves_and_every_schema_is_valid() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for ref in references(DOCUMENT):
        assert ref.removeprefix("#/components/schemas/") in schemas
    for schema in schemas.values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})


@pytest.mark.parametrize(
    ("most", "least"), [(65, 32), (32, 32), (1, 0), (2, 1), (0, 0), (192, 3), (193, 0), (8_192, 0)]
)
def test_the_document_knows_the_length_of_bytes(most: int, least: int) -> None:
    """given limits of bytes / when lengths round them are written in base64 / then schema and reader agree on each."""
    type_: Any = Annotated[bytes, octets(most, least)]
    schema = jsonschema_rs.validator_for(msgspec.json.schema(type_))
    kept = most if most <= 3 * GROUPS_COUNTED_MAX else most - most % 3
    for length in {*range(least - 4, least + 5), *range(kept - 4, kept + 5)} - set(range(-4, 0)):
        text = base64.b64encode(bytes(length)).decode()
        try:
            msgspec.convert(text, type_)
            taken = True
        except msgspec.ValidationError:
            taken = False
        assert (schema.is_valid(text), taken) == (least <= length <= kept,) * 2, length
    for odd in ("A", "AA", "AAA", "AA=A", "====", "AAAA====", "A A=", "AA==\n", "_-_-"):
        assert not schema.is_valid("AAAA" * (least // 3) + odd)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


@each_endpoint
def test_the_document_says_what_the_reader_takes(endpoint: Endpoint[..., Any]) -> None:
    described = DOCUMENT["paths"][endpoint.path][endpoint.method.lower()]
    named = {p["name"]: p for p in described["parameters"] if p["in"] != "header"}
    assert set(named) == {*endpoint.path_fields, *endpoint.query_fields}
    assert {p["name"] for p in named.values() if p["in"] == "path"} == set(endpoint.path_fields)
    assert ("requestBody" in described) == bool(endpoint.body_fields or endpoint.raw_body)
    assert str(endpoint.status) in described["responses"]
    answer = described["responses"][str(endpoint.status)]
    assert ("content" in answer) == (endpoint.response is not Nothing)
    if endpoint.response is Blob:
        assert list(answer["content"]) == ["application/octet-stream"]
    assert (described.get("security") == []) == endpoint.open
    documented = {
        code for response in described["responses"].values() for code in CODES if code in response["description"]
    }
    assert set(endpoint.errors) <= documented


@pytest.mark.parametrize(
    ("request_type", "fields", "field"),
    [(GetAgent, {"agent": "carl"}, "agent"), (DelegateSeats, {"to": "carl", "ends_at": 1}, "to"), (LinkContact, {"channel": "email", "address": "carl@corp.example", "person": "carl"}, "person")],
)  # fmt: skip
def test_a_malformed_identity_is_told_by_the_field_that_has_it(
    request_type: type[Ask], fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        request_type(**fields)
    assert (caught.value.code, caught.value.field, caught.value.got) == ("PL-101", field, "carl")
