"""Between messages and structs, field by field; the struct's own limits are checked on the way in."""

from __future__ import annotations

import enum
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf.message import Message

from creto.common import wire
from creto.edge.api.fields import OneOf
from creto.edge.grpc.schema import Schema, bare, is_struct, is_union, item_type, lies_apart, present, snake, spoken


class Field(NamedTuple):
    """A field of a struct: its name in messages, its type without None, whether it may be absent, and whether it lies in a message of its own."""

    name: str
    spoken: str
    type_: Any
    absent: bool
    apart: bool


@lru_cache(maxsize=1_024)
def fields_of(struct: Any) -> tuple[Field, ...]:
    """Kept by struct: equal unions may differ in their order."""
    hints = get_type_hints(struct, include_extras=True)
    defaults = {f.name: f.default for f in msgspec.structs.fields(struct)}
    return tuple(
        Field(name, spoken(struct, name), *present(hint), lies_apart(hint, defaults[name]))
        for name, hint in hints.items()
        if name in defaults
    )


def to_struct(message: Message, struct: Any) -> Any:
    """The struct, or PL-400 naming the field that does not fit."""
    return wire.convert(plain(message, struct), struct, what="request")


def plain(message: Message, struct: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, said, type_, absent, apart in fields_of(struct):
        field = message.DESCRIPTOR.fields_by_name[said]
        if field.has_presence and not message.HasField(said):
            if absent and required(struct, name):
                values[name] = None
            continue
        value = getattr(message, said)
        if not field.has_presence and not value and not required(struct, name):
            continue
        if apart:
            values[name] = read_apart(value, type_)
            continue
        values[name] = read(value, type_)
        if absent and values[name] is None:
            del values[name]
    return values


@lru_cache(maxsize=4_096)
def required(struct: Any, name: str) -> bool:
    return next(f.required for f in msgspec.structs.fields(struct) if f.name == name)


def read_apart(message: Message, type_: Any) -> Any:
    """What lies in a message of its own: a list that may be empty, or a value that may be nothing."""
    if item_type(type_) is not None:
        return read(message.items, type_)
    return read(message.value, type_) if message.HasField("value") else None


def read(value: Any, type_: Any) -> Any:
    type_ = bare(type_)
    item = item_type(type_)
    if item is not None:
        inner, none = present(item)
        if none and is_struct(inner):
            return [plain(v.value, inner) if v.HasField("value") else None for v in value]
        return [read(v, inner) for v in value]
    if get_origin(type_) is dict and not isinstance(value, str):
        return {k: read(v, present(get_args(type_)[1])[0]) for k, v in value.items()}
    if is_struct(type_):
        return plain(value, type_)
    if is_union(type_):
        chosen = value.WhichOneof("value")
        variant = next((bare(v) for v in get_args(type_) if snake(bare(v).__name__) == chosen), None)
        if variant is None:
            return {}
        config = variant.__struct_config__
        return {config.tag_field: config.tag, **plain(getattr(value, chosen), variant)}
    if isinstance(type_, OneOf):
        return as_json(value, type_)
    if type_ in (str, bytes, int, bool, float, Decimal) or (isinstance(type_, type) and issubclass(type_, enum.Enum)):
        return value
    return wire.decode(value, Any) if value else None


def as_json(message: Message, type_: OneOf) -> Any:
    """The object as it is in JSON; nothing of it, where no variant was chosen."""
    chosen = message.WhichOneof("value")
    variant = next((v for v in type_.variants if snake(v.__name__) == chosen), None)
    return {} if variant is None else msgspec.to_builtins(plain(getattr(message, chosen), variant))


def to_message(value: Any, schema: Schema) -> Message:
    message = schema.message_class(type(value))()
    fill(message, value)
    return message


def fill(message: Message, value: Any) -> None:
    struct: Any = type(value)
    for name, said, type_, _, apart in fields_of(struct):
        found = getattr(value, name)
        item = item_type(type_)
        if apart and (found is not None or item is None):
            fill_apart(getattr(message, said), found, type_)
        elif found is None:
            continue
        elif item is not None:
            write_all(getattr(message, said), found, *present(item))
        elif get_origin(type_) is dict:
            write_map(getattr(message, said), found, present(get_args(type_)[1])[0])
        elif is_struct(type_):
            part = getattr(message, said)
            part.SetInParent()
            fill(part, found)
        elif is_union(type_) or isinstance(type_, OneOf):
            fill_union(getattr(message, said), stated(found, type_))
        else:
            setattr(message, said, scalar(found, type_))


def fill_apart(message: Message, value: Any, type_: Any) -> None:
    message.SetInParent()
    item = item_type(type_)
    if item is not None:
        write_all(message.items, value, *present(item))
    elif value is not None:
        message.value = scalar(value, type_)


def fill_union(message: Message, value: Any) -> None:
    variant = getattr(message, snake(type(value).__name__))
    variant.SetInParent()
    fill(variant, value)


def stated(value: Any, type_: Any) -> Any:
    """A variant as its struct, also where it came as an object."""
    if not isinstance(type_, OneOf) or not isinstance(value, dict):
        return value
    return wire.decode(wire.encode(value), type_.which(value), what="event")


def write_all(repeated: Any, values: Any, type_: Any, none: bool) -> None:
    if none and is_struct(type_):
        for value in values:
            place = repeated.add()
            if value is not None:
                place.value.SetInParent()
                fill(place.value, value)
    elif is_struct(type_):
        for value in values:
            fill(repeated.add(), value)
    elif is_union(type_) or isinstance(type_, OneOf):
        for value in values:
            fill_union(repeated.add(), stated(value, type_))
    else:
        repeated.extend(scalar(value, type_) for value in values)


def write_map(target: Any, values: dict[str, Any], type_: Any) -> None:
    for key, value in values.items():
        if is_struct(type_):
            fill(target[key], value)
        elif is_union(type_):
            fill_union(target[key], value)
        else:
            target[key] = scalar(value, type_)


def scalar(value: Any, type_: Any) -> Any:
    type_ = bare(type_)
    if isinstance(value, enum.Enum):
        return value.value
    if type_ is Decimal:
        return str(value)
    if type_ in (str, bytes, int, bool, float):
        return value
    return wire.encode(value).decode()
