"""Fingerprints of content: is this the same payload, the same migration file, as before?

Signatures, seals and trees choose their algorithms in `platform.crypto`; this floor only needs to recognise bytes it has seen.
The first byte names the algorithm, so that a stored fingerprint stays readable when another one is chosen.
"""

from __future__ import annotations

import hashlib

SHA256 = b"\x01"


def fingerprint(data: bytes) -> bytes:
    return SHA256 + hashlib.sha256(data).digest()
