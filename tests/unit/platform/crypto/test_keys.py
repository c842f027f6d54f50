"""Signing keys: every suite behind one face."""

from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.errors import CryptoError, EnablementError, InvalidInput, SignatureVerificationFailed
from creto.common.ids import AgentIdentity
from creto.platform.crypto import Algorithm, SignatureSuite, SigningKey, VerifyKey, composite, ed25519
from creto.platform.crypto.keys import framed
from creto.platform.crypto.types import SIGNATURES

KEYS = {suite: SigningKey.generate(suite) for suite in SignatureSuite}
suites = st.sampled_from(list(SignatureSuite))


@pytest.mark.parametrize("suite", list(SignatureSuite))
def test_sign_and_verify(suite: SignatureSuite) -> None:
    key = KEYS[suite]
    signature = key.sign(b"message", b"context")
    assert signature[0] == suite
    assert len(signature) == 1 + SIGNATURES[suite].signature_bytes
    assert len(key.public.to_bytes()) == 1 + SIGNATURES[suite].public_bytes
    key.public.verify(b"message", signature, b"context")
    VerifyKey.from_bytes(key.public.to_bytes()).verify(b"message", signature, b"context")
    assert SigningKey.from_private_bytes(key.private_bytes()).public == key.public


def test_the_client_s_name() -> None:
    assert Algorithm.HybridEdDsaMlDsa is SignatureSuite.HYBRID


@settings(max_examples=60)
@given(suites, st.binary(max_size=64), st.binary(max_size=255), st.data())
def test_no_flipped_bit_is_accepted(suite: SignatureSuite, message: bytes, context: bytes, data: st.DataObject) -> None:
    key = KEYS[suite]
    signature = key.sign(message, context)
    key.public.verify(message, signature, context)
    bent = flipped(signature, data)
    with pytest.raises(SignatureVerificationFailed):
        key.public.verify(message, bent, context)
    for other_message, other_context in (
        (message + b"\0", context),
        (message, (context + b"\0")[-255:] if len(context) < 255 else context[:-1]),
        (b"\0" + message, context),
    ):
        with pytest.raises(SignatureVerificationFailed):
            key.public.verify(other_message, signature, other_context)


def flipped(value: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(0, 8 * len(value) - 1))
    return (int.from_bytes(value) ^ 1 << bit).to_bytes(len(value))


@pytest.mark.parametrize("suite", list(SignatureSuite))
def test_context_and_message_do_not_flow_together(suite: SignatureSuite) -> None:
    signature = KEYS[suite].sign(b"bc", b"a")
    with pytest.raises(SignatureVerificationFailed):
        KEYS[suite].public.verify(b"c", signature, b"ab")


def test_a_key_takes_no_signature_of_another_suite() -> None:
    hybrid = KEYS[SignatureSuite.HYBRID]
    for suite in (SignatureSuite.ED25519, SignatureSuite.ML_DSA_65):
        half = hybrid.component(suite)
        signature = half.sign(b"m")
        half.public.verify(b"m", signature)
        assert hybrid.public.component(suite) == half.public
        with pytest.raises(SignatureVerificationFailed, match="another suite"):
            hybrid.public.verify(b"m", signature)


def test_the_suite_is_inside_the_signed_bytes() -> None:
    """A signature relabelled with another suite's id does not verify, nor does one over the bare message."""
    key = KEYS[SignatureSuite.HYBRID]
    bare = key.ed25519_private().sign(b"m")
    with pytest.raises(SignatureVerificationFailed):
        key.public.component(SignatureSuite.ED25519).verify(b"m", bytes((SignatureSuite.ED25519,)) + bare)
    assert framed(SignatureSuite.ED25519, b"m", b"")[-3] == SignatureSuite.ED25519


def test_a_single_key_has_no_other_half() -> None:
    with pytest.raises(CryptoError) as caught:
        KEYS[SignatureSuite.ED25519].component(SignatureSuite.HYBRID)
    assert caught.value.code == "PL-211"
    with pytest.raises(CryptoError):
        KEYS[SignatureSuite.ML_DSA_65].public.ed25519


def test_halves_make_an_agent_identity() -> None:
    public = KEYS[SignatureSuite.HYBRID].public
    agent = AgentIdentity.of(public.ed25519, public.ml_dsa)
    assert VerifyKey.of(agent.public_key_ed25519, agent.public_key_ml_dsa) == public


