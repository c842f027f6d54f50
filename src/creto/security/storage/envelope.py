"""The envelope: an object's data key and metadata, sealed with the tenant's storage key and bound to all that the row says.

INVARIANT: size, segments and their order, digest, version, key and tenant are authenticated; a row that was edited does not open.
Retention and hold are not sealed in: they change without the tenant's key, and a wrong one never shows content.
"""

from __future__ import annotations

import msgspec

from creto.common import wire
from creto.common.errors import CryptoError, EnablementError
from creto.platform.crypto import AeadSuite, open_sealed, seal, tagged_digest
from creto.security.storage.types import Segment


class Secret(msgspec.Struct, frozen=True):
    data_key: bytes
    content_type: str
    metadata: dict[str, str]


class Binding(msgspec.Struct, frozen=True, tag="creto/storage/envelope/v1"):
    """What an envelope is bound to. An open upload has no segments yet."""

    tenant: str
    key: str
    version: str
    key_version: int
    size: int = 0
    segments: tuple[Segment, ...] = ()
    complete: bool = False


def digest_of(segments: tuple[Segment, ...]) -> bytes:
    return tagged_digest(wire.encode(segments))


def wrapped(key: bytes, secret: Secret, binding: Binding, suite: AeadSuite) -> bytes:
    return seal(key, wire.encode(secret), wire.encode(binding), suite)


def unwrapped(key: bytes, envelope: bytes, binding: Binding) -> Secret:
    """Raises PL-801 if the row was altered or the key is another."""
    try:
        return wire.decode(open_sealed(key, envelope, wire.encode(binding)), Secret)
    except EnablementError as error:
        raise CryptoError("PL-801", f"object {binding.key}: its row does not fit its seal", caused_by=error) from error


def segments_from(data: bytes, key: str) -> tuple[Segment, ...]:
    try:
        return wire.decode(data, tuple[Segment, ...])
    except EnablementError as error:
        raise CryptoError("PL-801", f"object {key}: its row is damaged", caused_by=error) from error
