"""Policies compiled, and the slice of them that a request can touch.

Each policy stands in a tree of dicts under what its scope names: action, then principal, then resource. A request walks the tree with its own
keys (itself, what it is in, its type, anything); so it meets every policy whose scope fits, and hardly any other.

INVARIANT: a policy that is not in the slice has a scope that does not fit; leaving it out changes neither decision, reasons nor errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import cedarpy
import msgspec

from creto.common.errors import InvalidInput
from creto.security.authz.cedar.expressions import Compiled, Json, Request, compile_expression, reads_context
from creto.security.authz.cedar.values import Entity, EvaluationError, Uid, mistyped

ANY = None  # the key of a scope that names nothing
Key = Any  # Uid (`==`), ("in", Uid), a type's name (`is`) or ANY
Test = Callable[[Request], bool]
Tree = dict[Key, dict[Key, dict[Key, list["Policy"]]]]


class Policy:
    """One compiled policy. `types` holds what is left of its scope once the keys have matched."""

    __slots__ = ("annotations", "conditions", "forbids", "id", "order", "reads_context", "types")

    def __init__(self, id: str, order: int, est: Json) -> None:
        self.id = id
        self.order = order
        self.forbids = est["effect"] == "forbid"
        self.annotations: dict[str, str] = {name: text or "" for name, text in est.get("annotations", {}).items()}
        bodies = [condition["body"] for condition in est["conditions"]]
        self.reads_context = any(map(reads_context, bodies))
        self.conditions: tuple[tuple[Compiled, bool], ...] = tuple(
            (compile_expression(condition["body"]), condition["kind"] == "when") for condition in est["conditions"]
        )
        self.types: tuple[tuple[str, str], ...] = tuple(
            (part, est[part]["entity_type"])
            for part in ("principal", "resource")
            if est[part]["op"] == "is" and "in" in est[part]
        )

    def applies(self, q: Request) -> bool:
        for part, type_wanted in self.types:
            if getattr(q, part).type != type_wanted:
                return False
        for run, wanted in self.conditions:
            value = run(q)
            if type(value) is not bool:
                raise mistyped(value, "bool")
            if value is not wanted:
                return False
        return True

    @property
    def name(self) -> str:
        """What people call it: its `@id`, else its place in the text."""
        return self.annotations.get("id") or self.id


class Failure(msgspec.Struct, frozen=True):
    """A policy that could not be evaluated, and was therefore left out."""

    policy: str
    message: str


class Answer:
    """Every policy that is satisfied, and every one that failed."""

    __slots__ = ("considered", "errors", "forbidding", "permitting", "reads_context")

    def __init__(
        self,
        permitting: list[Policy],
        forbidding: list[Policy],
        errors: list[tuple[Policy, str]],
        reads_context: bool,
        considered: int,
    ) -> None:
        self.considered = considered
        self.permitting = permitting
        self.forbidding = forbidding
        self.errors = errors
        self.reads_context = reads_context

    @property
    def permits(self) -> tuple[str, ...]:
        return tuple(policy.id for policy in self.permitting)

    @property
    def forbids(self) -> tuple[str, ...]:
        return tuple(policy.id for policy in self.forbidding)

    @property
    def allowed(self) -> bool:
        return bool(self.permitting) and not self.forbidding


class Policies:
    """A set of policies behind its index."""

    __slots__ = ("_tree", "all")

    def __init__(self, policies: Iterable[tuple[Policy, Json]]) -> None:
        self._tree: Tree = {}
        self.all: list[Policy] = []
        for policy, est in policies:
            self.all.append(policy)
            for action in action_keys(est["action"]):
                by_principal = self._tree.setdefault(action, {})
                by_resource = by_principal.setdefault(scope_key(est["principal"]), {})
                by_resource.setdefault(scope_key(est["resource"]), []).append(policy)

    def slice(self, q: Request) -> list[Policy]:
        """The policies whose scope can fit, each once, in the order of the text."""
        entities = q.entities
        actions = request_keys(q.action, entities)
        principals = request_keys(q.principal, entities)
        resources = request_keys(q.resource, entities)
        found: list[Policy] = []
        for by_principal in branches(self._tree, actions):
            for by_resource in branches(by_principal, principals):
                for policies in branches(by_resource, resources):
                    found += policies
        if len(found) > 1:
            found = sorted(set(found), key=lambda policy: policy.order)
        return found

    def evaluate(self, q: Request) -> Answer:
        permitting: list[Policy] = []
        forbidding: list[Policy] = []
        errors: list[tuple[Policy, str]] = []
        context = False
        candidates = self.slice(q)
        for policy in candidates:
            context = context or policy.reads_context
            try:
                if policy.applies(q):
                    (forbidding if policy.forbids else permitting).append(policy)
            except EvaluationError as error:
                errors.append((policy, str(error)))
        return Answer(permitting, forbidding, errors, context, len(candidates))


def branches(tree: dict[Key, Any], keys: Collection[Key]) -> list[Any]:
    """What stands under the keys, looked up from the smaller side."""
    if len(tree) < len(keys):
        return [branch for key, branch in tree.items() if key in keys]
    return [tree[key] for key in keys if key in tree]


def request_keys(uid: Uid, entities: Mapping[Uid, Entity]) -> Collection[Key]:
    entity = entities.get(uid)
    if entity is None:
        return {uid, ("in", uid), uid.type, ANY}
    return entity.scope_keys()


def scope_key(scope: Json) -> Key:
    match scope["op"]:
        case "All":
            return ANY
        case "==":
            return uid_of(scope["entity"])
        case "in":
            return ("in", uid_of(scope["entity"]))
        case "is":
            return ("in", uid_of(scope["in"]["entity"])) if "in" in scope else scope["entity_type"]
    raise InvalidInput("PL-701", f"the scope operator `{scope['op']}` is not supported")


def action_keys(scope: Json) -> list[Key]:
    if scope["op"] == "in" and "entities" in scope:
        return list(dict.fromkeys(("in", uid_of(entity)) for entity in scope["entities"]))
    return [scope_key(scope)]


def uid_of(json: Json) -> Uid:
    json = json.get("__entity", json)
    return Uid(json["type"], json["id"])


def compile_policies(text: str) -> Policies:
    """The policies of one text; PL-701 if it is not Cedar. Templates are refused: nothing here links them."""
    try:
        est = msgspec.json.decode(cedarpy.policies_to_json_str(text))
    except (ValueError, RecursionError) as error:
        raise InvalidInput("PL-701", f"this is not a Cedar policy: {error}") from error
    if est["templates"] or est["templateLinks"]:
        raise InvalidInput("PL-701", "templates are not supported: write the principal or resource out")
    ordered = sorted(est["staticPolicies"].items(), key=lambda item: int(item[0].removeprefix("policy")))
    return Policies((Policy(id, order, body), body) for order, (id, body) in enumerate(ordered))
