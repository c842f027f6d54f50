"""Checkpoints: the log says "I had this many entries and this root" and signs it (c2sp.org/tlog-checkpoint).

>>> head = Checkpoint("example.com/log", 1, bytes(32))
>>> Checkpoint.parse(head.signed(signature).encode()).size
1
"""

from __future__ import annotations

import msgspec

from creto.platform.audit.note import Note, NoteSignature, from_base64, from_decimal, malformed, to_base64

HASH_BYTES = 32


class Checkpoint(msgspec.Struct, frozen=True):
    """What the log vouches for. The signatures stand beside it: the log's own and those of its witnesses."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()
    signatures: tuple[NoteSignature, ...] = ()

    @property
    def text(self) -> str:
        """What is signed."""
        lines = (self.origin, str(self.size), to_base64(self.root), *self.extensions)
        return "".join(f"{line}\n" for line in lines)

    def signed(self, *signatures: NoteSignature) -> Checkpoint:
        """With more signatures; one that is there already is not repeated."""
        fresh = tuple(s for s in signatures if s not in self.signatures)
        return msgspec.structs.replace(self, signatures=self.signatures + fresh)

    def encode(self) -> bytes:
        return Note(self.text, self.signatures).encode()

    def same_tree(self, other: Checkpoint) -> bool:
        return (self.origin, self.size, self.root) == (other.origin, other.size, other.root)

    @staticmethod
    def parse(data: bytes) -> Checkpoint:
        note = Note.parse(data)
        return msgspec.structs.replace(Checkpoint.parse_text(note.text), signatures=note.signatures)

    @staticmethod
    def parse_text(text: str) -> Checkpoint:
        lines = text.removesuffix("\n").split("\n")
        if len(lines) < 3 or not all(lines) or not text.endswith("\n"):
            raise malformed("checkpoint", text, "an origin, a size and a root hash, a line each")
        origin, size, root, *extensions = lines
        return Checkpoint(
            origin, from_decimal(size, "size"), from_base64(root, "root", size=HASH_BYTES), tuple(extensions)
        )
