"""The LAMPS composite: our hybrid against the draft's vectors, and every other composite whose halves the library has."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from hashlib import sha256, sha512, shake_256
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, mldsa, padding
from cryptography.hazmat.primitives.asymmetric import ed25519 as ed
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from creto.common.errors import SignatureVerificationFailed
from creto.platform.crypto import SignatureSuite, SigningKey, VerifyKey, composite

OURS = "id-MLDSA65-Ed25519-SHA512"
Verify = Callable[[bytes, bytes, bytes], None]  # (public key, signature, message)

ML_DSA: dict[str, tuple[Any, int, int]] = {
    "44": (mldsa.MLDSA44PublicKey, 1312, 2420),
    "65": (mldsa.MLDSA65PublicKey, 1952, 3309),
    "87": (mldsa.MLDSA87PublicKey, 2592, 4627),
}


def rsa_key(public: bytes) -> RSAPublicKey:
    """The vectors hold a bare RSAPublicKey (PKCS #1)."""
    key = load_der_public_key(public)
    assert isinstance(key, RSAPublicKey)
    return key


def verify_pss(digest: hashes.HashAlgorithm, public: bytes, signature: bytes, message: bytes) -> None:
    pss = padding.PSS(padding.MGF1(digest), digest.digest_size)
    rsa_key(public).verify(signature, message, pss, digest)


def verify_pkcs15(digest: hashes.HashAlgorithm, public: bytes, signature: bytes, message: bytes) -> None:
    rsa_key(public).verify(signature, message, padding.PKCS1v15(), digest)


def verify_ecdsa(
    curve: ec.EllipticCurve, digest: hashes.HashAlgorithm, public: bytes, signature: bytes, message: bytes
) -> None:
    ec.EllipticCurvePublicKey.from_encoded_point(curve, public).verify(signature, message, ec.ECDSA(digest))


def verify_ed25519(public: bytes, signature: bytes, message: bytes) -> None:
    ed.Ed25519PublicKey.from_public_bytes(public).verify(signature, message)


def verify_ed448(public: bytes, signature: bytes, message: bytes) -> None:
    ed448.Ed448PublicKey.from_public_bytes(public).verify(signature, message)


SHA256, SHA384, SHA512 = hashes.SHA256(), hashes.SHA384(), hashes.SHA512()
# The traditional half, by the middle of the name; RSA and ECDSA hash M' once more with the hash that fits their size.
HALVES: dict[str, Verify] = {
    "RSA2048-PSS": partial(verify_pss, SHA256),
    "RSA3072-PSS": partial(verify_pss, SHA256),
    "RSA4096-PSS": partial(verify_pss, SHA384),
    "RSA2048-PKCS15": partial(verify_pkcs15, SHA256),
    "RSA3072-PKCS15": partial(verify_pkcs15, SHA256),
    "RSA4096-PKCS15": partial(verify_pkcs15, SHA384),
    "ECDSA-P256": partial(verify_ecdsa, ec.SECP256R1(), SHA256),
    "ECDSA-P384": partial(verify_ecdsa, ec.SECP384R1(), SHA384),
    "ECDSA-P521": partial(verify_ecdsa, ec.SECP521R1(), SHA512),
    "ECDSA-brainpoolP256r1": partial(verify_ecdsa, ec.BrainpoolP256R1(), SHA256),
    "ECDSA-brainpoolP384r1": partial(verify_ecdsa, ec.BrainpoolP384R1(), SHA384),
    "Ed25519": verify_ed25519,
    "Ed448": verify_ed448,
}
PREHASH = {
    "SHA256": lambda m: sha256(m).digest(),
    "SHA512": lambda m: sha512(m).digest(),
    "SHAKE256": lambda m: shake_256(m).digest(64),
}

# What cryptography 50 cannot do. None: its OpenSSL has every curve the draft uses.
CANNOT: frozenset[str] = frozenset()


def document(vectors: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((vectors / "composite-signatures" / "testvectors.json").read_text())
    return loaded


def label_of(name: str) -> bytes:
    """What the vectors were signed with: the name, with the brainpool curves shortened."""
    short = name.replace("brainpoolP256r1", "BP256").replace("brainpoolP384r1", "BP384")
    return short.replace("id-", "COMPSIG-", 1).encode()


def table_of_labels(vectors: Path) -> dict[str, bytes]:
    """The table beside the vectors."""
    table = (vectors / "composite-signatures" / "labelsTable.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:3]] for line in table.splitlines() if line.startswith("| id-")]
    return {name: label.encode() for name, label in rows}


def read(value: str) -> bytes:
    return base64.b64decode(value)


def test_our_hybrid_is_the_draft_s(vectors: Path) -> None:
    doc = document(vectors)
    message, context = read(doc["m"]), read(doc["ctx"])
    (case,) = [case for case in doc["tests"] if case["tcId"] == OURS]
    key = VerifyKey.from_bytes(bytes((SignatureSuite.HYBRID,)) + read(case["pk"]))
    plain, bound = (bytes((SignatureSuite.HYBRID,)) + read(case[name]) for name in ("s", "sWithContext"))

    key.verify(message, plain)
    key.verify(message, bound, context)
    assert SigningKey.from_seed(SignatureSuite.HYBRID, read(case["sk"])).public == key
    assert label_of(OURS) == table_of_labels(vectors)[OURS] == composite.LABEL
    for wrong, wrong_context in ((plain, context), (bound, b""), (bound, context + b"x")):
        with pytest.raises(SignatureVerificationFailed):
            key.verify(message, wrong, wrong_context)


def test_what_we_sign_verifies_as_the_draft_says() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"message", b"context")[1:]
    public = key.public.to_bytes()[1:]
    verify_by_draft(OURS, public, signature, b"message", b"context")


def verify_by_draft(name: str, public: bytes, signature: bytes, message: bytes, context: bytes) -> None:
    """The draft's Verify for any of its algorithms, from the name."""
    level, middle, prehash = name.removeprefix("id-MLDSA").partition("-")[0], *name.split("-", 2)[2].rsplit("-", 1)
    kind, public_size, signature_size = ML_DSA[level]
    label = label_of(name)
    signed = composite.PREFIX + label + bytes((len(context),)) + context + PREHASH[prehash](message)
    kind.from_public_bytes(public[:public_size]).verify(signature[:signature_size], signed, label)
    HALVES[middle](public[public_size:], signature[signature_size:], signed)


def test_every_composite_of_the_draft(vectors: Path) -> None:
    doc = document(vectors)
    message, context = read(doc["m"]), read(doc["ctx"])
    pure = composites = 0
    for case in doc["tests"]:
        name, public = case["tcId"], read(case["pk"])
        for field, ctx in (("s", b""), ("sWithContext", context)):
            if name.startswith("id-ML-DSA-"):
                kind, _, _ = ML_DSA[name[-2:]]
                kind.from_public_bytes(public).verify(read(case[field]), message, ctx)
                pure += 1
            elif name not in CANNOT:
                verify_by_draft(name, public, read(case[field]), message, ctx)
                with pytest.raises(InvalidSignature):
                    verify_by_draft(name, public, read(case[field]), message + b"x", ctx)
                composites += 1
    assert (pure, composites) == (2 * 3, 2 * (18 - len(CANNOT)))


def test_where_the_table_of_labels_is_of_another_revision(vectors: Path) -> None:
    """Its six ECDSA rows of levels 65 and 87 leave the word ECDSA out; the signatures were made with it."""
    other = {name for name, label in table_of_labels(vectors).items() if label != label_of(name)}
    assert len(other) == 6
    assert all("ECDSA" in name for name in other)


@pytest.mark.parametrize(("name", "context"), [("noctx", ""), ("ctx", "0813061205162623")])
def test_the_message_representative_of_the_draft(vectors: Path, name: str, context: str) -> None:
    """The draft's samples of M' (its label there is spelled in full)."""
    sample = (vectors / "composite-signatures" / f"messageFormatSample_{name}.md").read_text()
    shown = "".join(sample.split("# Outputs:")[1].split("M':")[1].split())
    message = bytes(range(10))
    ours = composite.representative(message, bytes.fromhex(context)).replace(
        composite.LABEL, b"COMPSIG-MLDSA65-ECDSA-P256-SHA512"
    )
    assert ours == bytes.fromhex(shown)


def test_no_file_of_the_draft_is_left_unread(vectors: Path) -> None:
    samples = {f"messageFormatSample_{name}.md" for name in ("noctx", "ctx")}
    found = {path.name for path in (vectors / "composite-signatures").iterdir()}
    assert found == {"testvectors.json", "labelsTable.md", *samples}


def test_both_halves_must_verify() -> None:
    key, other = SigningKey.generate(), SigningKey.generate()
    good, foreign = key.sign(b"m"), other.sign(b"m")
    split = 1 + composite.ML_DSA_SIGNATURE_BYTES
    for mixed in (good[:split] + foreign[split:], foreign[:split] + good[split:]):
        with pytest.raises(SignatureVerificationFailed):
            key.public.verify(b"m", mixed)


def test_signatures_are_malleable_and_so_never_ids() -> None:
    """Halves of two signatures over one message make a third: whoever uses a signature as an id counts one act twice."""
    key = SigningKey.generate()
    first, second = key.sign(b"m"), key.sign(b"m")
    split = 1 + composite.ML_DSA_SIGNATURE_BYTES
    third = first[:split] + second[split:]
    key.public.verify(b"m", third)
    assert first != second


def test_a_half_is_no_signature_of_its_own() -> None:
    key = SigningKey.generate()
    signature = key.sign(b"m")
    split = 1 + composite.ML_DSA_SIGNATURE_BYTES
    half = bytes((SignatureSuite.ED25519,)) + signature[split:]
    with pytest.raises(SignatureVerificationFailed):
        key.public.component(SignatureSuite.ED25519).verify(b"m", half)
    half = bytes((SignatureSuite.ML_DSA_65,)) + signature[1:split]
    with pytest.raises(SignatureVerificationFailed):
        key.public.component(SignatureSuite.ML_DSA_65).verify(b"m", half)
