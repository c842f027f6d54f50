"""Signing in with a passkey: the page's script asks for a challenge, has it signed, and brings the answer.

POST /login/challenge    {"challenge": …}, and the cookie that binds it to this browser
POST /login/passkey      {"to": …}, and the session; {"error": …}

INVARIANT: a challenge counts for five minutes, once, and only in the browser that asked for it.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from creto.common.codes import row
from creto.common.errors import EnablementError, InvalidInput
from creto.common.limits import SIGN_IN_TTL_S
from creto.edge.api.authentication import SESSION_COOKIE
from creto.edge.console.forms import assertion_of
from creto.edge.console.site import HEADERS, Site, local, set_cookie
from creto.platform.crypto.jose import b64url_decode, b64url_encode

COOKIE, PATH = "creto_sign_in", "/login"
FORM_BYTES_MAX = 16 * 1024


class Signing:
    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/login/challenge", self.challenge, methods=["POST"]),
            Route("/login/passkey", self.passkey, methods=["POST"]),
        ]

    async def challenge(self, request: Request) -> Response:
        try:
            self._site.knock(request)
            await self._site.open_form(request, FORM_BYTES_MAX)
            challenge, secret = await self._site.ask.parts.nhi.sign_in_challenge()
        except EnablementError as error:
            return refusal(error)
        response = JSONResponse({"challenge": b64url_encode(challenge)}, 200, HEADERS)
        set_cookie(request, response, COOKIE, secret, path=PATH, max_age_s=SIGN_IN_TTL_S)
        return response

    async def passkey(self, request: Request) -> Response:
        try:
            self._site.knock(request)
            form = await self._site.open_form(request, FORM_BYTES_MAX)
            answered = assertion_of(form)
            if answered is None:
                raise InvalidInput.of("credential", got="none", expected="what a passkey answered", code="PL-400")
            credential_id, assertion = answered
            issued = await self._site.ask.parts.oversight.sign_in(
                assertion, request.cookies.get(COOKIE, ""), user_handle=b64url_decode(form.text("user"), "user"),
                credential_id=credential_id, only=self._site.only,
            )  # fmt: skip
        except EnablementError as error:
            return refusal(error)
        response = JSONResponse({"to": local(form.text("next"))}, 200, HEADERS)
        set_cookie(request, response, SESSION_COOKIE, issued.token)
        response.delete_cookie(COOKIE, path=PATH)
        return response


def refusal(error: EnablementError) -> Response:
    return JSONResponse({"error": f"{error.message}. {error.hint or ''}".rstrip()}, row(error.code).http, HEADERS)
