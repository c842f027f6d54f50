"""Subjects and patterns, in the grammar of NATS: tokens separated by dots; in a pattern `*` is any one token, a last `>` one or more.

>>> matches("oversight.notifications.*", "oversight.notifications.slack")
True

What starts with `dead.` is a dead letter; only a pattern that names `dead` itself matches it, so that a consumer of `>` does not
eat its own failures.
"""

from __future__ import annotations

import re
import zlib
from functools import lru_cache

from creto.bus.types import DurableName
from creto.common.errors import InvalidInput
from creto.common.ids import checked_name
from creto.common.limits import BUS_SUBJECT_TOKENS_MAX, ID_CHARS_MAX

DEAD = "dead"
TOKEN = re.compile(r"[A-Za-z0-9_\-:=@+/~]+")
DURABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
FORBIDDEN = ("$SYS", "$JS", "$KV", "_INBOX")


@lru_cache(maxsize=4096)
def checked_subject(subject: str) -> str:
    """A subject as it is published: every token plain."""
    tokens = bounded(subject, "subject")
    if not all(TOKEN.fullmatch(word) for word in tokens):
        raise refused("subject", subject)
    return subject


@lru_cache(maxsize=4096)
def checked_pattern(pattern: str) -> str:
    tokens = bounded(pattern, "pattern")
    for index, word in enumerate(tokens):
        last = index == len(tokens) - 1
        if not (word == "*" or (word == ">" and last) or TOKEN.fullmatch(word)):
            raise refused("pattern", pattern)
    return pattern


def bounded(text: str, field: str) -> list[str]:
    tokens = text.split(".") if len(text) <= ID_CHARS_MAX else []
    if not 1 <= len(tokens) <= BUS_SUBJECT_TOKENS_MAX or tokens[0] in FORBIDDEN:
        raise refused(field, text)
    return tokens


def refused(field: str, got: str) -> InvalidInput:
    wild = ", with * for one token or a last > for the rest" if field == "pattern" else ""
    expected = f"up to {BUS_SUBJECT_TOKENS_MAX} tokens of letters, digits and _-:=@+/~ separated by dots{wild}"
    return InvalidInput.of(field, got=got, expected=expected, code="PL-901")


def checked_durable(name: str) -> DurableName:
    if DURABLE.fullmatch(name) is None:
        raise InvalidInput.of("durable", got=name, expected="up to 64 letters, digits, _ and -", code="PL-901")
    return DurableName(name)


def checked_agent(agent: str) -> str:
    return checked_name(agent, "agent")


@lru_cache(maxsize=65_536)
def matches(pattern: str, subject: str) -> bool:
    wanted, given = pattern.split("."), subject.split(".")
    if given[0] == DEAD and wanted[0] != DEAD:
        return False
    for index, word in enumerate(wanted):
        if word == ">":
            return len(given) > index
        if index >= len(given) or word not in ("*", given[index]):
            return False
    return len(wanted) == len(given)


def dead_subject(subject: str) -> str | None:
    """Where a dead letter is announced; one that died again is only kept."""
    return None if subject.startswith(f"{DEAD}.") else f"{DEAD}.{subject}"


def lane(tenant: str, agent: str, lanes: int) -> int:
    """The lane of an agent: the same on every machine and in every release."""
    return zlib.crc32(f"{tenant}\0{agent}".encode()) % lanes
