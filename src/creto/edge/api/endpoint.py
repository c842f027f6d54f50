"""An endpoint: what can be asked of the layer, declared once.

REST routes, OpenAPI, gRPC services, the SDK's methods and the CLI all derive from these declarations, so they cannot drift apart:

    GET = Endpoint(
        "agents.get", "GET", "/v1/agents/{agent}", GetAgent, AgentView, action="nhi.read", summary="One identity"
    )

    @handles(GET)
    async def get_agent(parts: Parts, caller: Caller, ask: GetAgent) -> AgentView: ...

A field of the request that is named in the path comes from there; of the others, GET and DELETE take them from the query and the rest
from the JSON body. A field marked `raw_body` is the body itself, as a stream of bytes on the wire.
INVARIANT: names, paths and fields are a public promise. New fields go to the end and have defaults: their place is their gRPC number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints

import msgspec

from creto.edge.api.fields import check_agents
from creto.gate import Effect

P = ParamSpec("P")
Q = TypeVar("Q")
R = TypeVar("R")

TENANT = "tenant:{tenant}"  # what is about no one thing
PATH_FIELD = re.compile(r"\{(\w+)\}")


class Nothing(msgspec.Struct, frozen=True):
    """An empty request or answer."""


class Ask(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of every request: unknown fields are refused, so that a misspelt option is not silently ignored; so are malformed agent ids."""

    def __post_init__(self) -> None:
        check_agents(self)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """The base of every answer."""


class Blob(msgspec.Struct, frozen=True):
    """Raw bytes instead of JSON, in or out."""

    data: bytes
    content_type: str = "application/octet-stream"


@dataclass(frozen=True)
class Endpoint(Generic[P, R]):
    """`request` is the struct of the question: calling the endpoint takes the struct's own parameters."""

    name: str  # "agents.get": the part and the verb
    method: str
    path: str
    request: Callable[P, Any]
    response: type[R]
    action: str | None  # what the gate decides about; None where the handler does, or nobody has to
    summary: str
    status: int = 200
    about: str = TENANT  # the resource that the gate decides about, with the request's fields in braces
    raw_body: str | None = None  # the field that takes the body as it comes
    errors: tuple[str, ...] = ()  # codes beyond those that every endpoint may answer with
    open: bool = False  # to who has no credential yet
    keyed: bool = True  # an Idempotency-Key counts; not for questions in a POST, nor where the answer is a secret
    rpc: str = ""  # the method's name over gRPC, where the contract has another than the verb
    forms: tuple[tuple[str, str], ...] = ()  # further media types of the body, each with the field that it is
    effect: Effect | None = None  # where it leaves its mark, if that is not plain: see `leaves`

    @property
    def part(self) -> str:
        return self.name.split(".", 1)[0]

    @property
    def verb(self) -> str:
        return self.name.split(".", 1)[1]

    @property
    def request_type(self) -> type[msgspec.Struct]:
        assert isinstance(self.request, type)
        return self.request

    @cached_property
    def hints(self) -> dict[str, Any]:
        """The types of the request's fields, with their limits."""
        return get_type_hints(self.request_type, include_extras=True)

    @cached_property
    def path_fields(self) -> tuple[str, ...]:
        return tuple(PATH_FIELD.findall(self.path))

    @cached_property
    def body_fields(self) -> tuple[str, ...]:
        """What the JSON body holds; GET and DELETE have none."""
        if self.method in ("GET", "DELETE", "HEAD") or self.raw_body:
            return ()
        return tuple(f for f in self.request_type.__struct_fields__ if f not in self.path_fields)

    @cached_property
    def query_fields(self) -> tuple[str, ...]:
        taken = {*self.path_fields, *self.body_fields, self.raw_body}
        return tuple(f for f in self.request_type.__struct_fields__ if f not in taken)

    @property
    def takes_key(self) -> bool:
        return self.keyed and self.action is not None and self.method != "GET"

    @property
    def leaves(self) -> Effect:
        """What it does to the world: a question nothing; everything else is recorded by the part that does it, unless it says otherwise."""
        if self.effect is not None:
            return self.effect
        return Effect.RECORDED if self.takes_key else Effect.NONE

    @cached_property
    def about_fields(self) -> tuple[str, ...]:
        """The fields of the request that name the resource."""
        return tuple(f for f in PATH_FIELD.findall(self.about) if f != "tenant")

    def resource(self, request: Any, tenant: str) -> str:
        """What a request is about, as policies and chains name it."""
        return self.about.format(tenant=tenant, **{name: getattr(request, name) for name in self.about_fields})
