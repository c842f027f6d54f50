"""Expressions: Cedar's JSON form (EST) compiled to closures, once, when a policy is loaded.

A closure takes the request and gives a value or raises EvaluationError. The order of evaluation and every type check are Cedar's:
`false && 1` is false, `true && 1` is an error, `1 == true` is false, integers overflow with an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_EXPRESSION_DEPTH_MAX
from creto.security.authz.cedar.extensions import CONSTRUCTORS, METHODS, Datetime, Duration, construct
from creto.security.authz.cedar.values import (
    LONG_MAX,
    LONG_MIN,
    CedarSet,
    Entity,
    EvaluationError,
    Uid,
    Value,
    equal,
    key,
    mistyped,
)


class Request:
    """What a policy sees."""

    __slots__ = ("action", "context", "entities", "principal", "resource")

    def __init__(
        self, principal: Uid, action: Uid, resource: Uid, context: dict[str, Value], entities: Mapping[Uid, Entity]
    ) -> None:
        self.principal = principal
        self.action = action
        self.resource = resource
        self.context = context
        self.entities = entities


Compiled = Callable[[Request], Value]
Json = Any


def compile_expression(est: Json, depth: int = 0) -> Compiled:
    if depth > AUTHZ_EXPRESSION_DEPTH_MAX:
        raise InvalidInput("PL-701", f"an expression is nested deeper than {AUTHZ_EXPRESSION_DEPTH_MAX} levels")
    ((op, body),) = est.items()
    if op in CONSTRUCTORS:
        return constructor(op, body, depth)
    if op in METHODS:
        return method(op, body, depth)
    builder = BUILDERS.get(op)
    if builder is None:
        raise InvalidInput("PL-701", f"the operator `{op}` is not supported")
    return builder(body, depth + 1)


def reads_context(est: Json) -> bool:
    """Whether a context attribute could change the value: then a decision that rests on it is not cached."""
    pending = [est]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if node.get("Var") == "context":
                return True
            pending.extend(node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return False


def constant(value: Value) -> Compiled:
    return lambda q: value


def failing(error: EvaluationError) -> Compiled:
    def run(q: Request) -> Value:
        raise error.with_traceback(None)

    return run


def literal(body: Json, depth: int) -> Compiled:
    return constant(literal_value(body))


def literal_value(body: Json) -> Value:
    if isinstance(body, dict) and "__entity" in body:
        return Uid(body["__entity"]["type"], body["__entity"]["id"])
    if isinstance(body, bool | int | str):
        return body
    raise InvalidInput("PL-701", "a literal of this kind is not supported")


def variable(body: Json, depth: int) -> Compiled:
    getters: dict[str, Compiled] = {
        "principal": lambda q: q.principal,
        "action": lambda q: q.action,
        "resource": lambda q: q.resource,
        "context": lambda q: q.context,
    }
    return getters[body]


def operands(op: str, body: Json) -> list[Json]:
    """The operands of a chain, `a && b && c`, in the order in which they are evaluated."""
    found, pending = [], [body]
    while pending:
        node = pending.pop()
        for side in (node["left"], node["right"]) if "left" in node else ():
            pending.append(side.get(op, side))
        if "left" not in node:
            found.append(node)
    return found[::-1]


def chain(op: str, stop: bool) -> Callable[[Json, int], Compiled]:
    def build(body: Json, depth: int) -> Compiled:
        parts = tuple(compile_expression(part, depth) for part in operands(op, body))

        def run(q: Request) -> Value:
            for part in parts:
                value = part(q)
                if value is stop:
                    return stop
                if type(value) is not bool:
                    raise mistyped(value, "bool")
            return not stop

        return run

    return build


def negation(body: Json, depth: int) -> Compiled:
    arg = compile_expression(body["arg"], depth)

    def run(q: Request) -> Value:
        value = arg(q)
        if type(value) is not bool:
            raise mistyped(value, "bool")
        return not value

    return run


def conditional(body: Json, depth: int) -> Compiled:
    test, then, other = (compile_expression(body[name], depth) for name in ("if", "then", "else"))

    def run(q: Request) -> Value:
        value = test(q)
        if type(value) is not bool:
            raise mistyped(value, "bool")
        return then(q) if value else other(q)

    return run


def sides(body: Json, depth: int) -> tuple[Compiled, Compiled]:
    return compile_expression(body["left"], depth), compile_expression(body["right"], depth)


def equality(wanted: bool) -> Callable[[Json, int], Compiled]:
    def build(body: Json, depth: int) -> Compiled:
        left, right = sides(body, depth)
        return lambda q: equal(left(q), right(q)) is wanted

    return build


def ordering(test: Callable[[Any, Any], bool]) -> Callable[[Json, int], Compiled]:
    def build(body: Json, depth: int) -> Compiled:
        left, right = sides(body, depth)

        def run(q: Request) -> Value:
            a, b = left(q), right(q)
            kind = type(a)
            if kind is not int and kind is not Datetime and kind is not Duration:
                raise mistyped(a, "one of [long, datetime, duration]")
            if type(b) is not kind:
                raise mistyped(b, kind.__name__.lower() if kind is not int else "long")
            return test(a, b)

        return run

    return build


def arithmetic(verb: str, compute: Callable[[int, int], int]) -> Callable[[Json, int], Compiled]:
    def build(body: Json, depth: int) -> Compiled:
        left, right = sides(body, depth)

        def run(q: Request) -> Value:
            a, b = left(q), right(q)
            if type(a) is not int or type(b) is not int:
                raise mistyped(b if type(a) is int else a, "long")
            result = compute(a, b)
            if not LONG_MIN <= result <= LONG_MAX:
                raise EvaluationError(f"integer overflow while attempting to {verb} the values `{a}` and `{b}`")
            return result

        return run

    return build


def negative(body: Json, depth: int) -> Compiled:
    arg = compile_expression(body["arg"], depth)

    def run(q: Request) -> Value:
        value = arg(q)
        if type(value) is not int:
            raise mistyped(value, "long")
        if value == LONG_MIN:
            raise EvaluationError(f"integer overflow while attempting to negate the value `{value}`")
        return -value

    return run


def attribute(body: Json, depth: int) -> Compiled:
    left, name = compile_expression(body["left"], depth), body["attr"]

    def run(q: Request) -> Value:
        value = left(q)
        if type(value) is dict:
            if name not in value:
                raise EvaluationError(f"record does not have the attribute `{name}`")
            return value[name]
        if type(value) is not Uid:
            raise mistyped(value, "one of [record, (entity of type `any_entity_type`)]")
        entity = q.entities.get(value)
        if entity is None:
            raise EvaluationError(f"entity `{value}` does not exist")
        if name not in entity.attrs:
            raise EvaluationError(f"`{value}` does not have the attribute `{name}`")
        return entity.attrs[name]

    return run


def presence(body: Json, depth: int) -> Compiled:
    left, name = compile_expression(body["left"], depth), body["attr"]

    def run(q: Request) -> Value:
        value = left(q)
        if type(value) is dict:
            return name in value
        if type(value) is not Uid:
            raise mistyped(value, "one of [record, (entity of type `any_entity_type`)]")
        entity = q.entities.get(value)
        return entity is not None and name in entity.attrs

    return run


def tag_operands(q: Request, left: Compiled, right: Compiled) -> tuple[Uid, str]:
    uid, name = left(q), right(q)
    if type(uid) is not Uid:
        raise mistyped(uid, "(entity of type `any_entity_type`)")
    if type(name) is not str:
        raise mistyped(name, "string")
    return uid, name


def has_tag(body: Json, depth: int) -> Compiled:
    left, right = sides(body, depth)

    def run(q: Request) -> Value:
        uid, name = tag_operands(q, left, right)
        entity = q.entities.get(uid)
        return entity is not None and name in entity.tags

    return run


def get_tag(body: Json, depth: int) -> Compiled:
    left, right = sides(body, depth)

    def run(q: Request) -> Value:
        uid, name = tag_operands(q, left, right)
        entity = q.entities.get(uid)
        if entity is None:
            raise EvaluationError(f"entity `{uid}` does not exist")
        if name not in entity.tags:
            raise EvaluationError(f"`{uid}` does not have the tag `{name}`")
        return entity.tags[name]

    return run


def is_within(q: Request, uid: Value, target: Value) -> bool:
    """`uid in target`: the same, or below it."""
    if type(uid) is not Uid:
        raise mistyped(uid, "(entity of type `any_entity_type`)")
    if type(target) is Uid:
        targets: tuple[Value, ...] = (target,)
    elif type(target) is CedarSet:
        targets = target.items
        for item in targets:
            if type(item) is not Uid:
                raise mistyped(item, "(entity of type `any_entity_type`)")
    else:
        raise mistyped(target, "one of [set, (entity of type `any_entity_type`)]")
    if uid in targets:
        return True
    entity = q.entities.get(uid)
    return entity is not None and not entity.ancestors.isdisjoint(targets)


def membership(body: Json, depth: int) -> Compiled:
    left, right = sides(body, depth)
    return lambda q: is_within(q, left(q), right(q))


def type_test(body: Json, depth: int) -> Compiled:
    left, wanted = compile_expression(body["left"], depth), body["entity_type"]
    within = compile_expression(body["in"], depth) if "in" in body else None

    def run(q: Request) -> Value:
        value = left(q)
        if type(value) is not Uid:
            raise mistyped(value, "(entity of type `any_entity_type`)")
        if value.type != wanted:
            return False
        return within is None or is_within(q, value, within(q))

    return run


def need_set(value: Value) -> CedarSet:
    if type(value) is not CedarSet:
        raise mistyped(value, "set")
    return value


def contains(body: Json, depth: int) -> Compiled:
    left, right = sides(body, depth)

    def run(q: Request) -> Value:
        whole, item = left(q), right(q)
        return key(item) in need_set(whole).keys

    return run


def contains_many(test: Callable[[frozenset[Any], frozenset[Any]], bool]) -> Callable[[Json, int], Compiled]:
    def build(body: Json, depth: int) -> Compiled:
        left, right = sides(body, depth)

        def run(q: Request) -> Value:
            a, b = left(q), right(q)
            return test(need_set(a).keys, need_set(b).keys)

        return run

    return build


def is_empty(body: Json, depth: int) -> Compiled:
    arg = compile_expression(body["arg"], depth)
    return lambda q: not need_set(arg(q)).items


def set_literal(body: Json, depth: int) -> Compiled:
    if all(list(item) == ["Value"] for item in body):
        return constant(CedarSet(literal_value(item["Value"]) for item in body))
    parts = tuple(compile_expression(item, depth) for item in body)
    return lambda q: CedarSet(part(q) for part in parts)


def record_literal(body: Json, depth: int) -> Compiled:
    parts = tuple((name, compile_expression(item, depth)) for name, item in sorted(body.items()))
    return lambda q: {name: part(q) for name, part in parts}


def like(body: Json, depth: int) -> Compiled:
    left, matches = compile_expression(body["left"], depth), pattern(body["pattern"])

    def run(q: Request) -> Value:
        value = left(q)
        if type(value) is not str:
            raise mistyped(value, "string")
        return matches(value)

    return run


def pattern(parts: list[Json]) -> Callable[[str], bool]:
    """A matcher that takes the pieces between wildcards from left to right: no backtracking, whatever the pattern."""
    pieces = [""]
    for part in parts:
        if part == "Wildcard":
            pieces.append("")
        else:
            pieces[-1] += part["Literal"]
    first, *middle = pieces
    if not middle:
        return lambda text: text == first
    *middle, last = middle

    def run(text: str) -> bool:
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for piece in middle:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return run


def constructor(name: str, body: Json, depth: int) -> Compiled:
    if len(body) != 1:
        raise InvalidInput("PL-701", f"`{name}` takes one argument")
    if isinstance(body[0].get("Value"), str):
        try:
            return constant(construct(name, body[0]["Value"]))
        except EvaluationError as error:
            return failing(error)
    arg = compile_expression(body[0], depth + 1)
    return lambda q: construct(name, arg(q))


def method(name: str, body: Json, depth: int) -> Compiled:
    arity, act = METHODS[name]
    if len(body) != arity:
        raise InvalidInput("PL-701", f"`{name}` takes {arity - 1} arguments")
    args = tuple(compile_expression(item, depth + 1) for item in body)
    if arity == 1:
        (only,) = args
        return lambda q: act(only(q))
    first, second = args
    return lambda q: act(first(q), second(q))


BUILDERS: dict[str, Callable[[Json, int], Compiled]] = {
    "Value": literal,
    "Var": variable,
    "&&": chain("&&", False),
    "||": chain("||", True),
    "!": negation,
    "neg": negative,
    "if-then-else": conditional,
    "==": equality(True),
    "!=": equality(False),
    "<": ordering(lambda a, b: a < b),
    "<=": ordering(lambda a, b: a <= b),
    ">": ordering(lambda a, b: a > b),
    ">=": ordering(lambda a, b: a >= b),
    "+": arithmetic("add", int.__add__),
    "-": arithmetic("subtract", int.__sub__),
    "*": arithmetic("multiply", int.__mul__),
    ".": attribute,
    "has": presence,
    "hasTag": has_tag,
    "getTag": get_tag,
    "in": membership,
    "is": type_test,
    "contains": contains,
    "containsAll": contains_many(frozenset.issuperset),
    "containsAny": contains_many(lambda a, b: not a.isdisjoint(b)),
    "isEmpty": is_empty,
    "Set": set_literal,
    "Record": record_literal,
    "like": like,
}
