"""Wycheproof: AES-GCM, AES-GCM-SIV, ChaCha20-Poly1305, HKDF, HMAC.

Our suites have keys of 32 bytes and nonces of 12; cases outside that profile must be refused by us, and are checked against the
algorithm itself, so that every case of every file is judged.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV

from creto.common.errors import CryptoError, InvalidInput
from creto.platform.crypto import Aead, AeadSuite, HashSuite, MacSuite, hkdf, mac, verify_mac
from tests.unit.platform.crypto.wycheproof import Case, cases, files_read_by, raw


def test_no_file_is_left_unread(vectors: Path) -> None:
    ours = Path(__file__)
    read = files_read_by(ours, ours.with_name("test_wycheproof_asymmetric.py"))
    assert {path.name for path in (vectors / "wycheproof").glob("*.json")} == read


def opens(suite: AeadSuite, case: Case) -> bool:
    key, iv, aad, message, ct, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
    try:
        opened = Aead(suite, key).decrypt(iv, ct + tag, aad)
    except CryptoError:
        return False
    assert opened == message
    assert Aead(suite, key).encrypt(iv, message, aad) == ct + tag
    return True


def in_profile(case: Case) -> bool:
    return len(case["key"]) == 64 and len(case["iv"]) == 24


def refused(suite: AeadSuite, case: Case) -> bool:
    key, iv, ct, tag = raw(case, "key", "iv", "ct", "tag")
    with pytest.raises(InvalidInput) as caught:
        Aead(suite, key).decrypt(iv, ct + tag)
    return caught.value.code == "PL-216"


def test_aes_gcm(vectors: Path) -> None:
    ours = foreign = 0
    for _, case in cases(vectors, "aes_gcm_test.json", 316):
        if in_profile(case):
            assert opens(AeadSuite.AES_256_GCM, case) == (case["result"] == "valid"), case["tcId"]
            ours += 1
        else:
            assert refused(AeadSuite.AES_256_GCM, case)
            assert gcm_opens(case) == (case["result"] == "valid"), case["tcId"]
            foreign += 1
    assert (ours, foreign) == (66, 250)


def gcm_opens(case: Case) -> bool:
    key, iv, aad, message, ct, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
    if not iv:
        return False
    if not 8 <= len(iv) <= 128:  # what the library takes
        return plain_gcm(key, iv, aad, message) == ct + tag
    try:
        return AESGCM(key).decrypt(iv, ct + tag, aad) == message
    except InvalidTag:
        return False


def plain_gcm(key: bytes, iv: bytes, aad: bytes, message: bytes) -> bytes:
    """NIST SP 800-38D, for nonces of lengths the library refuses."""
    block = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update
    h = int.from_bytes(block(bytes(16)))

    def ghash(data: bytes) -> int:
        y = 0
        for i in range(0, len(data), 16):
            x, z, v = y ^ int.from_bytes(data[i : i + 16]), 0, h
            for bit in range(127, -1, -1):
                z ^= v if x >> bit & 1 else 0
                v = v >> 1 ^ (0xE1 << 120 if v & 1 else 0)
            y = z
        return y

    def padded(data: bytes) -> bytes:
        return data + bytes(-len(data) % 16)

    j0 = ghash(padded(iv) + (8 * len(iv)).to_bytes(16))
    stream, counter = b"", j0
    while len(stream) < len(message):
        counter = counter >> 32 << 32 | (counter + 1) & 0xFFFFFFFF
        stream += block(counter.to_bytes(16))
    ct = bytes(a ^ b for a, b in zip(message, stream, strict=False))
    s = ghash(padded(aad) + padded(ct) + (8 * len(aad)).to_bytes(8) + (8 * len(ct)).to_bytes(8))
    return ct + (s ^ int.from_bytes(block(j0.to_bytes(16)))).to_bytes(16)


def test_aes_gcm_siv(vectors: Path) -> None:
    ours = foreign = 0
    for _, case in cases(vectors, "aes_gcm_siv_test.json", 202):
        if in_profile(case):
            assert opens(AeadSuite.AES_256_GCM_SIV, case) == (case["result"] == "valid"), case["tcId"]
            ours += 1
        else:
            assert refused(AeadSuite.AES_256_GCM_SIV, case)
            assert gcm_siv_opens(case) == (case["result"] == "valid"), case["tcId"]
            foreign += 1
    assert (ours, foreign) == (103, 99)


def gcm_siv_opens(case: Case) -> bool:
    key, iv, aad, message, ct, tag = raw(case, "key", "iv", "aad", "msg", "ct", "tag")
    try:
        return AESGCMSIV(key).decrypt(iv, ct + tag, aad) == message
    except InvalidTag:
        return False


def test_chacha20_poly1305(vectors: Path) -> None:
    ours = foreign = 0
    for _, case in cases(vectors, "chacha20_poly1305_test.json", 325):
        if in_profile(case):
            assert opens(AeadSuite.CHACHA20_POLY1305, case) == (case["result"] == "valid"), case["tcId"]
            ours += 1
        else:
            assert case["flags"] == ["InvalidNonceSize"]
            assert refused(AeadSuite.CHACHA20_POLY1305, case)
            foreign += 1
    assert (ours, foreign) == (316, 9)


@pytest.mark.parametrize(
    ("name", "suite", "count"),
    [("hkdf_sha256_test.json", HashSuite.SHA256, 86), ("hkdf_sha512_test.json", HashSuite.SHA512, 83)],
)
def test_hkdf(vectors: Path, name: str, suite: HashSuite, count: int) -> None:
    ran = 0
    for _, case in cases(vectors, name, count):
        ikm, salt, info, okm = raw(case, "ikm", "salt", "info", "okm")
        if case["result"] == "valid":
            assert hkdf(ikm, salt=salt, info=info, size_bytes=case["size"], suite=suite) == okm, case["tcId"]
        else:
            assert case["flags"] == ["SizeTooLarge"]
            with pytest.raises(InvalidInput):
                hkdf(ikm, salt=salt, info=info, size_bytes=case["size"], suite=suite)
        ran += 1
    assert ran == count


def test_hmac(vectors: Path) -> None:
    full = short = 0
    for group, case in cases(vectors, "hmac_sha256_test.json", 174):
        key, message, tag = raw(case, "key", "msg", "tag")
        valid = case["result"] == "valid"
        if group["tagSize"] == 256:
            assert mac_verifies(key, message, tag) == valid, case["tcId"]
            full += 1
        else:
            # A shortened tag is another algorithm: the first bytes agree, and we refuse it all the same.
            assert (mac(key, message)[: len(tag)] == tag) == valid, case["tcId"]
            assert not mac_verifies(key, message, tag)
            short += 1
    assert (full, short) == (87, 87)


def mac_verifies(key: bytes, message: bytes, tag: bytes) -> bool:
    try:
        verify_mac(key, message, tag, MacSuite.HMAC_SHA256)
    except CryptoError:
        return False
    return True
