"""What is wrong with a text of policies, and where: every fault with the line and column at which it stands, in the text as it was uploaded.

Cedar's parser says what is wrong and not where. So the text is cut into its policies and each is parsed by itself; within one that does not
parse, the place is the first piece behind which the parser no longer asks for more.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import cedarpy
import msgspec

from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_FAULTS_MAX, AUTHZ_REASON_CHARS_MAX
from creto.security.authz.cedar.places import Place, place_of

PIECES = re.compile(
    r'(?P<blank>\s+|//[^\r\n]*)|"(?:[^"\\]|\\.)*(?:"|\Z)|(?P<end>;)|[\w?@]+|::|&&|\|\||[=!<>]=|.', re.DOTALL
)
NAMED = re.compile(r"`([^`]+)`|'(\W+)' is|: (\w+)$")
WANTS_MORE = "unexpected end of input"
UNEXPECTED = ("unexpected token", "invalid token", WANTS_MORE)
SLOTS = ("?principal", "?resource")


class Fault(msgspec.Struct, frozen=True):
    place: Place
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason[:AUTHZ_REASON_CHARS_MAX]}"


class Statement(msgspec.Struct, frozen=True):
    """One policy: from its first character that is neither blank nor comment to its semicolon."""

    text: str
    start: int
    pieces: tuple[tuple[int, int], ...]  # where in the whole text each of its tokens begins and ends

    @property
    def body(self) -> str:
        return self.text[self.start : self.pieces[-1][1]]

    def fault(self, reason: str, at: int | None = None) -> Fault:
        return Fault(place_of(self.text, self.start if at is None else at), reason)


def statements(text: str) -> Iterator[Statement]:
    """Each policy: cut behind every `;` that stands outside strings and comments."""
    pieces: list[tuple[int, int]] = []
    for match in PIECES.finditer(text):
        if match["blank"]:
            continue
        pieces.append(match.span())
        if match["end"]:
            yield Statement(text, pieces[0][0], tuple(pieces))
            pieces = []
    if pieces:
        yield Statement(text, pieces[0][0], tuple(pieces))


def refusal(faults: Sequence[Fault]) -> InvalidInput:
    """All of them in one error, a line each; the first is the one that `got` names."""
    shown = [str(fault) for fault in faults[:AUTHZ_FAULTS_MAX]]
    if len(faults) > len(shown):
        shown.append(f"and {len(faults) - len(shown)} more")
    return InvalidInput("PL-701", "\n".join(shown), field="policies", got=str(faults[0].place))


def syntax_faults(text: str) -> list[Fault]:
    """Of every policy that does not parse, the first fault; of templates, that they are."""
    whole = parse_error(text)
    found: list[Fault] = []
    for statement in statements(text):
        slot = next((at for at, end in statement.pieces if text[at:end] in SLOTS), None)
        reason = parse_error(statement.body) if whole is not None else None
        if reason is not None:
            at = located(statement, reason) if len(found) < AUTHZ_FAULTS_MAX else None
            found.append(statement.fault(reason, at))
        elif slot is not None:
            found.append(statement.fault("templates are not supported: write the principal or resource out", slot))
    return found or ([Fault(Place(1, 1), whole)] if whole is not None else [])


def schema_faults(text: str, schema: cedarpy.Schema) -> list[Fault]:
    """What does not fit the schema, policy by policy."""
    result = cedarpy.validate_policies(text, schema, release_gil=True)  # a few milliseconds for each policy
    if result.validation_passed:
        return []
    cut = list(statements(text))
    found: list[tuple[int, Fault]] = []
    for error in result.errors:
        place = int(error.policy_id.removeprefix("policy"))
        reason = error.error.removeprefix(f"for policy `{error.policy_id}`, ")
        found.append((place, cut[place].fault(reason, named(cut[place], reason))))
    found.sort(key=lambda each: each[0])
    return [fault for _, fault in found]


def parse_error(text: str) -> str | None:
    try:
        cedarpy.PolicySet.from_str(text)
    except (ValueError, UnicodeError) as error:
        return str(error)
    return None


def located(statement: Statement, reason: str) -> int | None:
    """Where the parser stumbled: behind fewer pieces it only asks for more."""
    if not reason.startswith(UNEXPECTED):
        return named(statement, reason)
    pieces = statement.pieces
    fine, broken = 0, len(pieces)
    while broken - fine > 1:
        middle = (fine + broken) // 2
        told = parse_error(statement.text[statement.start : pieces[middle - 1][1]])
        if told == WANTS_MORE:
            fine = middle
        else:
            broken = middle
    return pieces[broken - 1][0]


def named(statement: Statement, reason: str) -> int | None:
    """The place of what a reason names, if there is only one."""
    for match in NAMED.finditer(reason):
        wanted = re.compile(re.escape(match[match.lastindex or 0]) + r"(?!\w)")
        found = [at for at, _ in statement.pieces if wanted.match(statement.text, at)]
        if len(found) == 1:
            return found[0]
    return None
