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
    """Those of the channels that are configured."""
    slack = parts.channels.slack
    if slack is None:
        return []
    callbacks = {"interactions": slack.interactions, "commands": slack.commands, "events": slack.events}
    return [Route(f"{SLACK}/{name}", answering(parts, act), methods=["POST"]) for name, act in callbacks.items()]


def answering(parts: Parts, act: Callback) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        try:
            parts.rate.admit(f"{peer_of(request)}")
            made = await act(request.scope["headers"], await body_of(request))
        except EnablementError as error:
            return problem(error)
        return Response(made.body, made.status, media_type=made.content_type)

    return answer
