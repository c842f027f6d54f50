"""`creto audit`: the log, to follow, to question, to prove, to take away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creto.cli.asking import lists
from creto.cli.choices import MOMENT, collected, file_path, limit_option, out_option
from creto.cli.context import Cli, group, pass_cli, read, write
from creto.cli.local import running_here
from creto.cli.output import Column, size, when
from creto.cli.progress import progress
from creto.cli.session import session
from creto.common.errors import ProductId
from creto.common.ids import PLATFORM_TENANT, AgentId
from creto.common.limits import BODY_BYTES_MAX, NOTE_BYTES_MAX
from creto.store.types import Outcome

if TYPE_CHECKING:
    from creto.edge.api.audit import EntryView, PastCheckpoint
    from creto.sdk import AsyncCreto

FOLLOW_S = 0.5  # how often a follower asks

audit = group("audit", "The audit log: every act, in a signed Merkle log.")

COLUMNS: Sequence[Column[EntryView]] = (
    Column("INDEX", lambda e: e.index, right=True),
    Column("TIME", lambda e: when(e.timestamp)),
    Column("AGENT", lambda e: e.agent_nhi[-12:]),
    Column("ACTION", lambda e: e.action),
    Column("RESOURCE", lambda e: e.resource),
    Column("OUTCOME", lambda e: e.outcome),
    Column("EVENT ID", lambda e: e.event_id),
)


def line(entry: EntryView) -> str:
    return "  ".join(
        [
            str(entry.index).rjust(6),
            when(entry.timestamp),
            entry.agent_nhi[-12:],
            str(entry.outcome).ljust(7),
            entry.action,
            entry.resource,
        ]
    )


@audit.command()
@click.option("-n", "count", type=click.IntRange(min=0), default=20, show_default=True, help="Begin with so many past entries.")  # fmt: skip
@click.option("--once", is_flag=True, help="Print those and end.")
@click.option("--agent", help="Only what this agent did.")
@pass_cli
async def tail(cli: Cli, count: int, once: bool, agent: str | None) -> None:
    """The newest entries, and then each new one as it comes, until Ctrl-C."""
    asked: dict[str, Any] = {"agent": AgentId(agent)} if agent else {}
    async with session(cli) as creto:
        past = [] if not count else await collected(
            creto.audit.query, count, lambda _: None, newest_first=True, **asked
        )  # fmt: skip
        for entry in reversed(past):
            cli.output.say(entry, line(entry))
        if not once:
            await follow(cli, creto, past[0].index if past else await newest(creto), asked)


async def newest(creto: AsyncCreto) -> int:
    found = (await creto.audit.query(newest_first=True, limit=1)).items
    return found[0].index if found else -1


async def follow(cli: Cli, creto: AsyncCreto, after: int, asked: dict[str, Any]) -> None:
    while True:
        page = await creto.audit.query(**asked, after=after if after >= 0 else None)
        for entry in page.items:
            cli.output.say(entry, line(entry))
            after = entry.index
        if not page.items:
            await asyncio.sleep(FOLLOW_S)


@audit.command()
@click.option("--agent", help="Who did it.")
@click.option("--action", help="What was done, as agents.register.")
@click.option("--resource", help="To what, exactly.")
@click.option("--under", "resource_prefix", help="To what, by its beginning.")
@click.option("--product", type=click.Choice([product.value for product in ProductId]))
@click.option("--outcome", type=click.Choice([outcome.value for outcome in Outcome]))
@click.option("--event", help="The event's type, as IdentityRegistered.")
@click.option("--since", type=MOMENT, help="2026-01-31, 2026-01-31T09:30:00Z, or 2h ago as 2h.")
@click.option("--until", type=MOMENT)
@click.option("--text", help="Words that all stand in the metadata; a word that ends in * is a beginning.")
@click.option("--newest-first", is_flag=True)
@click.option("--layer", is_flag=True, help="The layer's own entries, as of its log's keys, instead of a tenant's; where the installation is.")  # fmt: skip
@limit_option
@pass_cli
async def query(
    cli: Cli, /, agent: str | None, product: str | None, outcome: str | None, limit: int, layer: bool, **asked: Any
) -> None:
    """Entries that fit every condition."""
    asked |= {
        "agent": AgentId(agent) if agent else None,
        "product": ProductId(product) if product else None,
        "outcome": Outcome(outcome) if outcome else None,
    }
    if layer:
        found = await entries_of_layer(cli, limit, **asked)
    else:
        async with session(cli) as creto:
            found = await collected(creto.audit.query, limit, cli.output.note, **asked)
    cli.output.items(found, COLUMNS, nothing="No entries.")


async def entries_of_layer(cli: Cli, limit: int, **asked: Any) -> list[EntryView]:
    """They belong to no tenant that a credential could name."""
    from creto.edge.api.audit import view
    from creto.platform.audit import AuditQuery, Page

    async with running_here(cli, "the layer's own entries are") as app:

        async def query(**page: Any) -> Page:
            return await app.parts.audit.query(AuditQuery(tenant=PLATFORM_TENANT, **page))

        found = await collected(query, limit, cli.output.note, **asked)
    return [view(entry) for entry in found]


@audit.command()
@click.argument("event_id")
@click.option("--size", type=click.IntRange(min=1), help="Under the checkpoint of this size instead of the newest.")
@click.option("--no-wait", is_flag=True, help="Fail rather than sign a new checkpoint for a fresh entry.")
@click.option("--batch", type=file_path, help="The events of the batch that the entry records, one a line.")
@click.option("--item", type=click.IntRange(min=0), help="The number of the event to prove, from 0.")
@out_option
@pass_cli
async def prove(
    cli: Cli, event_id: str, size: int | None, no_wait: bool, batch: Path | None, item: int | None, out: Path | None
) -> None:
    """A file that proves to anybody that an entry is in the log: `creto verify` reads it, and so do C2SP tools.

    With --batch and --item it proves also that an event is in the batch that the entry records.
    """
    if (batch is None) is not (item is None):
        raise click.UsageError("--batch and --item go together.")
    async with session(cli) as creto:
        if batch is not None and item is not None:
            leaves = tuple(read(batch, bytes_max=BODY_BYTES_MAX).splitlines())
            proof = await creto.audit.prove_in_batch(event_id=event_id, leaves=leaves, index=item, fresh=not no_wait)
            write(out, proof.file + b"\n")
            return
        proof = await creto.audit.prove(event_id=event_id, size=size, fresh=size is None and not no_wait)
    write(out, proof.file + b"\n")


@audit.command()
@click.option("--out", "-o", type=file_path, help="Write here (a new file) instead of standard output.")
@pass_cli
async def checkpoint(cli: Cli, out: Path | None) -> None:
    """The newest signed checkpoint. Keep it: it shows later that the log was not rewritten."""
    async with session(cli) as creto:
        found = await creto.audit.checkpoint()
    write(out, found.note.encode())


CHECKPOINTS: Sequence[Column[PastCheckpoint]] = (
    Column("SIZE", lambda c: c.size, right=True),
    Column("SIGNED", lambda c: when(c.signed_at)),
    Column("WITNESSED", lambda c: "yes" if c.witnessed else ""),
    Column("ROOT", lambda c: c.root),
)


lists(
    audit, "checkpoints", lambda c: c.audit.checkpoints, CHECKPOINTS, nothing="No checkpoints.",
    help="Every checkpoint that was signed, the smallest first.",
)  # fmt: skip


@audit.command("keys")
@out_option
@pass_cli
async def keys_(cli: Cli, out: Path | None) -> None:
    """The log's public keys and its witnesses, for `creto verify --keys` and `creto witness --log`."""
    async with session(cli) as creto:
        found = await creto.audit.keys()
    write(out, found.trust + b"\n")


