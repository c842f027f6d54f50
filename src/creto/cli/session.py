"""The SDK as the command line uses it: the configured installation in this process, or the one at --url."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from creto.cli.context import Cli
from creto.cli.local import check_tenant_first
from creto.common.ids import TenantId

if TYPE_CHECKING:
    from creto.sdk import AgentKey, AsyncCreto


@asynccontextmanager
async def session(cli: Cli, key: AgentKey | None = None) -> AsyncIterator[AsyncCreto]:
    """With a key as the identity whose it is; else as the token's, or as the operator."""
    from creto.sdk import AsyncCreto

    chain, override = cli.chain(), cli.override()
    if cli.url:
        opened = AsyncCreto.connect(cli.url, token=None if key else cli.token(), key=key, chain=chain)
    else:
        await check_tenant_first(cli)
        opened = AsyncCreto.local(config=cli.config(), key=key, chain=chain)
    async with opened as creto:
        yield creto.with_override(override) if override else creto


def tenant_of(cli: Cli) -> TenantId:
    """In whose name something is signed: the tenant asked for, the token's, or the configured one."""
    from creto.platform.nhi.tokens import Token

    token = cli.token() if cli.url and not cli.tenant else None
    return Token.from_text(token).head.tenant if token else cli.configured_tenant()
