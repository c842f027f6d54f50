"""Protocol buffers from the structs of `edge.api`: descriptors for the server, text for the contract.

A field's number is its place in the struct, so fields are only ever added at the end. Text stays text, bytes stay bytes, integers are
int64, enumerations are strings that name their values or integers where they count, decimals are strings, structured free-form values are JSON text. What may be
absent is `optional`, and so is what has a default other than zero; a union of structs, or an object that is one of several, is a message with one field for each. Where an empty list,
or nothing, says something else than leaving the field out, it lies in a message of its own.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from creto.common.errors import InternalError
from creto.edge.api.endpoint import Endpoint
from creto.edge.api.fields import OneOf

PACKAGE = "creto.v1"
Proto = descriptor_pb2.FieldDescriptorProto
SCALARS: dict[type, Any] = {
    str: Proto.TYPE_STRING,
    bytes: Proto.TYPE_BYTES,
    int: Proto.TYPE_INT64,
    bool: Proto.TYPE_BOOL,
    float: Proto.TYPE_DOUBLE,
    Decimal: Proto.TYPE_STRING,
}


def bare(type_: Any) -> Any:
    """Without its limits and its new name; what is one of several structs is the mark that says so."""
    while True:
        if get_origin(type_) is Annotated:
            mark = next((one for one in type_.__metadata__ if isinstance(one, OneOf)), None)
            if mark is not None:
                return mark
            type_ = get_args(type_)[0]
        elif hasattr(type_, "__supertype__"):
            type_ = type_.__supertype__
        else:
            return type_


def present(type_: Any) -> tuple[Any, bool]:
    """The type without None, and whether it may be absent."""
    type_ = bare(type_)
    if get_origin(type_) not in (Union, types.UnionType):
        return type_, False
    variants = [bare(v) for v in get_args(type_) if v is not type(None)]
    if str in variants:  # a number by its name: the name can say either
        variants = [v for v in variants if not (isinstance(v, type) and issubclass(v, enum.IntEnum))]
    absent = type(None) in get_args(type_)
    return (variants[0] if len(variants) == 1 else Union[tuple(variants)]), absent  # noqa: UP007 - built at run time


def is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def item_type(type_: Any) -> Any | None:
    """What a repeated field repeats."""
    origin = get_origin(type_)
    if origin in (list, tuple, frozenset, set):
        return get_args(type_)[0]
    return None


def is_union(type_: Any) -> bool:
    return get_origin(type_) is Union and all(is_struct(bare(v)) for v in get_args(type_))


def speaks(default: Any) -> bool:
    """Whether leaving the field out says something else than its zero: then the message has to tell the two apart."""
    return default is not msgspec.NODEFAULT and bool(default)


def fewest(hint: Any) -> int:
    """How many items a list must have at least."""
    while get_origin(hint) in (Union, types.UnionType):
        hint = next(v for v in get_args(hint) if v is not type(None))
    meta = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return max((m.min_length or 0 for m in meta if isinstance(m, msgspec.Meta)), default=0)


def lies_apart(hint: Any, default: Any) -> bool:
    """Whether a message cannot tell without help what is meant from what is left out: an empty list, or nothing where the default is something."""
    type_, absent = present(hint)
    if item_type(type_) is not None:
        return (absent or speaks(default)) and not fewest(hint)
    return absent and default not in (None, msgspec.NODEFAULT)


class Schema:
    """All messages and services of a table of endpoints."""

    def __init__(self, endpoints: Iterable[Endpoint[..., Any]]) -> None:
        self.endpoints = tuple(endpoints)
        self._messages: dict[str, descriptor_pb2.DescriptorProto] = {}
        self._structs: dict[str, Any] = {}
        self._names: dict[Any, str] = {}
        self.file = descriptor_pb2.FileDescriptorProto(name="creto/v1/creto.proto", package=PACKAGE, syntax="proto3")
        services: dict[str, descriptor_pb2.ServiceDescriptorProto] = {}
        for endpoint in self.endpoints:
            name = service_name(endpoint)
            service = services.setdefault(name, descriptor_pb2.ServiceDescriptorProto(name=name))
            service.method.add(
                name=method_name(endpoint),
                input_type=f".{PACKAGE}.{self._message(endpoint.request_type)}",
                output_type=f".{PACKAGE}.{self._message(endpoint.response)}",
            )
        self.file.message_type.extend(self._messages[name] for name in sorted(self._messages))
        self.file.service.extend(services[name] for name in sorted(services))
        self.pool = descriptor_pool.DescriptorPool()
        self.pool.Add(self.file)
        self.services = tuple(f"{PACKAGE}.{name}" for name in sorted(services))

    def message_class(self, struct: Any) -> type[Message]:
        descriptor = self.pool.FindMessageTypeByName(f"{PACKAGE}.{self._names[struct]}")
        made: type[Message] = message_factory.GetMessageClass(descriptor)
        return made

    def _message(self, struct: Any) -> str:
        if struct in self._names:
            return self._names[struct]
        name: str = struct.__name__
        if name in self._messages:  # of another part: the later one says whose it is
            name = struct.__module__.split(".")[1].capitalize() + name
            if name in self._messages:
                raise InternalError("PL-500", f"two structs are called {name}")
        self._names[struct] = name
        message = self._messages[name] = descriptor_pb2.DescriptorProto(name=name)
        self._structs[name] = struct
        hints = get_type_hints(struct, include_extras=True)
        defaults = {f.name: f.default for f in msgspec.structs.fields(struct)}
        for number, field in enumerate(struct.__struct_fields__, 1):
            self._field(message, spoken(struct, field), number, hints[field], defaults[field])
        # The compiler puts the hidden oneofs of optional fields behind the others; these are all there are.
        return name

    def _field(self, message: descriptor_pb2.DescriptorProto, name: str, number: int, hint: Any, default: Any) -> None:
        type_, absent = present(hint)
        field = message.field.add(name=name, number=number, label=Proto.LABEL_OPTIONAL)
        item = item_type(type_)
        if lies_apart(hint, default):
            made = self._optional(type_) if item is None else self._list(present(item)[0])
            field.type, field.type_name = Proto.TYPE_MESSAGE, f".{PACKAGE}.{made}"
            return
        if item is not None:
            field.label = Proto.LABEL_REPEATED
            inner, none = present(item)
            if none and is_struct(inner):
                field.type, field.type_name = Proto.TYPE_MESSAGE, f".{PACKAGE}.{self._optional(inner)}"
            else:
                self._type(field, inner)
            return
        if get_origin(type_) is dict:
            self._map(message, field, get_args(type_)[1])
            return
        self._type(field, type_)
        if absent or speaks(default):
            may_be_absent(message, field)

    def _type(self, field: descriptor_pb2.FieldDescriptorProto, type_: Any) -> None:
        type_ = bare(type_)
        if is_struct(type_):
            field.type, field.type_name = Proto.TYPE_MESSAGE, f".{PACKAGE}.{self._message(type_)}"
        elif is_union(type_):
            variants = [bare(v) for v in get_args(type_)]
            made = self._union("Or".join(map(self._message, variants)), variants)
            field.type, field.type_name = Proto.TYPE_MESSAGE, f".{PACKAGE}.{made}"
        elif isinstance(type_, OneOf):
            field.type, field.type_name = Proto.TYPE_MESSAGE, f".{PACKAGE}.{self._union(type_.name, type_.variants)}"
        elif isinstance(type_, type) and issubclass(type_, enum.Enum):
            field.type = Proto.TYPE_INT64 if issubclass(type_, int) else Proto.TYPE_STRING
        elif type_ in SCALARS:
            field.type = SCALARS[type_]
        else:  # JSON text
            field.type = Proto.TYPE_STRING

    def _optional(self, type_: Any) -> str:
        """A list has no place for nothing, so what may be nothing lies in a message of its own."""
        value = Proto(name="value", number=1, label=Proto.LABEL_OPTIONAL)
        self._type(value, type_)
        return self._around(f"Optional{named(value)}", value)

    def _list(self, item: Any) -> str:
        """A list that can be there and empty."""
        items = Proto(name="items", number=1, label=Proto.LABEL_REPEATED)
        self._type(items, item)
        return self._around(f"{named(items)}List", items)

    def _around(self, name: str, field: descriptor_pb2.FieldDescriptorProto) -> str:
        if name not in self._messages:
            message = self._messages[name] = descriptor_pb2.DescriptorProto(name=name)
            message.field.append(field)
            if field.label == Proto.LABEL_OPTIONAL:
                may_be_absent(message, message.field[0])
        return name

    def _union(self, name: str, variants: Iterable[Any]) -> str:
        if name not in self._messages:
            message = self._messages[name] = descriptor_pb2.DescriptorProto(name=name)
            self._structs[name] = None
            message.oneof_decl.add(name="value")
            for number, variant in enumerate(variants, 1):
                self._messages[name].field.add(
                    name=snake(variant.__name__),
                    number=number,
                    label=Proto.LABEL_OPTIONAL,
                    type=Proto.TYPE_MESSAGE,
                    type_name=f".{PACKAGE}.{self._message(variant)}",
                    oneof_index=0,
                )
        return name

    def _map(
        self, message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto, value: Any
    ) -> None:
        entry = message.nested_type.add(name="".join(p.capitalize() for p in field.name.split("_")) + "Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=Proto.LABEL_OPTIONAL, type=Proto.TYPE_STRING)
        self._type(entry.field.add(name="value", number=2, label=Proto.LABEL_OPTIONAL), present(value)[0])
        field.label, field.type = Proto.LABEL_REPEATED, Proto.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{message.name}.{entry.name}"


def may_be_absent(message: descriptor_pb2.DescriptorProto, field: descriptor_pb2.FieldDescriptorProto) -> None:
    """A message's own fields tell it by themselves."""
    if field.type != Proto.TYPE_MESSAGE:
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{field.name}")


