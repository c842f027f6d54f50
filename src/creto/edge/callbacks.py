"""Callbacks of providers over HTTP: the bytes as they came go to whoever checks their signature, and nothing else is believed."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creto.common.errors import EnablementError
from creto.common.limits import BODY_BYTES_MAX
from creto.edge.api.parts import Callback
from creto.edge.rest.problem import problem
from creto.edge.rest.reading import body_of

log = logging.getLogger("creto.edge")


def callback_routes(callbacks: Mapping[str, Callback]) -> list[BaseRoute]:
    return [Route(path, taking(callback), methods=["POST"]) for path, callback in callbacks.items()]


def taking(callback: Callback) -> Callable[[Request], Awaitable[Response]]:
    async def take(request: Request) -> Response:
        try:
            answer = await callback(request.headers.raw, await body_of(request, BODY_BYTES_MAX))
        except EnablementError as error:
            return problem(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception:
            log.exception("a callback failed")
            return Response(status_code=500)
        return Response(answer.body, answer.status, media_type=answer.content_type)

    return take
