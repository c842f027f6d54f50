"""Slack's signature on raw bytes: the published vector, and hostile headers that get 401 and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import SignatureVerifier

from creto.common.errors import SignatureVerificationFailed
from creto.common.limits import SLACK_BODY_BYTES_MAX, SLACK_SKEW_S
from creto.common.timestamps import SECOND
from creto.connectors.slack_signing import signature, verified
from tests.slack_server import SECRET, Headers

NOW_S = 1_700_000_000
NOW = str(NOW_S).encode()
BODY = b"payload=%7B%7D"
GOOD = signature(SECRET, NOW, BODY)


def headers(timestamp: bytes = NOW, said: bytes = GOOD) -> Headers:
    return [(b"X-Slack-Request-Timestamp", timestamp), (b"x-slack-signature", said)]


def test_the_published_vector(vectors: Path) -> None:
    known = json.loads((vectors / "oversight.json").read_text())["vectors"]["slack_v0"]
    found = headers(known["timestamp"].encode(), known["signature"].encode())
    now = int(known["timestamp"]) * SECOND
    assert verified(found, known["body"].encode(), [known["signing_secret"]], now=now) == (
        known["signing_secret"], int(known["timestamp"]),
    )  # fmt: skip


def test_the_sdk_signs_as_we_do() -> None:
    made = SignatureVerifier(SECRET).generate_signature(timestamp=NOW.decode(), body=BODY)
    assert made is not None
    assert made.encode() == GOOD


def test_any_of_the_known_secrets_fits() -> None:
    assert verified(headers(), BODY, ["other", SECRET], now=NOW_S * SECOND) == (SECRET, NOW_S)


@pytest.mark.parametrize(
    "found",
    [
        [], headers()[:1], headers()[1:], [*headers(), *headers()], headers(b"abc"), headers(b""), headers(b"-1"), headers(b"1e9"),
        headers(NOW + b".7"), headers(b" " + NOW), headers("٣".encode()), headers(b"9" * 400), headers(b"\xff\xfe"),
        headers(said=b""), headers(said=b"v0="), headers(said=GOOD[3:]), headers(said=GOOD.upper()), headers(said=GOOD + b" "),
        headers(said=b"v1=" + GOOD[3:]), headers(said=b"v0=\xc3\xa4" + GOOD[5:]), headers(said=GOOD[:-1] + b"\x00"),
        headers(said=b"v0=" + b"0" * 64), headers(str(NOW_S + 1).encode()),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(found: Headers) -> None:
    with pytest.raises(SignatureVerificationFailed) as caught:
        verified(found, BODY, [SECRET], now=NOW_S * SECOND)
    assert caught.value.code == "PL-941"


@pytest.mark.parametrize("body", [b"", BODY + b" ", b"\xff" + BODY, b"x" * (SLACK_BODY_BYTES_MAX + 1)])
def test_another_body_is_refused(body: bytes) -> None:
    with pytest.raises(SignatureVerificationFailed):
        verified(headers(), body, [SECRET], now=NOW_S * SECOND)


@pytest.mark.parametrize(
    ("apart_s", "fits"), [(SLACK_SKEW_S, True), (SLACK_SKEW_S + 1, False), (-SLACK_SKEW_S - 1, False)]
)
def test_the_window_of_replays(apart_s: int, fits: bool) -> None:
    if fits:
        verified(headers(), BODY, [SECRET], now=(NOW_S + apart_s) * SECOND)
        return
    with pytest.raises(SignatureVerificationFailed):
        verified(headers(), BODY, [SECRET], now=(NOW_S + apart_s) * SECOND)


@given(
    st.lists(st.tuples(st.sampled_from([b"x-slack-signature", b"x-slack-request-timestamp", b"x"]), st.binary(max_size=80)), max_size=4),
    st.binary(max_size=80),
)  # fmt: skip
def test_any_bytes_give_the_documented_error(found: Headers, body: bytes) -> None:
    with pytest.raises(SignatureVerificationFailed):
        verified(found, body, [SECRET], now=NOW_S * SECOND)
