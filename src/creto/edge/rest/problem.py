"""An error as an HTTP answer: problem details (RFC 9457) that carry the unified error."""

from __future__ import annotations

import math

import msgspec
from starlette.responses import Response

from creto.common.codes import row
from creto.common.errors import EnablementError, ErrorBody

MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """RFC 9457 members first; then the members of the unified error."""

    type: str
    title: str
    status: int
    detail: str
    error: ErrorBody


def problem(error: EnablementError, trace_id: str | None = None) -> Response:
    spec = row(error.code)
    error.trace_id = error.trace_id or trace_id
    body = Problem(f"urn:creto:error:{error.code}", spec.title, spec.http, error.message, error.body())
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if spec.http == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(msgspec.json.encode(body), spec.http, headers, MEDIA_TYPE)
