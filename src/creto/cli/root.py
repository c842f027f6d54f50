"""`creto`: the root of the command line, which loads a command's module when the command is called.

INVARIANT: `creto --help` loads no command, no server library and no engine.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from creto.cli.context import Cli, pass_cli
from creto.cli.exits import MEANINGS, Exit, exit_of
from creto.common.errors import EnablementError, InternalError


@dataclass(frozen=True)
class Lazy:
    """A command that is known by its name until it is called."""

    section: str
    help: str
    load: Callable[[], click.Command]


def init() -> click.Command:
    from creto.cli import init

    return init.init


def dev() -> click.Command:
    from creto.cli import serve

    return serve.dev


def serve() -> click.Command:
    from creto.cli import serve

    return serve.serve


def doctor() -> click.Command:
    from creto.cli import doctor

    return doctor.doctor


def config() -> click.Command:
    from creto.cli import config

    return config.config


def migrate() -> click.Command:
    from creto.cli import migrate

    return migrate.migrate


def keys() -> click.Command:
    from creto.cli import keys

    return keys.keys


def tenants() -> click.Command:
    from creto.cli import tenants

    return tenants.tenants


def agents() -> click.Command:
    from creto.cli import agents

    return agents.agents


def delegate() -> click.Command:
    from creto.cli import delegate

    return delegate.delegate


def policies() -> click.Command:
    from creto.cli import policies

    return policies.policies


def approvals() -> click.Command:
    from creto.cli import approvers, grants, passkeys, requesting

    for part in (grants.grants, passkeys.passkeys):
        approvers.approvals.add_command(part)
    return requesting.approvals


def audit() -> click.Command:
    from creto.cli import audit

    return audit.audit


def verify() -> click.Command:
    from creto.cli import verify

    return verify.verify


def memory() -> click.Command:
    from creto.cli import memory

    return memory.memory


def objects() -> click.Command:
    from creto.cli import objects

    return objects.objects


def usage() -> click.Command:
    from creto.cli import usage

    return usage.usage


def quotas() -> click.Command:
    from creto.cli import quota_acts

    return quota_acts.quotas


def plans() -> click.Command:
    from creto.cli import plans

    return plans.plans


def subscriptions() -> click.Command:
    from creto.cli import subscriptions

    return subscriptions.subscriptions


def coupons() -> click.Command:
    from creto.cli import terms

    return terms.coupons


def taxes() -> click.Command:
    from creto.cli import terms

    return terms.taxes


def exchange_rates() -> click.Command:
    from creto.cli import terms

    return terms.exchange_rates


def billing() -> click.Command:
    from creto.cli import terms

    return terms.billing


def invoices() -> click.Command:
    from creto.cli import invoices

    return invoices.invoices


def credits() -> click.Command:
    from creto.cli import credits

    return credits.credits


def stripe() -> click.Command:
    from creto.cli import stripe

    return stripe.stripe


def webhooks() -> click.Command:
    from creto.cli import webhooks

    return webhooks.webhooks


def bus() -> click.Command:
    from creto.cli import bus

    return bus.bus


def time_node() -> click.Command:
    from creto.cli import timenode

    return timenode.time_node


def witness() -> click.Command:
    from creto.cli import witness

    return witness.witness


def completion() -> click.Command:
    from creto.cli import completion

    return completion.completion


# A command is short: most of what it allocates it keeps to its end, and looking for garbage took a sixth of its time.
RARE = (50_000, 50, 50)
START, AGENTS, MONEY, PROOF, DATA, RUN = (
    "Start",
    "Agents and what they may do",
    "Usage and money",
    "Proof",
    "Data",
    "Operate",
)

COMMANDS: dict[str, Lazy] = {
    "init": Lazy(START, "Make creto.toml, a key-encryption key and the data folder here.", init),
    "dev": Lazy(START, "Run the whole layer in one process.", dev),
    "doctor": Lazy(START, "Say what is there, what is missing, and what to do about it.", doctor),
    "agents": Lazy(AGENTS, "Register, list, rotate, suspend and revoke identities.", agents),
    "delegate": Lazy(AGENTS, "Let an agent act for you, within bounds.", delegate),
    "policies": Lazy(AGENTS, "Upload, activate and question Cedar policies.", policies),
    "approvals": Lazy(AGENTS, "See what waits for a human, decide it, say who decides.", approvals),
    "keys": Lazy(AGENTS, "Keys in the sealed keystore, and bearer tokens.", keys),
    "usage": Lazy(MONEY, "Report, question and correct what agents used.", usage),
    "quotas": Lazy(MONEY, "Limit what agents use and spend.", quotas),
    "plans": Lazy(MONEY, "Say what is charged.", plans),
    "subscriptions": Lazy(MONEY, "Say who is billed by which plan.", subscriptions),
    "coupons": Lazy(MONEY, "Say what comes off prices.", coupons),
    "taxes": Lazy(MONEY, "Say which taxes there are.", taxes),
    "exchange-rates": Lazy(MONEY, "Say what a currency is in another.", exchange_rates),
    "billing": Lazy(MONEY, "Say how invoices are made where systems differ.", billing),
    "invoices": Lazy(MONEY, "Make, explain, print and prove invoices.", invoices),
    "credits": Lazy(MONEY, "Grant, buy and use credits, and see where they went.", credits),
    "stripe": Lazy(MONEY, "Collect invoices there, and see what is paid.", stripe),
    "audit": Lazy(PROOF, "Follow, question, prove and export the audit log.", audit),
    "verify": Lazy(PROOF, "Verify a proof, checkpoint, export, chain or certificate.", verify),
    "witness": Lazy(PROOF, "Watch another installation's log and cosign it.", witness),
    "memory": Lazy(DATA, "What agents remember: read, search, erase.", memory),
    "objects": Lazy(DATA, "Sealed objects: put, get, list, hold, retain.", objects),
    "serve": Lazy(RUN, "Run the layer as supervised processes.", serve),
    "tenants": Lazy(RUN, "Make a tenant.", tenants),
    "config": Lazy(RUN, "Show or check the configuration.", config),
    "migrate": Lazy(RUN, "Bring the database up to this release.", migrate),
    "bus": Lazy(RUN, "Look at dead letters, deliver them again, or give them up.", bus),
    "webhooks": Lazy(RUN, "Say where the layer posts to, and see what arrived.", webhooks),
    "time-node": Lazy(RUN, "Run a node of the time quorum.", time_node),
    "completion": Lazy(RUN, "Print the completion script for a shell.", completion),
}


class Root(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        return found.load() if found else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        found = [name for name in COMMANDS if name.startswith(incomplete)]
        items = [click.shell_completion.CompletionItem(name, help=COMMANDS[name].help) for name in found]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title in dict.fromkeys(lazy.section for lazy in COMMANDS.values()):
            with formatter.section(title):
                rows = [(name, lazy.help) for name, lazy in COMMANDS.items() if lazy.section == title]
                formatter.write_dl(rows, col_max=16)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(int(number)), meaning) for number, meaning in MEANINGS.items()])


def print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"creto {version('creto')}")
        ctx.exit()


@click.command(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", "files", type=click.Path(path_type=Path), multiple=True, envvar="CRETO_CONFIG", help="Read this configuration file too; later ones win. ./creto.toml is read by itself.")  # fmt: skip
@click.option("--url", envvar="CRETO_URL", help="Work on the installation at this address instead of the local one.")
@click.option("--token-file", type=click.Path(path_type=Path), envvar="CRETO_TOKEN_FILE", help="The bearer token for --url; or set CRETO_TOKEN.")  # fmt: skip
@click.option("--chain", "chain_file", type=click.Path(path_type=Path), envvar="CRETO_CHAIN", help="Act as the agent at the end of this delegation chain; `creto delegate` makes them.")  # fmt: skip
@click.option("--override", "override_file", type=click.Path(path_type=Path), envvar="CRETO_OVERRIDE", help="A file with the override token that an approval gave.")  # fmt: skip
@click.option("--tenant", envvar="CRETO_TENANT", help="Work in this tenant instead of the configured one.")
@click.option("--json", "json", is_flag=True, help="Print JSON: a list one object a line, else one document.")
@click.option("-q", "--quiet", is_flag=True, help="Print results and errors only.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=print_version, help="Print the version.")  # fmt: skip
@pass_cli
def root(
    cli: Cli,
    files: tuple[Path, ...],
    url: str | None,
    token_file: Path | None,
    chain_file: Path | None,
    override_file: Path | None,
    tenant: str | None,
    json: bool,
    quiet: bool,
) -> None:
    """creto: what AI agents do, metered, approved, contained and carried, with proof."""
    cli.files, cli.url, cli.token_file, cli.tenant = files, url, token_file, tenant
    cli.chain_file, cli.override_file = chain_file, override_file
    cli.output.json, cli.output.quiet = json, quiet


def run(args: list[str] | None = None) -> int:
    """The command line as a function: what it would exit with."""
    cli = Cli()
    try:
        done = root.main(args=args, prog_name="creto", obj=cli, standalone_mode=False)
        return done if isinstance(done, int) else Exit.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    except EnablementError as error:
        cli.output.error(error)
        return exit_of(error)
    except Exception as error:
        if os.environ.get("CRETO_TRACEBACK"):
            raise
        hint = "Set CRETO_TRACEBACK=1 to see where it failed."
        cli.output.error(InternalError("PL-500", f"something failed inside: {type(error).__name__}", hint=hint))
        return Exit.FAILURE


def main() -> NoReturn:
    gc.set_threshold(*RARE)
    sys.exit(run())
