"""What all pages share: who looks, how a page is made, how a form is read.

    site = Site(dispatcher, authenticator)
    call = site.call(request)                        # None: nobody is signed in
    Route("/grants", site.signed_in(show))           # show(request, call), or the sign-in; an error is a page
    form = await site.form(request, FORM_BYTES_MAX)  # PL-403 unless a page of ours made it for this session
    return site.page(request, "home.html", me=me)

INVARIANT: a form counts only with the token of its session, which no other site can read; and a browser that says where a form comes from must
say that it comes from here.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from creto.common.codes import row
from creto.common.errors import EnablementError, InvalidInput, NotFound, Unauthorized
from creto.common.ids import TenantId
from creto.common.timestamps import MILLISECOND, SECOND
from creto.edge.api.authentication import SESSION_COOKIE, Authenticator
from creto.edge.api.dispatch import Call, Dispatcher
from creto.edge.console.cards import pieces
from creto.edge.rest.reading import body_of, peer_of
from creto.oversight.hostile import visible
from creto.platform.crypto import equal, mac
from creto.platform.crypto.jose import b64url_encode
from creto.version import VERSION

HERE = Path(__file__).parent
FIELDS_MAX = 200  # a whole batch with every item ticked, and what stands around it
FORM_LABEL = b"creto/console/form/v1"
RETRY_AFTER_S = 1.0  # of what may work again, where it does not say when
Answer = Callable[[Request, Call], Awaitable[Response]]
Page = Callable[[Request], Awaitable[Response]]
FROM_HERE = ("same-origin", "none")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "publickey-credentials-get=(self), publickey-credentials-create=(self)",
    "Cache-Control": "no-store",
}


def when(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(timestamp // SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"


def milliseconds(timestamp: int) -> int:
    """As scripts count time."""
    return timestamp // MILLISECOND


def short(nhi: str) -> str:
    """An agent's id as people compare it: both ends of its key."""
    key = nhi.rsplit(":", 1)[-1]
    return f"{key[:6]}…{key[-4:]}" if len(key) > 12 else key


def plain(text: str) -> str:
    """Somebody's words with nothing hidden in them."""
    return visible(text, prose=True).text


def templates() -> Environment:
    """INVARIANT: everything is escaped; a value that is missing is an error, never an empty place."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {
        "when": when,
        "short": short,
        "pieces": pieces,
        "ms": milliseconds,
        "plain": plain,
        "b64": b64url_encode,
    }
    return made


class Form:
    """The fields of a form, each once but for lists."""

    def __init__(self, fields: Mapping[str, list[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        return self._fields.get(name, [""])[0]

    def all(self, name: str) -> list[str]:
        return self._fields.get(name, [])

    def whole(self, name: str) -> int:
        value = self.text(name)
        if not value.isascii() or not value.isdigit() or len(value) > 9:
            raise InvalidInput.of(name, got=value, expected="a whole number", code="PL-400")
        return int(value)


class Site:
    def __init__(self, dispatcher: Dispatcher, authenticator: Authenticator) -> None:
        self.ask = dispatcher
        self._who = authenticator
        self._templates = templates()

    def page(self, request: Request, name: str, status: int = 200, **values: Any) -> Response:
        here = {"version": VERSION, "token": self.form_token(request), "path": request.url.path}
        html = self._templates.get_template(name).render(**here | values)
        # What a script swaps in says where it is, after a redirect too.
        place = f"{request.url.path}?{request.url.query}".rstrip("?")
        swapped = {"HX-Replace-Url": place} if "hx-request" in request.headers and request.method == "GET" else {}
        return Response(html, status, HEADERS | swapped, "text/html")

    def problem(self, request: Request, error: EnablementError) -> Response:
        page = self.page(request, "problem.html", row(error.code).http, error=error)
        if error.retryable:
            page.headers["Retry-After"] = str(math.ceil(error.retry_after_s or RETRY_AFTER_S))
        return page

    def call(self, request: Request) -> Call | None:
        """Who is signed in; None for a cookie of an older installation, or of an identity that is gone.

        INVARIANT: what says nothing about the session signs nobody out: it is raised.
        """
        try:
            call = self._who.call({}, session=request.cookies.get(SESSION_COOKIE), peer=peer_of(request))
        except (Unauthorized, NotFound):
            return None
        return call if call.caller is not None else None

    @property
    def only(self) -> TenantId | None:
        """The tenant that owns the installation, if one does."""
        return self._who.only

    def knock(self, request: Request) -> None:
        """Somebody who has no session yet; PL-429 for who asks too often."""
        self._who.call({}, peer=peer_of(request))

    def signed_in(self, answer: Answer, sent_from: Callable[[Request], str] = lambda request: "/") -> Page:
        """The page for who is signed in, the sign-in for everybody else; what goes wrong is a page too."""

        async def page(request: Request) -> Response:
            try:
                call = self.call(request)
                return self.sign_in(request, sent_from(request)) if call is None else await answer(request, call)
            except EnablementError as error:
                return self.problem(request, error)

        return page

    def sign_in(self, request: Request, sent_from: str = "/") -> Response:
        """To the sign-in, and back here after, or to where the form was; a browser takes the fragment along."""
        there = request.url.path if request.method == "GET" else sent_from
        return RedirectResponse("/login" if there == "/" else f"/login?next={there}", 303, HEADERS)

    def form_token(self, request: Request) -> str:
        session = request.cookies.get(SESSION_COOKIE, "")
        return b64url_encode(mac(session.encode(), FORM_LABEL)) if session else ""

    async def form(self, request: Request, bytes_max: int) -> Form:
        form = await self.open_form(request, bytes_max)
        expected = self.form_token(request)
        if not expected or not equal(form.text("token").encode(), expected.encode()):
            raise Unauthorized(
                "PL-403", "the form is not of this session", hint="Open the page again, then send it.", field="token"
            )
        return form

    async def open_form(self, request: Request, bytes_max: int) -> Form:
        """A form of somebody who has no session yet."""
        if request.headers.get("sec-fetch-site", "none") not in FROM_HERE:
            raise Unauthorized("PL-403", "the form was sent by another site")
        body = await body_of(request, bytes_max)
        try:
            return Form(parse_qs(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=FIELDS_MAX))
        except ValueError as error:
            raise InvalidInput("PL-400", "more fields than a form of ours has") from error


def set_cookie(
    request: Request, response: Response, name: str, value: str, *, path: str = "/", max_age_s: int | None = None
) -> None:
    """For this site alone, and for no script."""
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, max_age_s, path=path, secure=secure, httponly=True, samesite="strict")


def local(path: str) -> str:
    """A path of this site, or the home page: nobody is sent elsewhere."""
    inside = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isascii() and path.isprintable()
    return path if inside else "/"
