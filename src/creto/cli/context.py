"""What every command knows: the global options, and from them the configuration, the address, the token."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creto.cli.output import Output
from creto.common.errors import InvalidInput
from creto.common.ids import TenantId
from creto.common.limits import CHAIN_BYTES_MAX, OVERRIDE_TOKEN_BYTES_MAX

if TYPE_CHECKING:
    from creto.common.config import Config
    from creto.platform.nhi import DelegationChain

TOKEN_BYTES_MAX = 16 * 1024


@dataclass
class Cli:
    """One run of the command line."""

    output: Output = field(default_factory=Output)
    files: tuple[Path, ...] = ()
    url: str | None = None
    tenant: str | None = None
    token_file: Path | None = None
    chain_file: Path | None = None
    override_file: Path | None = None

    def config(self) -> Config:
        from creto.common import settings  # noqa: F401 - declares the sections
        from creto.common.config import load

        env = dict(os.environ)
        if self.tenant:
            env["CRETO_COMMON__TENANT"] = self.tenant
        return load(self.files, env=env)

    def configured_tenant(self) -> TenantId:
        from creto.common.settings import CommonConfig

        return TenantId(self.config()[CommonConfig].tenant)

    def other_tenant(self) -> TenantId | None:
        """The tenant of --tenant, if it is not the configured one: it must exist, a slip of the pen makes none."""
        asked = self.configured_tenant() if self.tenant else None
        return asked if asked and asked != replace(self, tenant=None).configured_tenant() else None

    def token(self) -> str | None:
        """From --token-file or CRETO_TOKEN. Never an argument: every user of a machine can read those."""
        if self.token_file is None:
            return os.environ.get("CRETO_TOKEN") or None
        return read_text(self.token_file, bytes_max=TOKEN_BYTES_MAX)

    def override(self) -> str | None:
        """A human's approval of one operation, as the approver handed it out."""
        if self.override_file is None:
            return None
        return read_text(self.override_file, bytes_max=OVERRIDE_TOKEN_BYTES_MAX)

    def chain(self) -> DelegationChain | None:
        """By what the caller acts for another."""
        if self.chain_file is None:
            return None
        from creto.platform.nhi import DelegationChain

        return DelegationChain.from_bytes(read(self.chain_file, bytes_max=CHAIN_BYTES_MAX).strip())

    def local_only(self, what: str) -> None:
        if self.url:
            raise InvalidInput.of("--url", got=self.url, expected=f"no --url: {what} where the installation is")


pass_cli = click.make_pass_decorator(Cli)


def read(path: Path, *, bytes_max: int) -> bytes:
    """A file that the user named; `-` is standard input."""
    try:
        with click.open_file(str(path), "rb") as file:
            data: bytes = file.read(bytes_max + 1)
    except OSError as error:
        raise InvalidInput("PL-400", f"{path} cannot be read: {error.strerror}", field=str(path)) from error
    if len(data) > bytes_max:
        raise InvalidInput.of(str(path), got="a larger file", expected=f"at most {bytes_max} bytes", code="PL-413")
    return data


def read_text(path: Path, *, bytes_max: int) -> str:
    return read(path, bytes_max=bytes_max).decode(errors="replace").strip()


def write(path: Path | None, data: bytes, *, mode: int = 0o644) -> None:
    """A new file, never over an old one; without a path, standard output."""
    if path is None or str(path) == "-":
        click.echo(data, nl=not data.endswith(b"\n"))
        return
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode)
    except OSError as error:
        raise InvalidInput(
            "PL-400", f"{path} cannot be written: {error.strerror}", field=str(path), hint="Name a file that is new."
        ) from error
    with os.fdopen(fd, "wb") as file:
        file.write(data)


def written(cli: Cli, path: Path | None, data: bytes) -> None:
    """As `write`, and said."""
    write(path, data)
    if path is not None and str(path) != "-":
        cli.output.note(f"Wrote {path}.")


class Command(click.Command):
    """A command that may be a coroutine, and takes --json at its end as well as before it. `example` is a line as one types it."""

    def __init__(self, *args: Any, example: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.example = example
        self.params.append(
            click.Option(["--json"], is_flag=True, expose_value=False, callback=as_json, help="Print JSON.")
        )

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        if self.example:
            formatter.write_paragraph()
            formatter.write("".join(f"  $ {line}\n" for line in self.example.splitlines()))

    def invoke(self, ctx: click.Context) -> Any:
        done = super().invoke(ctx)
        if not inspect.iscoroutine(done):
            return done
        import asyncio

        return asyncio.run(done)


def as_json(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        ctx.ensure_object(Cli).output.json = True


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


def group(name: str, help: str) -> Group:
    return Group(name, help=help, no_args_is_help=True)
