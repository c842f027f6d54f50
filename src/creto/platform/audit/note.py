"""Signed notes: text that one or more keys vouch for (c2sp.org/signed-note).

    example.com/log                     the text, which ends in a newline
    42
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
                                        an empty line
    — example.com/log Az3grlgtzPICa5O…  one line per signature: name, base64 of (key id, signature)

This module reads and writes the format; `keys.py` makes and checks the signatures.

INVARIANT: one note, one spelling: `Note.parse(data).encode() == data` for every `data` that is accepted.
"""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from creto.common.errors import InvalidInput
from creto.common.limits import INTEGER_MAX, NOTE_BYTES_MAX, NOTE_SIGNATURES_MAX

SIGNATURE_PREFIX = "— "
KEY_ID_BYTES = 4
DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
KEY_NAME = re.compile(r"[^\s+]+")
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteSignature(msgspec.Struct, frozen=True):
    """One signature line. Name and key id together say which key it is and of which algorithm."""

    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        return f"{SIGNATURE_PREFIX}{self.name} {to_base64(self.key_id + self.signature)}\n"

    @staticmethod
    def parse(line: str) -> NoteSignature:
        name, _, encoded = line.removeprefix(SIGNATURE_PREFIX).partition(" ")
        if not line.startswith(SIGNATURE_PREFIX) or not KEY_NAME.fullmatch(name):
            raise malformed("signature", line, "an em dash, a key name and base64")
        blob = from_base64(encoded, "signature")
        if len(blob) <= KEY_ID_BYTES:
            raise malformed("signature", line, "base64 of a key id and a signature")
        return NoteSignature(name, blob[:KEY_ID_BYTES], blob[KEY_ID_BYTES:])


class Note(msgspec.Struct, frozen=True):
    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> bytes:
        return (self.text + "\n" + "".join(s.line() for s in self.signatures)).encode()

    @staticmethod
    def parse(data: bytes) -> Note:
        if len(data) > NOTE_BYTES_MAX:
            raise malformed("note", f"{len(data)} bytes", f"at most {NOTE_BYTES_MAX} bytes")
        try:
            whole = data.decode()
        except UnicodeDecodeError as error:
            raise malformed("note", "bytes that are not UTF-8", "UTF-8 text") from error
        if CONTROL.search(whole):
            raise malformed("note", "a control character", "no control character but newline")
        text, gap, lines = whole.rpartition("\n\n")
        if not gap or not lines.endswith("\n"):
            raise malformed("note", whole[-40:], "a text, an empty line and signature lines that end in a newline")
        return Note(text + "\n", parse_signatures(lines))


def parse_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Signature lines alone, as a witness answers them."""
    rows = lines.removesuffix("\n").split("\n")
    if len(rows) > NOTE_SIGNATURES_MAX:
        raise malformed("note", f"{len(rows)} signatures", f"at most {NOTE_SIGNATURES_MAX}")
    return tuple(NoteSignature.parse(row) for row in rows)


def to_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def from_base64(text: str, field: str, *, size: int | None = None) -> bytes:
    """Standard base64 in its one canonical spelling; of exactly `size` bytes if given."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise malformed(field, text, "base64") from error
    if to_base64(data) != text or (size is not None and len(data) != size):
        raise malformed(field, text, f"base64 of {size} bytes" if size else "canonical base64")
    return data


def from_decimal(text: str, field: str) -> int:
    """An ASCII decimal without leading zeroes, no greater than a database keeps."""
    if not DECIMAL.fullmatch(text) or int(text) > INTEGER_MAX:
        raise malformed(field, text, "a decimal without leading zeroes")
    return int(text)


def checked_key_name(name: str) -> str:
    if not KEY_NAME.fullmatch(name) or CONTROL.search(name) or len(name) > 255:
        raise malformed("key name", name, "1 to 255 characters without space and plus")
    return name


def malformed(field: str, got: object, expected: str) -> InvalidInput:
    return InvalidInput.of(field, got=got, expected=expected, code="PL-610")
