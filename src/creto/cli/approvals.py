"""`creto approvals`: what waits for a human, and deciding it.

What agents wrote is shown with everything unusual in it made visible; a terminal cannot be driven by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creto.cli.asking import as_key, as_key_file, asks, identity
from creto.cli.choices import (
    DURATION,
    MOMENT,
    SECONDS,
    collected,
    limit_option,
    out_option,
    seconds,
)
from creto.cli.context import Cli, group, pass_cli, read_text, write
from creto.cli.exits import Exit
from creto.cli.output import Column, when
from creto.cli.session import session
from creto.cli.voting import bounds_of, check_seen, item_verdicts, plain, said, vote
from creto.common.ids import AgentId
from creto.common.limits import OVERSIGHT_ARGUMENTS_BYTES_MAX, PAGE_ITEMS_MAX
from creto.contracts import Approved, Denied, TimedOut
from creto.oversight.display import proposal
from creto.oversight.letters import silence
from creto.oversight.types import GrantWish, Verdict

if TYPE_CHECKING:
    from creto.edge.api.approval_views import ApprovalDetail, ApprovalView, ItemView, NoticeView, Outcome, VoteView

approvals = group("approvals", "What waits for a human: see it, decide it, say who decides.")


COLUMNS: Sequence[Column[ApprovalView]] = (
    Column("REQUEST", lambda a: a.request_id),
    Column("STATE", lambda a: a.state),
    Column("RISK", lambda a: a.risk),
    Column("EFFECT", lambda a: a.effect, shrinks=True),
    Column("POLICY", lambda a: a.policy_id, drops=True),
    Column("ENDS", lambda a: when(a.ends_at if a.decided_at is None else a.decided_at), drops=True),
)
request_argument = click.argument("request_id", metavar="REQUEST")
why_option = click.option("--reason", default="", help="Why; it stands in the audit log.")
limits_option = click.option("--at-most", "limits", metavar="NAME=NUMBER", multiple=True, help="This argument, that number at most; may be repeated.")  # fmt: skip
values_option = click.option("--exactly", "values", metavar="NAME=JSON", multiple=True, help="This argument, with exactly that value; may be repeated.")  # fmt: skip
hold_option = click.option("--hold", type=DURATION, help="Take effect after so long, 60s at most; `undo` takes it back until then.")  # fmt: skip
round_option = click.option("--round", "seen", type=click.IntRange(1), help="The round you have seen; nothing is shown, and an edit since then is refused.")  # fmt: skip
unseen_option = click.option("-y", "--yes", is_flag=True, help="Vote on what stands there now, whatever it is: nothing is shown and nobody is asked.")  # fmt: skip


@approvals.command("list", example="creto approvals list --mine --key $ANN")
@click.option("--mine", is_flag=True, help="Only what you can decide now.")
@click.option("--all", "every", is_flag=True, help="Decided ones too, the newest first.")
@click.option("--agent", help="Only what this agent asked, decided or not.")
@click.option("--approver", help="Only where this human voted.")
@click.option("--since", type=MOMENT, help="Asked since: 2026-01-31, or a while ago as 2h.")
@limit_option
@as_key
@as_key_file
@pass_cli
async def list_(
    cli: Cli, mine: bool, every: bool, agent: str | None, approver: str | None, since: int | None, limit: int,
    key_id: str | None, key_file: Path | None,
) -> None:  # fmt: skip
    """What is open, the oldest first."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        if mine:
            found = list((await creto.approvals.inbox(limit=min(limit, PAGE_ITEMS_MAX))).items)
        elif every or agent or approver or since is not None:
            found = await collected(
                creto.approvals.history, limit, cli.output.note, since=since or 0,
                agent=AgentId(agent) if agent else None, approver=AgentId(approver) if approver else None,
            )  # fmt: skip
        else:
            found = await collected(creto.approvals.list, limit, cli.output.note)
    cli.output.items(found, COLUMNS, nothing="Nothing waits.")


