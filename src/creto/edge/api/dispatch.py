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
from creto.common.ids import TenantId
from creto.edge.api.endpoint import Endpoint
from creto.edge.api.idempotency import answered_once
from creto.edge.api.parts import Parts
from creto.gate import Operation
from creto.platform.nhi import Caller, DelegationChain
from creto.platform.nhi.scope import any_matches
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

    @property
    def known(self) -> Caller:
        if self.caller is None:
            raise Unauthorized("PL-401")
        return self.caller


Handler = Callable[[Parts, Call, Any], Awaitable[Any]]

HANDLERS: dict[str, Handler] = {}


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
            covered(endpoint, call)
            result = await answered_once(
                self.parts,
                endpoint,
                call,
                request,
                admit=partial(self.admit, endpoint, call, request),
                answer=partial(self._answer, endpoint, call, request),
            )
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

    async def _answer(self, endpoint: Endpoint[..., R], call: Call, request: Any) -> R:
        answer = await HANDLERS[endpoint.name](self.parts, call, request)
        assert isinstance(answer, endpoint.response)
        return answer

    async def admit(self, endpoint: Endpoint[..., Any], call: Call, request: Any) -> None:
        """The gate, for whatever is not open to everybody."""
        if endpoint.action is None:
            return
        caller = call.known
        await self.parts.nhi.prefetch(caller.tenant, *(call.chain.agents if call.chain else (caller.agent,)))
        await self.parts.authz.prefetch(caller.tenant, caller.agent)
        field = endpoint.resource_field
        operation = Operation(
            tenant=caller.tenant,
            agent=caller.agent,
            chain=call.chain,
            action=endpoint.action,
            resource=str(getattr(request, field)) if field else f"tenant:{caller.tenant}",
            product=ProductId.PLATFORM,
            arguments=wire.encode(request),
            grade=call.grade,
            override_token=call.override_token,
        )
        await self.parts.gate.authorized_operation(operation)


def covered(endpoint: Endpoint[..., Any], call: Call) -> None:
    """Whether the credential reaches that far; what its holder may do is the gate's question."""
    if endpoint.action is None:
        return
    scopes = call.known.scopes
    if not any_matches(scopes, endpoint.needed_scope):
        raise Unauthorized(
            "PL-109",
            f"the token does not cover {endpoint.needed_scope}",
            got=", ".join(sorted(scopes)) or "no scope",
            expected=endpoint.needed_scope,
        )
