"""The pages around the products: sign in, sign out, home."""

from __future__ import annotations

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from creto.common.codes import row
from creto.common.errors import EnablementError
from creto.edge.api import agents, audit, system
from creto.edge.api.authentication import SESSION_COOKIE, Authenticator
from creto.edge.api.dispatch import Dispatcher
from creto.edge.console import cards
from creto.edge.console.acts import Acts
from creto.edge.console.approvals import ApprovalPages, people_of
from creto.edge.console.cards import Viewer
from creto.edge.console.grants import GrantPages
from creto.edge.console.live import Live
from creto.edge.console.passkeys import PasskeyPages
from creto.edge.console.signing import Signing
from creto.edge.console.site import HEADERS, HERE, Site, local, set_cookie
from creto.platform.nhi.access import LOGIN_PREFIX

FORM_BYTES_MAX = 4_096


class Pages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._ask = site.ask
        self._acts = Acts(site.ask)

    async def home(self, request: Request) -> Response:
        try:
            call = self._site.call(request)
            if call is None:
                return RedirectResponse("/login", 303, HEADERS)
            state = await self._ask(system.SYSTEM, call, system.GetSystem())
            entries = await self._ask(audit.QUERY, call, audit.QueryEntries(limit=12, newest_first=True))
            people = await self._ask(agents.LIST, call, agents.ListAgents(limit=100))
            me = await self._ask(agents.GET, call, agents.GetAgent(agent=call.known.agent))
        except EnablementError as error:
            if row(error.code).http == 403:  # who decides need not see the rest of the layer
                return RedirectResponse("/approvals", 303, HEADERS)
            return self._site.problem(request, error)
        return self._site.page(
            request, "home.html", me=me.name, state=state, entries=entries.items, agents=people.items
        )

    async def login_page(self, request: Request) -> Response:
        secret, to = request.query_params.get("link", ""), local(request.query_params.get("next", "/"))
        return self._site.page(request, "login.html", secret=secret, to=to, error=None)

    async def login(self, request: Request) -> Response:
        to = "/"
        try:
            self._site.knock(request)
            form = await self._site.open_form(request, FORM_BYTES_MAX)
            to, code = local(form.text("next")), form.text("link").strip()
            if code and not code.startswith(LOGIN_PREFIX):
                return await self._look(request, code)
            issued = await self._ask.parts.nhi.exchange_login(code)
        except EnablementError as error:
            return self._site.page(request, "login.html", row(error.code).http, secret="", to=to, error=error)
        response = RedirectResponse(to, 303, HEADERS)
        set_cookie(request, response, SESSION_COOKIE, issued.token)
        return response

    async def _look(self, request: Request, code: str) -> Response:
        """What the bearer of a mail's link may do: see that one request. Deciding needs a session."""
        parts = self._ask.parts
        opened = parts.channels.links.opened(code, parts.clock.now())
        case = await parts.oversight.case(opened.tenant, opened.request_id)
        names = self._acts.names(opened.tenant, [*people_of(case), opened.person])
        viewer = Viewer(person=opened.person, seated=False, passkeys=0, names=names)
        card, name = cards.card(case, viewer, now=parts.clock.now()), viewer.name(opened.person)
        return self._site.page(request, "look.html", card=card, sent_to=name)

    async def logout(self, request: Request) -> Response:
        try:
            await self._site.open_form(request, FORM_BYTES_MAX)  # not sent by another site
        except EnablementError as error:
            return self._site.problem(request, error)
        response = RedirectResponse("/login", 303, HEADERS)
        response.delete_cookie(SESSION_COOKIE, path="/")
        return response


def console_routes(dispatcher: Dispatcher, authenticator: Authenticator, live: Live) -> list[BaseRoute]:
    site = Site(dispatcher, authenticator)
    pages = Pages(site)
    return [
        Route("/", pages.home),
        Route("/login", pages.login_page),
        Route("/login", pages.login, methods=["POST"]),
        Route("/logout", pages.logout, methods=["POST"]),
        *Signing(site).routes(),
        *ApprovalPages(site, live).routes(),
        *GrantPages(site).routes(),
        *PasskeyPages(site).routes(),
        # Pages themselves are not compressed: they hold a secret beside what others wrote.
        Mount("/static", GZipMiddleware(StaticFiles(directory=HERE / "static"))),
    ]