@approvals.command(example="creto approvals show $REQ")
@request_argument
@as_key
@as_key_file
@pass_cli
async def show(cli: Cli, request_id: str, key_id: str | None, key_file: Path | None) -> None:
    """One request, as its approvers see it."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        found = await creto.approvals.get(request_id=request_id)
    if cli.output.json:
        cli.output.say(found, "")
        return
    click.echo(found.shown.text())
    click.echo("")
    cli.output.thing(found, standing(found))


def standing(found: ApprovalDetail) -> list[tuple[str, object]]:
    one, votes, names = found.approval, found.standing, names_in(found)
    return [
        ("request", f"{one.request_id}, round {one.round}"),
        ("state", one.state),
        ("tier", one.tier),
        ("ends", when(one.ends_at) if one.decided_at is None else None),
        ("decided", f"{when(one.decided_at)} by {names.get(one.decided_by, one.decided_by) if one.decided_by else 'nobody'}" if one.decided_at is not None else None),
        ("reason", f"{plain(one.reason)}{silence(found.final_action)}"),
        ("votes", f"{votes.approvals} for, {votes.denials} against, {votes.missing} missing"),
        ("lacking", votes.missing_groups),
        ("not met", votes.missing_policies),
        ("waiting for", tuple(f"{plain(person.name)} ({person.person})" for person in found.waiting_for)),
        ("claimed by", names.get(one.claimed_by, one.claimed_by) if one.claimed_by else None),
        *((f"{vote.verdict} by", said_by(vote)) for vote in found.votes),
        *(("notice", f"{one.code} {one.message}") for one in one.notices),
        *((str(note.kind), f"{names.get(note.author, note.author)}: {plain(note.text)}") for note in found.notes),
        *((f"item {plain(item.item_id)}", after_text(item)) for item in found.items),
    ]  # fmt: skip


def names_in(found: ApprovalDetail) -> dict[AgentId, str]:
    """Of the agent, and of everybody who has voted or is waited for."""
    voted = {one.person: one.name for one in found.votes}
    waited_for = {one.person: one.name for one in found.waiting_for}
    names = {**voted, **waited_for, found.approval.agent: found.approval.agent_name}
    return {who: plain(name) for who, name in names.items()}


def after_text(item: ItemView) -> str:
    names = f", after {', '.join(map(plain, item.after))}" if item.after else ""
    return f"{plain(item.arguments)}{names}"


def said_by(vote: VoteView) -> str:
    instead = f"instead: {proposal(vote.counter)}" if vote.counter else ""
    lost = f"counts no more: {vote.why_not}" if vote.why_not else ""
    return ", ".join(part for part in (plain(vote.name), vote.assurance, plain(vote.reason), instead, lost) if part)


@approvals.command(
    example='creto approvals approve $REQ --reason "As agreed." --key $ANN\ncreto approvals approve $REQ --for 8h --uses 3 --key $ANN'
)
@request_argument
@click.option("--reason", default="", help="Why; it stands in the decision.")
@click.option("--for", "ttl", type=DURATION, help="Approve the same call for so long, as 8h.")
@click.option("--uses", type=click.IntRange(1), default=1, show_default=True, help="With --for: so many times.")
@click.option("--arguments", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path), help="Approve these arguments (a JSON file) instead.")  # fmt: skip
@click.option("--item", "items", multiple=True, help="Of a batch: approve these alone; may be repeated.")
@click.option("--on-behalf-of", metavar="AGENT", help="In whose seat you sit.")
@round_option
@unseen_option
@hold_option
@as_key
@as_key_file
@pass_cli
async def approve(
    cli: Cli, request_id: str, reason: str, ttl: int | None, uses: int, arguments: Path | None, items: tuple[str, ...],
    on_behalf_of: str | None, seen: int | None, yes: bool, hold: int | None, key_id: str | None, key_file: Path | None,
) -> None:  # fmt: skip
    """Say yes. Without a key you are who the token says; with one the vote is signed by it.

    At a terminal you see what you are about to sign and are asked; elsewhere name the round that you have seen.
    """
    key = await identity(cli, key_id, key_file)
    async with session(cli, key) as creto:
        case = await creto.approvals.get(request_id=request_id)
        terms: dict[str, Any] = {
            "verdict": Verdict.APPROVE, "reason": reason, "items": item_verdicts(case, items),
            "wish": GrantWish(ttl_s=seconds(ttl), uses=uses) if ttl is not None else None,
            "arguments": json_text(arguments) if arguments else None,
            "on_behalf_of": AgentId(on_behalf_of) if on_behalf_of else None,
        }  # fmt: skip
        check_seen(case, terms, seen=seen, yes=yes)
        receipt = await vote(creto, case, key, seen, hold, **terms)
    cli.output.say(receipt, said(receipt))


@approvals.command(
    example='creto approvals deny $REQ --reason "Not this month." --key $ANN\ncreto approvals deny $REQ --at-most amount=40 --key $ANN'
)
@request_argument
@click.option("--reason", default="", help="Why; the agent learns it.")
@limits_option
@values_option
@click.option("--on-behalf-of", metavar="AGENT", help="In whose seat you sit.")
@round_option
@unseen_option
@hold_option
@as_key
@as_key_file
@pass_cli
async def deny(
    cli: Cli, request_id: str, reason: str, limits: tuple[str, ...], values: tuple[str, ...], on_behalf_of: str | None,
    seen: int | None, yes: bool, hold: int | None, key_id: str | None, key_file: Path | None,
) -> None:  # fmt: skip
    """Say no. With --at-most or --exactly: not this, but that; what they do not name stays as it was asked.

    At a terminal you see what you are about to sign and are asked; elsewhere name the round that you have seen.
    """
    key = await identity(cli, key_id, key_file)
    async with session(cli, key) as creto:
        case = await creto.approvals.get(request_id=request_id)
        terms: dict[str, Any] = {
            "verdict": Verdict.DENY, "reason": reason, "counter": bounds_of(limits, values),
            "on_behalf_of": AgentId(on_behalf_of) if on_behalf_of else None,
        }  # fmt: skip
        check_seen(case, terms, seen=seen, yes=yes)
        receipt = await vote(creto, case, key, seen, hold, **terms)
    cli.output.say(receipt, said(receipt))


def json_text(path: Path) -> str:
    return read_text(path, bytes_max=OVERSIGHT_ARGUMENTS_BYTES_MAX)


asks(
    approvals, "undo", lambda c: c.approvals.undo,
    lambda a: f"{a.request_id}: your vote is taken back. It is {str(a.state).replace('_', ' ')}.",
    request_argument, as_key, as_key_file,
    help="Take your vote back, while it has no effect.\n\nThat is until enough have voted, and then for the seconds of --hold; on the page for 5.",
    example="creto approvals undo $REQ --key $ANN",
)  # fmt: skip
asks(
    approvals, "ask", lambda c: c.approvals.ask, lambda _: "Asked.", request_argument, click.argument("text"), as_key, as_key_file,
    help="Ask the agent something; the time goes on.", example='creto approvals ask $REQ "Which invoice?" --key $ANN',
)  # fmt: skip
asks(
    approvals, "comment", lambda c: c.approvals.comment, lambda _: "Written.", request_argument, click.argument("text"),
    as_key, as_key_file, help="Say something to the other approvers.", example='creto approvals comment $REQ "I know this payee." --key $ANN',
)  # fmt: skip
asks(
    approvals, "claim", lambda c: c.approvals.claim, lambda a: f"Yours until {when(a.claimed_until)}.", request_argument,
    click.option("--for", "ttl_s", type=SECONDS, default="15m", show_default=True, help="For so long nothing escalates."),
    as_key, as_key_file, help="Say that you are looking into it.", example="creto approvals claim $REQ --for 10m --key $ANN",
)  # fmt: skip
asks(
    approvals, "extend", lambda c: c.approvals.extend, lambda a: f"It ends at {when(a.ends_at)}.", request_argument,
    click.option("--by", "by_s", type=SECONDS, default="5m", show_default=True, help="So much longer."),
    as_key, as_key_file, help="More time for this tier.", example="creto approvals extend $REQ --by 10m --key $ANN",
)  # fmt: skip


@approvals.command(example="creto approvals snooze $REQ --for 1h --key $ANN")
@request_argument
@click.option("--for", "ttl", type=DURATION, default="1h", show_default=True, help="For so long.")
@as_key
@as_key_file
@pass_cli
async def snooze(cli: Cli, request_id: str, ttl: int, key_id: str | None, key_file: Path | None) -> None:
    """Out of your own inbox for a while."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        await creto.approvals.snooze(request_id=request_id, for_s=seconds(ttl))
    cli.output.say({"request_id": request_id, "for_s": seconds(ttl)}, "It sleeps.")


