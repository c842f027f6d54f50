"""An edit of a call that the gate holds is read as the endpoint reads it: what cannot be called cannot be approved.

check_edit("quotas.put", edited=b'{"limit":40,…}', before=b'{"limit":500,…}')
"""

from __future__ import annotations

from typing import Any

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.edge.api import ENDPOINTS
from creto.edge.api.endpoint import Endpoint

FORMS: dict[str, Endpoint[..., Any]] = {endpoint.name: endpoint for endpoint in ENDPOINTS}


def check_edit(form: str, edited: bytes, before: bytes) -> None:
    """OV-400 unless it is a request of this endpoint, spelled as the layer spells it, about the same resource."""
    endpoint = FORMS.get(form)
    if endpoint is None:
        raise InvalidInput.of("arguments", got=f"a call of {form}", expected="one that there is", code="OV-400")
    try:
        asked, instead = request_of(endpoint, before), request_of(endpoint, edited)
    except EnablementError as error:
        raise InvalidInput.of(
            f"arguments.{error.field}", got=error.got, expected=error.expected or f"what {form} takes", code="OV-400"
        ) from error
    expected = as_bound(endpoint, instead, before)
    if edited != expected:
        raise InvalidInput.of(
            "arguments", got="another spelling, or what cannot be edited", expected=expected.decode(), code="OV-400"
        )
    if endpoint.resource(instead, "") != endpoint.resource(asked, ""):
        raise InvalidInput.of(
            "arguments", got="another resource", expected="the one that was asked about", code="OV-400"
        )


def request_of(endpoint: Endpoint[..., Any], arguments: bytes) -> Any:
    if endpoint.raw_body is None:
        return wire.decode(arguments, endpoint.request_type, code="OV-400", what="arguments")
    fields = wire.decode(arguments, dict[str, Any], code="OV-400", what="arguments")
    return wire.convert(fields | {endpoint.raw_body: b""}, endpoint.request_type, code="OV-400", what="arguments")


def as_bound(endpoint: Endpoint[..., Any], request: Any, before: bytes) -> bytes:
    """As the gate binds it. A body that nobody reads is named by its digest, which stays."""
    if endpoint.raw_body is None:
        return wire.encode(request)
    body = wire.decode(before, dict[str, Any])[endpoint.raw_body]
    fields = {name: getattr(request, name) for name in request.__struct_fields__}
    return wire.encode(fields | {endpoint.raw_body: body})
