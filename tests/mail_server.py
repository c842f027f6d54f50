"""A mail relay on this machine, by aiosmtpd: it keeps what it takes, and can refuse, be busy, or cut the line after it has taken a mail.

with MailServer() as mails:
    mails.troubles.append("451 4.7.1 greylisted")
    …
    mails.taken[0]["subject"]
"""

from __future__ import annotations

import ssl
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

CUT = "cut"


class MailServer:
    """`tls` offers STARTTLS; `password` demands it and a login."""

    def __init__(
        self, tls: ssl.SSLContext | None = None, *, implicit: bool = False, password: str | None = None
    ) -> None:
        self.taken: list[EmailMessage] = []
        self.recipients: list[list[str]] = []
        self.raw: list[bytes] = []
        self.troubles: list[str] = []
        self.secure: list[bool] = []
        self._password = password
        options: dict[str, Any] = {"hostname": "127.0.0.1", "port": 0, "server_hostname": "relay.example"}
        if tls is not None:
            options |= {"ssl_context": tls} if implicit else {"tls_context": tls, "require_starttls": True}
        if password is not None:
            options |= {"authenticator": self._login, "auth_required": not implicit, "auth_require_tls": not implicit}
        self._controller = Quiet(self, **options)

    def __enter__(self) -> MailServer:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._controller.stop()

    @property
    def port(self) -> int:
        server = self._controller.server
        assert server is not None
        return int(server.sockets[0].getsockname()[1])

    def _login(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=data.password == (self._password or "").encode())

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        trouble = self.troubles.pop(0) if self.troubles else ""
        if trouble and trouble != CUT:
            return trouble
        assert isinstance(envelope.content, bytes)
        self.raw.append(envelope.content)
        found = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(found, EmailMessage)
        self.taken.append(found)
        self.recipients.append(list(envelope.rcpt_tos))
        self.secure.append(session.ssl is not None or self._controller.ssl_context is not None)
        if trouble == CUT:
            assert server.transport is not None
            server.transport.abort()
        return "250 2.0.0 kept"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 5.1.1 there is no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"


class Quiet(Controller):
    """Its own start looks whether the port answers; with port 0 it has to ask which one it is."""

    def _trigger_server(self) -> None:
        assert self.server is not None
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()
