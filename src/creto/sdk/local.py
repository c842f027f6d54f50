"""The layer in this process: the same dispatcher that the edges use, asked directly: as the installation's operator, or as whoever is named."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from creto.app import App, kek_beside, running
from creto.common import wire
from creto.common.config import Config, load
from creto.common.errors import EnablementError
from creto.common.ids import AgentId
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.edge.api.dispatch import ALL_SCOPES, Call, Dispatcher
from creto.edge.api.endpoint import Endpoint
from creto.platform.nhi import Caller, DelegationChain, Standing
from creto.sdk.line import written
from creto.store.types import Grade
from creto.tenants import with_way_out

R = TypeVar("R")


class LocalLine:
    def __init__(self, app: App, agent: AgentId | None = None, chain: DelegationChain | None = None) -> None:
        self.app = app
        self._agent = agent or (chain.current().nhi if chain else None)
        self._chain = chain
        self._override: str | None = None
        self._dispatcher = Dispatcher(app.parts)

    def acting(self, chain: DelegationChain) -> LocalLine:
        line = copy(self)
        line._agent, line._chain = chain.current().nhi, chain
        return line

    def with_override(self, token: str) -> LocalLine:
        line = copy(self)
        line._override = token
        return line

    async def call(self, endpoint: Endpoint[..., R], request: Any) -> R:
        """The request is checked as one from outside is: constructors do not look at limits."""
        asked = wire.convert(
            msgspec.to_builtins(request, builtin_types=(bytes,)), endpoint.request_type, what="request"
        )
        app = self.app
        expires_at = ConsensusTimestamp(app.parts.clock.now() + HOUR)
        agent = self._agent or app.operator
        kind = app.parts.nhi.get_now(app.tenant, agent).kind
        caller = Caller(app.tenant, agent, kind, (ALL_SCOPES,), expires_at)
        call = Call(caller, app.tenant, self._chain, self._override, grade=Grade.COOPERATIVE)
        try:
            with written(endpoint):
                return await self._dispatcher(endpoint, call, asked)
        except EnablementError as error:
            if agent != app.operator or app.parts.nhi.standing(agent, tenant=app.tenant) is Standing.IN_FORCE:
                raise
            raise with_way_out(error) from None

    async def close(self) -> None:
        """The application is closed by whoever opened it."""


@asynccontextmanager
async def opened(
    path: str | Path, config: Config | None, agent: AgentId | None = None, chain: DelegationChain | None = None
) -> AsyncIterator[LocalLine]:
    async with running(config or beside(Path(path))) as app:
        yield LocalLine(app, agent, chain)


def beside(path: Path) -> Config:
    """The configuration of a layer in one place: `creto.db`, `creto.kek` and `creto-objects`, where `creto dev` has them too."""
    home = path.absolute().parent
    kek = kek_beside(path.absolute())
    return load(
        defaults=(),
        env={
            "CRETO_STORE__URL": f"sqlite:///{path.absolute()}",
            "CRETO_CRYPTO__KEK": f"file:{kek}",
            "CRETO_STORAGE__URL": f"file://{home / f'{path.stem}-objects'}",
        },
    )
