"""What providers call back: mounted with the bytes as they came, because their signatures are over bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creto.common.errors import EnablementError
from creto.edge.api.parts import Parts
from creto.edge.rest.problem import problem
from creto.edge.rest.reading import body_of, peer_of

if TYPE_CHECKING:
    from creto.connectors.inbound import Answer, RawHeaders

Callback = Callable[["RawHeaders", bytes], Awaitable["Answer"]]
SLACK = "/v1/connectors/slack"


def callback_routes(parts: Parts) -> list[BaseRoute]:
    """Those of what is configured: of channels, and of who brings payments."""
    callbacks = dict(parts.callbacks)
    slack = parts.channels.slack
    if slack is not None:
        callbacks |= {
            f"{SLACK}/interactions": slack.interactions,
            f"{SLACK}/commands": slack.commands,
            f"{SLACK}/events": slack.events,
        }
    return [Route(path, answering(parts, act), methods=["POST"]) for path, act in callbacks.items()]


def answering(parts: Parts, act: Callback) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        try:
            parts.rate.admit(f"{peer_of(request)}")
            made = await act(request.scope["headers"], await body_of(request))
        except EnablementError as error:
            return problem(error)
        return Response(made.body, made.status, media_type=made.content_type)

    return answer
