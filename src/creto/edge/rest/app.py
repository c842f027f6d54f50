"""The ASGI application: routes, authentication, errors, tracing; around each endpoint, never in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creto.common.errors import EnablementError, InternalError, InvalidInput, NotFound, Timeout
from creto.common.limits import DEADLINE_S_DEFAULT
from creto.common.telemetry import extract, span
from creto.edge.api.authentication import SESSION_COOKIE, Authenticator
from creto.edge.api.dispatch import Dispatcher
from creto.edge.api.endpoint import Blob, Endpoint, Nothing
from creto.edge.rest.names import SlashesInNames
from creto.edge.rest.openapi import openapi
from creto.edge.rest.problem import problem
from creto.edge.rest.reading import peer_of, question

log = logging.getLogger(__name__)
Answer = Callable[[Request], Awaitable[Response]]


def rest_app(
    dispatcher: Dispatcher,
    authenticator: Authenticator,
    endpoints: Sequence[Endpoint[..., Any]],
    *,
    version: str,
    extra_routes: Sequence[BaseRoute] = (),
) -> Starlette:
    document = msgspec.json.encode(openapi(endpoints, version=version))

    async def openapi_json(_: Request) -> Response:
        return Response(document, media_type="application/json")

    routes: list[BaseRoute] = [Route("/openapi.json", openapi_json)]
    by_path: dict[str, dict[str, Answer]] = {}
    for endpoint in endpoints:
        by_path.setdefault(endpoint.path, {})[endpoint.method] = answering(endpoint, dispatcher, authenticator)
    # Starlette takes the first path that fits, so the paths with the fewest placeholders come first.
    for path in sorted(by_path, key=lambda p: (p.count("{"), p)):
        routes.append(Route(routed(path, by_path), one_of(by_path[path]), methods=list(by_path[path])))
    return Starlette(
        routes=[*routes, *extra_routes],
        middleware=[Middleware(SlashesInNames)],
        exception_handlers={HTTPException: not_routed, Exception: unknown_fault},
    )


def routed(path: str, paths: Iterable[str]) -> str:
    """A name at the end of a path may hold slashes, written %2F, unless paths go on behind it."""
    ends = path.endswith("}") and not any(other.startswith(f"{path}/") for other in paths)
    return f"{path[:-1]}:path}}" if ends else path


def one_of(endpoints: dict[str, Answer]) -> Answer:
    async def choose(request: Request) -> Response:
        return await endpoints[request.method if request.method != "HEAD" else "GET"](request)

    return choose


def answering(endpoint: Endpoint[..., Any], dispatcher: Dispatcher, authenticator: Authenticator) -> Answer:
    async def answer(request: Request) -> Response:
        with span(endpoint.name, parent=extract(request.headers)) as here:
            try:
                async with asyncio.timeout(DEADLINE_S_DEFAULT):
                    accepts(request, endpoint)
                    session = session_of(request)
                    await authenticator.prefetch(request.headers, session)
                    call = authenticator.call(request.headers, session=session, peer=peer_of(request))
                    nobody = call.caller is None and not endpoint.open  # refused, and nothing of theirs is read
                    asked = None if nobody else await question(endpoint, request)
                    response = rendered(endpoint, await dispatcher(endpoint, call, asked))
            except EnablementError as error:
                response = problem(error, here.context.trace_id)
            except TimeoutError:
                late = Timeout("PL-504", f"{endpoint.name}: no answer in {DEADLINE_S_DEFAULT} s")
                response = problem(late, here.context.trace_id)
            except ClientDisconnect:
                response = Response(status_code=499)
            except Exception:
                log.exception("%s failed", endpoint.name)
                response = problem(InternalError("PL-500"), here.context.trace_id)
            response.headers["Traceparent"] = here.context.traceparent()
            return response

    return answer


def accepts(request: Request, endpoint: Endpoint[..., Any]) -> None:
    kind = "application/octet-stream" if endpoint.response is Blob else "application/json"
    offered = [part.split(";", 1)[0].strip() for part in request.headers.get("accept", "*/*").split(",")]
    if not {kind, "*/*", kind.split("/")[0] + "/*", "application/problem+json"} & set(offered):
        raise InvalidInput.of("Accept", got=request.headers["accept"], expected=kind, code="PL-406")


def rendered(endpoint: Endpoint[..., Any], result: Any) -> Response:
    if isinstance(result, Nothing):
        return Response(status_code=endpoint.status)
    if isinstance(result, Blob):
        return Response(result.data, endpoint.status, media_type=result.content_type)
    return Response(msgspec.json.encode(result), endpoint.status, media_type="application/json")


def session_of(request: Request) -> str | None:
    """The console's session. A page of another site can send the cookie along but not this header."""
    cookie = request.cookies.get(SESSION_COOKIE)
    return cookie if cookie and request.headers.get("x-creto-console") == "1" else None


async def not_routed(request: Request, error: Exception) -> Response:
    """Starlette's own refusals, in our words."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        response = problem(InvalidInput.of("method", got=request.method, expected=allowed, code="PL-405"))
        response.headers["Allow"] = allowed
        return response
    if error.status_code == 404:
        return problem(
            NotFound("PL-404", f"no such path: {request.url.path}", hint="GET /openapi.json lists them all.")
        )
    return problem(InvalidInput("PL-400", str(error.detail)))


async def unknown_fault(_: Request, error: Exception) -> Response:
    log.error("a request failed outside its endpoint", exc_info=error)
    return problem(InternalError("PL-500"))
