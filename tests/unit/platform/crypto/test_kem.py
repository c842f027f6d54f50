"""Key encapsulation: round trips, interoperation with HPKE, and bad input."""

from __future__ import annotations

import pickle

import pytest
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import CryptoError, EnablementError, InvalidInput
from creto.platform.crypto import Aead, AeadSuite, KemPrivateKey, KemPublicKey, KemSuite, hkdf_expand, hkdf_extract
from creto.platform.crypto.types import KEMS
from tests.unit.platform.crypto import fips203

KEYS = {suite: KemPrivateKey.generate(suite) for suite in KemSuite}
HPKE_KEMS = {
    KemSuite.X25519: (hpke.KEM.X25519, 0x0020),
    KemSuite.ML_KEM_768: (hpke.KEM.MLKEM768, 0x0041),
    KemSuite.HYBRID: (hpke.KEM.MLKEM768_X25519, 0x647A),
}


@pytest.mark.parametrize("suite", list(KemSuite))
def test_round_trip(suite: KemSuite) -> None:
    key = KEYS[suite]
    public = KemPublicKey.from_bytes(key.public.to_bytes())
    assert public == key.public
    secret, ciphertext = public.encapsulate()
    assert ciphertext[0] == suite
    assert len(ciphertext) == 1 + KEMS[suite].ciphertext_bytes
    assert len(secret) == 32
    assert key.decapsulate(ciphertext) == secret
    assert KemPrivateKey.from_private_bytes(key.private_bytes()).decapsulate(ciphertext) == secret
    assert public.encapsulate()[0] != secret


def hpke_public(key: KemPrivateKey) -> object:
    """The library's own key for its HPKE."""
    if key.suite == KemSuite.X25519:
        return key.public.x25519_public()
    if key.suite == KemSuite.ML_KEM_768:
        return key.public.ml_kem_public()
    return hpke.MLKEM768X25519PublicKey(key.public.ml_kem_public(), key.public.x25519_public())


@pytest.mark.parametrize("suite", list(KemSuite))
def test_our_secret_is_hpke_s(suite: KemSuite) -> None:
    """RFC 9180 base mode with the library as the sender; we open with our own secret and the RFC's key schedule."""
    key = KEYS[suite]
    kem, kem_id = HPKE_KEMS[suite]
    sent = hpke.Suite(kem, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM).encrypt(b"hello", hpke_public(key), b"info")  # type: ignore[arg-type]
    size = KEMS[suite].ciphertext_bytes
    secret = key.decapsulate(bytes((suite,)) + sent[:size])

    id = b"HPKE" + kem_id.to_bytes(2) + b"\0\1" + b"\0\2"
    context = b"\0" + extract(id, b"", b"psk_id_hash", b"") + extract(id, b"", b"info_hash", b"info")
    schedule = extract(id, secret, b"secret", b"")
    aead_key, nonce = expand(id, schedule, b"key", context, 32), expand(id, schedule, b"base_nonce", context, 12)
    assert Aead(AeadSuite.AES_256_GCM, aead_key).decrypt(nonce, sent[size:]) == b"hello"


def extract(id: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hkdf_extract(b"HPKE-v1" + id + label + ikm, salt)


def expand(id: bytes, prk: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return hkdf_expand(prk, info=size.to_bytes(2) + b"HPKE-v1" + id + label + info, size_bytes=size)


def test_xwing_halves_come_from_its_seed() -> None:
    """draft-connolly-cfrg-xwing-kem, expandDecapsulationKey."""
    from hashlib import shake_256

    key = KemPrivateKey.from_seed(KemSuite.HYBRID, bytes(range(32)))
    wide = shake_256(bytes(range(32))).digest(96)
    ml_kem = MLKEM768PrivateKey.from_seed_bytes(wide[:64]).public_key().public_bytes_raw()
    x25519 = X25519PrivateKey.from_private_bytes(wide[64:]).public_key().public_bytes_raw()
    assert key.public.raw == ml_kem + x25519


def test_the_library_opens_what_fips_203_sends() -> None:
    key = KEYS[KemSuite.ML_KEM_768]
    secret, ciphertext = fips203.encapsulate(key.public.raw, bytes(range(32)))
    assert key.decapsulate(bytes((KemSuite.ML_KEM_768,)) + ciphertext) == secret


@given(st.sampled_from(list(KemSuite)), st.data())
def test_a_flipped_bit_gives_another_secret_or_an_error(suite: KemSuite, data: st.DataObject) -> None:
    key = KEYS[suite]
    secret, ciphertext = key.public.encapsulate()
    bit = data.draw(st.integers(0, 8 * len(ciphertext) - 1))
    bent = (int.from_bytes(ciphertext) ^ 1 << bit).to_bytes(len(ciphertext))
    try:
        assert key.decapsulate(bent) != secret
    except EnablementError as error:
        if error.code not in ("PL-211", "PL-213"):
            raise


def test_exchange_is_x25519_only() -> None:
    a, b = KemPrivateKey.generate(KemSuite.X25519), KemPrivateKey.generate(KemSuite.X25519)
    assert a.exchange(b.public) == b.exchange(a.public)
    with pytest.raises(CryptoError):
        a.exchange(KEYS[KemSuite.HYBRID].public)


@given(st.sampled_from(list(KemSuite)), st.binary(max_size=40), st.integers(0, 1300))
def test_any_bytes_give_documented_errors(suite: KemSuite, noise: bytes, size: int) -> None:
    for data in (
        noise,
        bytes((suite,)) + noise,
        bytes((suite,)) + (noise * 40)[:size],
        bytes((suite,)) + b"\xff" * size,
    ):
        for read in (KemPublicKey.from_bytes, KemPrivateKey.from_private_bytes, KEYS[suite].decapsulate):
            try:
                read(data)
            except EnablementError as error:
                if error.code not in ("PL-211", "PL-213", "PL-216", "PL-218"):
                    raise


def test_private_bytes_are_nowhere() -> None:
    key = KEYS[KemSuite.HYBRID]
    assert key.private_bytes()[1:].hex() not in repr(key)
    with pytest.raises(TypeError):
        pickle.dumps(key)
    with pytest.raises(InvalidInput):
        KemPrivateKey.from_private_bytes(key.private_bytes() + b"\0")
