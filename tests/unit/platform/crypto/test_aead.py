"""Sealing: round trips, commitment, and what must not open."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import CryptoError, EnablementError, InvalidInput
from creto.platform.crypto import Aead, AeadSuite, open_sealed, seal
from creto.platform.crypto.aead import HEADER_BYTES, derived

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
suites = st.sampled_from(list(AeadSuite))


@given(suites, st.binary(max_size=200), st.binary(max_size=40))
def test_round_trip(suite: AeadSuite, text: bytes, aad: bytes) -> None:
    sealed = seal(KEY, text, aad, suite)
    assert sealed[0] == suite
    assert open_sealed(KEY, sealed, aad) == text
    assert seal(KEY, text, aad, suite) != sealed


@given(suites, st.binary(max_size=60), st.data())
def test_no_flipped_bit_opens(suite: AeadSuite, text: bytes, data: st.DataObject) -> None:
    sealed = seal(KEY, text, b"aad", suite)
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    bent = (int.from_bytes(sealed) ^ 1 << bit).to_bytes(len(sealed))
    assert code_of(KEY, bent, b"aad") in ("PL-213", "PL-211")
    assert code_of(KEY, sealed[:-1], b"aad") in ("PL-213", "PL-218")
    assert code_of(KEY, sealed, b"other") == "PL-213"
    assert code_of(OTHER, sealed, b"aad") == "PL-213"


def code_of(key: bytes, sealed: bytes, aad: bytes) -> str:
    with pytest.raises(EnablementError) as caught:
        open_sealed(key, sealed, aad)
    return caught.value.code


def test_the_suite_is_bound() -> None:
    sealed = seal(KEY, b"text")
    relabelled = bytes((AeadSuite.CHACHA20_POLY1305,)) + sealed[1:]
    assert code_of(KEY, relabelled, b"") == "PL-213"


def gcm_tag_terms(key: bytes, nonce: bytes) -> tuple[int, int]:
    """H and the mask of the tag, for the field arithmetic below."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update
    return int.from_bytes(block(bytes(16))), int.from_bytes(block(nonce + b"\0\0\0\1"))


def times(x: int, y: int) -> int:
    z = 0
    for bit in range(127, -1, -1):
        z ^= y if x >> bit & 1 else 0
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return z


def inverse(x: int) -> int:
    """x**(2**128 - 2)."""
    out, power = 1 << 127, x
    for _ in range(127):
        power = times(power, power)
        out = times(out, power)
    return out


def two_key_ciphertext(one: bytes, two: bytes, nonce: bytes) -> bytes:
    """One AES-GCM ciphertext that opens under both keys: one block solves for equal tags (ciphertext of 1 block)."""
    (h1, m1), (h2, m2) = gcm_tag_terms(one, nonce), gcm_tag_terms(two, nonce)
    length = 128  # lengths block: no aad, one block of ciphertext
    # tag = C*H^2 + len*H + mask; equal under both keys <=> C*(H1^2+H2^2) = len*(H1+H2) + mask1+mask2
    right = times(length, h1 ^ h2) ^ m1 ^ m2
    block = times(right, inverse(times(h1, h1) ^ times(h2, h2)))
    tag = times(block, times(h1, h1)) ^ times(length, h1) ^ m1
    return block.to_bytes(16) + tag.to_bytes(16)


def test_bare_gcm_opens_under_two_keys_and_a_seal_does_not() -> None:
    """Why `seal` commits: the attack works on the bare algorithm, and the same bytes in our format fit one key only."""
    nonce = bytes(12)
    both = two_key_ciphertext(KEY, OTHER, nonce)
    opened = [Aead(AeadSuite.AES_256_GCM, key).decrypt(nonce, both) for key in (KEY, OTHER)]
    assert opened[0] != opened[1]

    # The attacker knows both keys and makes a ciphertext for both derived keys, if the two had one nonce.
    random = bytes(32)
    _, _, commitment_one = derived(AeadSuite.AES_256_GCM, KEY, random, b"")
    _, _, commitment_two = derived(AeadSuite.AES_256_GCM, OTHER, random, b"")
    assert commitment_one != commitment_two
    for commitment, stranger in ((commitment_one, OTHER), (commitment_two, KEY)):
        sealed = bytes((AeadSuite.AES_256_GCM,)) + random + commitment + both
        assert code_of(stranger, sealed, b"") == "PL-213"


@given(st.binary(max_size=HEADER_BYTES + 60))
def test_any_bytes_give_documented_errors(data: bytes) -> None:
    assert code_of(KEY, data, b"") in ("PL-218", "PL-211", "PL-213")


@given(suites, st.binary(max_size=60))
def test_any_ciphertext_gives_documented_errors(suite: AeadSuite, data: bytes) -> None:
    with pytest.raises(CryptoError):
        Aead(suite, KEY).decrypt(bytes(12), data)


def test_keys_and_nonces_have_one_length() -> None:
    for key in (b"", bytes(16), bytes(33)):
        with pytest.raises(InvalidInput):
            seal(key, b"text")
    with pytest.raises(InvalidInput):
        Aead(AeadSuite.AES_256_GCM, KEY).encrypt(bytes(8), b"text")


def test_the_key_is_in_no_repr() -> None:
    assert repr(Aead(AeadSuite.AES_256_GCM, KEY)) == "Aead(AES_256_GCM)"
