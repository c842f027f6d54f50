"""From the text of policies to a set that holds: parsed, validated against the schema, compiled. A refusal names the line.

INVARIANT: what `compiled` returns has passed Cedar's strict validation, has no templates and no two policies of one name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files

import cedarpy

from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_POLICY_BYTES_MAX
from creto.security.authz.cedar.entities import entities_from_json
from creto.security.authz.cedar.policies import Policies, compile_policies
from creto.security.authz.cedar.values import Entity, Uid

PART = "creto.security.authz"


@cache
def shipped_schema() -> str:
    return files(PART).joinpath("creto.cedarschema").read_text("utf-8")


@cache
def shipped_policies() -> str:
    return files(PART).joinpath("default.cedar").read_text("utf-8")


def whole_text(text: str, with_defaults: bool) -> str:
    """What is evaluated: the tenant's own policies first, so that their places and lines are those of the upload."""
    return f"{text}\n{shipped_policies()}" if with_defaults else text


def compiled(text: str, schema: str = "", *, with_defaults: bool = True) -> Policies:
    """PL-701 for a policy, PL-702 for a schema that is not valid."""
    if len(text.encode("utf-8", "surrogatepass")) > AUTHZ_POLICY_BYTES_MAX:
        raise InvalidInput.of("policies", got=f"{len(text)} characters", expected=f"{AUTHZ_POLICY_BYTES_MAX} bytes at most", code="PL-701")  # fmt: skip
    check_syntax(text)
    check_against(text, parsed_schema(schema))
    policies = compile_policies(whole_text(text, with_defaults))
    check_names(policies, text)
    return policies


def parsed_schema(extension: str = "") -> cedarpy.Schema:
    """The shipped schema with what a tenant adds to it."""
    try:
        return cedarpy.Schema.from_str(f"{shipped_schema()}\n{extension}")
    except (ValueError, UnicodeError) as error:
        raise InvalidInput("PL-702", f"the schema is not valid: {error}", field="schema") from error


def check_syntax(text: str) -> None:
    try:
        cedarpy.PolicySet.from_str(text)
    except (ValueError, UnicodeError) as error:
        line, reason = first_error(text, str(error))
        raise InvalidInput("PL-701", f"line {line}: {reason}", field="policies", got=f"line {line}") from error


def check_against(text: str, schema: cedarpy.Schema) -> None:
    result = cedarpy.validate_policies(text, schema, release_gil=True)  # a few milliseconds for each policy
    if result.validation_passed:
        return
    lines = [line for line, _ in statements(text)]
    reasons = []
    for error in result.errors:
        place = int(error.policy_id.removeprefix("policy")) if error.policy_id.startswith("policy") else 0
        line = lines[place] if place < len(lines) else 1
        reasons.append((line, error.error))
    reasons.sort()
    line, reason = reasons[0] if reasons else (1, "it does not fit the schema")
    raise InvalidInput("PL-701", f"line {line}: {reason}", field="policies", got=f"line {line}")


def check_names(policies: Policies, text: str) -> None:
    """One name, one policy: a decision names policies, and two of one name could not be told apart."""
    seen: set[str] = set()
    lines = [line for line, _ in statements(text)]
    for policy in policies.all:
        if policy.name in seen:
            line = lines[policy.order] if policy.order < len(lines) else 1
            raise InvalidInput("PL-701", f"line {line}: a policy named `{policy.name}` is there already", field="policies")  # fmt: skip
        if "oversight" in policy.annotations and not (policy.forbids and policy.annotations["oversight"]):
            line = lines[policy.order] if policy.order < len(lines) else 1
            raise InvalidInput("PL-701", f'line {line}: `@oversight("policy-id")` belongs on a forbid and names a policy', field="policies")  # fmt: skip
        seen.add(policy.name)


def first_error(text: str, whole: str) -> tuple[int, str]:
    """Where the first statement that does not parse by itself begins."""
    for line, statement in statements(text):
        try:
            cedarpy.PolicySet.from_str(statement)
        except (ValueError, UnicodeError) as error:
            return line, str(error)
    return 1, whole


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Each policy with its first line: cut at every `;` outside strings and comments."""
    start, at, line, first = 0, 0, 1, 0
    while at < len(text):
        c = text[at]
        if text.startswith("//", at):
            end = text.find("\n", at)
            at = len(text) if end < 0 else end
            continue
        if not c.isspace() and not first:
            first = line
        if c == "\n":
            line += 1
        elif c == '"':
            end = string_end(text, at)
            line += text.count("\n", at, end)
            at = end
            continue
        elif c == ";":
            yield first or line, text[start : at + 1]
            start, first = at + 1, 0
        at += 1
    if first:
        yield first, text[start:]


def string_end(text: str, at: int) -> int:
    """Behind the closing quote."""
    at += 1
    while at < len(text) and text[at] != '"':
        at += 2 if text[at] == "\\" else 1
    return min(at + 1, len(text))


def action_entities(schema: cedarpy.Schema) -> dict[Uid, Entity]:
    """The actions of a schema and the groups they are in."""
    return entities_from_json(str(cedarpy.Entities.from_json_str("[]", schema)))
