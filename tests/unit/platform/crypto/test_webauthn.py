"""Passkeys: what counts as an answer to a challenge, and everything that does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.platform.crypto.webauthn import (
    ALGORITHMS,
    ES256,
    Assertion,
    Passkey,
    belongs,
    challenge_of,
    checked_assertion,
    registered,
)
from tests.unit.platform.crypto.authenticator import Authenticator, cbor

CHALLENGE = b'{"verdict":"approve"}' * 40


def made(key: Authenticator) -> Passkey:
    return registered(*key.make(b"fresh"), challenge=b"fresh")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_passkey_is_made_and_signs(algorithm: int) -> None:
    key = Authenticator(algorithm=algorithm)
    passkey = made(key)
    assert passkey == Passkey(credential_id=key.credential_id, public_key=key.cose(), site="localhost")
    assertion = key.sign(CHALLENGE)
    checked_assertion(passkey, assertion, challenge=CHALLENGE)
    assert challenge_of(assertion.client_data) == CHALLENGE
    for other in (
        replace(assertion, signature=assertion.signature[:-1] + bytes([assertion.signature[-1] ^ 1])),
        replace(assertion, signature=b""),
        replace(assertion, client_data=assertion.client_data + b" "),
        replace(assertion, authenticator_data=assertion.authenticator_data + b"\x00"),
    ):
        with pytest.raises(SignatureVerificationFailed):
            checked_assertion(passkey, other, challenge=CHALLENGE)


KEY = Authenticator("example.com", origin="https://example.com")
PASSKEY = made(KEY)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"challenge": b"another"}, "challenge"),
        ({"flags": 0x01}, "flags"),  # present, not verified
        ({"flags": 0x04}, "flags"),
        ({"origin": "https://example.org"}, "origin"),
        ({"origin": "https://notexample.com"}, "origin"),
        ({"origin": "http://example.com"}, "origin"),
        ({"origin": "https://example.com.evil.org"}, "origin"),
        ({"origin": "android:apk-key-hash:x"}, "origin"),
        ({"origin": "https://[::1"}, "origin"),
        ({"crossOrigin": True}, "crossOrigin"),
        ({"type": "webauthn.create"}, "type"),
    ],
)
def test_what_is_no_answer_to_this_challenge(changes: dict[str, Any], field: str) -> None:
    more = {name: value for name, value in changes.items() if name != "challenge"}
    signed = KEY.sign(changes.get("challenge", CHALLENGE), **more)
    with pytest.raises(SignatureVerificationFailed) as caught:
        checked_assertion(PASSKEY, signed, challenge=CHALLENGE)
    assert caught.value.field == field


def test_a_name_below_the_site_may_use_its_passkeys() -> None:
    checked_assertion(PASSKEY, KEY.sign(CHALLENGE, origin="https://eu.example.com:8443"), challenge=CHALLENGE)
    assert belongs("http://localhost:8080", "localhost")
    assert not belongs("http://127.0.0.1:8080", "127.0.0.1")


def test_another_key_is_another_human() -> None:
    stranger = Authenticator("example.com", origin="https://example.com")
    with pytest.raises(SignatureVerificationFailed):
        checked_assertion(PASSKEY, stranger.sign(CHALLENGE), challenge=CHALLENGE)
    elsewhere = Authenticator("example.org", origin="https://example.com")
    with pytest.raises(SignatureVerificationFailed) as caught:
        checked_assertion(PASSKEY, elsewhere.sign(CHALLENGE), challenge=CHALLENGE)
    assert caught.value.field == "site"


def test_only_keys_that_are_some() -> None:
    for cose in (
        {1: 2, 3: ES256, -1: 2, -2: bytes(32), -3: bytes(32)},  # another curve
        {1: 2, 3: ES256, -1: 1, -2: bytes(32), -3: bytes(32)},  # no point
        {1: 2, 3: ES256, -1: 1, -2: bytes(31), -3: bytes(32)},
        {1: 1, 3: -8, -1: 6, -2: bytes(32)},  # of small order
        {1: 3, 3: -257, -1: b"\xff" * 128, -2: b"\x01\x00\x01"},  # too short
        {1: 2, 3: -8, -1: 1, -2: bytes(32), -3: bytes(32)},  # kind and algorithm differ
        {1: 2, 3: -35},
        {},
    ):
        key = Authenticator()
        key.cose = lambda cose=cose: cbor(cose)  # type: ignore[method-assign, misc]
        with pytest.raises(InvalidInput) as caught:
            made(key)
        assert caught.value.code == "PL-216"


def test_a_registration_is_bound_to_its_challenge() -> None:
    key = Authenticator()
    with pytest.raises(SignatureVerificationFailed):
        registered(*key.make(b"one"), challenge=b"other")
    attestation, _ = key.make(b"one")
    with pytest.raises(SignatureVerificationFailed):
        registered(attestation, key.client("webauthn.get", b"one"), challenge=b"one")
    with pytest.raises(SignatureVerificationFailed):
        registered(*key.make(b"one", flags=0x01), challenge=b"one")


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=100))
def test_any_bytes_give_an_error_of_ours(one: bytes, other: bytes, signature: bytes) -> None:
    with pytest.raises(EnablementError):
        registered(one, other, challenge=b"x")
    client = KEY.client("webauthn.get", CHALLENGE)
    for data, said in ((one, other), (one, client)):
        with pytest.raises(EnablementError):
            checked_assertion(
                PASSKEY, Assertion(authenticator_data=data, client_data=said, signature=signature), challenge=CHALLENGE
            )


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_damaged_attestation_gives_an_error_or_another_passkey(place: int, flip: int) -> None:
    attestation, client = KEY.make(b"one")
    at = place % len(attestation)
    damaged = attestation[:at] + bytes([attestation[at] ^ flip]) + attestation[at + 1 :]
    try:
        assert registered(damaged, client, challenge=b"one").site == "example.com"
    except EnablementError as error:
        assert error.code in ("PL-210", "PL-216")
