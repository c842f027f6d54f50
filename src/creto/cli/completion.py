"""`creto completion`: the shell's own completion for every command, option and argument."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from creto.cli.context import Command

VARIABLE = "_CRETO_COMPLETE"


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash   creto completion bash > ~/.local/share/bash-completion/completions/creto
    zsh    creto completion zsh > "${fpath[1]}/_creto"
    fish   creto completion fish > ~/.config/fish/completions/creto.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    template = made(ctx.find_root().command, {}, "creto", VARIABLE)
    click.echo(template.source_template % template.source_vars())
