"""The hybrid signature: id-MLDSA65-Ed25519-SHA512 of the IETF LAMPS draft (draft-ietf-lamps-pq-composite-sigs).

    M'        = Prefix || Label || len(ctx) || ctx || SHA-512(M)
    signature = ML-DSA-65.Sign(M', ctx=Label) || Ed25519.Sign(M')

Both must verify over the same M'. The label names the algorithm inside the signed bytes, so neither half can be passed off
as a signature of another suite.

INVARIANT: a composite signature is malleable (ML-DSA signing is randomised, halves of two signatures over one message can
be recombined): it proves that the key's owner signed, and never serves as an id, a nonce or a dedupe key.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA65PrivateKey, MLDSA65PublicKey

from creto.platform.crypto import ed25519

PREFIX = b"CompositeAlgorithmSignatures2025"
LABEL = b"COMPSIG-MLDSA65-Ed25519-SHA512"
ML_DSA_SIGNATURE_BYTES = 3309


def representative(message: bytes, context: bytes) -> bytes:
    """M', what both halves sign."""
    return PREFIX + LABEL + bytes((len(context),)) + context + hashlib.sha512(message).digest()


def sign(ml_dsa: MLDSA65PrivateKey, ed: Ed25519PrivateKey, message: bytes, context: bytes) -> bytes:
    signed = representative(message, context)
    return ml_dsa.sign(signed, LABEL) + ed.sign(signed)


def verifies(ml_dsa: MLDSA65PublicKey, ed: Ed25519PublicKey, signature: bytes, message: bytes, context: bytes) -> bool:
    if len(signature) != ML_DSA_SIGNATURE_BYTES + 64:
        return False
    signed = representative(message, context)
    if not ed25519.verifies(ed, signature[ML_DSA_SIGNATURE_BYTES:], signed):
        return False
    return ml_dsa_verifies(ml_dsa, signature[:ML_DSA_SIGNATURE_BYTES], signed, LABEL)


def ml_dsa_verifies(key: MLDSA65PublicKey, signature: bytes, message: bytes, context: bytes) -> bool:
    if len(signature) != ML_DSA_SIGNATURE_BYTES:
        return False
    try:
        key.verify(signature, message, context)
    except InvalidSignature:
        return False
    return True
