"""From an HTTP request to the endpoint's question: path, query, body, each within its limit and each refused by name."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from urllib.parse import unquote

import msgspec
from starlette.requests import Request

from creto.common import wire
from creto.common.errors import InvalidInput, Timeout
from creto.common.limits import BODY_BYTES_MAX, BODY_S_MAX
from creto.edge.api.endpoint import Endpoint
from creto.edge.rest.names import name_in

JSON, CLOUD_EVENT = "application/json", "application/cloudevents+json"


def peer_of(request: Request) -> str | None:
    return request.client.host if request.client else None


async def question(op: Endpoint[..., Any], request: Request) -> Any:
    values: dict[str, Any] = {}
    hints = op.hints
    for name in op.path_fields:
        values[name] = wire.convert(name_in(request.path_params[name]), hints[name], what=name, strict=False)
    values.update(from_query(op, request, hints))
    if op.raw_body:
        values[op.raw_body] = await body_of(request)
    elif op.body_fields:
        values.update(await from_body(op, request, hints))
    for field in msgspec.structs.fields(op.request_type):
        if field.required and field.name not in values:
            raise InvalidInput.of(field.name, got="nothing", expected="a value")
    return op.request_type(**values)


def from_query(op: Endpoint[..., Any], request: Request, hints: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in request.query_params:
        given = request.query_params.getlist(name)
        if name not in op.query_fields:
            expected = f"one of {', '.join(op.query_fields)}" if op.query_fields else "no query"
            raise InvalidInput.of(name, got="an unknown query parameter", expected=expected)
        if len(given) > 1:
            raise InvalidInput.of(name, got=f"{len(given)} values", expected="one value")
        values[name] = from_text(given[0], stated(hints[name]), name)
    return values


def from_text(text: str, hint: Any, name: str) -> Any:
    """A parameter is spelled as itself, names with values as one JSON object."""
    if get_origin(bare(hint)) is dict:
        return wire.decode(text, hint, what=name)
    return wire.convert(text, hint, what=name, strict=False)


def bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


@lru_cache(maxsize=1_024)
def stated(hint: Any) -> Any:
    """The type of a parameter that is there: its absence says None, the word null is a text like another."""
    variants = [v for v in get_args(hint) if v is not type(None)]
    is_optional = get_origin(hint) in (Union, UnionType) and len(variants) < len(get_args(hint))
    return Union[tuple(variants)] if is_optional else hint  # noqa: UP007 - built at run time


async def from_body(op: Endpoint[..., Any], request: Request, hints: dict[str, Any]) -> dict[str, Any]:
    kind, forms = media_type(request), dict(op.forms)
    if CLOUD_EVENT in forms and "ce-specversion" in request.headers:
        event = cloud_event(request.headers, kind, await body_of(request))
        return {forms[CLOUD_EVENT]: wire.convert(event, hints[forms[CLOUD_EVENT]], what="event")}
    if kind in forms:
        return {forms[kind]: read(await body_of(request), hints[forms[kind]], forms[kind])}
    if kind != JSON:
        raise InvalidInput.of("Content-Type", got=kind, expected=" or ".join((JSON, *forms)), code="PL-415")
    data = await body_of(request)
    raw = wire.decode(data or b"{}", dict[str, msgspec.Raw])
    values: dict[str, Any] = {}
    for name, value in raw.items():
        if name not in op.body_fields:
            raise wire.unknown_field(name, name, op.body_fields)
        values[name] = read(bytes(value), hints[name], name)
    return values


def media_type(request: Request) -> str:
    return request.headers.get("content-type", JSON).split(";", 1)[0].strip().lower()


def cloud_event(headers: Mapping[str, str], kind: str, data: bytes) -> dict[str, Any]:
    """CloudEvents 1.0, HTTP binding 3.1: in binary mode the attributes are headers, percent-encoded, and the body is the data."""
    event: dict[str, Any] = {name[3:]: unquote(value) for name, value in headers.items() if name.startswith("ce-")}
    if data and (kind == JSON or kind.endswith("+json")):
        event["data"] = wire.decode(data, Any, what="data")
    elif data:
        event["data_base64"] = b64encode(data).decode()
    return event


def read(data: bytes, hint: Any, name: str) -> Any:
    """A number without a fraction is an integer however it is written: JSON Schema says that 1.0 is one."""
    try:
        return wire.decode(data, hint, what=name)
    except InvalidInput as error:
        if error.got != "float":
            raise
    return wire.convert(without_fractions(wire.decode(data, Any)), hint, what=name)


def without_fractions(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [without_fractions(item) for item in value]
    if isinstance(value, dict):
        return {key: without_fractions(item) for key, item in value.items()}
    return value


async def body_of(request: Request, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """The whole body; one that grows beyond the limit is refused before it is kept."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_S_MAX):
            async for chunk in request.stream():
                size += len(chunk)
                if size > bytes_max:
                    raise InvalidInput.of("body", got=f"more than {bytes_max} bytes", expected="less", code="PL-413")
                chunks.append(chunk)
    except TimeoutError as error:
        raise Timeout("PL-408", f"the body did not arrive in {BODY_S_MAX} s") from error
    return b"".join(chunks)
