"""A POST to an address that somebody else named: a public one, over https, and the one that was checked is the one that is connected to.

    destinations = Destinations(allowed_networks=("10.20.0.0/16",))
    reply = await destinations.post("https://hooks.example/in", {"content-type": "application/json"}, body)

The name is resolved once. Every address it has must be allowed; the connection goes to one of them by its number, and TLS still proves the
name. So a name that changes its answer between the check and the connection gains nothing. Redirects are answers like any other: the next
place was not checked. No proxy of the environment is used.

INVARIANT: nothing is sent to a loopback, private, link-local, metadata or otherwise special address, unless its network is allowed by name;
plain http goes to such networks only.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from creto.common.errors import ConnectionFailed, InvalidInput, Timeout, Unauthorized
from creto.common.limits import (
    WEBHOOK_ADDRESSES_MAX,
    WEBHOOK_ANSWER_BYTES_MAX,
    WEBHOOK_CONNECT_S_MAX,
    WEBHOOK_S_MAX,
    WEBHOOK_URL_CHARS_MAX,
)
from creto.common.timestamps import SECOND

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

HOST: Final = re.compile(r"(?=.{1,253}\.?$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z0-9-]{1,63}\.?")
# Printable ASCII without space and backslash: every parser reads it in one way.
PLAIN: Final = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
PORTS: Final = {"https": 443, "http": 80}
# Addresses that carry another one inside: it would have to be checked too, and nobody serves there.
CARRIERS: Final = tuple(
    ipaddress.IPv6Network(net) for net in ("::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")
)  # fmt: skip
# Not for the public, whatever the library of the day says; the last one is a cloud's metadata service on a public number.
SPECIAL: Final = tuple(
    ipaddress.ip_network(net) for net in ("192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10", "fec0::/10", "168.63.129.16/32")
)  # fmt: skip


class Place(msgspec.Struct, frozen=True):
    """A checked destination: the addresses to connect to, and the name that TLS and the Host header say."""

    scheme: str
    host: str
    port: int
    target: str
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def url(self, address: str) -> str:
        return f"{self.scheme}://{f'[{address}]' if ':' in address else address}:{self.port}{self.target}"


class Reply(msgspec.Struct, frozen=True):
    status: int
    retry_after: str | None
    body: bytes  # its beginning


async def resolved(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Destinations:
    """`allowed_networks` are the installation's own, in which an endpoint may stand; `resolve` is the resolver."""

    def __init__(self, *, allowed_networks: Sequence[str] = (), resolve: Resolve = resolved) -> None:
        self._allowed = tuple(network(text) for text in allowed_networks)
        self._resolve = resolve

    async def find(self, url: str) -> Place:
        """PL-400 for what is no address, PL-940 for one that is not allowed, PL-503 if its name has none."""
        parts = checked_url(url)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        try:
            texts = await self._resolve(host, port)
            addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in texts]
        except (OSError, ValueError, UnicodeError) as error:
            raise ConnectionFailed("PL-503", f"the name {host} cannot be resolved", got=host) from error
        if not addresses:
            raise ConnectionFailed("PL-503", f"the name {host} has no address", got=host)
        for text, address in zip(texts, addresses, strict=True):
            if "%" in text or not self._permits(address, parts.scheme):
                raise refused(parts.scheme, host)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Place(parts.scheme, host, port, target, tuple(map(str, addresses[:WEBHOOK_ADDRESSES_MAX])))

    def check(self, url: str) -> None:
        """What can be said of it before anything is sent: that it is an address, and where it names no host but an address, or this machine
        (RFC 6761 6.3), that it is allowed."""
        parts = checked_url(url)
        host = parts.hostname or ""
        local = host == "localhost" or host.endswith(".localhost")
        known = [host] if is_address(host) else ["127.0.0.1", "::1"] if local else []
        if known and not any(self._permits(ipaddress.ip_address(one), parts.scheme) for one in known):
            raise refused(parts.scheme, host)

    def _permits(self, address: Address, scheme: str) -> bool:
        if any(address.version == net.version and address in net for net in self._allowed):
            return True
        return scheme == "https" and is_public(address)

    async def post(
        self, url: str, headers: Mapping[str, str], body: bytes, *, timeout_s: float = WEBHOOK_S_MAX
    ) -> Reply:
        """The answer, whatever its status; PL-504 if it takes too long, PL-503 if nobody is there."""
        try:
            async with asyncio.timeout(timeout_s):
                place = await self.find(url)
                return await self._send(place, headers, body)
        except TimeoutError as error:
            raise Timeout("PL-504", f"no answer in {timeout_s:g} s") from error

    async def _send(self, place: Place, headers: Mapping[str, str], body: bytes) -> Reply:
        """To the first address that takes the connection. Once something was sent, no other is tried."""
        import httpx2

        patience = httpx2.Timeout(WEBHOOK_S_MAX, connect=WEBHOOK_CONNECT_S_MAX)
        async with httpx2.AsyncClient(
            verify=self._tls, timeout=patience, trust_env=False, follow_redirects=False
        ) as http:
            failed: Exception | None = None
            for address in place.addresses:
                request = http.build_request(
                    "POST", place.url(address), headers={**headers, "host": place.authority}, content=body,
                    extensions={"sni_hostname": place.host.rstrip(".")},
                )  # fmt: skip
                try:
                    answer = await http.send(request, stream=True)
                except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                    failed = error
                    continue
                except httpx2.TimeoutException as error:
                    raise Timeout("PL-504", f"{place.host} did not answer in time") from error
                except httpx2.HTTPError as error:
                    raise ConnectionFailed("PL-503", f"{place.host} broke the connection off") from error
                try:
                    return Reply(
                        answer.status_code, answer.headers.get("retry-after"), await beginning(answer.aiter_raw())
                    )
                finally:
                    await answer.aclose()
            raise ConnectionFailed("PL-503", f"{place.host} takes no connection") from failed

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context()


