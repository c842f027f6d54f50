"""One way in: scope, gate, handler. REST, gRPC and the embedded SDK all ask through a Dispatcher.

dispatcher = Dispatcher(parts)
view = await dispatcher(agents.GET, Call(caller), GetAgent(agent="agent:nhi:ed25519:…"))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

from creto.common import wire
from creto.common.errors import EnablementError, InternalError, ProductId, Unauthorized
from creto.common.ids import AgentId, TenantId
from creto.edge.api.endpoint import Endpoint
from creto.edge.api.idempotency import answered_once
from creto.edge.api.parts import Parts
from creto.gate import Operation
from creto.platform.crypto import digest
from creto.platform.nhi import Caller, DelegationChain
from creto.security.authz.types import RequiresOversight
from creto.store.types import Grade

R = TypeVar("R")
ALL_SCOPES = "*"


@dataclass(frozen=True)
class Call:
    """Who asks, for whom, and how it came in. `caller` is None only where an endpoint is open to everybody."""

    caller: Caller | None
    tenant: TenantId
    chain: DelegationChain | None = None
    override_token: str | None = None
    idempotency_key: str | None = None
    grade: Grade = Grade.GATEWAY
    by_session: bool = False  # through the console's session, not with a token or a certificate

    @property
    def known(self) -> Caller:
        if self.caller is None:
            raise Unauthorized("PL-401")
        return self.caller

    @property
    def agents(self) -> tuple[AgentId, ...]:
        """Who acts, under whom: from the root of the delegation chain down to the caller."""
        return (self.known.agent,) if self.chain is None else tuple(self.chain.agents)


Handler = Callable[[Parts, Call, Any], Awaitable[Any]]

HANDLERS: dict[str, Handler] = {}
Subject = Callable[[Parts, Call, Any], Awaitable[str | None]]
SUBJECTS: dict[str, Subject] = {}
Further = Callable[[Parts, Call, Any], Awaitable[RequiresOversight | None]]
FURTHER: dict[str, Further] = {}


def asks_too(endpoint: Endpoint[..., Any]) -> Callable[[Further], Further]:
    """Register the function that says whether the answer will ask a human, where the gate asks one about the request."""

    def register(further: Further) -> Further:
        FURTHER[endpoint.name] = further
        return further

    return register


def concerns(*endpoints: Endpoint[..., Any]) -> Callable[[Subject], Subject]:
    """Register the function that looks up what a request is about, where its fields do not say; None if there is no such thing."""

    def register(subject: Subject) -> Subject:
        SUBJECTS.update({endpoint.name: subject for endpoint in endpoints})
        return subject

    return register


def handles(endpoint: Endpoint[..., Any]) -> Callable[[Handler], Handler]:
    """Register the function that answers an endpoint."""

    def register(handler: Handler) -> Handler:
        if endpoint.name in HANDLERS:
            raise InternalError("PL-500", f"two handlers for {endpoint.name}")
        HANDLERS[endpoint.name] = handler
        return handler

    return register


class Dispatcher:
    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    async def __call__(self, endpoint: Endpoint[..., R], call: Call, request: Any) -> R:
        started = perf_counter()
        code = "PL-500"
        try:
            result: R = await self._perform(endpoint, call, request)
            code = "ok"
            return result
        except EnablementError as error:
            code = error.code
            error.with_context(endpoint.name)
            raise
        except asyncio.CancelledError:
            code = "PL-499"
            raise
        finally:
            self.parts.requests.done(endpoint.name, code, perf_counter() - started, call)

    async def _perform(self, endpoint: Endpoint[..., R], call: Call, request: Any) -> R:
        """Through the gate, and once per Idempotency-Key. Where the handler decides, or anybody may ask, it goes there."""
        answer = partial(self._answer, endpoint, call, request)
        if not endpoint.open and call.caller is None:
            raise Unauthorized("PL-401")
        if endpoint.action is None:
            return await answer()
        gate, operation = self.parts.gate, await self.operation(endpoint, call, request)
        await gate.covered(operation)  # also for what was answered before
        return await answered_once(
            self.parts,
            endpoint,
            call,
            request,
            around=partial(gate.performed, operation, endpoint.leaves),
            answer=answer,
        )

    async def _answer(self, endpoint: Endpoint[..., R], call: Call, request: Any) -> R:
        answer = await HANDLERS[endpoint.name](self.parts, call, request)
        assert isinstance(answer, endpoint.response)
        return answer

    async def operation(self, endpoint: Endpoint[..., Any], call: Call, request: Any) -> Operation:
        """What the gate is asked."""
        assert endpoint.action is not None
        caller = call.known
        resource = endpoint.resource(request, caller.tenant)
        if endpoint.name in SUBJECTS:
            resource = await SUBJECTS[endpoint.name](self.parts, call, request) or resource
        await self.parts.nhi.prefetch(caller.tenant, *(call.chain.agents if call.chain else (caller.agent,)))
        await self.parts.authz.prefetch(caller.tenant, caller.agent)
        return Operation(
            tenant=caller.tenant,
            agent=caller.agent,
            chain=call.chain,
            action=endpoint.action,
            resource=resource,
            product=ProductId.PLATFORM,
            arguments=arguments_of(endpoint, request),
            grade=call.grade,
            override_token=call.override_token,
            scopes=caller.scopes,
            form=endpoint.name,
            asks_too=partial(FURTHER[endpoint.name], self.parts, call, request) if endpoint.name in FURTHER else None,
        )


def arguments_of(endpoint: Endpoint[..., Any], request: Any) -> bytes:
    """What an approval is bound to, and its approver sees: the request; bytes that nobody reads are named by their digest."""
    if endpoint.raw_body is None:
        return wire.encode(request)
    fields = {name: getattr(request, name) for name in request.__struct_fields__}
    body = fields[endpoint.raw_body]
    return wire.encode(fields | {endpoint.raw_body: {"digest": digest(body).hex(), "size_bytes": len(body)}})