@audit.command()
@click.option("--keys", "trust_file", type=file_path, help="The keys to believe; the installation's own, if not given.")
@click.option("--seen", "seen_files", type=file_path, multiple=True, help="A checkpoint you kept from earlier; may be repeated.")  # fmt: skip
@pass_cli
async def verify(cli: Cli, trust_file: Path | None, seen_files: tuple[Path, ...]) -> None:
    """Verify the whole log in the database: every entry, tile, index row and signature. Exit code 7 if anything does not hold."""
    from creto.platform.audit import Checkpoint, Trust, verify_database

    seen = [Checkpoint.parse(read(path, bytes_max=NOTE_BYTES_MAX)) for path in seen_files]
    async with running_here(cli, "the database is verified") as app:
        own = await app.parts.audit.trust()
        trust = Trust.parse(read(trust_file, bytes_max=NOTE_BYTES_MAX)) if trust_file else own
        with progress(cli.output, "verifying the log"):
            verdict = await app.parts.store.read(lambda tx: verify_database(tx, trust, seen))
    cli.output.say(verdict, "\n".join(("The log holds.", *verdict.shows)))


@audit.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--since", type=click.IntRange(min=0), default=0, help="Go on with an export of this size.")
@pass_cli
async def export(cli: Cli, folder: Path, since: int) -> None:
    """The log as files (c2sp.org/tlog-tiles), which anybody can serve, mirror and verify: `creto verify FOLDER`."""
    from creto.platform.audit import export_log, folder_put

    put = folder_put(folder)
    async with running_here(cli, "the log is exported") as app:
        await app.parts.audit.sequence_once()
        newest = await app.parts.audit.checkpoint()
        with progress(cli.output, f"exporting {newest.size} entries", total=None) as advance:

            async def counted(path: str, data: bytes) -> None:
                await put(path, data)
                advance(1)

            done = await export_log(app.parts.audit, app.parts.store, counted, since=since)
    cli.output.say(done, f"Exported {done.size} entries: {done.files} files, {size(done.bytes)}, in {folder}.")
