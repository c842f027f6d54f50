"""From the text of policies to a set that holds: parsed, validated against the schema, compiled. A refusal names every fault and its place.

INVARIANT: what `compiled` returns has passed Cedar's strict validation, has no templates and no two policies of one name.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import cedarpy
import msgspec

from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_CONTEXT_BYTES_MAX, AUTHZ_POLICY_BYTES_MAX
from creto.security.authz.cedar.bounds import check_bounds, check_groups
from creto.security.authz.cedar.entities import uid_from_json
from creto.security.authz.cedar.policies import Policies, compile_policies
from creto.security.authz.cedar.values import Entity, Uid
from creto.security.authz.faults import Fault, refusal, schema_faults, statements, syntax_faults
from creto.security.authz.requirement import requirement_of, risk_of
from creto.security.authz.types import JOINT, OversightRequirement

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
    check_text(text, parsed_schema(schema), with_defaults)
    return compile_policies(whole_text(text, with_defaults))


def parsed_schema(extension: str = "") -> cedarpy.Schema:
    """The shipped schema with what a tenant adds to it."""
    if len(extension.encode("utf-8", "surrogatepass")) > AUTHZ_CONTEXT_BYTES_MAX:
        raise InvalidInput.of("schema", got=f"{len(extension)} characters", expected=f"{AUTHZ_CONTEXT_BYTES_MAX} bytes at most", code="PL-702")  # fmt: skip
    check_bounds(extension, code="PL-702", generics=True)
    check_groups(extension)
    try:
        return cedarpy.Schema.from_str(f"{shipped_schema()}\n{extension}")
    except (ValueError, UnicodeError) as error:
        raise InvalidInput("PL-702", f"the schema is not valid: {error}", field="schema") from error


def check_text(text: str, schema: cedarpy.Schema, with_defaults: bool) -> None:
    """PL-701 with every fault at its place: first those of syntax, then those of meaning."""
    check_bounds(text)
    faults = syntax_faults(text) or [*schema_faults(text, schema), *note_faults(text, with_defaults)]
    if faults:
        raise refusal(faults)


def note_faults(text: str, with_defaults: bool) -> list[Fault]:
    """Faults of annotations. One name, one policy: a decision names policies, and two of one name could not be told apart."""
    taken = {policy.name for policy in compile_policies(shipped_policies()).all} if with_defaults else set()
    required: dict[str, OversightRequirement] = {}
    found = []
    for policy, statement in zip(compile_policies(text).all, statements(text), strict=True):
        if policy.name in taken:
            found.append(statement.fault(f"a policy named `{policy.name}` is there already"))
        taken.add(policy.name)
        if "oversight" in policy.annotations and not (policy.forbids and policy.annotations["oversight"]):
            found.append(statement.fault('`@oversight("policy-id")` belongs on a forbid and names a policy'))
        elif JOINT in policy.annotations.get("oversight", ""):
            found.append(
                statement.fault(f"`{JOINT}` is in no name of an oversight policy: it is how several are named")
            )
        elif "oversight" in policy.annotations:
            try:
                said = requirement_of(policy.annotations)
                risk_of(policy.annotations)
            except ValueError as error:
                found.append(statement.fault(str(error)))
                continue
            if said is not None and required.setdefault(policy.annotations["oversight"], said) != said:
                found.append(statement.fault("another policy asks for the same oversight in other words"))
    return found


def action_entities(schema: cedarpy.Schema) -> dict[Uid, Entity]:
    """The actions of a schema and the groups they are in."""
    listed = msgspec.json.decode(str(cedarpy.Entities.from_json_str("[]", schema)))
    # The engine lists all groups above an action, not only the nearest.
    return {
        (uid := uid_from_json(item["uid"])): Entity(uid, None, frozenset(map(uid_from_json, item["parents"])))
        for item in listed
    }
