"""Scopes: which actions and resources a grant names, and when one grant lies within another.

A pattern is an exact text, or a prefix followed by one trailing `*`. Nothing else is special: no `?`, no `**`, no `*` inside, no
segments, no case folding. `sandbox:1*` therefore also means `sandbox:10`; write `sandbox:1:*` to stop at the colon. A lone `*` is everything.

>>> covers("runtime:*", "runtime:sandbox:*"), covers("runtime:sandbox:*", "runtime:*")
(True, False)
"""

from __future__ import annotations

from collections.abc import Iterable

from creto.common.errors import InvalidInput
from creto.common.limits import SCOPE_PATTERN_CHARS_MAX, SCOPE_PATTERNS_MAX

STAR = "*"


def checked_patterns(patterns: Iterable[str], field: str, *, code: str = "PL-400") -> tuple[str, ...]:
    """The patterns, if each is well formed and there are neither none nor too many."""
    found = tuple(patterns)
    if not 1 <= len(found) <= SCOPE_PATTERNS_MAX:
        raise InvalidInput.of(field, got=f"{len(found)} patterns", expected=f"1 to {SCOPE_PATTERNS_MAX}", code=code)
    for pattern in found:
        if not is_pattern(pattern):
            expected = (
                f"an exact text or a prefix with one trailing *, 1 to {SCOPE_PATTERN_CHARS_MAX} printable characters"
            )
            raise InvalidInput.of(field, got=pattern, expected=expected, code=code)
    return found


def is_pattern(text: str) -> bool:
    return (
        0 < len(text) <= SCOPE_PATTERN_CHARS_MAX
        and STAR not in text[:-1]
        and text.isprintable()
        and text == text.strip()
    )


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern names this text."""
    return text.startswith(pattern[:-1]) if pattern.endswith(STAR) else pattern == text


def covers(wide: str, narrow: str) -> bool:
    """Whether everything that `narrow` names, `wide` names too.

    A prefix names endlessly many texts, so it lies within a set of patterns only if it lies within one of them: asking pattern by
    pattern, as `covered` does, refuses nothing that is truly narrower.
    """
    if not wide.endswith(STAR):
        return wide == narrow
    return narrow.removesuffix(STAR).startswith(wide[:-1])


def any_matches(patterns: Iterable[str], text: str) -> bool:
    return any(matches(pattern, text) for pattern in patterns)


def uncovered(wide: tuple[str, ...], narrow: tuple[str, ...]) -> str | None:
    """The first pattern of `narrow` that reaches beyond `wide`; None if all lie within."""
    exact = set(wide)
    prefixes = tuple(pattern[:-1] for pattern in wide if pattern.endswith(STAR))
    for pattern in narrow:
        if pattern not in exact and not pattern.removesuffix(STAR).startswith(prefixes):
            return pattern
    return None


def intersection(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
    """What both name: of two patterns the narrower one, if one covers the other; else nothing."""
    common = [b if covers(a, b) else a for a in left for b in right if covers(a, b) or covers(b, a)]
    return tuple(dict.fromkeys(common))
