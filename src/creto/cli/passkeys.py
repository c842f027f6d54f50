"""`creto approvals passkeys`: one's own passkeys. A browser makes them; here they are listed and removed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import click

from creto.cli.asking import as_key, as_key_file, identity
from creto.cli.context import Cli, group, pass_cli
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.cli.voting import plain
from creto.common.errors import NotFound
from creto.common.settings import link_base_of
from creto.platform.crypto.jose import b64url_encode

if TYPE_CHECKING:
    from creto.edge.api.passkeys import PasskeyView

passkeys = group("passkeys", "Your passkeys: see them, remove them.")

PASSKEY: Sequence[Column[PasskeyView]] = (
    Column("PASSKEY", lambda p: b64url_encode(p.credential_id)),
    Column("NAME", lambda p: plain(p.name)),
    Column("SITE", lambda p: p.site),
    Column("SINCE", lambda p: when(p.enrolled_at)),
)


@passkeys.command("list", example="creto approvals passkeys list --key $ANN")
@as_key
@as_key_file
@pass_cli
async def list_(cli: Cli, key_id: str | None, key_file: Path | None) -> None:
    """Those that you have enrolled."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        found = await creto.approvals.list_passkeys()
    cli.output.items(found.items, PASSKEY, nothing=f"You have none. A browser makes one: {page_of(cli)}")


@passkeys.command(example="creto approvals passkeys add")
@pass_cli
def add(cli: Cli) -> None:
    """Where to add one: only a browser can make it."""
    url = page_of(cli)
    cli.output.say({"url": url}, f"Only a browser can make a passkey. Sign in and add it at {url}")


@passkeys.command(example="creto approvals passkeys remove laptop --key $ANN")
@click.argument("passkey")
@as_key
@as_key_file
@pass_cli
async def remove(cli: Cli, passkey: str, key_id: str | None, key_file: Path | None) -> None:
    """Remove PASSKEY, by its id or its name. What it signed stays proved."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        known = (await creto.approvals.list_passkeys()).items
        found = [one for one in known if passkey in (b64url_encode(one.credential_id), one.name)]
        if not found:
            raise NotFound("OV-404", "you have no such passkey", field="passkey", got=passkey)
        if len(found) > 1:
            raise click.UsageError(f"{len(found)} of your passkeys are called {passkey}: name one by its id.")
        done = await creto.approvals.remove_passkey(credential_id=found[0].credential_id)
    cli.output.say(done, f"{plain(found[0].name)} decides nothing any more.")


def page_of(cli: Cli) -> str:
    """Browsers make passkeys for names, not for addresses: on this machine that name is localhost."""
    parts = urlsplit(cli.url or link_base_of(cli.config()))
    host = parts.netloc.replace("127.0.0.1", "localhost") if parts.hostname == "127.0.0.1" else parts.netloc
    return urlunsplit((parts.scheme, host, "/passkeys", "", ""))