@approvals.command(example='creto approvals answer $REQ "Number 17." --key $BOT')
@request_argument
@click.argument("text")
@as_key
@as_key_file
@pass_cli
async def answer(cli: Cli, request_id: str, text: str, key_id: str | None, key_file: Path | None) -> None:
    """Answer what the approvers asked: as the agent that made the request."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        done = await creto.approvals.answer(request_id=request_id, text=text)
    cli.output.say(done, f"{request_id}: answered.")


asks(
    approvals, "cancel", lambda c: c.approvals.cancel, lambda a: f"{a.request_id} is cancelled.", request_argument,
    why_option, help="Nobody needs to decide any more.", example='creto approvals cancel $REQ --reason "Not needed any more."',
)  # fmt: skip
asks(
    approvals, "revoke", lambda c: c.approvals.revoke, lambda a: f"{a.request_id}: the approval is taken back.",
    request_argument, why_option, as_key, as_key_file, help="Take your approval back, while it is not used.",
    example='creto approvals revoke $REQ --reason "Wrong account." --key $ANN',
)  # fmt: skip


@approvals.command(example="creto approvals wait $REQ --timeout 10m --token-out token --key $BOT")
@request_argument
@click.option("--timeout", type=DURATION, help="Give up after so long, as 10m; the request stays open.")
@click.option("--token-out", type=click.Path(dir_okay=False, path_type=Path), help="Write the override token here (a new file), for --override or `approvals use`.")  # fmt: skip
@as_key
@as_key_file
@pass_cli
async def wait(
    cli: Cli, request_id: str, timeout: int | None, token_out: Path | None, key_id: str | None, key_file: Path | None
) -> None:
    """Wait for the decision. Exit code 0 if it is approved, 4 if not, 6 if nobody has decided in time."""
    async with session(cli, await identity(cli, key_id, key_file)) as creto:
        outcome = await creto.approvals.wait(
            request_id=request_id, timeout_s=None if timeout is None else timeout / 10**9
        )
    token = getattr(outcome.result, "override_token", None)
    if token_out is not None and token is not None:
        write(token_out, token.encode(), mode=0o600)
    cli.output.say(outcome, became(outcome))
    note_all(cli, outcome.notices)
    raise click.exceptions.Exit(exit_of_outcome(outcome))


def note_all(cli: Cli, notices: Sequence[NoticeView]) -> None:
    """What it is asked in spite of."""
    for one in notices:
        cli.output.note(f"{one.code}: {one.message}")


def became(outcome: Outcome) -> str:
    match outcome.result:
        case Approved(approver=approver, notes=notes):
            return f"Approved by {plain(approver.display_name)}. {plain(notes or '')}".rstrip()
        case Denied(approver=approver, reason=reason, counter=counter):
            instead = f"Proposed instead: {proposal(counter)}." if counter else ""
            return " ".join(filter(None, (f"Denied by {plain(approver.display_name)}.", plain(reason), instead)))
        case TimedOut(timeout_action=action):
            return f"Nobody decided in time: {str(action).replace('_', ' ')}."
        case _:
            return f"It is {outcome.state}."


def exit_of_outcome(outcome: Outcome) -> Exit:
    match outcome.result:
        case None:
            return Exit.UNAVAILABLE
        case Approved() | TimedOut(override_token=str()):
            return Exit.OK
        case _:
            return Exit.DENIED


@approvals.command(example="creto approvals decision $REQ --out decision.json")
@request_argument
@out_option
@pass_cli
async def decision(cli: Cli, request_id: str, out: Path | None) -> None:
    """The decision as a file that proves itself."""
    async with session(cli) as creto:
        found = await creto.approvals.decision_file(request_id=request_id)
    write(out, found.file)


@approvals.command(example="creto approvals verify decision.json --agents keys.json")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--agents", "agents_file", type=click.Path(dir_okay=False, path_type=Path), help="Public keys of identities (`creto agents keys`).")  # fmt: skip
@click.pass_context
def verify(ctx: click.Context, files: tuple[Path, ...], agents_file: Path | None) -> None:
    """Whether decisions hold, with public keys alone.

    The same as `creto verify`.
    """
    from creto.cli.verify import verify as verify_files

    given = {"trust_file": None, "people_file": None, "seen_files": ()}
    ctx.invoke(verify_files, files=files, agents_file=agents_file, **given)