def test_contexts_are_bounded() -> None:
    key = KEYS[SignatureSuite.HYBRID]
    with pytest.raises(InvalidInput):
        key.sign(b"m", bytes(256))
    with pytest.raises(InvalidInput):
        key.public.verify(b"m", key.sign(b"m"), bytes(256))


@pytest.mark.parametrize("suite", list(SignatureSuite))
def test_private_bytes_are_nowhere(suite: SignatureSuite) -> None:
    key = KEYS[suite]
    secret = key.private_bytes()[1:]
    assert secret.hex() not in repr(key) + str(key.__dict__)
    assert repr(secret) not in repr(key) + str(vars(key))
    for leak in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(key)
    with pytest.raises(InvalidInput) as caught:
        SigningKey.from_private_bytes(key.private_bytes() + b"\0")
    assert secret.hex() not in str(caught.value.body())
    assert pickle.loads(pickle.dumps(key.public)) == key.public


@given(st.binary(max_size=40) | st.builds(lambda s, n: bytes((s,)) + bytes(n), suites, st.integers(0, 2100)))
def test_any_bytes_give_documented_errors(data: bytes) -> None:
    for read in (VerifyKey.from_bytes, SigningKey.from_private_bytes):
        try:
            read(data)
        except EnablementError as error:
            if error.code not in ("PL-211", "PL-216"):
                raise
    for key in KEYS.values():
        with pytest.raises(SignatureVerificationFailed):
            key.public.verify(b"m", data)


@settings(max_examples=30)
@given(suites, st.data())
def test_any_signature_of_the_right_length(suite: SignatureSuite, data: st.DataObject) -> None:
    size = SIGNATURES[suite].signature_bytes
    noise = data.draw(st.binary(min_size=64, max_size=64))
    signature = bytes((suite,)) + (noise * (size // 64 + 1))[:size]
    with pytest.raises(SignatureVerificationFailed):
        KEYS[suite].public.verify(b"m", signature)


# Strict Ed25519. The curve, in plain integers, to derive the points of small order rather than trust a list.

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]


def plus(a: Point, b: Point) -> Point:
    (x1, y1), (x2, y2) = a, b
    k = D * x1 * x2 * y1 * y2 % P
    return (x1 * y2 + x2 * y1) * pow(1 + k, -1, P) % P, (y1 * y2 + x1 * x2) * pow(1 - k, -1, P) % P


def decoded(data: bytes) -> Point:
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * pow(2, (P - 1) // 4, P) % P
    assert v * x * x % P == u
    return (x if x & 1 == sign else P - x), y


def test_the_small_order_list_is_all_eight_points() -> None:
    points = {decoded(data) for data in ed25519.SMALL_ORDER if data not in NON_CANONICAL}
    assert len(points) == 8
    for point in points:
        doubled = point
        for _ in range(3):
            doubled = plus(doubled, doubled)
        assert doubled == (0, 1)
    assert len(ed25519.SMALL_ORDER) == 10


NON_CANONICAL = (b"\x01" + bytes(30) + b"\x80", b"\xec" + b"\xff" * 31)


@pytest.mark.parametrize("data", [*sorted(ed25519.SMALL_ORDER), *(
    (y | sign << 255).to_bytes(32, "little") for y in range(P, 2**255) for sign in (0, 1))])  # fmt: skip
def test_weak_and_misspelled_keys_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput) as caught:
        VerifyKey.of(data)
    assert caught.value.code == "PL-216"


def test_a_small_order_r_is_refused() -> None:
    """With a = 0 mod L the equation would hold for R = identity and S = 0 under a weak key; we refuse R outright."""
    key = KEYS[SignatureSuite.ED25519]
    signature = bytes((SignatureSuite.ED25519,)) + b"\x01" + bytes(63)
    with pytest.raises(SignatureVerificationFailed):
        key.public.verify(b"m", signature)


def test_s_beyond_the_order_is_refused() -> None:
    key = KEYS[SignatureSuite.ED25519]
    signature = key.sign(b"m")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[33:], "little") + order
    with pytest.raises(SignatureVerificationFailed):
        key.public.verify(b"m", signature[:33] + s.to_bytes(32, "little"))


def test_reproducible_from_a_seed() -> None:
    """RFC 8032 7.1, test 1: the library's raw signature; ours is framed and so differs."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = SigningKey.from_seed(SignatureSuite.ED25519, seed)
    assert key.public.ed25519.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.ed25519_private().sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a")
    assert key.sign(b"") == key.sign(b"")
    assert len(composite.representative(b"", b"")) == 32 + 30 + 1 + 64
