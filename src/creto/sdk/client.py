"""`Creto` and `AsyncCreto`: the layer as an object."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Generic, Self

from creto.common.config import Config
from creto.common.ids import DEFAULT_TENANT, AgentId, TenantId
from creto.common.settings import CommonConfig
from creto.platform.nhi import DelegationChain, PrincipalKind
from creto.sdk import parts
from creto.sdk.keys import AgentKey
from creto.sdk.line import Async, Line, Portal, Sync, World
from creto.sdk.waiting import PatientLine

Opener = Callable[[], AbstractAsyncContextManager[Line]]


class Parts(Generic[World]):
    """What both clients have."""

    _entered: AbstractAsyncContextManager[Line]

    def __init__(self, opener: Opener, tenant: TenantId = DEFAULT_TENANT) -> None:
        self._opener = opener
        self.tenant = tenant

    @classmethod
    def local(
        cls,
        path: str | Path = "creto.db",
        *,
        config: Config | None = None,
        key: AgentKey | None = None,
        chain: DelegationChain | None = None,
    ) -> Self:
        """The whole layer in this process, on one SQLite file or as the configuration says.

        You are its operator; with a key, the identity whose it is, and with a chain, the agent at its end.
        """
        return cls(lambda: local_line(path, config, key, chain), tenant_in(config))

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        token: str | None = None,
        key: AgentKey | None = None,
        chain: DelegationChain | None = None,
        tenant: TenantId = DEFAULT_TENANT,
    ) -> Self:
        """A layer that runs elsewhere. With a key, tokens are fetched as they are needed; `chain` says for whom you act."""
        return cls(lambda: remote_line(url, token, key, chain, tenant), tenant)

    def _bind(self, world: World) -> None:
        self._world: World = world
        self.agents: parts.Agents[World] = parts.Agents(world)
        self.delegations: parts.Delegations[World] = parts.Delegations(world)
        self.auth: parts.Auth[World] = parts.Auth(world)
        self.policies: parts.Policies[World] = parts.Policies(world)
        self.audit: parts.AuditLog[World] = parts.AuditLog(world)
        self.memory: parts.Memories[World] = parts.Memories(world)
        self.objects: parts.Objects[World] = parts.Objects(world)
        self.approvals: parts.Approvals[World] = parts.Approvals(world)
        self.webhooks: parts.Webhooks[World] = parts.Webhooks(world)
        self.metering: parts.Metering[World] = parts.Metering(world)
        self.quotas: parts.Quotas[World] = parts.Quotas(world)
        self.billing: parts.Billing[World] = parts.Billing(world)
        self.credits: parts.Credits[World] = parts.Credits(world)
        self.stripe: parts.Stripe[World] = parts.Stripe(world)
        self.bus: parts.Bus[World] = parts.Bus(world)
        self.time: parts.Time[World] = parts.Time(world)

    def acting(self, chain: DelegationChain) -> Self:
        """The same layer, on which the agent at the end of the chain acts for those before it.

        Over HTTP the credential has to be that agent's. It is open as long as this one is.
        """
        return self._beside(self._world.line.acting(chain))

    def with_override(self, token: str) -> Self:
        """The same layer, with a human's approval: `creto.with_override(token).objects.delete(key="a")` goes through, once."""
        return self._beside(self._world.line.with_override(token))

    def awaiting_approval(self, timeout_s: float | None = None) -> Self:
        """The same layer, on which a call that needs a human's approval waits for it and then goes through, once.

        After `timeout_s` it is refused as without waiting; the request stays open, and the same call finds it again.
        """
        return self._beside(PatientLine(self._world.line, timeout_s))

    def _beside(self, line: Line) -> Self:
        """A client on the same connection, which it does not close."""
        other = copy(self)
        other._entered = nullcontext(line)
        other._bind(self._world.along(line))
        return other


class AsyncCreto(Parts[Async]):
    """The layer for asynchronous programs."""

    async def register(
        self,
        name: str,
        *,
        kind: PrincipalKind = PrincipalKind.AGENT,
        key: AgentKey | None = None,
        owner: AgentId | None = None,
    ) -> AgentKey:
        """A new identity with a key of its own, which stays with you."""
        key = key or AgentKey.generate()
        proof = key.registration(self.tenant, kind, name, owner)
        await self.agents.register(kind=kind, name=name, verify_key=key.public.to_bytes(), proof=proof, owner=owner)
        return key

    async def __aenter__(self) -> Self:
        if not isinstance(getattr(self, "_entered", None), nullcontext):
            self._entered = self._opener()
            self._bind(Async(await self._entered.__aenter__()))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._entered.__aexit__(kind, error, trace)


class Creto(Parts[Sync]):
    """The layer for everybody else; the same methods, which return when it is done."""

    def __init__(self, opener: Opener, tenant: TenantId = DEFAULT_TENANT) -> None:
        super().__init__(opener, tenant)
        self._portal = Portal()
        self._entered = opener()
        try:
            self._bind(Sync(self._portal.run(entered(self._entered)), self._portal))
        except BaseException:
            self._portal.close()
            raise

    def register(
        self,
        name: str,
        *,
        kind: PrincipalKind = PrincipalKind.AGENT,
        key: AgentKey | None = None,
        owner: AgentId | None = None,
    ) -> AgentKey:
        """A new identity with a key of its own, which stays with you."""
        key = key or AgentKey.generate()
        proof = key.registration(self.tenant, kind, name, owner)
        self.agents.register(kind=kind, name=name, verify_key=key.public.to_bytes(), proof=proof, owner=owner)
        return key

    def close(self) -> None:
        """Finish what was accepted, then let go. Closing again does nothing, nor closing what `acting` and `with_override` gave."""
        if self._portal.closed or isinstance(self._entered, nullcontext):
            return
        try:
            self._portal.run(left(self._entered))
        finally:
            self._portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tenant_in(config: Config | None) -> TenantId:
    return TenantId(config[CommonConfig].tenant) if config else DEFAULT_TENANT


async def entered(opened: AbstractAsyncContextManager[Line]) -> Line:
    return await opened.__aenter__()


async def left(opened: AbstractAsyncContextManager[Line]) -> None:
    await opened.__aexit__(None, None, None)


@asynccontextmanager
async def local_line(
    path: str | Path, config: Config | None, key: AgentKey | None, chain: DelegationChain | None
) -> AsyncIterator[Line]:
    from creto.sdk.local import opened

    async with opened(path, config, key.nhi if key else None, chain) as line:
        yield line


@asynccontextmanager
async def remote_line(
    url: str, token: str | None, key: AgentKey | None, chain: DelegationChain | None, tenant: TenantId
) -> AsyncIterator[Line]:
    from creto.sdk.remote import HttpLine

    line = HttpLine(url, token, key, chain, tenant)
    try:
        yield line
    finally:
        await line.close()
