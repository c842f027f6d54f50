"""Keys outside a database, for machines without an installation: a time node's, a witness's, a person's.

A key file is the SDK's (`AgentKey.save`), readable by its owner alone; a public key file is one line of base64url, as `creto keys public`
prints it.
"""

from __future__ import annotations

from pathlib import Path

from creto.cli.context import Cli, read_text
from creto.cli.local import keystore_of
from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AGENT_PREFIX
from creto.platform.crypto import SignatureSuite, SigningKey, VerifyKey
from creto.platform.crypto.jose import b64url_decode, b64url_encode
from creto.platform.nhi import nhi_of
from creto.sdk import AgentKey
from creto.tenants import OPERATOR_KEY

KEY_FILE_BYTES_MAX = 16 * 1024
SUITES = {"hybrid": SignatureSuite.HYBRID, "ed25519": SignatureSuite.ED25519, "ml-dsa-65": SignatureSuite.ML_DSA_65}


def load_key(path: Path) -> SigningKey:
    return AgentKey.load(path).signing


def save_key(path: Path, key: SigningKey) -> None:
    AgentKey(key).save(path)


def load_or_make_key(path: Path, suite: SignatureSuite = SignatureSuite.HYBRID) -> SigningKey:
    """A server's own key: made when it first starts."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        save_key(path, SigningKey.generate(suite))
    return load_key(path)


def load_public(path: Path) -> VerifyKey:
    text = read_text(path, bytes_max=KEY_FILE_BYTES_MAX)
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
        tenant = cli.configured_tenant()
        try:
            return await keystore.signing_key(tenant, key_id)
        except NotFound:  # the operator's key has a name of its own
            operator = await keystore.signing_key(tenant, OPERATOR_KEY) if key_id.startswith(AGENT_PREFIX) else None
            if operator is None or nhi_of(operator.public) != key_id:
                raise
            return operator
