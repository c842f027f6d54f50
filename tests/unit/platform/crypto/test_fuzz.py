"""Every decoder under mutated bytes: only documented errors, and nothing altered is ever accepted."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from creto.common import wire
from creto.common.errors import EnablementError
from creto.platform.crypto import (
    AeadSuite,
    KemPrivateKey,
    KemPublicKey,
    SignatureSuite,
    SignedSuiteList,
    SigningKey,
    SuiteList,
    VerifyKey,
    jose,
    merkle,
    open_sealed,
    seal,
    seal_batch,
    tagged_digest,
    verify_digest,
    verify_seal,
)
from tests.fuzz import mutated

DOCUMENTED = {"PL-220", "PL-210", "PL-211", "PL-213", "PL-216", "PL-217", "PL-218", "PL-219", "PL-400", "PL-413"}

KEY = SigningKey.generate()
ED = KEY.component(SignatureSuite.ED25519)
KEM = KemPrivateKey.generate()
SECRET = bytes(range(32))
KEYS = {kid: half.public for kid, half in jose.halves(KEY)}
LIST = SuiteList("peer", 3, (SignatureSuite.HYBRID, AeadSuite.AES_256_GCM))
RANGE = merkle.CompactRange()
RANGE.extend(merkle.leaf_hash(bytes((i,))) for i in range(11))


# name: (a good encoding, how it is read and checked, what an accepted reading gives: None means the input itself)
DECODERS: dict[str, tuple[bytes, Callable[[bytes], object], object]] = {
    "public key": (KEY.public.to_bytes(), lambda d: VerifyKey.from_bytes(d).to_bytes(), None),
    "ed25519 key": (ED.public.to_bytes(), lambda d: VerifyKey.from_bytes(d).to_bytes(), None),
    "private key": (KEY.private_bytes(), lambda d: SigningKey.from_private_bytes(d).private_bytes(), None),
    "kem public key": (KEM.public.to_bytes(), lambda d: KemPublicKey.from_bytes(d).to_bytes(), None),
    "kem private key": (KEM.private_bytes(), lambda d: KemPrivateKey.from_private_bytes(d).private_bytes(), None),
    "kem ciphertext": (KEM.public.encapsulate()[1], lambda d: KEM.decapsulate(d) and d, None),
    "hybrid signature": (KEY.sign(b"m", b"c"), lambda d: KEY.public.verify(b"m", d, b"c") or d, "unchanged"),
    "ed25519 signature": (ED.sign(b"m", b"c"), lambda d: ED.public.verify(b"m", d, b"c") or d, "unchanged"),
    "sealed": (seal(SECRET, b"text", b"aad"), lambda d: open_sealed(SECRET, d, b"aad") and d, "unchanged"),
    "seal proof": (
        seal_batch(ED, [bytes((i,)) for i in range(9)], b"c").proof(4).to_bytes(),
        lambda d: verify_seal(b"\x04", d, ED.public, b"c") or d,
        "unchanged",
    ),
    "tagged digest": (tagged_digest(b"m"), lambda d: verify_digest(b"m", d) or d, "unchanged"),
    "compact range": (RANGE.to_bytes(), lambda d: merkle.CompactRange.from_bytes(d).to_bytes(), None),
    "suite list": (LIST.signed(ED).to_bytes(), lambda d: SignedSuiteList.from_bytes(d).verify(ED.public, "peer"), LIST),
    "jwk": (wire.encode(jose.to_jwk(ED.public)), lambda d: jose.from_jwk(d).to_bytes()[:1], ED.public.to_bytes()[:1]),
    "general jws": (
        jose.sign_general(b'{"a":1}', *jose.halves(KEY)),
        lambda d: jose.verify_general(d, KEYS),
        b'{"a":1}',
    ),
}


@pytest.mark.parametrize("name", list(DECODERS))
def test_mutated_bytes(name: str, deep: bool) -> None:
    good, read, result = DECODERS[name]
    dice = random.Random(f"crypto {name}")
    read(good)
    for _ in range(20_000 if deep else 400):
        data = mutated(good, dice)
        try:
            got = read(data)
        except EnablementError as error:
            if error.code not in DOCUMENTED:
                raise
            continue
        if result is None:
            assert got == data
        elif result == "unchanged":
            assert data == good, data.hex()
        else:
            assert got == result
