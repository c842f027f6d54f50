"""Cedar's values as Python values.

    Bool bool · Long int · String str · Record dict · Set CedarSet · entity Uid · decimal, ipaddr, datetime, duration: see `extensions`

INVARIANT: two Cedar values are equal exactly when `equal` says so. Python's `1 == True` must not leak in: sets and records compare by `key`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

Value = Any  # the union above; the evaluator checks types as Cedar does, at run time

LONG_MAX = 2**63 - 1
LONG_MIN = -(2**63)


class EvaluationError(Exception):
    """A policy cannot be evaluated for this request. The policy is skipped and reported, as Cedar does."""


class Uid(NamedTuple):
    """An entity's name: `Agent::"agent:nhi:…"`."""

    type: str
    id: str

    def __str__(self) -> str:
        escaped = self.id.replace("\\", "\\\\").replace('"', '\\"')
        return f'{self.type}::"{escaped}"'


class _Bool:
    """Stands for a Bool inside keys, where Python would take True for 1."""

    __slots__ = ()


TRUE, FALSE = _Bool(), _Bool()


class RecordKey(frozenset[Any]):
    """The key of a record; a type of its own, so that no set equals it."""

    def __eq__(self, other: object) -> bool:
        return type(other) is RecordKey and frozenset.__eq__(self, other)

    __hash__ = frozenset.__hash__


class CedarSet:
    """A set: no order, no duplicates, any mix of types."""

    __slots__ = ("items", "keys")

    def __init__(self, items: Iterable[Value]) -> None:
        self.items = tuple(items)
        self.keys = frozenset(map(key, self.items))

    def __eq__(self, other: object) -> bool:
        return type(other) is CedarSet and self.keys == other.keys

    def __hash__(self) -> int:
        return hash(self.keys)

    def __repr__(self) -> str:
        return f"CedarSet({list(self.items)!r})"


def key(value: Value) -> Any:
    """A hashable that is equal for equal values and for no others."""
    kind = type(value)
    if kind is bool:
        return TRUE if value else FALSE
    if kind is dict:
        return RecordKey((name, key(item)) for name, item in value.items())
    return value


def equal(a: Value, b: Value) -> bool:
    if type(a) is not type(b):
        return False
    if type(a) is dict:
        return bool(key(a) == key(b))
    return bool(a == b)


TYPE_NAMES: dict[type, str] = {bool: "bool", int: "long", str: "string", dict: "record", CedarSet: "set"}


def type_name(value: Value) -> str:
    """What Cedar calls the type of a value, for messages."""
    kind = type(value)
    if kind is Uid:
        return f"(entity of type `{value.type}`)"
    return TYPE_NAMES.get(kind, kind.__name__.lower())


def mistyped(value: Value, expected: str) -> EvaluationError:
    return EvaluationError(f"type error: expected {expected}, got {type_name(value)}")


class Entity:
    """An entity with everything above it: `ancestors` is the transitive closure of its parents."""

    __slots__ = ("_scope_keys", "ancestors", "attrs", "tags", "uid")

    def __init__(
        self,
        uid: Uid,
        attrs: dict[str, Value] | None = None,
        ancestors: frozenset[Uid] = frozenset(),
        tags: dict[str, Value] | None = None,
    ) -> None:
        self.uid = uid
        self.attrs = attrs or {}
        self.ancestors = ancestors
        self.tags = tags or {}
        self._scope_keys: frozenset[Any] | None = None

    def scope_keys(self) -> frozenset[Any]:
        """What a policy's scope may say to mean this entity: itself, what it is in, its type, anything."""
        if self._scope_keys is None:
            within = (("in", above) for above in self.ancestors)
            self._scope_keys = frozenset((self.uid, ("in", self.uid), self.uid.type, None, *within))
        return self._scope_keys
