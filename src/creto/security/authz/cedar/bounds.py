"""Bounds on text before the parser sees it: the engine's parser recurses, and deep enough text would take the process down.

INVARIANT: no text reaches the parser with brackets, conditionals, attribute paths or chains of operators longer than these bounds. A chain
is as deep as brackets: `a && b && c` is parsed as `(a && b) && c`, and `x["a"]["b"]` nests as `x.a.b` does.
"""

from __future__ import annotations

import re

from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_CHAIN_MAX, AUTHZ_GROUPS_MAX, AUTHZ_NESTING_MAX, AUTHZ_PATHS_MAX
from creto.security.authz.cedar.places import place_of

TOKENS = re.compile(r'//[^\r\n]*|"(?:[^"\\]|\\.)*(?:"|\Z)|&&|\|\||[()\[\]{}<>;.+*-]|\bif\b', re.DOTALL)
OPERATORS = frozenset(("&&", "||", "+", "*", "-", "["))
OPENING, CLOSING = frozenset("([{"), frozenset(")]}")


def check_bounds(text: str, *, code: str = "PL-701", generics: bool = False) -> None:
    """`generics`: `<` and `>` are brackets, as in a schema."""
    opening = OPENING | {"<"} if generics else OPENING
    closing = CLOSING | {">"} if generics else CLOSING
    depth = conditionals = paths = chain = 0
    for match in TOKENS.finditer(text):
        mark = match[0]
        if mark in opening:
            depth += 1
        elif mark in closing:
            depth = max(0, depth - 1)
        elif mark == ";":
            conditionals = paths = chain = 0
        elif mark == "if":
            conditionals += 1
        elif mark == ".":
            paths += 1
        if mark in OPERATORS:
            chain += 1
        if (
            depth > AUTHZ_NESTING_MAX
            or conditionals > AUTHZ_NESTING_MAX
            or paths > AUTHZ_PATHS_MAX
            or chain > AUTHZ_CHAIN_MAX
        ):
            place = place_of(text, match.start())
            raise InvalidInput(
                code, f"{place}: nested deeper than {AUTHZ_NESTING_MAX} levels, or too long for one policy"
            )


def check_groups(schema: str) -> None:
    """The engine writes out every pair of an action and a group above it; a chain of groups makes them a square."""
    names = schema.count(",") + schema.count(";")
    groups = len(re.findall(r"\bin\b", schema))
    if names * groups > AUTHZ_GROUPS_MAX:
        raise InvalidInput.of(
            "schema", got=f"{names} names and {groups} times `in`", expected=f"a product of {AUTHZ_GROUPS_MAX} at most",
            code="PL-702",
        )  # fmt: skip
