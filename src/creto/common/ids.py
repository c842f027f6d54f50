"""Names of things: time-ordered ids, agent identities, resources. Look-alike strings get distinct types.

>>> AgentIdentity.parse("agent:nhi:ed25519:4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS").public_key_ed25519[:2].hex()
'3b6a'
"""

from __future__ import annotations

import os
import threading
import time
import uuid
from functools import lru_cache
from typing import Annotated, NewType

import msgspec

from creto.common.errors import InvalidInput
from creto.common.limits import ID_CHARS_MAX, TENANT_CHARS_MAX

TenantId = NewType("TenantId", str)
AgentId = NewType("AgentId", str)  # the nhi string: agent:nhi:ed25519:<base58>
PolicyId = NewType("PolicyId", str)
RequestId = NewType("RequestId", str)
EventId = NewType("EventId", str)
SandboxId = NewType("SandboxId", str)
MessageId = NewType("MessageId", str)
SubscriptionId = NewType("SubscriptionId", str)
KeyId = NewType("KeyId", str)

DEFAULT_TENANT = TenantId("default")
PLATFORM_TENANT = TenantId(
    "platform"
)  # the layer's own keys and the log's own entries: no customer's, and open to none
AGENT_PREFIX = "agent:nhi:ed25519:"

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
BASE58_DIGITS = {c: i for i, c in enumerate(BASE58)}

_last: tuple[int, int] = (0, 0)
_lock = threading.Lock()


def new_uuid() -> uuid.UUID:
    """A UUIDv7 (RFC 9562): sorts by time, also within a millisecond of one process, so that indexes grow at their end."""
    return uuid.UUID(int=next_uuid())


def next_uuid() -> int:
    global _last
    ms = time.time_ns() // 1_000_000
    with _lock:
        last_ms, counter = _last
        counter = counter + 1 if ms <= last_ms else 0
        ms = max(ms, last_ms)
        if counter > 0xFFF:
            ms, counter = ms + 1, 0
        _last = (ms, counter)
    tail = int.from_bytes(os.urandom(8)) & (2**62 - 1)
    return ms << 80 | 0x7 << 76 | counter << 64 | 0b10 << 62 | tail


def new_id(prefix: str = "") -> str:
    """A fresh id as text, with the prefix people know it by (`sb-…`, `req-…`)."""
    return prefix + uuid_text(next_uuid())


def next_id(before: str) -> str:
    """The id that sorts right after this one of ours: where order counts, and the clocks of processes differ or step back."""
    return before[:-36] + uuid_text(int(before[-36:].replace("-", ""), 16) + 1)


def uuid_text(number: int) -> str:
    """The text of a UUID, without the object."""
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def base58_encode(data: bytes) -> str:
    number = int.from_bytes(data)
    digits: list[str] = []
    while number:
        number, digit = divmod(number, 58)
        digits.append(BASE58[digit])
    zeros = len(data) - len(data.lstrip(b"\0"))
    return BASE58[0] * zeros + "".join(reversed(digits))


