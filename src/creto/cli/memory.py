"""`creto memory`: what an agent remembers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from creto.cli.choices import collected, confirmed, limit_option, out_option, reason_option, yes_option
from creto.cli.context import Cli, group, pass_cli, write
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId
from creto.security.memory import Context, StateKey, Turn

memory = group("memory", "What agents remember: sealed, each agent's own, erasable.")

CONTEXTS: Sequence[Column[Context]] = (
    Column("ID", lambda c: c.id),
    Column("WRITTEN", lambda c: when(c.origin.written_at)),
    Column("KIND", lambda c: c.kind),
    Column("ACTION", lambda c: c.action),
    Column("CONTENT", lambda c: c.text),
)
STATES: Sequence[Column[StateKey]] = (
    Column("KEY", lambda k: k.key),
    Column("VERSION", lambda k: k.version, right=True),
)
TURNS: Sequence[Column[Turn]] = (
    Column("SEQ", lambda t: t.seq, right=True),
    Column("WRITTEN", lambda t: when(t.origin.written_at)),
    Column("ROLE", lambda t: t.role),
    Column("CONTENT", lambda t: t.content),
)


@memory.command("list")
@click.argument("agent")
@click.option("--kind", help="Only of this kind, as reasoning.")
@limit_option
@pass_cli
async def list_(cli: Cli, agent: str, kind: str | None, limit: int) -> None:
    """What AGENT remembers, the newest first."""
    async with session(cli) as creto:
        found = await collected(creto.memory.recent, limit, cli.output.note, agent=AgentId(agent), kind=kind)
    cli.output.items(found, CONTEXTS, nothing="Nothing.")


@memory.command()
@click.argument("agent")
@click.argument("query")
@click.option("--kind", help="Only of this kind.")
@limit_option
@pass_cli
async def search(cli: Cli, agent: str, query: str, kind: str | None, limit: int) -> None:
    """Memories with any of the words of QUERY, the best first."""
    async with session(cli) as creto:
        found = await creto.memory.search(agent=AgentId(agent), query=query, kind=kind, limit=limit)
    cli.output.items(found.items, CONTEXTS, nothing="Nothing.")


@memory.command()
@click.argument("agent")
@click.argument("conversation")
@limit_option
@pass_cli
async def history(cli: Cli, agent: str, conversation: str, limit: int) -> None:
    """The turns of a conversation."""
    async with session(cli) as creto:
        found = await collected(
            creto.memory.turns, limit, cli.output.note, agent=AgentId(agent), conversation=conversation
        )
    cli.output.items(found, TURNS, nothing="No turns.")


@memory.command()
@click.argument("agent")
@click.argument("key")
@out_option
@pass_cli
async def state(cli: Cli, agent: str, key: str, out: Path | None) -> None:
    """The value that AGENT keeps under KEY, as it is."""
    async with session(cli) as creto:
        found = await creto.memory.get_state(agent=AgentId(agent), key=key)
    if cli.output.json and out is None:
        cli.output.say(found, "")
        return
    write(out, found.value)
    cli.output.note(f"Version {found.version}, written {when(found.origin.written_at)}.")


@memory.command()
@click.argument("agent")
@click.option("--prefix", default="", help="Only keys that begin so.")
@limit_option
@pass_cli
async def states(cli: Cli, agent: str, prefix: str, limit: int) -> None:
    """The keys under which AGENT keeps values."""
    async with session(cli) as creto:
        found = await collected(creto.memory.state_keys, limit, cli.output.note, agent=AgentId(agent), prefix=prefix)
    cli.output.items(found, STATES, nothing="Nothing.")


@memory.command()
@click.argument("agent")
@limit_option
@pass_cli
async def conversations(cli: Cli, agent: str, limit: int) -> None:
    """AGENT's conversations."""
    async with session(cli) as creto:
        found = await collected(creto.memory.conversations, limit, cli.output.note, agent=AgentId(agent))
    cli.output.items(found, (Column("CONVERSATION", lambda name: name),), nothing="None.")


@memory.command()
@click.argument("agent")
@pass_cli
async def usage(cli: Cli, agent: str) -> None:
    """How much AGENT has stored."""
    async with session(cli) as creto:
        found = await creto.memory.usage(agent=AgentId(agent))
    cli.output.thing(found, [("memories", found.items), ("turns", found.turns), ("states", found.states)])


@memory.command("rotate-key")
@click.option("--resume", is_flag=True, help="Go on with a rotation that was interrupted.")
@pass_cli
async def rotate_key(cli: Cli, resume: bool) -> None:
    """Put a fresh memory key in use: every agent's key is wrapped again, what they remember stays as it is."""
    async with session(cli) as creto:
        done = await creto.memory.rotate_key(resume=resume)
    cli.output.say(done, f"Wrapped {done.wrapped} keys again.")


@memory.command()
@click.argument("agent")
@click.argument("memory_id", metavar="[ID]", required=False)
@click.option("--state", metavar="KEY", help="The value under this key.")
@click.option("--conversation", metavar="NAME", help="A whole conversation.")
@click.option("--all", "everything", is_flag=True, help="All that the agent remembers: its key is destroyed first.")
@reason_option
@yes_option
@pass_cli
async def erase(
    cli: Cli,
    agent: str,
    memory_id: str | None,
    state: str | None,
    conversation: str | None,
    everything: bool,
    reason: str | None,
    yes: bool,
) -> None:
    """Erase one memory, state or conversation, or --all of an agent's, for good. The audit log shows that it was done, not what it was."""
    named = [name for name in (memory_id, state, conversation) if name is not None]
    if len(named) + everything != 1:
        expected = "the ID of a memory, --state, --conversation, or --all"
        raise InvalidInput.of("ID", got="more than one, or none", expected=expected)
    confirmed(f"Erase {named[0] if named else 'everything'} that {agent} remembers?", yes)
    whose, why = AgentId(agent), reason or ""
    async with session(cli) as creto:
        if memory_id is not None:
            done = await creto.memory.erase(agent=whose, id=memory_id, reason=why)
        elif state is not None:
            done = await creto.memory.erase_state(agent=whose, key=state, reason=why)
        elif conversation is not None:
            done = await creto.memory.erase_conversation(agent=whose, conversation=conversation, reason=why)
        else:
            done = await creto.memory.erase_agent(agent=whose, reason=why)
    cli.output.say(done, f"Erased {done.items} memories, {done.turns} turns and {done.states} states.")
