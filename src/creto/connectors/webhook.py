"""Standard Webhooks (standardwebhooks.com, version 1): signatures, one attempt, and when to try again.

    sender = Sender(Destinations(), clock)
    attempt = await sender.send(Target(url="https://hooks.example/in", secrets=(secret,)), "msg_1", b'{"type":"…"}')
    if attempt.outcome is Outcome.FAILED:
        wait_s = next_wait_s(attempts)                           # None: it is over

    verify(request.headers, request.body, now=clock.now(), secrets=("whsec_…",))        # in the receiver

`v1` is an HMAC under a shared secret, `v1a` an Ed25519 signature under the sender's key; a message carries one of each secret and key that
is in force, so that a rotation breaks nobody. Both are over `id.timestamp.body`.

INVARIANT: the id is the message's, the same in every attempt; the timestamp is the attempt's.
INVARIANT: only a status of 2xx is a delivery. Nothing is sent on after a redirect.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.common.limits import WEBHOOK_BODY_BYTES_MAX, WEBHOOK_SKEW_S, WEBHOOK_THROTTLE_S_MAX
from creto.common.timestamps import SECOND, Clock
from creto.connectors.destinations import Destinations, Reply, retry_after_s
from creto.platform.crypto import SigningKey, VerifyKey, equal, mac
from creto.platform.crypto.ed25519 import verifies

SECRET_PREFIX: Final = "whsec_"
PUBLIC_PREFIX: Final = "whpk_"
MESSAGE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
SECRET_BYTES: Final = range(24, 65)
SIGNATURES_MAX: Final = 32  # of one header; each costs a check
# After the first attempt: so long until each of the next.
WAITS_S: Final = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 50_400.0, 72_000.0, 86_400.0)
GONE: Final = 410
THROTTLED: Final = frozenset({429, 502, 503, 504})


class Outcome(StrEnum):
    DELIVERED = "delivered"
    FAILED = "failed"  # try again as the schedule says
    THROTTLED = "throttled"  # try again, and send less
    REFUSED = "refused"  # the destination is not allowed: no attempt was made
    GONE = "gone"  # the receiver wants nothing more


class Target(msgspec.Struct, frozen=True):
    """Where a message goes and who vouches for it: every secret and key that is in force."""

    url: str
    secrets: tuple[bytes, ...] = ()
    keys: tuple[SigningKey, ...] = ()

    def __repr__(self) -> str:
        return f"Target({self.url!r}, {len(self.secrets)} secrets, {len(self.keys)} keys)"


class Attempt(msgspec.Struct, frozen=True):
    """How one attempt went."""

    outcome: Outcome
    detail: str
    status: int | None = None
    retry_after_s: float | None = None


class Sender:
    def __init__(self, destinations: Destinations, clock: Clock) -> None:
        self._destinations = destinations
        self._clock = clock

    def check(self, url: str) -> None:
        """PL-400 for what is no address, PL-940 for one to which nothing would ever be sent."""
        self._destinations.check(url)

    async def send(self, target: Target, message_id: str, body: bytes) -> Attempt:
        """One attempt. What the network or the receiver does is an outcome; PL-400 for a message that is none."""
        if len(body) > WEBHOOK_BODY_BYTES_MAX:
            raise InvalidInput.of("body", got=f"{len(body)} bytes", expected=f"{WEBHOOK_BODY_BYTES_MAX} at most")
        now = self._clock.now()
        headers = signed(target, message_id, now // SECOND, body)
        try:
            reply = await self._destinations.post(target.url, headers, body)
        except EnablementError as error:
            outcome = Outcome.FAILED if error.retryable else Outcome.REFUSED
            return Attempt(outcome, error.message)
        return judged(reply, now)


def judged(reply: Reply, now: int) -> Attempt:
    status, detail = reply.status, f"it answered {reply.status}"
    if 200 <= status <= 299:
        return Attempt(Outcome.DELIVERED, detail, status)
    if status == GONE:
        return Attempt(Outcome.GONE, detail, status)
    if status in THROTTLED:
        return Attempt(Outcome.THROTTLED, detail, status, retry_after_s(reply.retry_after, now, WEBHOOK_THROTTLE_S_MAX))
    return Attempt(Outcome.FAILED, detail, status)


def next_wait_s(attempts: int, retry_after_s: float | None = None) -> float | None:
    """How long to wait after so many attempts, at least as long as the receiver asked for; None when the schedule is over."""
    if attempts > len(WAITS_S):
        return None
    return max(WAITS_S[max(attempts, 1) - 1], retry_after_s or 0.0)


# Signatures


def signed(target: Target, message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt."""
    if not target.secrets and not target.keys:
        raise InvalidInput.of("target", got="no secret and no key", expected="one at least: nothing is sent unsigned")
    content = signed_bytes(message_id, timestamp_s, body)
    signatures = [f"v1,{b64(mac(checked_secret(secret), content))}" for secret in target.secrets]
    signatures += [f"v1a,{b64(key.ed25519_private().sign(content))}" for key in target.keys]
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": " ".join(signatures),
    }