def named(field: descriptor_pb2.FieldDescriptorProto) -> str:
    """The field's type as a part of a message's name."""
    text = type_text(field)
    return text[0].upper() + text[1:]


SERVICES = {
    "approvals": "Oversight"
}  # the client's name: Oversight.CreateRequest, GetRequest, AwaitApproval, SubmitResponse


def service_name(endpoint: Endpoint[..., Any]) -> str:
    return SERVICES.get(endpoint.part, endpoint.part.capitalize())


def method_name(endpoint: Endpoint[..., Any]) -> str:
    return endpoint.rpc or "".join(word.capitalize() for word in endpoint.verb.split("_"))


def spoken(struct: Any, field: str) -> str:
    """What a message calls a field of its struct: the client's word, where that is another."""
    name: str = dict(getattr(struct, "GRPC", ())).get(field, field)
    return name


def snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


TYPE_NAMES = {
    Proto.TYPE_STRING: "string",
    Proto.TYPE_BYTES: "bytes",
    Proto.TYPE_INT64: "int64",
    Proto.TYPE_BOOL: "bool",
    Proto.TYPE_DOUBLE: "double",
}


def as_text(schema: Schema) -> str:
    """The contract as a .proto file."""
    lines = [
        "// The gRPC contract of creto. Generated from the endpoints by scripts/protos.py; do not edit.",
        'syntax = "proto3";',
        "",
        f"package {PACKAGE};",
        "",
    ]
    summaries = {(service_name(e), method_name(e)): e.summary for e in schema.endpoints}
    for service in schema.file.service:
        lines.append(f"service {service.name} {{")
        for method in service.method:
            lines.append(f"  // {summaries[service.name, method.name]}.")
            # Written whole: inside a service its methods' names hide the messages'.
            lines.append(f"  rpc {method.name}({method.input_type}) returns ({method.output_type});")
        lines += ["}", ""]
    for message in schema.file.message_type:
        lines += [*message_text(message), ""]
    return "\n".join(lines).rstrip() + "\n"


def message_text(message: descriptor_pb2.DescriptorProto) -> list[str]:
    maps = {f".{PACKAGE}.{message.name}.{n.name}": n for n in message.nested_type}
    lines, one_of = [f"message {message.name} {{"], []
    for field in message.field:
        if field.type_name in maps:
            value = maps[field.type_name].field[1]
            lines.append(f"  map<string, {type_text(value)}> {field.name} = {field.number};")
            continue
        text = f"{type_text(field)} {field.name} = {field.number};"
        if field.HasField("oneof_index") and not field.proto3_optional:
            one_of.append(f"    {text}")
        else:
            label = "repeated " if field.label == Proto.LABEL_REPEATED else "optional " if field.proto3_optional else ""
            lines.append(f"  {label}{text}")
    if one_of:
        lines += ["  oneof value {", *one_of, "  }"]
    return [*lines, "}"]


def type_text(field: descriptor_pb2.FieldDescriptorProto) -> str:
    return field.type_name.rsplit(".", 1)[1] if field.type_name else TYPE_NAMES[field.type]
