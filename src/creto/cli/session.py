"""The SDK as the command line uses it: the configured installation in this process, or the one at --url."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from creto.cli.context import Cli

if TYPE_CHECKING:
    from creto.sdk import AsyncCreto


@asynccontextmanager
async def session(cli: Cli) -> AsyncIterator[AsyncCreto]:
    from creto.sdk import AsyncCreto

    if cli.url:
        async with AsyncCreto.connect(cli.url, token=cli.token()) as remote:
            yield remote
    else:
        async with AsyncCreto.local(cli.config()) as local:
            yield local
