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
from creto.common.subjects import TOKEN, bounded, refused

DEAD = "dead"
DURABLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")


@lru_cache(maxsize=4096)
def checked_pattern(pattern: str) -> str:
    tokens = bounded(pattern, "pattern")
    for index, word in enumerate(tokens):
        last = index == len(tokens) - 1
        if not (word == "*" or (word == ">" and last) or TOKEN.fullmatch(word)):
            raise refused("pattern", pattern)
    return pattern


def checked_durable(name: str) -> DurableName:
    if DURABLE.fullmatch(name) is None:
        raise InvalidInput.of("durable", got=name, expected="up to 64 letters, digits, _ and -", code="PL-901")
    return DurableName(name)


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
