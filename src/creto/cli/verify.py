"""`creto verify`: whether a file holds, with public keys alone. No installation is needed."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

import creto.metering.invoice_file
import creto.oversight.proof  # noqa: F401 - they make their kinds of file known
from creto.cli.choices import file_path
from creto.cli.context import Cli, Command, pass_cli, read
from creto.cli.exits import Exit
from creto.cli.output import styled, text
from creto.cli.progress import progress
from creto.common import wire
from creto.common.errors import EnablementError, ErrorBody
from creto.common.ids import AgentId
from creto.common.limits import BODY_BYTES_MAX, NOTE_BYTES_MAX
from creto.platform.audit import Checkpoint, Keys, People, Principal, Trust, Verdict, verify_file, verify_folder

NO_KEYS = ("keys", "people", "trust")  # the question lacks something, the file may be good
AGENTS_BYTES_MAX = 64 * 1024 * 1024


class Verified(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file's verdict, as --json prints it."""

    file: str
    holds: bool
    kind: str | None = None
    shows: tuple[str, ...] = ()
    details: dict[str, object] = {}
    error: ErrorBody | None = None


@click.command(
    cls=Command, example="creto verify --agents keys.json decision.json\ncreto verify --keys vkeys.txt proof.json"
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--keys", "trust_file", type=file_path, help="The log's public keys (`creto audit keys`, or a C2SP policy)."
)
@click.option("--agents", "agents_file", type=file_path, help="Public keys of identities (`creto agents keys`).")
@click.option("--people", "people_file", type=file_path, help="Who may decide, with their public keys.")
@click.option("--seen", "seen_files", type=file_path, multiple=True, help="A checkpoint you kept from earlier; may be repeated.")  # fmt: skip
@pass_cli
def verify(
    cli: Cli,
    files: tuple[Path, ...],
    trust_file: Path | None,
    agents_file: Path | None,
    people_file: Path | None,
    seen_files: tuple[Path, ...],
) -> None:
    """Verify proofs, checkpoints, exported logs (a folder), delegation chains, decision certificates, oversight decisions and invoices.

    The file says what it is; the keys say whom to believe, and have to come from elsewhere than the file. Exit code 7 if any does not
    hold.
    """
    keys = Keys(
        trust=Trust.parse(read(trust_file, bytes_max=NOTE_BYTES_MAX)) if trust_file else None,
        agents=read_agents(agents_file) if agents_file else {},
        trusted=tuple(Checkpoint.parse(read(path, bytes_max=NOTE_BYTES_MAX)) for path in seen_files),
        people=People.parse(read(people_file, bytes_max=BODY_BYTES_MAX)) if people_file else None,
    )
    failed = False
    for path in files:
        data = None if path.is_dir() else read(path, bytes_max=BODY_BYTES_MAX)
        try:
            shown(cli, path, verdict_of(cli, path, data, keys))
        except EnablementError as error:
            if error.field in NO_KEYS:
                raise
            failed = True
            refused(cli, path, error)
    if failed:
        raise click.exceptions.Exit(Exit.VERIFICATION_FAILED)


def verdict_of(cli: Cli, path: Path, data: bytes | None, keys: Keys) -> Verdict:
    if data is not None:
        return verify_file(data, keys)
    with progress(cli.output, f"verifying {path}"):
        return verify_folder(path, keys.trust, keys.trusted)


def shown(cli: Cli, path: Path, verdict: Verdict) -> None:
    if cli.output.json:
        cli.output.say(Verified(str(path), True, verdict.kind, verdict.shows, verdict.details), "")
        return
    click.echo(f"{styled('ok', fg='green')} {path}: {verdict.kind}")
    for line in verdict.shows:
        click.echo(f"   {text(line)}")


def refused(cli: Cli, path: Path, error: EnablementError) -> None:
    if cli.output.json:
        cli.output.say(Verified(str(path), False, error=error.body()), "")
        return
    click.echo(f"{styled('FAILED', fg='red')} {path}")
    for line in error.rendered().split("\n"):
        click.echo(f"   {text(line)}")


def read_agents(path: Path) -> dict[AgentId, Principal]:
    return wire.decode(read(path, bytes_max=AGENTS_BYTES_MAX), dict[AgentId, Principal], what="agents")