def signed_bytes(message_id: str, timestamp_s: int, body: bytes) -> bytes:
    """No dot can stand in the first two parts, so the three are told apart."""
    if not MESSAGE_ID.fullmatch(message_id):
        raise InvalidInput.of("webhook-id", got=message_id, expected="letters, digits, - and _")
    return f"{message_id}.{timestamp_s}.".encode() + body


def verify(
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: int,
    secrets: Sequence[str] = (),
    public_keys: Sequence[str] = (),
    skew_s: int = WEBHOOK_SKEW_S,
) -> str:
    """The id of a message that one of the secrets (`whsec_…`) or public keys (`whpk_…`) vouches for; PL-941 for any other bytes."""
    found = {name.lower(): value for name, value in headers.items()}
    message_id, timestamp = found.get("webhook-id", ""), found.get("webhook-timestamp", "")
    if not MESSAGE_ID.fullmatch(message_id) or not re.fullmatch(r"[0-9]{1,12}", timestamp):
        raise not_genuine("webhook-id and webhook-timestamp")
    if abs(now // SECOND - int(timestamp)) > skew_s:
        raise not_genuine("a timestamp of the last minutes")
    content = signed_bytes(message_id, int(timestamp), body)
    macs = [mac(secret_bytes(secret), content) for secret in secrets]
    keys = [public_key(text).ed25519_public() for text in public_keys]
    for signature in found.get("webhook-signature", "").split(" ")[:SIGNATURES_MAX]:
        version, _, encoded = signature.partition(",")
        tag = unb64(encoded)
        if tag is None:
            continue
        if version == "v1" and any(equal(tag, expected) for expected in macs):
            return message_id
        if version == "v1a" and any(verifies(key, tag, content) for key in keys):
            return message_id
    raise not_genuine("a signature by a known secret or key")


def not_genuine(expected: str) -> SignatureVerificationFailed:
    return SignatureVerificationFailed("PL-941", f"the webhook is not genuine: expected {expected}", expected=expected)


# Secrets and keys, as people pass them on


def secret_text(secret: bytes) -> str:
    return SECRET_PREFIX + b64(checked_secret(secret))


def secret_bytes(text: str) -> bytes:
    data = unb64(text.removeprefix(SECRET_PREFIX))
    if data is None or not text.startswith(SECRET_PREFIX):
        raise InvalidInput.of("secret", got="another text", expected=f"{SECRET_PREFIX} and base64", code="PL-216")
    return checked_secret(data)


def checked_secret(secret: bytes) -> bytes:
    if len(secret) not in SECRET_BYTES:
        raise InvalidInput.of("secret", got=f"{len(secret)} bytes", expected="24 to 64 bytes", code="PL-216")
    return secret


def public_text(key: VerifyKey) -> str:
    return PUBLIC_PREFIX + b64(key.ed25519)


def public_key(text: str) -> VerifyKey:
    data = unb64(text.removeprefix(PUBLIC_PREFIX))
    if data is None or not text.startswith(PUBLIC_PREFIX):
        raise InvalidInput.of("public key", got=text, expected=f"{PUBLIC_PREFIX} and base64", code="PL-216")
    return VerifyKey.of(data)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
