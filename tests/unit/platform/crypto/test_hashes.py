"""Digests, MACs and key derivation."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import CryptoError, InvalidInput
from creto.common.fingerprint import fingerprint
from creto.platform.crypto import (
    HashSuite,
    MacSuite,
    digest,
    hkdf,
    hkdf_expand,
    hkdf_extract,
    mac,
    tagged_digest,
    verify_digest,
    verify_mac,
)


def test_digests_are_the_standard_ones() -> None:
    assert digest(b"abc") == hashlib.sha256(b"abc").digest()
    assert digest(b"abc", HashSuite.SHA384) == hashlib.sha384(b"abc").digest()
    assert digest(b"abc", HashSuite.SHA512) == hashlib.sha512(b"abc").digest()
    assert digest(b"abc", HashSuite.SHA3_256) == hashlib.sha3_256(b"abc").digest()


def test_a_tagged_digest_is_a_fingerprint() -> None:
    assert tagged_digest(b"abc") == fingerprint(b"abc")


@given(st.sampled_from(list(HashSuite)), st.binary(max_size=64))
def test_digests_of_old_suites_stay_verifiable(suite: HashSuite, data: bytes) -> None:
    verify_digest(data, tagged_digest(data, suite))
    with pytest.raises(CryptoError):
        verify_digest(data + b"x", tagged_digest(data, suite))


@given(st.binary(max_size=80))
def test_any_bytes_as_a_digest(data: bytes) -> None:
    with pytest.raises(CryptoError) as caught:
        verify_digest(b"x", data)
    assert caught.value.code in ("PL-220", "PL-211")


@given(st.sampled_from(list(MacSuite)), st.binary(min_size=16, max_size=32), st.binary(max_size=64), st.data())
def test_macs(suite: MacSuite, key: bytes, message: bytes, data: st.DataObject) -> None:
    tag = mac(key, message, suite)
    verify_mac(key, message, tag, suite)
    bit = data.draw(st.integers(0, 8 * len(tag) - 1))
    bent = (int.from_bytes(tag) ^ 1 << bit).to_bytes(len(tag))
    for wrong in (bent, tag[:-1], b""):
        with pytest.raises(CryptoError) as caught:
            verify_mac(key, message, wrong, suite)
        assert caught.value.code == "PL-220"


def test_blake2s_keys_are_bounded() -> None:
    for key in (b"short", bytes(33)):
        with pytest.raises(InvalidInput):
            mac(key, b"m", MacSuite.BLAKE2S_256)


def test_hkdf_parts_and_bounds() -> None:
    prk = hkdf_extract(b"secret", b"salt")
    assert hkdf(b"secret", salt=b"salt", info=b"i", size_bytes=80) == hkdf_expand(prk, info=b"i", size_bytes=80)
    assert hkdf(b"secret", info=b"a") != hkdf(b"secret", info=b"b")
    for size in (0, -1, 255 * 32 + 1):
        with pytest.raises(InvalidInput):
            hkdf(b"secret", info=b"i", size_bytes=size)
    with pytest.raises(CryptoError):
        hkdf(b"secret", info=b"i", suite=HashSuite.SHA3_256)
