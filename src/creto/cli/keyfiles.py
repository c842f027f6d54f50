"""Keys outside a database, for machines without an installation: a time node's, a witness's, a person's.

A key file is one line, the base64url of the suite and the seed, readable by its owner alone; a public key file is one line too.
"""

from __future__ import annotations

import stat
from pathlib import Path

from creto.cli.context import Cli, read, write
from creto.cli.local import keystore_of
from creto.common.errors import InvalidInput
from creto.platform.crypto import SignatureSuite, SigningKey, VerifyKey
from creto.platform.crypto.jose import b64url_decode, b64url_encode

KEY_FILE_BYTES_MAX = 16 * 1024
SUITES = {"hybrid": SignatureSuite.HYBRID, "ed25519": SignatureSuite.ED25519, "ml-dsa-65": SignatureSuite.ML_DSA_65}


def load_key(path: Path) -> SigningKey:
    mode = path.stat().st_mode if path.exists() else 0
    if stat.S_ISREG(mode) and mode & 0o077:
        raise InvalidInput(
            "PL-216", f"{path} can be read by others", field=str(path), hint=f"chmod 600 {path}", expected="mode 600"
        )
    text = read(path, bytes_max=KEY_FILE_BYTES_MAX).decode(errors="replace").strip()
    return SigningKey.from_private_bytes(b64url_decode(text, "the key file", "PL-216"))


def save_key(path: Path, key: SigningKey) -> None:
    write(path, b64url_encode(key.private_bytes()).encode() + b"\n", mode=0o600)


def load_or_make_key(path: Path, suite: SignatureSuite = SignatureSuite.HYBRID) -> SigningKey:
    """A server's own key: made when it first starts."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_key(path, SigningKey.generate(suite))
    return load_key(path)


def load_public(path: Path) -> VerifyKey:
    text = read(path, bytes_max=KEY_FILE_BYTES_MAX).decode(errors="replace").strip()
    return VerifyKey.from_bytes(b64url_decode(text, "the public key file", "PL-216"))


def public_text(key: VerifyKey) -> str:
    return b64url_encode(key.to_bytes())


async def signing_key(cli: Cli, key_id: str | None, key_file: Path | None) -> SigningKey:
    """The key that a command signs with: from a file, or by its id from the keystore."""
    if (key_id is None) == (key_file is None):
        raise InvalidInput.of("--key", got="both or neither", expected="--key ID (in the keystore) or --key-file FILE")
    if key_file is not None:
        return load_key(key_file)
    assert key_id is not None
    async with keystore_of(cli) as keystore:
        return await keystore.signing_key(cli.configured_tenant(), key_id)