async def beginning(pieces: AsyncIterator[bytes]) -> bytes:
    """So much of an answer as counts; a connection that breaks after its status has said enough."""
    import httpx2

    data = b""
    try:
        async for piece in pieces:
            data += piece
            if len(data) >= WEBHOOK_ANSWER_BYTES_MAX:
                break
    except httpx2.HTTPError:
        pass
    return data[:WEBHOOK_ANSWER_BYTES_MAX]


def checked_url(url: str) -> SplitResult:
    """An address with one reading: https or http, a host in ASCII, no credentials, no fragment."""
    expected = "https://host/path, in ASCII and without credentials"
    if len(url) > WEBHOOK_URL_CHARS_MAX or not PLAIN.fullmatch(url):
        raise InvalidInput.of("url", got=url, expected=expected)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidInput.of("url", got=url, expected=expected) from error
    host = parts.hostname or ""
    named = bool(HOST.fullmatch(host)) or is_address(host)
    if parts.scheme not in PORTS or not named or "@" in parts.netloc or parts.fragment or port == 0:
        raise InvalidInput.of("url", got=url, expected=expected)
    return parts


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_public(address: Address) -> bool:
    """Whether anybody on the internet could be there; what carries another address inside is not."""
    if any(address.version == net.version and address in net for net in (*CARRIERS, *SPECIAL)):
        return False
    return address.is_global and not (
        address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_link_local
        or address.is_private
    )


def network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise InvalidInput.of(
            "allowed_networks", got=text, expected="a network, as 10.20.0.0/16", code="PL-921"
        ) from error


def refused(scheme: str, host: str) -> Unauthorized:
    """Which address the name has is not said: who may name a host learns nothing about our network."""
    return Unauthorized(
        "PL-940", f"{host} is not a public destination over https", field="url", got=f"{scheme}://{host}",
        expected="https and a public address, or a network that the installation allows",
    )  # fmt: skip


def retry_after_s(text: str | None, now: int, most_s: float) -> float | None:
    """What a Retry-After header asks for (RFC 9110 10.2.3: seconds or a date), bounded; None for no sense."""
    if text is None:
        return None
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,9}", text):
        return min(float(text), most_s)
    try:
        at = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, at - now / SECOND), most_s)
