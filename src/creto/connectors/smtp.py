"""Oversight by mail, through a relay (`aiosmtplib`). We send and read nothing: no reply, automatic or not, decides anything.

    channel = MailChannel(Relay(host="smtp.corp.example", username="creto", password="…"), sender="creto <approvals@corp.example>", links=links)
    courier = Courier(oversight, channel)

The line is encrypted: from the start (`tls`) or after STARTTLS, without which nothing is sent. Signing for the domain (DKIM) is the relay's
work, as it holds the domain's key.
"""

from __future__ import annotations

import ssl

import msgspec

from creto.common.errors import ConnectionFailed, EnablementError, InvalidInput, NotFound
from creto.common.limits import MAIL_S_MAX, OVERSIGHT_LINK_S
from creto.common.settings import MailSecurity
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp
from creto.connectors.mail import checked_address, composed, message_id
from creto.oversight import Channel
from creto.oversight.letters import Letter
from creto.oversight.links import Links

PASSING = range(400, 500)  # RFC 5321 4.2.1: 4yz says try again, 5yz says never
# 5yz of the relay about us, not about the mail: somebody sets it right, and the mail still goes.
OURS = frozenset({500, 502, 503, 504, 530, 534, 535, 538})


class Relay(msgspec.Struct, frozen=True, kw_only=True):
    host: str
    port: int = 0  # 0: 587 for STARTTLS, 465 for TLS, 25 for plain
    security: MailSecurity = MailSecurity.STARTTLS
    username: str | None = None
    password: str | None = None

    @property
    def port_used(self) -> int:
        return (
            self.port
            or {MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465, MailSecurity.UNSAFE_PLAIN: 25}[self.security]
        )

    def __repr__(self) -> str:
        return f"Relay({self.host!r}, {self.port_used}, {self.security})"


class MailChannel:
    channel = Channel.EMAIL

    def __init__(self, relay: Relay, *, sender: str, links: Links, clock: Clock, timeout_s: float = MAIL_S_MAX) -> None:
        checked_address(sender.rpartition("<")[2].removesuffix(">"))
        if relay.password is not None and relay.security is MailSecurity.UNSAFE_PLAIN:
            raise InvalidInput.of("relay", got="a password without TLS", expected="starttls or tls", code="PL-921")
        self._relay = relay
        self._sender = sender
        self._links = links
        self._clock = clock
        self._timeout_s = timeout_s

    async def withdraw(self, letter: Letter, reference: str | None) -> None:
        """Both carry the same id: the receiver takes them for one."""

    def close(self) -> None:
        """Nothing is held between two messages."""

    async def deliver(self, letter: Letter) -> str:
        one = letter.notification
        mail = composed(letter, sender=self._sender, url=self.url(letter), now=self._clock.now())
        await self._send(mail)
        return message_id(one, self._sender)

    def url(self, letter: Letter) -> str:
        """The page of the request; the token stands in the fragment, which no server and no log sees."""
        if not letter.link.startswith(("https://", "http://")):
            return ""  # no page is configured
        one = letter.notification
        until = ConsensusTimestamp(self._clock.now() + OVERSIGHT_LINK_S * SECOND)
        return f"{letter.link}#{self._links.token(one.tenant, one.request_id, one.person, until)}"

    async def _send(self, mail: object) -> None:
        import aiosmtplib

        relay = self._relay
        try:
            await aiosmtplib.send(
                mail, hostname=relay.host, port=relay.port_used, username=relay.username, password=relay.password,  # type: ignore[arg-type]
                use_tls=relay.security is MailSecurity.TLS, start_tls=relay.security is MailSecurity.STARTTLS,
                tls_context=None if relay.security is MailSecurity.UNSAFE_PLAIN else ssl.create_default_context(),
                timeout=self._timeout_s,
            )  # fmt: skip
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise trouble(error.recipients[0].code, error.recipients[0].message) from error
        except aiosmtplib.SMTPResponseException as error:
            raise trouble(error.code, error.message) from error
        except (aiosmtplib.SMTPException, OSError, TimeoutError) as error:
            raise ConnectionFailed("PL-503", f"the relay cannot be reached: {type(error).__name__}") from error


def trouble(code: int, said: object) -> EnablementError:
    text = f"the relay said {code} {str(said)[:200]}"
    if code in PASSING or code in OURS:
        return ConnectionFailed("PL-503", text)
    return NotFound("PL-404", text)
