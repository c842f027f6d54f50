"""What an entry can be found by: the words of its metadata and, where the engine's index wants them, its exact fields as terms.

>>> sorted(words_of(b'{"path": "/etc/passwd", "tries": 3}'))
['3', 'etc', 'passwd']

Words are cut here and not by the engines, so that a search finds the same everywhere. A word holds letters and digits only, a term
always holds `=`: what a user writes never passes for a term.

INVARIANT: terms narrow a search, they do not decide it: every hit is compared with the entry's own columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from creto.common.errors import InvalidInput
from creto.common.limits import QUERY_WORDS_MAX, TEXT_WORDS_MAX

WORD_CHARS_MAX = 64
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
WORD = re.compile(rf"{UUID}|[^\W_]{{1,{WORD_CHARS_MAX}}}")
RAW_WORD = re.compile(rf'"[^"]*":|({WORD.pattern})')  # in JSON without escapes, where a name is a string before a colon
TENANT_MARK = "ztenant"
NOT_IN_TERM = str.maketrans({chr(c): "_" for c in (*range(33), 34, 39, 127)})  # what the tokenizer would cut at

_decode = msgspec.json.Decoder().decode


def words_of(metadata: bytes, why: str | None = None) -> list[str]:
    """The words in the values of the metadata; names of fields are not words."""
    if b"\\" in metadata:
        found = WORD.findall(" ".join(_texts(_decode(metadata))).lower())
    else:
        found = [word for word in RAW_WORD.findall(metadata.decode().lower()) if word]
    if why:
        found += WORD.findall(why.lower())
    return found[:TEXT_WORDS_MAX]


def _texts(value: Any) -> Iterator[str]:
    """The leaves of a JSON value as text, without recursion: its depth is the writer's choice."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, bool):
            yield "true" if item else "false"
        else:
            yield "null" if item is None else str(item)


def asked_words(text: str) -> list[tuple[str, bool]]:
    """The words of a query, and whether each is only a beginning (`inv*`)."""
    text = text.lower()
    words = [(match[0], text[match.end() : match.end() + 1] == "*") for match in WORD.finditer(text)]
    if not 1 <= len(words) <= QUERY_WORDS_MAX:
        raise InvalidInput.of("text", got=text, expected=f"1 to {QUERY_WORDS_MAX} words")
    return words


@lru_cache(maxsize=4096)
def tenant_word(tenant: str) -> str:
    """A word that two tenants never share, of letters and digits only."""
    return TENANT_MARK + tenant.encode().hex()


def term(kind: str, value: str) -> str:
    return f"{kind}={value.translate(NOT_IN_TERM)}"


@lru_cache(maxsize=65_536)
def agent_terms(agent: str, action: str, event: str, product: str, outcome: str) -> str:
    """The terms of what repeats; `resource_terms` are those of what does not."""
    return f"{term('a', agent)} {term('c', action)} {term('e', event)} p={product} o={outcome}"


def resource_terms(resource: str) -> str:
    """The resource, and its beginnings up to the first and the second colon."""
    value = resource.translate(NOT_IN_TERM)
    product, colon, rest = value.partition(":")
    if not colon:
        return f"r={value}"
    kind, colon, _ = rest.partition(":")
    return f"r={value} b={product}: b={product}:{kind}:" if colon else f"r={value} b={product}:"


def resource_beginning(prefix: str) -> str | None:
    """The term that every resource with this prefix has, if there is one."""
    parts = prefix.translate(NOT_IN_TERM).split(":", 2)
    return None if len(parts) == 1 else "b=" + ":".join(parts[: len(parts) - 1]) + ":"
