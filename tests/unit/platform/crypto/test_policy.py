"""Suites over time: switching on live data, and peers that offer less than they could."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import CryptoError, EnablementError, InvalidInput, SignatureVerificationFailed
from creto.platform.crypto import (
    AeadSuite,
    KemSuite,
    SignatureSuite,
    SignedSuiteList,
    SigningKey,
    SuiteList,
    SuitePolicy,
    agreed,
    check_offered,
)

KEY = SigningKey.generate()
ED, ML, HYBRID = SignatureSuite.ED25519, SignatureSuite.ML_DSA_65, SignatureSuite.HYBRID
CONTEXT = b"creto/test/v1"


def test_a_switch_on_live_data() -> None:
    old = SigningKey.generate(ED)
    policy = SuitePolicy.of(ED, AeadSuite.AES_256_GCM)
    record = old.sign(b"record", CONTEXT)
    switched = policy.switched(HYBRID, now=1000, overlap_ns=50)

    assert policy.current(SignatureSuite, 999) == switched.current(SignatureSuite, 999) == ED
    assert switched.current(SignatureSuite, 1000) == HYBRID
    assert switched.current(AeadSuite, 1000) == AeadSuite.AES_256_GCM
    # Old records stay verifiable for ever; peers may still use the old suite in the overlap, and not after it.
    switched.verify(old.public, b"record", record, CONTEXT, made_at=10)
    switched.accept(ED, made_at=1049)
    with pytest.raises(CryptoError) as caught:
        switched.verify(old.public, b"record", record, CONTEXT, made_at=1050)
    assert caught.value.code == "PL-212"
    with pytest.raises(CryptoError):
        switched.accept(HYBRID, made_at=999)


def test_going_back_is_refused() -> None:
    policy = SuitePolicy.of(ED).switched(HYBRID, now=1000)
    for weaker in (ED, ML):
        with pytest.raises(CryptoError) as caught:
            policy.switched(weaker, now=2000)
        assert caught.value.code == "PL-219"
    assert policy.switched(HYBRID, now=2000) == policy
    with pytest.raises(InvalidInput):
        SuitePolicy.of(ED, since=500).switched(HYBRID, now=100)


def test_no_suite_in_force() -> None:
    with pytest.raises(CryptoError) as caught:
        SuitePolicy.of(ED).current(KemSuite, 0)
    assert caught.value.code == "PL-212"
    with pytest.raises(InvalidInput):
        SuitePolicy.of(ED, HYBRID)


@given(st.lists(st.sampled_from(list(SignatureSuite)), max_size=6), st.lists(st.integers(0, 20), max_size=6))
def test_what_was_good_when_made_stays_good(order: list[SignatureSuite], overlaps: list[int]) -> None:
    """Over any run of switches: current(t) is accepted at t, for ever after, and strength never falls."""
    policy, seen = SuitePolicy.of(ED), []
    for step, (suite, overlap) in enumerate(zip(order, overlaps, strict=False), start=1):
        seen.append((policy.current(SignatureSuite, 100 * step - 1), 100 * step - 1))
        try:
            policy = policy.switched(suite, 100 * step, overlap)
        except CryptoError as error:
            if error.code != "PL-219":
                raise
        for old, made_at in seen:
            policy.accept(old, made_at)
    strengths = [policy.current(SignatureSuite, 100 * step).value for step in range(len(seen) + 1)]
    assert strengths == sorted(strengths)


def listed(*suites: int, version: int = 1, owner: str = "peer") -> SuiteList:
    return SuiteList(owner, version, suites)


def test_a_peer_is_held_to_its_signed_list() -> None:
    mine = listed(HYBRID, ML, ED, AeadSuite.CHACHA20_POLY1305, AeadSuite.AES_256_GCM)
    sent = listed(ED, HYBRID, AeadSuite.AES_256_GCM, AeadSuite.CHACHA20_POLY1305).signed(KEY).to_bytes()
    theirs = SignedSuiteList.from_bytes(sent).verify(KEY.public, "peer")

    assert agreed(SignatureSuite, mine, theirs) == HYBRID
    assert agreed(AeadSuite, mine, theirs) == AeadSuite.CHACHA20_POLY1305
    check_offered(HYBRID, mine, theirs)
    check_offered(AeadSuite.AES_256_GCM, mine, theirs)
    for weaker in (ED, ML):
        with pytest.raises(CryptoError) as caught:
            check_offered(weaker, mine, theirs)
        assert caught.value.code == "PL-219"
    with pytest.raises(CryptoError) as caught:
        agreed(KemSuite, mine, theirs)
    assert caught.value.code == "PL-212"


def test_a_shortened_list_does_not_verify() -> None:
    signed = listed(HYBRID, ED).signed(KEY)
    shortened = SignedSuiteList(listed(ED).signed(KEY).body, signed.signature)
    with pytest.raises(SignatureVerificationFailed):
        shortened.verify(KEY.public, "peer")


def test_an_older_list_is_a_replay() -> None:
    old = listed(ED, version=1).signed(KEY)
    with pytest.raises(CryptoError) as caught:
        old.verify(KEY.public, "peer", seen=2)
    assert caught.value.code == "PL-219"


def test_another_s_list_is_refused() -> None:
    with pytest.raises(InvalidInput):
        listed(ED, owner="someone").signed(KEY).verify(KEY.public, "peer")


def test_suites_of_a_newer_release_are_passed_over() -> None:
    assert listed(0xEE, HYBRID).of(SignatureSuite) == (HYBRID,)


@given(st.binary(max_size=200))
def test_any_bytes_give_documented_errors(data: bytes) -> None:
    with pytest.raises(EnablementError) as caught:
        SignedSuiteList.from_bytes(data).verify(KEY.public, "peer")
    assert caught.value.code in ("PL-400", "PL-210")


def test_lists_are_bounded() -> None:
    with pytest.raises(InvalidInput) as caught:
        SignedSuiteList.from_bytes(b" " * 20_000)
    assert caught.value.code == "PL-413"
