"""Wycheproof: Ed25519, X25519, ML-DSA-65, ML-KEM-768.

The library signs with fresh randomness and takes seeds only. What it has no door for (fixed randomness, expanded private keys) is
computed as FIPS 203 and 204 write it, in this folder, and then crossed with the library: it must verify or refuse the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from creto.common.errors import CryptoError, EnablementError, InvalidInput
from creto.platform.crypto import KemPrivateKey, KemPublicKey, KemSuite, SignatureSuite, SigningKey, composite, ed25519
from creto.platform.crypto.keys import VerifyKey, checked_context
from tests.unit.platform.crypto import fips203, fips204
from tests.unit.platform.crypto.wycheproof import Case, cases, raw

ROUNDS_SAMPLE = 3  # a round of plain Python takes some 30 ms; --deep runs them all


def test_ed25519(vectors: Path) -> None:
    ran = 0
    for group, case in cases(vectors, "ed25519_test.json", 151):
        key = ed25519.load_public(bytes.fromhex(group["publicKey"]["pk"]))
        message, signature = raw(case, "msg", "sig")
        assert ed25519.verifies(key, signature, message) == (case["result"] == "valid"), case["tcId"]
        ran += 1
    assert ran == 151


def test_x25519(vectors: Path) -> None:
    agreed = refused = 0
    for _, case in cases(vectors, "x25519_test.json", 518):
        private, public, shared = raw(case, "private", "public", "shared")
        key = KemPrivateKey.from_seed(KemSuite.X25519, private)
        peer = KemPublicKey.from_bytes(bytes((KemSuite.X25519,)) + public)
        if "ZeroSharedSecret" in case["flags"]:
            with pytest.raises(CryptoError) as caught:
                key.exchange(peer)
            assert caught.value.code == "PL-213"
            refused += 1
        else:
            assert key.exchange(peer) == shared, case["tcId"]
            agreed += 1
    assert (agreed, refused) == (487, 31)


def test_ml_dsa_verify(vectors: Path) -> None:
    checked = refused = 0
    for group, case in cases(vectors, "mldsa_65_verify_test.json", 210):
        (public,) = raw(group, "publicKey")
        assert ml_dsa_accepts(public, case) == (case["result"] == "valid"), case["tcId"]
        checked += len(public) == 1952
        refused += len(public) != 1952
    assert (checked, refused) == (206, 4)


def ml_dsa_accepts(public: bytes, case: Case) -> bool:
    message, signature, context = raw(case, "msg", "sig", "ctx")
    try:
        key = VerifyKey.of(None, public)
        return composite.ml_dsa_verifies(key.ml_dsa_public(), signature, message, checked_context(context))
    except InvalidInput:
        return False


def test_ml_dsa_sign_from_seed(vectors: Path, deep: bool) -> None:
    signed = refused = 0
    for group, case in cases(vectors, "mldsa_65_sign_seed_test.json", 105):
        seed, public = raw(group, "privateSeed", "publicKey")
        if case["result"] == "invalid":
            assert refuses_to_sign(seed, case)
            refused += 1
            continue
        key = SigningKey.from_seed(SignatureSuite.ML_DSA_65, seed)
        assert key.public.ml_dsa == public
        reference_public, private = fips204.keygen(seed)
        assert reference_public == public
        check_signature(private, key.public, case, deep)
        signed += 1
    assert (signed, refused) == (101, 4)


def refuses_to_sign(seed: bytes, case: Case) -> bool:
    try:
        SigningKey.from_seed(SignatureSuite.ML_DSA_65, seed).sign(*raw(case, "msg", "ctx"))
    except InvalidInput:
        return True
    return False


def test_ml_dsa_sign_from_expanded_key(vectors: Path, deep: bool) -> None:
    """We keep seeds only: an expanded private key is refused by us, and signs in the reference as the vector says."""
    signed = refused = 0
    for group, case in cases(vectors, "mldsa_65_sign_noseed_test.json", 78):
        private, public = raw(group, "privateKey", "publicKey")
        with pytest.raises(InvalidInput):
            SigningKey.from_seed(SignatureSuite.ML_DSA_65, private)
        if case["result"] == "invalid":
            assert reference_refuses(private, *raw(case, "ctx"))
            refused += 1
            continue
        check_signature(private, VerifyKey.of(None, public), case, deep)
        signed += 1
    assert (signed, refused) == (73, 5)


def reference_refuses(private: bytes, context: bytes) -> bool:
    try:
        fips204.Signer(private)
    except ValueError:
        return True
    return len(context) > 255


def check_signature(private: bytes, key: VerifyKey, case: Case, deep: bool) -> None:
    """The expected signature is the deterministic signer's, byte for byte, and our library verifies it."""
    message, context, mu, signature = raw(case, "msg", "ctx", "mu", "sig")
    random = raw(case, "rnd")[0] or bytes(32)
    if "msg" in case:
        assert fips204.representative(private, message, context) == mu
        assert composite.ml_dsa_verifies(key.ml_dsa_public(), signature, message, context)
    key.ml_dsa_public().verify_mu(signature, mu)
    signer = fips204.Signer(private)
    rounds = signer.rounds_of(signature, mu, random)
    if deep or rounds <= ROUNDS_SAMPLE:
        assert signer.sign(mu, random) == signature, case["tcId"]
    else:
        assert signer.round(mu, signer.mask(mu, random, (rounds - 1) * fips204.L)) == signature, case["tcId"]


