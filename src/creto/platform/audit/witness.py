"""A witness: it has seen a log grow, and signs that it never saw it shrink or fork (c2sp.org/tlog-witness).

    witness = Witness(store, clock, trust, (CosignerEd25519("witness.example/w1", key),))
    status, body = await witness.handle_add_checkpoint(request)       # what POST /add-checkpoint answers

    200  signature lines          the checkpoint extends all that was seen; it is remembered
    400                           the request cannot be read
    403                           no trusted key of the log signed it
    404                           the origin is unknown
    409  the size last seen       the client is behind, or the log forked at this size
    422                           the tree does not extend the one that was seen

INVARIANT: comparing with what was seen and remembering the new is one transaction; what is cosigned was durable before.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from creto.common.errors import CryptoError, EnablementError, InvalidInput
from creto.common.limits import NOTE_BYTES_MAX, PROOF_HASHES_MAX
from creto.common.timestamps import Clock
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.keys import NoteSigner
from creto.platform.audit.note import from_base64, from_decimal, malformed, to_base64
from creto.platform.audit.trust import Trust
from creto.platform.audit.types import verify_extends
from creto.platform.crypto import merkle
from creto.platform.crypto.merkle import HASH_BYTES
from creto.store.types import Store, Tx

SIZE_CONTENT_TYPE = "text/x.tlog.size"
REQUEST_BYTES_MAX = NOTE_BYTES_MAX + 64 * 64


class Refused(Exception):
    """How the protocol says no."""

    def __init__(self, status: int, body: bytes = b"") -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class AddCheckpoint(msgspec.Struct, frozen=True):
    """The request: from which size, by which path, to which checkpoint."""

    old_size: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint

    def encode(self) -> bytes:
        lines = [f"old {self.old_size}", *(to_base64(step) for step in self.path), "", ""]
        return "\n".join(lines).encode() + self.checkpoint.encode()

    @staticmethod
    def parse(data: bytes) -> AddCheckpoint:
        if len(data) > REQUEST_BYTES_MAX:
            raise malformed("request", f"{len(data)} bytes", f"at most {REQUEST_BYTES_MAX} bytes")
        head, gap, note = data.partition(b"\n\n")
        try:
            old, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise malformed("request", "bytes that are not ASCII", "old <size>") from error
        if not gap or not old.startswith("old ") or len(lines) > PROOF_HASHES_MAX:
            raise malformed("request", old, f"old <size>, at most {PROOF_HASHES_MAX} hashes and an empty line")
        path = tuple(from_base64(line, "path", size=HASH_BYTES) for line in lines)
        return AddCheckpoint(from_decimal(old.removeprefix("old "), "old size"), path, Checkpoint.parse(note))


def admit(data: bytes, trust: Trust) -> AddCheckpoint:
    """Read a request and check who signed it. Raises Refused."""
    try:
        request = AddCheckpoint.parse(data)
    except EnablementError as error:
        raise Refused(400) from error
    if request.checkpoint.origin not in trust.origins:
        raise Refused(404)
    try:
        trust.check(request.checkpoint)
    except EnablementError as error:
        raise Refused(403) from error
    if request.old_size > request.checkpoint.size:
        raise Refused(400)
    return request


def judge(request: AddCheckpoint, seen_size: int, seen_root: bytes) -> None:
    """Whether the checkpoint extends what was seen. Raises Refused."""
    new = request.checkpoint
    if request.old_size != seen_size:
        raise Refused(409, f"{seen_size}\n".encode())
    if seen_size == new.size and seen_root != new.root:
        raise Refused(409, f"{seen_size}\n".encode())
    try:
        verify_extends(seen_size, new.size, seen_root, new.root, request.path)
    except CryptoError as error:
        raise Refused(422) from error


class Witness:
    """The protocol over a store that remembers. `trust` names the logs it watches; its own quorum is not asked for."""

    def __init__(self, store: Store, clock: Clock, trust: Trust, signers: Sequence[NoteSigner]) -> None:
        if not signers or not all(signer.key.type.is_witness for signer in signers):
            raise InvalidInput.of("signers", got="no cosigner", expected="at least one cosignature key")
        self._store = store
        self._clock = clock
        self._trust = msgspec.structs.replace(trust, quorum="none")
        self._signers = tuple(signers)

    async def handle_add_checkpoint(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer; a 409 with a body is of SIZE_CONTENT_TYPE."""
        try:
            request = admit(body, self._trust)
            await self._store.write(lambda tx: remember(tx, request))
        except Refused as refusal:
            return refusal.status, refusal.body
        return 200, self._cosigned(request.checkpoint)

    def _cosigned(self, checkpoint: Checkpoint) -> bytes:
        now = self._clock.now()
        return "".join(signer.sign(checkpoint, now).line() for signer in self._signers).encode()

    async def seen(self, origin: str) -> Checkpoint | None:
        """The largest checkpoint of a log that this witness has cosigned."""
        note = await self._store.read(lambda tx: tx.value("SELECT note FROM audit_witness WHERE origin = ?", origin))
        return None if note is None else Checkpoint.parse(bytes(note))


def remember(tx: Tx, request: AddCheckpoint) -> None:
    new = request.checkpoint
    tx.lock(f"audit.witness.{new.origin}")
    row = tx.one("SELECT size, root FROM audit_witness WHERE origin = ?", new.origin)
    judge(request, *((row[0], bytes(row[1])) if row else (0, merkle.EMPTY_ROOT)))
    tx.run(
        "INSERT INTO audit_witness (origin, size, root, note) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (origin) DO UPDATE SET size = excluded.size, root = excluded.root, note = excluded.note",
        new.origin, new.size, new.root, new.encode(),
    )  # fmt: skip
