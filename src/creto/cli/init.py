"""`creto init`: a configuration with every default in it as a comment, a key-encryption key, a data folder."""

from __future__ import annotations

from collections.abc import Coroutine
from enum import Enum
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from creto.cli.context import Cli, Command, pass_cli
from creto.cli.local import new_kek, refuse_second_key, running_here
from creto.common.config import Config, Field, declared
from creto.common.errors import AlreadyExists

CONFIG, KEK, DATA = "creto.toml", "creto.kek", "data"
CHOSEN = {
    "store.url": f"sqlite:///{DATA}/creto.db",
    "crypto.kek": f"file:{KEK}",
    "storage.url": f"file://{DATA}/objects",
}

SECRET, UNSET = ' "${NAME}"  # a secret: from the environment', " …  # not set"

HEAD = """\
# The configuration of this creto installation. What is commented out is the default; `creto config show` says what holds.
# The environment wins over this file: CRETO_STORE__URL=…; ${NAME} here takes a value from the environment.
# Keys marked "live" change on SIGHUP, the others with a restart. Relative paths count from where creto is started.
"""


@click.command(cls=Command)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=Path())
@click.option("--recover-operator", is_flag=True, help="Make a new operator where the present one is revoked, suspended or without the role.")  # fmt: skip
@pass_cli
def init(cli: Cli, folder: Path, recover_operator: bool) -> Coroutine[Any, Any, None] | None:
    """Make creto.toml, a key-encryption key and the data folder in FOLDER (here, if not given).

    Nothing that exists is overwritten. Keep a copy of creto.kek in another place: without it the keystore, the memories and the objects
    cannot be opened any more.
    """
    if recover_operator:
        return recovered(cli)
    for name in (CONFIG, KEK):
        if (folder / name).exists():
            hint = "Go on with `creto dev`, or choose another folder."
            raise AlreadyExists("PL-409", f"{folder / name} exists already; nothing was changed", hint=hint)
    (folder / DATA).mkdir(mode=0o700, parents=True, exist_ok=True)
    new_kek(folder / KEK)
    (folder / CONFIG).write_text(template())
    made = [str(folder / name) for name in (CONFIG, KEK, DATA)]
    cli.output.say({"made": made}, f"Made {', '.join(made)}.")
    cli.output.note(f"Keep a copy of {folder / KEK} elsewhere: it opens everything that is sealed. Next: creto dev")
    return None


async def recovered(cli: Cli) -> None:
    """Whoever has the database and its key-encryption key owns the installation; the log keeps what they do."""
    async with running_here(cli, "an operator is recovered") as app:
        agent = await app.tenants.recover(app.tenant)
    cli.output.say({"operator": agent}, f"{agent} is the operator of {app.tenant} now.")


def ensure_kek(config: Config) -> Path | None:
    """For `creto dev` in a new folder: the configured file, if it had to be made. Raises PL-215 if a database is there without it."""
    from creto.common.settings import CryptoConfig, StoreConfig

    scheme, _, path = config[CryptoConfig].kek.partition(":")
    if scheme != "file" or Path(path).exists():
        return None
    engine, _, database = config[StoreConfig].url.partition(":///")
    if engine == "sqlite":
        refuse_second_key(Path(database), Path(path))
    return Path(path) if new_kek(Path(path)) else None


def template() -> str:
    from creto.common import settings  # noqa: F401 - declares the sections

    parts = [HEAD]
    for name, fields in groupby(declared(), key=lambda field: field.key.partition(".")[0]):
        parts.append(f"\n[{name}]\n" + "".join(line(field) for field in fields))
    return "".join(parts)


def line(field: Field) -> str:
    live = "  # live" if field.live else ""
    if field.key in CHOSEN:
        return f"{field.name} = {toml(CHOSEN[field.key])}{live}\n"
    if field.default is None:
        return f"# {field.name} ={SECRET if field.secret else UNSET}{live}\n"
    return f"# {field.name} = {toml(field.default)}{live}\n"


def toml(value: Any) -> str:
    if isinstance(value, Enum):
        return toml(value.value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value)
