"""The pages: sign in, sign out, home."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from creto.common.codes import row
from creto.common.errors import EnablementError, InvalidInput, QuotaExceeded
from creto.common.timestamps import SECOND
from creto.edge.api import agents, audit, system
from creto.edge.api.authentication import SESSION_COOKIE, Authenticator
from creto.edge.api.dispatch import Call, Dispatcher
from creto.edge.rest.reading import body_of, peer_of
from creto.version import VERSION

HERE = Path(__file__).parent
FORM_BYTES_MAX = 4_096
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


def when(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp // SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"


def short(nhi: str) -> str:
    """An agent's id as people compare it: both ends of its key."""
    key = nhi.rsplit(":", 1)[-1]
    return f"{key[:6]}…{key[-4:]}" if len(key) > 12 else key


class Pages:
    def __init__(self, dispatcher: Dispatcher, authenticator: Authenticator) -> None:
        self._ask = dispatcher
        self._who = authenticator
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._templates.filters |= {"when": when, "short": short}

    def page(self, name: str, status: int = 200, **values: Any) -> Response:
        html = self._templates.get_template(name).render(version=VERSION, **values)
        return Response(html, status, HEADERS, "text/html")

    def call(self, request: Request) -> Call | None:
        try:
            return self._who.call({}, session=request.cookies.get(SESSION_COOKIE), peer=peer_of(request))
        except QuotaExceeded:
            raise
        except EnablementError:  # a cookie of an older installation, an identity that is gone
            return None

    async def home(self, request: Request) -> Response:
        try:
            call = self.call(request)
            if call is None or call.caller is None:
                return RedirectResponse("/login", 303, HEADERS)
            state = await self._ask(system.SYSTEM, call, system.GetSystem())
            entries = await self._ask(audit.QUERY, call, audit.QueryEntries(limit=12, newest_first=True))
            people = await self._ask(agents.LIST, call, agents.ListAgents(limit=100))
            me = await self._ask(agents.GET, call, agents.GetAgent(agent=call.caller.agent))
        except EnablementError as error:
            return self.page("problem.html", row(error.code).http, error=error)
        return self.page("home.html", me=me, state=state, entries=entries.items, agents=people.items)

    async def login_page(self, request: Request) -> Response:
        return self.page("login.html", secret=request.query_params.get("link", ""), error=None)

    async def login(self, request: Request) -> Response:
        try:
            body = await body_of(request, FORM_BYTES_MAX)
            secret = parse_qs(body.decode(errors="replace"), max_num_fields=10).get("link", [""])[0]
            issued = await self._ask.parts.nhi.exchange_login(secret)
        except ValueError:  # more fields than a form of ours has
            return self.page("login.html", 400, secret="", error=InvalidInput("PL-400"))
        except EnablementError as error:
            return self.page("login.html", row(error.code).http, secret="", error=error)
        response = RedirectResponse("/", 303, HEADERS)
        response.set_cookie(
            SESSION_COOKIE,
            issued.token,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
            path="/",
        )
        return response

    async def logout(self, request: Request) -> Response:
        response = RedirectResponse("/login", 303, HEADERS)
        response.delete_cookie(SESSION_COOKIE, path="/")
        return response


def console_routes(dispatcher: Dispatcher, authenticator: Authenticator) -> list[BaseRoute]:
    pages = Pages(dispatcher, authenticator)
    return [
        Route("/", pages.home),
        Route("/login", pages.login_page),
        Route("/login", pages.login, methods=["POST"]),
        Route("/logout", pages.logout, methods=["POST"]),
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
