"""JWK and JWS: the public hybrid fixtures, and what a strict reader refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.platform.crypto import SignatureSuite, SigningKey, VerifyKey
from creto.platform.crypto.jose import (
    Jwk,
    b64url_decode,
    b64url_encode,
    from_jwk,
    halves,
    sign_general,
    thumbprint,
    to_jwk,
    to_jwks,
    verify_general,
)

KEY = SigningKey.generate()
KEYS = {kid: half.public for kid, half in halves(KEY)}


@pytest.fixture(scope="session")
def tokens(vectors: Path) -> Path:
    return vectors / "hybrid-jws" / "examples" / "tokens"


@pytest.fixture(scope="session")
def test_keys(tokens: Path) -> dict[str, Any]:
    return {key["kid"]: key for key in json.loads((tokens / "test-keys.json").read_text())["keys"]}


@pytest.fixture(scope="session")
def verify_keys(test_keys: dict[str, Any]) -> dict[str, VerifyKey]:
    return {kid: from_jwk(json.dumps(key["publicJwk"]).encode()) for kid, key in test_keys.items()}


def test_the_fixtures_keys_are_those_of_their_seeds(
    test_keys: dict[str, Any], verify_keys: dict[str, VerifyKey]
) -> None:
    for kid, key in test_keys.items():
        suite = SignatureSuite.ED25519 if "ed25519SeedHex" in key else SignatureSuite.ML_DSA_65
        seed = bytes.fromhex(key.get("ed25519SeedHex") or key["mlDsa65SeedHex"])
        signing = SigningKey.from_seed(suite, seed)
        assert signing.public == verify_keys[kid]
        jwk = to_jwk(signing.public, kid)
        assert {name: getattr(jwk, name) for name in key["publicJwk"]} == key["publicJwk"]
    assert len(test_keys) == 4


def as_general(compact: str) -> bytes:
    """The same signature as General JSON (RFC 7515 7.2.1)."""
    protected, payload, signature = compact.split(".")
    signatures = [{"protected": protected, "signature": signature}]
    return json.dumps({"payload": payload, "signatures": signatures}).encode()


def test_the_compact_fixtures(tokens: Path, verify_keys: dict[str, VerifyKey]) -> None:
    ran = 0
    for path in sorted(tokens.glob("*.jwt")):
        token = path.read_text().strip()
        kid = json.loads(b64url_decode(token.partition(".")[0]))["kid"]
        payload = verify_general(as_general(token), verify_keys, verify_keys[kid].suite)
        assert json.loads(payload) == json.loads(path.with_suffix(".claims.json").read_text())
        ran += 1
    assert ran == 5


def test_no_fixture_is_left_unread(tokens: Path) -> None:
    """What the tests of compact and general fixtures do not name is the claims of a compact one, or the keys."""
    compact = {path.stem for path in tokens.glob("*.jwt")}
    read = {f"{stem}{end}" for stem in compact for end in (".jwt", ".claims.json")}
    assert {path.name for path in tokens.iterdir()} == {
        *read, "test-keys.json", "cgt-v1.general.json", "cgt-v1.hybrid.general.json",
    }  # fmt: skip


def test_the_general_fixtures(tokens: Path, verify_keys: dict[str, VerifyKey]) -> None:
    claims = json.loads((tokens / "cgt-v1.claims.json").read_text())
    hybrid = (tokens / "cgt-v1.hybrid.general.json").read_bytes()
    assert json.loads(verify_general(hybrid, verify_keys)) == claims

    two_classical = (tokens / "cgt-v1.general.json").read_bytes()
    assert json.loads(verify_general(two_classical, verify_keys, SignatureSuite.ED25519)) == claims
    with pytest.raises(SignatureVerificationFailed, match="missing"):
        verify_general(two_classical, verify_keys)


def test_ed25519_fixtures_are_reproduced_byte_for_byte(tokens: Path, test_keys: dict[str, Any]) -> None:
    signing = SigningKey.from_seed(SignatureSuite.ED25519, bytes.fromhex(test_keys["registry-key-1"]["ed25519SeedHex"]))
    token = (tokens / "ait-v1.jwt").read_text().strip()
    header, payload, signature = token.split(".")
    made = signing.ed25519_private().sign(f"{header}.{payload}".encode())
    assert b64url_encode(made) == signature


@pytest.mark.parametrize("drop", [0, 1])
def test_a_hybrid_without_one_half_is_refused(drop: int) -> None:
    made = json.loads(sign_general(b"{}", *halves(KEY)))
    del made["signatures"][drop]
    with pytest.raises(SignatureVerificationFailed, match="missing"):
        verify_general(json.dumps(made).encode(), KEYS)


def test_every_signature_present_must_verify() -> None:
    made = json.loads(sign_general(b"{}", *halves(KEY), *halves(SigningKey.generate())))
    with pytest.raises(SignatureVerificationFailed, match="not known"):
        verify_general(json.dumps(made).encode(), KEYS)


def test_signatures_over_different_bytes_do_not_join() -> None:
    one, other = (json.loads(sign_general(text, *halves(KEY))) for text in (b'{"a":1}', b'{"a":2}'))
    one["signatures"][1] = other["signatures"][1]
    with pytest.raises(SignatureVerificationFailed):
        verify_general(json.dumps(one).encode(), KEYS)


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none","kid":"KID"}',
        b'{"alg":"HS256","kid":"KID"}',
        b'{"alg":"ML-DSA-65","kid":"KID"}',
        b'{"alg":"EdDSA","alg":"EdDSA","kid":"KID"}',
        b'{"alg":"EdDSA","kid":"KID","crit":["exp"]}',
        b'{"alg":"EdDSA","kid":"KID","b64":false}',
        b'{"alg":"EdDSA","kid":"other"}',
        b'{"alg":"EdDSA"}',
        b"[]",
        b"\xff\xfe",
        b"{" * 100_000,
    ],
)
def test_a_header_that_asks_for_something_else_is_refused(header: bytes) -> None:
    kid, key = halves(KEY)[0]
    signed = b64url_encode(header.replace(b"KID", kid.encode())) + "." + b64url_encode(b"{}")
    token = signed + "." + b64url_encode(key.ed25519_private().sign(signed.encode()))
    with pytest.raises((InvalidInput, SignatureVerificationFailed)):
        verify_general(as_general(token), KEYS, SignatureSuite.ED25519)


@pytest.mark.parametrize("text", ["YQ==", "YQ=", "YR", "Y+", "Y/", "Y Q", "YQ\n", "Y", "é", "YWJ", "\ud800"])
def test_base64url_has_one_spelling(text: str) -> None:
    with pytest.raises(InvalidInput):
        b64url_decode(text)


@given(st.binary(max_size=64))
def test_base64url_round_trip(data: bytes) -> None:
    assert b64url_decode(b64url_encode(data)) == data


@pytest.mark.parametrize("suite", [SignatureSuite.ED25519, SignatureSuite.ML_DSA_65])
def test_keys_round_trip(suite: SignatureSuite) -> None:
    key = SigningKey.generate(suite)
    (jwk,) = to_jwks(key.public)
    assert from_jwk(jwk) == key.public
    assert verify_general(sign_general(b"{}", *halves(key)), {jwk.kid or "": key.public}, suite) == b"{}"


def test_thumbprint_of_rfc_8037() -> None:
    jwk = Jwk("OKP", crv="Ed25519", x="11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")
    assert thumbprint(jwk) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "RSA"},
        {"kty": "OKP", "crv": "X25519", "x": b64url_encode(bytes(32))},
        {"kty": "OKP", "crv": "Ed25519"},
        {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(bytes(32))},  # small order
        {"kty": "OKP", "crv": "Ed25519", "alg": "ES256", "x": b64url_encode(b"\x05" * 32)},
        {"kty": "AKP", "pub": b64url_encode(bytes(1952))},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": b64url_encode(bytes(1312))},
        {"kty": "OKP", "crv": "Ed25519", "x": b64url_encode(b"\x05" * 32), "use": "enc"},
    ],
)
def test_other_keys_are_refused(jwk: dict[str, str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_jwk(json.dumps(jwk).encode())
    assert caught.value.code == "PL-216"


@pytest.mark.parametrize(
    "data",
    [
        b'"\\ud800"', b'{"kty":"\\ud800"}', b'{"kty":"OKP","crv":"Ed25519","x":"\\udfff"}', b"NaN", b"9" * 5000, b"1e999",
        b"[" * 100_000, b'{"a":' * 5_000, b"\xef\xbb\xbf{}", b'{"kty":"OKP","\\u006bty":"AKP"}', b"{}{}", b"",
        b'{"payload":"\\ud800","signatures":[]}', b'{"payload":"","signatures":[{"protected":"\\ud800","signature":""}]}',
    ],
)  # fmt: skip
def test_json_that_only_some_can_read(data: bytes) -> None:
    for read in (lambda: from_jwk(data), lambda: verify_general(data, KEYS)):
        with pytest.raises(InvalidInput):
            read()


@given(st.binary(max_size=300))
def test_any_bytes_give_documented_errors(data: bytes) -> None:
    for read in (
        lambda: from_jwk(data),
        lambda: verify_general(data, KEYS),
    ):
        with pytest.raises(EnablementError) as caught:
            read()
        assert caught.value.code in ("PL-216", "PL-400", "PL-210")


@given(st.recursive(st.none() | st.text(max_size=8) | st.integers(), lambda x: st.lists(x, max_size=3) | st.dictionaries(
    st.sampled_from(["payload", "signatures", "protected", "signature", "kty", "x", "header"]), x, max_size=4)))  # fmt: skip
def test_any_json_gives_documented_errors(value: object) -> None:
    data = json.dumps(value).encode()
    for read in (lambda: from_jwk(data), lambda: verify_general(data, KEYS)):
        with pytest.raises(EnablementError):
            read()
