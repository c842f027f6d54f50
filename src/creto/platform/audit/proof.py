"""Self-contained proofs: a file that shows, with the log's public keys alone, that an entry was logged.

Two spellings of the same proof. JSON, with the entry inside, for people and programs:

    {"format": "creto/audit-proof/v1",
     "entry": "{\"action\":…}",             the exact text that was logged; its bytes (UTF-8) are what is hashed
     "index": 73894,                        of the entry in the log
     "path": ["gSKyXoYZ…=", …],             RFC 9162 2.1.3: the siblings from the leaf up, in base64
     "checkpoint": "example.com/log\n…",    the signed note: origin, size, root and signatures
     "batch": {"leaf": …, "index": …, "count": …, "path": […]}}    only where the event stands in a batch entry

and `c2sp.org/tlog-proof@v1`, which Go's tools read; the entry itself goes into its `extra` line.

    proof = parse_proof(data)
    proof.verify(trust)                     # raises; returns nothing
"""

from __future__ import annotations

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import BODY_BYTES_MAX, PROOF_HASHES_MAX
from creto.platform.audit.batch import BatchProof
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.note import from_base64, from_decimal, malformed, to_base64
from creto.platform.audit.trust import Trust
from creto.platform.audit.types import AuditRecord, MerkleProof, UnifiedAuditEvent, decoded_entry
from creto.platform.crypto import merkle
from creto.platform.crypto.merkle import HASH_BYTES
from creto.store.types import Entry

FORMAT = "creto/audit-proof/v1"
TLOG_HEADER = "c2sp.org/tlog-proof@v1"


class InclusionProof(msgspec.Struct, frozen=True):
    """An entry, its path to the root, and the checkpoint that vouches for the root."""

    body: bytes
    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    batch: BatchProof | None = None

    @property
    def entry(self) -> Entry:
        return decoded_entry(self.body)

    @property
    def merkle_proof(self) -> MerkleProof:
        leaf = merkle.leaf_hash(self.body)
        return MerkleProof(self.index, self.checkpoint.size, leaf, self.path, self.checkpoint.root)

    def verify(self, trust: Trust) -> frozenset[str]:
        """The witnesses that saw it. Raises PL-606, PL-607 or PL-608."""
        seen = trust.check(self.checkpoint)
        self.merkle_proof.verify()
        if self.batch is not None:
            self.batch.verify(self.entry)
        return seen

    def event(self) -> UnifiedAuditEvent:
        entry = self.entry
        return UnifiedAuditEvent(
            event_id=entry.event_id,
            product=entry.product,
            agent_nhi=entry.agent_nhi,
            action=entry.action,
            resource=entry.resource,
            outcome=entry.outcome,
            timestamp=entry.timestamp,
            metadata=entry.metadata,
            merkle_proof=self.merkle_proof,
        )

    def record(self) -> AuditRecord:
        """The signature is the proof itself: it needs nothing but the log's keys."""
        return AuditRecord.of(self.entry, self.to_tlog_proof())

    def to_json(self) -> bytes:
        return wire.encode(
            ProofFile(
                format=FORMAT,
                entry=self.body.decode(),
                index=self.index,
                path=tuple(to_base64(step) for step in self.path),
                checkpoint=self.checkpoint.encode().decode(),
                batch=self.batch,
            )
        )

    def to_tlog_proof(self) -> bytes:
        lines = [TLOG_HEADER, f"extra {to_base64(self.body)}", f"index {self.index}"]
        lines += [to_base64(step) for step in self.path]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint.encode()


class ProofFile(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The JSON spelling."""

    format: str
    entry: str
    index: int
    path: tuple[str, ...]
    checkpoint: str
    batch: BatchProof | None = None


def is_proof(data: bytes) -> bool:
    return data.startswith(TLOG_HEADER.encode()) or (
        data.lstrip()[:1] == b"{" and FORMAT.encode() in data[:BODY_BYTES_MAX]
    )


def parse_proof(data: bytes, body: bytes | None = None) -> InclusionProof:
    """Either spelling. A tlog-proof without the entry in `extra` needs its `body`."""
    if len(data) > BODY_BYTES_MAX:
        raise InvalidInput(
            "PL-413", "the proof is too large", got=len(data), expected=f"at most {BODY_BYTES_MAX} bytes"
        )
    if data.startswith(TLOG_HEADER.encode()):
        return parse_tlog_proof(data, body)
    file = wire.decode(data, ProofFile, code="PL-610", what="proof")
    if file.format != FORMAT or file.index < 0:
        raise malformed("proof", file.format, FORMAT)
    try:
        entry, checkpoint = file.entry.encode(), file.checkpoint.encode()
    except UnicodeEncodeError as error:
        raise malformed("proof", "a lone surrogate", "text") from error
    return InclusionProof(entry, file.index, parse_path(file.path), Checkpoint.parse(checkpoint), file.batch)


def parse_tlog_proof(data: bytes, body: bytes | None = None) -> InclusionProof:
    head, gap, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise malformed("proof", "bytes that are not ASCII", TLOG_HEADER) from error
    if not gap or lines.pop(0) != TLOG_HEADER:
        raise malformed("proof", head[:40].decode(errors="replace"), TLOG_HEADER)
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = from_base64(lines.pop(0).removeprefix("extra "), "extra")
    if not lines or not lines[0].startswith("index "):
        raise malformed("proof", lines[:1], "a line: index <n>")
    index = from_decimal(lines.pop(0).removeprefix("index "), "index")
    return InclusionProof(
        extra if body is None else body, index, parse_path(tuple(lines)), Checkpoint.parse(checkpoint)
    )


def parse_path(lines: tuple[str, ...]) -> tuple[bytes, ...]:
    if len(lines) > PROOF_HASHES_MAX:
        raise malformed("path", f"{len(lines)} hashes", f"at most {PROOF_HASHES_MAX}")
    return tuple(from_base64(line, "path", size=HASH_BYTES) for line in lines)
