"""Bounds on text before the parser sees it: the engine's parser recurses, and enough open brackets would take the process down.

INVARIANT: no text reaches the parser with brackets, conditionals or attribute paths deeper than these bounds.
"""

from __future__ import annotations

import re

from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_NESTING_MAX, AUTHZ_PATHS_MAX

TOKENS = re.compile(r'//[^\n]*|"(?:[^"\\]|\\.)*(?:"|\Z)|[()\[\]{}<>;.]|\bif\b', re.DOTALL)
OPENING, CLOSING = frozenset("([{"), frozenset(")]}")


def check_bounds(text: str, *, code: str = "PL-701", generics: bool = False) -> None:
    """`generics`: `<` and `>` are brackets, as in a schema."""
    opening = OPENING | {"<"} if generics else OPENING
    closing = CLOSING | {">"} if generics else CLOSING
    depth = conditionals = paths = 0
    for match in TOKENS.finditer(text):
        mark = match[0]
        if mark in opening:
            depth += 1
        elif mark in closing:
            depth = max(0, depth - 1)
        elif mark == ";":
            conditionals = paths = 0
        elif mark == "if":
            conditionals += 1
        elif mark == ".":
            paths += 1
        if depth > AUTHZ_NESTING_MAX or conditionals > AUTHZ_NESTING_MAX or paths > AUTHZ_PATHS_MAX:
            line = text.count("\n", 0, match.start()) + 1
            raise InvalidInput(
                code, f"line {line}: nested deeper than {AUTHZ_NESTING_MAX} levels, or too long for one policy"
            )