def base58_decode(text: str) -> bytes:
    number = 0
    for c in text:
        if c not in BASE58_DIGITS:
            raise InvalidInput.of("base58", got=text, expected="only the 58 letters and digits of base58")
        number = number * 58 + BASE58_DIGITS[c]
    zeros = len(text) - len(text.lstrip(BASE58[0]))
    return b"\0" * zeros + number.to_bytes((number.bit_length() + 7) // 8)


class AgentIdentity(msgspec.Struct, frozen=True):
    """Who acts: an Ed25519 key as the name, an ML-DSA-65 key bound to it at registration.

    INVARIANT: `nhi` is derived from `public_key_ed25519`; `parse` and `of` are the ways to make one.
    """

    nhi: AgentId
    public_key_ed25519: bytes
    public_key_ml_dsa: bytes | None = None

    def __str__(self) -> str:
        return self.nhi

    @staticmethod
    def of(public_key_ed25519: bytes, public_key_ml_dsa: bytes | None = None) -> AgentIdentity:
        return AgentIdentity(agent_id(public_key_ed25519), public_key_ed25519, public_key_ml_dsa)

    @staticmethod
    def parse(nhi: str) -> AgentIdentity:
        """The identity that a name says; its ML-DSA key is known only to the registry."""
        return AgentIdentity(AgentId(nhi), agent_key(nhi))


@lru_cache(maxsize=65_536)
def agent_id(public_key_ed25519: bytes) -> AgentId:
    if len(public_key_ed25519) != 32:
        raise InvalidInput.of("public_key_ed25519", got=f"{len(public_key_ed25519)} bytes", expected="32 bytes")
    return AgentId(AGENT_PREFIX + base58_encode(public_key_ed25519))


@lru_cache(maxsize=65_536)
def agent_key(nhi: str) -> bytes:
    """The Ed25519 public key in an agent id; exactly one spelling of each key is accepted."""
    expected = f"{AGENT_PREFIX}<base58 of 32 bytes>"
    if not nhi.startswith(AGENT_PREFIX) or len(nhi) > len(AGENT_PREFIX) + 44:
        raise InvalidInput.of("agent_nhi", got=nhi, expected=expected, code="PL-101")
    try:
        key = base58_decode(nhi[len(AGENT_PREFIX) :])
    except InvalidInput as error:
        raise InvalidInput.of("agent_nhi", got=nhi, expected=expected, code="PL-101") from error
    if len(key) != 32:
        raise InvalidInput.of("agent_nhi", got=nhi, expected=expected, code="PL-101")
    return key


class ResourceId(msgspec.Struct, frozen=True):
    """A resource of any product, written `<product>:<type>:<id>`; custom ones `<product>:<id>`."""

    product: str
    type: str | None
    id: str

    @staticmethod
    def sandbox(id: SandboxId) -> ResourceId:
        return ResourceId("runtime", "sandbox", id)

    @staticmethod
    def message(id: MessageId) -> ResourceId:
        return ResourceId("messaging", "message", id)

    @staticmethod
    def oversight_request(id: RequestId) -> ResourceId:
        return ResourceId("oversight", "request", id)

    @staticmethod
    def subscription(id: SubscriptionId) -> ResourceId:
        return ResourceId("metering", "subscription", id)

    @staticmethod
    def channel(id: str) -> ResourceId:
        return ResourceId("messaging", "channel", id)

    @staticmethod
    def custom(product: str, id: str) -> ResourceId:
        return ResourceId(product, None, id)

    def to_uri(self) -> str:
        return f"{self.product}:{self.type}:{self.id}" if self.type else f"{self.product}:{self.id}"

    def __str__(self) -> str:
        return self.to_uri()


Name = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARS_MAX)]


def checked_name(value: str, field: str, *, chars_max: int = ID_CHARS_MAX) -> str:
    """A name as stored: not empty, bounded, printable, without surrounding space."""
    if not value or len(value) > chars_max or not value.isprintable() or value != value.strip():
        raise InvalidInput.of(field, got=value, expected=f"1 to {chars_max} printable characters without outer spaces")
    return value


@lru_cache(maxsize=4096)  # asked of every row that is written
def checked_tenant(value: str | None) -> TenantId:
    """A tenant is never guessed: a missing one is an error."""
    if not value:
        raise InvalidInput.of("tenant", got=value, expected="a tenant id on every call")
    return TenantId(checked_name(value, "tenant", chars_max=TENANT_CHARS_MAX))


def customer_tenant(value: str | None) -> TenantId:
    """A tenant that somebody outside names: the layer's own is not theirs."""
    tenant = checked_tenant(value)
    if tenant == PLATFORM_TENANT:
        raise InvalidInput.of("tenant", got=tenant, expected="another name: this one is the layer's own")
    return tenant