def test_ml_kem_keygen(vectors: Path) -> None:
    ran = 0
    for _, case in cases(vectors, "mlkem_768_keygen_seed_test.json", 100):
        seed, ek, dk = raw(case, "seed", "ek", "dk")
        assert KemPrivateKey.from_seed(KemSuite.ML_KEM_768, seed).public.raw == ek
        assert fips203.keygen(seed) == (ek, dk)
        ran += 1
    assert ran == 100


def test_ml_kem_encapsulate(vectors: Path) -> None:
    """The library draws m itself: the reference computes the vector, the library must accept or refuse the same keys."""
    valid = refused = 0
    for _, case in cases(vectors, "mlkem_768_encaps_test.json", 265):
        m, ek, c, secret = raw(case, "m", "ek", "c", "K")
        data = bytes((KemSuite.ML_KEM_768,)) + ek
        if case["result"] == "valid":
            assert KemPublicKey.from_bytes(data).raw == ek
            assert fips203.encapsulate(ek, m) == (secret, c), case["tcId"]
            valid += 1
        else:
            with pytest.raises(InvalidInput) as caught:
                KemPublicKey.from_bytes(data)
            assert caught.value.code == "PL-216"
            with pytest.raises(ValueError, match="encapsulation"):
                fips203.encapsulate(ek, m)
            refused += 1
    assert (valid, refused) == (133, 132)


def test_ml_kem_decapsulate(vectors: Path) -> None:
    valid = refused = 0
    for _, case in cases(vectors, "mlkem_768_test.json", 193):
        seed, ek, c, secret = raw(case, "seed", "ek", "c", "K")
        if case["result"] == "valid":
            key = KemPrivateKey.from_seed(KemSuite.ML_KEM_768, seed)
            assert key.public.raw == ek
            assert key.decapsulate(bytes((KemSuite.ML_KEM_768,)) + c) == secret, case["tcId"]
            valid += 1
        else:
            with pytest.raises(EnablementError) as caught:
                KemPrivateKey.from_seed(KemSuite.ML_KEM_768, seed).decapsulate(bytes((KemSuite.ML_KEM_768,)) + c)
            assert caught.value.code in ("PL-216", "PL-218")
            refused += 1
    assert (valid, refused) == (153, 40)


def test_ml_kem_decapsulate_with_an_expanded_key(vectors: Path) -> None:
    """We keep seeds only: an expanded key is refused by us, and decapsulates in the reference as the vector says."""
    valid = refused = 0
    for _, case in cases(vectors, "mlkem_768_semi_expanded_decaps_test.json", 9):
        dk, c, secret = raw(case, "dk", "c", "K")
        with pytest.raises(InvalidInput):
            KemPrivateKey.from_seed(KemSuite.ML_KEM_768, dk)
        if case["result"] == "valid":
            assert fips203.decapsulate(dk, c) == secret, case["tcId"]
            valid += 1
        else:
            with pytest.raises(ValueError, match="decapsulation"):
                fips203.decapsulate(dk, c)
            refused += 1
    assert (valid, refused) == (3, 6)
