"""The configured installation without the SDK: its keystore and its store, for what only its operator may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from creto.cli.context import Cli

if TYPE_CHECKING:
    from creto.app import App
    from creto.common.config import Config
    from creto.platform.consensus import ConsensusClient
    from creto.platform.crypto import Keystore, VerifyKey
    from creto.store import Store


def new_kek(path: Path) -> bool:
    """A fresh key-encryption key that only its owner can read; False if there is one already."""
    from creto.app import create_kek

    return create_kek(path)


def refuse_second_key(database: Path, kek: Path) -> None:
    """PL-215 if the database exists: a key that is made now would not open it."""
    from creto import app

    app.refuse_second_key(database, kek)


def time_nodes(config: Config) -> list[tuple[str, VerifyKey]]:
    """Where the configured time nodes are, and the keys they sign with."""
    from creto.app import time_node
    from creto.common.settings import ConsensusConfig

    return [time_node(text) for text in config[ConsensusConfig].nodes]


def migrated_parts() -> tuple[str, ...]:
    from creto.app import MIGRATED

    return MIGRATED


@asynccontextmanager
async def opened(config: Config) -> AsyncIterator[tuple[Store, ConsensusClient]]:
    """The store and the clock."""
    from creto.app import clock_for, open_configured_store

    store = await asyncio.to_thread(open_configured_store, config)
    try:
        async with clock_for(config, store) as clock:
            yield store, clock
    finally:
        await asyncio.to_thread(store.close)


@asynccontextmanager
async def keystore_of(cli: Cli, previous: Sequence[str] = ()) -> AsyncIterator[Keystore]:
    """The sealed keystore; a key never leaves it but to sign. `previous` are sources of key-encryption keys beside the configured ones."""
    from creto.app import open_keystore

    config = cli.config()
    async with opened(config) as (store, clock):
        keystore = await open_keystore(config, store, clock, previous)
        await check_tenant(cli, keystore)
        yield keystore


async def check_tenant(cli: Cli, keystore: Keystore) -> None:
    """PL-404 for a --tenant that nobody made."""
    from creto.tenants import exists, no_tenant

    other = cli.other_tenant()
    if other is not None and not await exists(keystore, other):
        raise no_tenant(other)


async def check_tenant_first(cli: Cli) -> None:
    """The same, before all parts are opened in it."""
    if cli.other_tenant() is not None:
        async with keystore_of(cli):
            pass


@asynccontextmanager
async def running_here(cli: Cli, what: str, *, new_tenant: bool = False) -> AsyncIterator[App]:
    """All parts of the configured installation, beside whatever else runs on it; the log stays with the worker."""
    from creto.app import running

    cli.local_only(what)
    if not new_tenant:
        await check_tenant_first(cli)
    async with running(cli.config(), work=False) as app:
        yield app
