"""What an entry can be found by: the words of its metadata and, where the engine's index wants them, its exact fields as terms.

>>> words_of({"path": "/etc/passwd", "tries": 3})
['etc', 'passwd', '3']

Words are cut here and not by the engines, so that a search finds the same everywhere. A word holds letters and digits only, a term
always holds `=`: what a user writes never passes for a term.

INVARIANT: terms narrow a search, they do not decide it: every hit is compared with the entry's own columns.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from creto.common.errors import InvalidInput
from creto.common.limits import QUERY_WORDS_MAX, TEXT_WORDS_MAX

WORD_CHARS_MAX = 64
WORD = re.compile(rf"[^\W_]{{1,{WORD_CHARS_MAX}}}")
# ASCII is cut by a table, four times as fast as by the pattern: letters lower, digits as they are, all else a space.
ASCII_WORDS = bytes(ord(chr(c).lower()) if c < 128 and chr(c).isalnum() else 32 for c in range(256))
TENANT_MARK = "ztenant"
CUT_IN_TERM = re.compile("[\\x00- \"'\\x7f]")
NOT_IN_TERM = str.maketrans({chr(c): "_" for c in (*range(33), 34, 39, 127)})  # what the tokenizer would cut at


def words_of(metadata: Any, why: str | None = None) -> list[str]:
    """The words in the values of the metadata; names of fields are not words."""
    text = " ".join(_texts(metadata))
    if why:
        text += " " + why
    if text.isascii():
        words = text.encode().translate(ASCII_WORDS).decode().split()
        if max(map(len, words), default=0) <= WORD_CHARS_MAX:
            return words[:TEXT_WORDS_MAX]
    return WORD.findall(text.lower())[:TEXT_WORDS_MAX]


def _texts(value: Any) -> list[str]:
    """The leaves of a JSON value as text, without recursion: its depth is the writer's choice."""
    texts: list[str] = []
    waiting = list(value.values()) if type(value) is dict else [value]
    for item in waiting:  # which grows
        if type(item) is str:
            texts.append(item)
        elif type(item) is dict:
            waiting.extend(item.values())
        elif type(item) is list:
            waiting.extend(item)
        elif type(item) is bool:
            texts.append("true" if item else "false")
        else:
            texts.append("null" if item is None else str(item))
    return texts


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


def searchable(value: str) -> str:
    """As one token of the tokenizer."""
    return value.translate(NOT_IN_TERM) if CUT_IN_TERM.search(value) else value


def term(kind: str, value: str) -> str:
    return f"{kind}={searchable(value)}"


@lru_cache(maxsize=65_536)
def agent_terms(agent: str, action: str, event: str, product: str, outcome: str) -> str:
    """The terms of what repeats; `resource_terms` are those of what does not."""
    return f"{term('a', agent)} {term('c', action)} {term('e', event)} p={product} o={outcome}"


def resource_terms(resource: str) -> str:
    """The resource, and its beginnings up to the first and the second colon."""
    value = searchable(resource)
    product, colon, rest = value.partition(":")
    if not colon:
        return f"r={value}"
    kind, colon, _ = rest.partition(":")
    return f"r={value} b={product}: b={product}:{kind}:" if colon else f"r={value} b={product}:"


def resource_beginning(prefix: str) -> str | None:
    """The term that every resource with this prefix has, if there is one."""
    parts = searchable(prefix).split(":", 2)
    return None if len(parts) == 1 else "b=" + ":".join(parts[: len(parts) - 1]) + ":"
