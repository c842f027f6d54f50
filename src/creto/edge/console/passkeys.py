"""The page of one's own passkeys: add one, remove one.

INVARIANT: the challenge of a new passkey is bound to the session and its human, so an answer made for another is refused.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from creto.common.codes import row
from creto.common.errors import EnablementError
from creto.edge.api.authentication import SESSION_COOKIE
from creto.edge.api.dispatch import Call
from creto.edge.console.acts import Acts
from creto.edge.console.site import HEADERS, Site
from creto.oversight.passkeys import user_handle
from creto.platform.crypto import mac
from creto.platform.crypto.jose import b64url_decode, b64url_encode
from creto.platform.crypto.webauthn import ALGORITHMS, registered

CHALLENGE_LABEL = b"creto/console/passkey/v1\n"
FORM_BYTES_MAX = 64 * 1024  # an attestation that we look at no further


class PasskeyPages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._acts = Acts(site.ask)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/passkeys", self._site.signed_in(self.show)),
            Route("/passkeys", self._site.signed_in(self.enrol), methods=["POST"]),
            Route("/passkeys/remove", self._site.signed_in(self.remove), methods=["POST"]),
        ]

    async def show(self, request: Request, call: Call) -> Response:
        return await self._page(request, call)

    async def _page(self, request: Request, call: Call, error: EnablementError | None = None) -> Response:
        person = self._acts.person(call)
        return self._site.page(
            request, "passkeys.html", row(error.code).http if error else 200, me=self._acts.name(call), error=error,
            enrolled=await self._acts.own_passkeys(call), challenge=b64url_encode(self._challenge(request, call)),
            user=b64url_encode(user_handle(call.tenant, person)), algorithms=ALGORITHMS,
        )  # fmt: skip

    def _challenge(self, request: Request, call: Call) -> bytes:
        session = request.cookies.get(SESSION_COOKIE, "")
        return mac(session.encode(), CHALLENGE_LABEL + self._acts.person(call).encode())

    async def enrol(self, request: Request, call: Call) -> Response:
        try:
            form = await self._site.form(request, FORM_BYTES_MAX)
            passkey = registered(
                b64url_decode(form.text("attestation"), "attestation"),
                b64url_decode(form.text("client"), "client"),
                challenge=self._challenge(request, call),
            )
            await self._acts.enrol(call, passkey, form.text("name").strip())
        except EnablementError as error:
            return await self._page(request, call, error)
        return RedirectResponse("/passkeys", 303, HEADERS)

    async def remove(self, request: Request, call: Call) -> Response:
        try:
            form = await self._site.form(request, FORM_BYTES_MAX)
            await self._acts.remove(call, b64url_decode(form.text("credential"), "credential"))
        except EnablementError as error:
            return await self._page(request, call, error)
        return RedirectResponse("/passkeys", 303, HEADERS)
