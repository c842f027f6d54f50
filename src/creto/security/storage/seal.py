"""The sealed segment: how bytes of an object lie on a backend, version 1.

A segment is a header of 64 bytes and one or more sealed chunks. All numbers are big-endian.

    offset  bytes  what
    0       4      "CrSo"
    4       1      version, 1
    5       1      AEAD suite, as in platform.crypto.AeadSuite; 0x22 is ChaCha20-Poly1305
    6       1      log2 of the plaintext bytes in a chunk; 16 is 64 KiB, and the only value of version 1
    7       1      zero
    8       24     salt, random
    32      32     key commitment
    64      …      chunks: ciphertext || tag (16); each of 65,536 + 16 bytes but the last, which holds 0 to 65,536 + 16

    context       = for each of ("creto/storage/segment/v1", tenant, object key, blob name): length (4) || UTF-8
    key || commit = HKDF-SHA256(ikm = data key (32), salt = header[0:32], info = context, 64 bytes)
    chunk i       = AEAD(key, nonce = i (11) || last (1), aad = commit, plaintext[i * 65536 : (i + 1) * 65536])

`last` is 1 on the last chunk and 0 on all others. An empty segment is one empty chunk with `last` 1; a last chunk is empty only then.
The Merkle root of a segment is that of RFC 9162 over its sealed chunks as leaves: a chunk, a path and the root in the
ledger prove what was stored to somebody who cannot decrypt it.

The layout follows C2SP chunked-encryption; with ChaCha20-Poly1305 and 64 KiB chunks it is an instantiation of our own, and files are not
interchangeable with it.

INVARIANT: a chunk opens only at its own place in its own segment of its own object, under the one key that the header commits to.
Truncating, extending, reordering, splicing and swapping change place, length or context, so they are refused.
INVARIANT: a data key and a salt are drawn for each segment and each is sealed once, so no nonce repeats under one chunk key.
"""

from __future__ import annotations

from creto.common.errors import CryptoError, InvalidInput
from creto.common.limits import CHUNK_BYTES
from creto.platform.crypto import Aead, AeadSuite, equal, hkdf, merkle, random_bytes
from creto.platform.crypto.types import suite_of

MAGIC = b"CrSo"
VERSION = 1
CHUNK_LOG2 = CHUNK_BYTES.bit_length() - 1
SALT_BYTES = 24
COMMITMENT_BYTES = 32
HEADER_BYTES = 8 + SALT_BYTES + COMMITMENT_BYTES
TAG_BYTES = 16
SEALED_CHUNK_BYTES = CHUNK_BYTES + TAG_BYTES
LABEL = b"creto/storage/segment/v1"


def context_of(tenant: str, key: str, blob: str) -> bytes:
    """What a segment is bound to; lengths in front, so that no two contexts share a spelling."""
    fields = (LABEL, tenant.encode(), key.encode(), blob.encode())
    return b"".join(len(field).to_bytes(4) + field for field in fields)


