"""The names under which messages are published, in the grammar of NATS: tokens separated by dots."""

from __future__ import annotations

import re
from functools import lru_cache

from creto.common.errors import InvalidInput
from creto.common.limits import BUS_SUBJECT_TOKENS_MAX, ID_CHARS_MAX

TOKEN = re.compile(r"[A-Za-z0-9_\-:=@+/~]+")
FORBIDDEN = ("$SYS", "$JS", "$KV", "_INBOX")


@lru_cache(maxsize=4096)
def checked_subject(subject: str) -> str:
    """A subject as it is published: every token plain."""
    tokens = bounded(subject, "subject")
    if not all(TOKEN.fullmatch(word) for word in tokens):
        raise refused("subject", subject)
    return subject


def bounded(text: str, field: str) -> list[str]:
    tokens = text.split(".") if len(text) <= ID_CHARS_MAX else []
    if not 1 <= len(tokens) <= BUS_SUBJECT_TOKENS_MAX or tokens[0] in FORBIDDEN:
        raise refused(field, text)
    return tokens


def refused(field: str, got: str) -> InvalidInput:
    wild = ", with * for one token or a last > for the rest" if field == "pattern" else ""
    expected = f"up to {BUS_SUBJECT_TOKENS_MAX} tokens of letters, digits and _-:=@+/~ separated by dots{wild}"
    return InvalidInput.of(field, got=got, expected=expected, code="PL-901")
