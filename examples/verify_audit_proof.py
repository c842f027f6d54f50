"""Verify an audit proof with nothing but its file and the log's public key: no creto, no network.

    python verify_audit_proof.py proof.json VKEY [VKEY …] [--witness VKEY …] [--quorum N]

Every log key that is given must have signed; of the witnesses, N (all by default). Exit code 0: the entry is in the log.
"""

import argparse
import hashlib
import json
import sys
from base64 import b64decode
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey, MLDSA65PublicKey

HYBRID = b"\xffcreto/hybrid-note/v1"  # our note type: the IETF composite of ML-DSA-65 and Ed25519
PREFIX, LABEL = b"CompositeAlgorithmSignatures2025", b"COMPSIG-MLDSA65-Ed25519-SHA512"


def signed(vkey: str, note: str) -> bool:
    """Whether this key signed this note. A signature of the key that is wrong raises InvalidSignature."""
    name, key_id, encoded = vkey.split("+", 2)
    blob = b64decode(encoded)
    if hashlib.sha256(name.encode() + b"\n" + blob).digest()[:4].hex() != key_id:
        raise ValueError(f"the key id of {name} is wrong")
    text, _, lines = note.rpartition("\n\n")
    signatures = [(signer, b64decode(data)) for _, signer, data in (line.split(" ") for line in lines.splitlines())]
    ours = [raw[4:] for signer, raw in signatures if signer == name and raw[:4].hex() == key_id]
    for raw in ours:
        check(name, blob, text + "\n", raw)
    return bool(ours)


def check(name: str, blob: bytes, text: str, raw: bytes) -> None:
    message = text.encode()
    if blob[0] == 0x01:  # the log, Ed25519
        Ed25519PublicKey.from_public_bytes(blob[1:]).verify(raw, message)
    elif blob[0] == 0x04:  # a witness, Ed25519: what it saw and when
        time = int.from_bytes(raw[:8])
        Ed25519PublicKey.from_public_bytes(blob[1:]).verify(raw[8:], f"cosignature/v1\ntime {time}\n{text}".encode())
    elif blob[0] == 0x06:  # a witness, ML-DSA-44
        origin, size, root = text.split("\n")[:3]
        witness, log = (bytes((len(n),)) + n for n in (name.encode(), origin.encode()))
        seen = b"subtree/v1\n\0" + witness + raw[:8] + log + bytes(8) + int(size).to_bytes(8) + b64decode(root)
        MLDSA44PublicKey.from_public_bytes(blob[1:]).verify(raw[8:], seen)
    elif blob.startswith(HYBRID):  # the log, both algorithms: after a byte that names the suite
        key, context = blob[len(HYBRID) :], HYBRID[1:]
        framed = PREFIX + LABEL + bytes((len(context),)) + context + hashlib.sha512(message).digest()
        MLDSA65PublicKey.from_public_bytes(key[:1952]).verify(raw[1:3310], framed, LABEL)
        Ed25519PublicKey.from_public_bytes(key[1952:]).verify(raw[3310:], framed)
    else:
        raise ValueError(f"unknown type of key {name}")


def root_of(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """RFC 9162 2.1.3.2."""
    first, last, node = index, size - 1, hashlib.sha256(b"\0" + leaf).digest()
    for step in path:
        if not 0 <= first <= last or last == 0:
            raise ValueError("the path is too long")
        if first & 1 or first == last:
            node = hashlib.sha256(b"\1" + step + node).digest()
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\1" + node + step).digest()
        first, last = first >> 1, last >> 1
    return b"" if last or first else node


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("proof", type=Path)
    parser.add_argument("vkeys", nargs="+")
    parser.add_argument("--witness", action="append", default=[])
    parser.add_argument("--quorum", type=int)
    args = parser.parse_args()
    try:
        proof = json.loads(args.proof.read_text("utf-8"))
        origin, size, root = proof["checkpoint"].split("\n")[:3]
        if not all(vkey.split("+")[0] == origin and signed(vkey, proof["checkpoint"]) for vkey in args.vkeys):
            raise ValueError("a log key has not signed the checkpoint")
        seen = sum(signed(vkey, proof["checkpoint"]) for vkey in set(args.witness))
        if seen < (len(args.witness) if args.quorum is None else args.quorum):
            raise ValueError("too few witnesses have seen the checkpoint")
        path = [b64decode(step) for step in proof["path"]]
        if root_of(proof["entry"].encode(), proof["index"], int(size), path) != b64decode(root):
            raise ValueError("the entry is not in the tree")
    except (InvalidSignature, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f"NOT VERIFIED: {error or type(error).__name__}")
    print(f"ok: entry {proof['index']} of {size} in {origin}\n{proof['entry']}")


if __name__ == "__main__":
    main()
