"""Health on port 9091 and metrics on port 9090: small applications of their own, open to the machine alone by default."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from creto.common.errors import EnablementError
from creto.common.telemetry import CONTENT_TYPE
from creto.edge.api.parts import Parts
from creto.edge.api.readiness import readiness
from creto.edge.measures import Measures


def health_app(parts: Parts) -> Starlette:
    """`/live` says that the process turns; `/ready` that what it needs answers, each dependency by name."""

    async def live(_: Request) -> Response:
        return PlainTextResponse("live\n")

    async def ready(_: Request) -> Response:
        found = await readiness(parts)
        return Response(msgspec.json.encode(found), 200 if found.ready else 503, media_type="application/json")

    return Starlette(routes=[Route("/live", live), Route("/ready", ready)])


def metrics_app(parts: Parts) -> Starlette:
    measures = Measures(parts)

    async def metrics(_: Request) -> Response:
        with suppress(EnablementError):  # the numbers that need no database are worth having without the others
            await measures.refresh()
        return Response(parts.metrics.render(), media_type=CONTENT_TYPE)

    return Starlette(routes=[Route("/metrics", metrics)])
