"""Who says that a callback is Slack's: an HMAC over its raw bytes, and a time that is not long past.

    secret = verified(headers, body, secrets, now=clock.now())     # the signing secret that fits; PL-941 for any other bytes

Slack, "Verifying requests from Slack": HMAC-SHA256 of `v0:<timestamp>:<body>` under the app's signing secret. Any header, however hostile,
gives the documented error and nothing else; a replay within the time is the business of whoever acts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from creto.common.errors import SignatureVerificationFailed
from creto.common.limits import SLACK_BODY_BYTES_MAX, SLACK_SKEW_S
from creto.common.timestamps import SECOND
from creto.connectors.inbound import RawHeaders, only
from creto.platform.crypto import equal, mac

TIMESTAMP = re.compile(rb"[0-9]{1,11}")
SIGNATURE = re.compile(rb"v0=[0-9a-f]{64}")


def signature(secret: str, timestamp: bytes, body: bytes) -> bytes:
    return b"v0=" + mac(secret.encode(), b"v0:" + timestamp + b":" + body).hex().encode()


def verified(headers: RawHeaders, body: bytes, secrets: Sequence[str], *, now: int) -> tuple[str, int]:
    """The secret under which it is genuine, and when it was signed, in seconds."""
    timestamp, said = only(headers, b"x-slack-request-timestamp"), only(headers, b"x-slack-signature")
    if timestamp is None or said is None or not TIMESTAMP.fullmatch(timestamp) or not SIGNATURE.fullmatch(said):
        raise forged("one timestamp and one signature")
    if len(body) > SLACK_BODY_BYTES_MAX:
        raise forged(f"{SLACK_BODY_BYTES_MAX} bytes at most")
    if abs(now // SECOND - int(timestamp)) > SLACK_SKEW_S:
        raise forged("a timestamp of the last minutes")
    fitting = [secret for secret in secrets if equal(signature(secret, timestamp, body), said)]
    if not fitting:
        raise forged("a signature by a known app")
    return fitting[0], int(timestamp)


def forged(expected: str) -> SignatureVerificationFailed:
    return SignatureVerificationFailed("PL-941", f"the callback is not Slack's: expected {expected}", expected=expected)