def chunks_of(size: int) -> int:
    return max(1, -(-size // CHUNK_BYTES))


def sealed_bytes(size: int) -> int:
    """How long a segment of `size` plaintext bytes is."""
    return HEADER_BYTES + size + chunks_of(size) * TAG_BYTES


def plain_bytes(sealed: int) -> int:
    """How much plaintext a segment of that length holds; PL-218 if no segment has it."""
    chunks, rest = divmod(sealed - HEADER_BYTES, SEALED_CHUNK_BYTES)
    if sealed < HEADER_BYTES + TAG_BYTES or (0 < rest <= TAG_BYTES and chunks) or 0 < rest < TAG_BYTES:
        raise malformed(f"{sealed} bytes", "a header and whole chunks")
    return chunks * CHUNK_BYTES + (rest - TAG_BYTES if rest else 0)


def span(start: int, end: int) -> tuple[int, int, int]:
    """The chunks [first, last] that hold the plaintext [start, end), and where the first begins in the segment."""
    first, last = start // CHUNK_BYTES, max(start, end - 1) // CHUNK_BYTES
    return first, last, HEADER_BYTES + first * SEALED_CHUNK_BYTES


def nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11) + bytes((last,))


def derived(suite: AeadSuite, data_key: bytes, opening: bytes, context: bytes) -> tuple[Aead, bytes]:
    if len(data_key) != 32:
        raise InvalidInput.of("data key", got=f"{len(data_key)} bytes", expected="32 bytes", code="PL-216")
    keys = hkdf(data_key, salt=opening, info=context, size_bytes=32 + COMMITMENT_BYTES)
    return Aead(suite, keys[:32]), keys[32:]


class Sealer:
    """Seals a segment piece by piece: `update` any number of times, then `finish`; the first bytes out are the header."""

    def __init__(
        self, data_key: bytes, context: bytes, *, suite: AeadSuite = AeadSuite.CHACHA20_POLY1305, salt: bytes = b""
    ) -> None:
        opening = MAGIC + bytes((VERSION, suite, CHUNK_LOG2, 0)) + (salt or random_bytes(SALT_BYTES))
        self._aead, self._commitment = derived(suite, data_key, opening, context)
        self._out = [opening + self._commitment]
        self._rest = b""
        self._tree = merkle.CompactRange()
        self.size = 0

    @property
    def root(self) -> bytes:
        """The Merkle root over the chunks sealed so far."""
        return self._tree.root()

    def update(self, plain: bytes | bytearray | memoryview) -> bytes:
        """Sealed bytes that are ready. The last whole chunk waits: it might be the last of all."""
        self.size += len(plain)
        data = memoryview(self._rest + plain if self._rest else plain)
        whole = max(0, (len(data) - 1) // CHUNK_BYTES)
        for at in range(0, whole * CHUNK_BYTES, CHUNK_BYTES):
            self._seal(data[at : at + CHUNK_BYTES], last=False)
        self._rest = bytes(data[whole * CHUNK_BYTES :])
        return self._taken()

    def finish(self) -> bytes:
        self._seal(self._rest, last=True)
        self._rest = b""
        return self._taken()

    def _seal(self, chunk: bytes | memoryview, last: bool) -> None:
        sealed = self._aead.encrypt(nonce(self._tree.size, last), chunk, self._commitment)  # type: ignore[arg-type]
        self._tree.append(merkle.leaf_hash(sealed))
        self._out.append(sealed)

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out


class Opener:
    """Opens chunks of a segment in any order. The header is checked first: PL-218, PL-211, and PL-213 for another key or context."""

    def __init__(self, data_key: bytes, context: bytes, header: bytes) -> None:
        if len(header) != HEADER_BYTES or header[:4] != MAGIC or header[4] != VERSION:
            raise malformed("another header", "a sealed segment of version 1")
        if header[6] != CHUNK_LOG2 or header[7]:
            raise malformed("other parameters", "chunks of 64 KiB")
        suite = suite_of(AeadSuite, header[5])
        self._aead, self._commitment = derived(suite, data_key, header[: 8 + SALT_BYTES], context)
        if not equal(self._commitment, header[8 + SALT_BYTES :]):
            raise CryptoError("PL-213")

    def open(self, sealed: bytes | memoryview, first: int, chunks: int) -> bytes:
        """The plaintext of consecutive chunks from the number `first` on, of a segment of `chunks` chunks. PL-801 if altered."""
        view = memoryview(sealed)
        count = -(-len(view) // SEALED_CHUNK_BYTES)
        if not count or first + count > chunks:
            raise damaged(f"chunks {first} to {first + count - 1}", f"chunks of a segment of {chunks}")
        try:
            return b"".join(
                self._aead.decrypt(
                    nonce(first + n, first + n == chunks - 1),
                    view[n * SEALED_CHUNK_BYTES : (n + 1) * SEALED_CHUNK_BYTES],  # type: ignore[arg-type]
                    self._commitment,
                )
                for n in range(count)
            )
        except CryptoError as error:
            raise damaged(
                f"chunks {first} to {first + count - 1} as they are", "the chunks that were sealed"
            ) from error


def seal_bytes(data_key: bytes, context: bytes, plain: bytes, suite: AeadSuite = AeadSuite.CHACHA20_POLY1305) -> bytes:
    sealer = Sealer(data_key, context, suite=suite)
    return sealer.update(plain) + sealer.finish()


def open_bytes(data_key: bytes, context: bytes, sealed: bytes) -> bytes:
    """A whole segment. Any bytes give the plaintext that was sealed or PL-211, PL-213, PL-218 or PL-801."""
    size = plain_bytes(len(sealed))
    return Opener(data_key, context, sealed[:HEADER_BYTES]).open(sealed[HEADER_BYTES:], 0, chunks_of(size))


def malformed(got: str, expected: str) -> CryptoError:
    return CryptoError.of("sealed segment", got=got, expected=expected, code="PL-218")


def damaged(got: str, expected: str) -> CryptoError:
    return CryptoError.of("sealed segment", got=got, expected=expected, code="PL-801")
