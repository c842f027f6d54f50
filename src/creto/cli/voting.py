"""A vote from the command line: what its human sees before it, and how it is signed.

check_seen(case, terms, seen=None, yes=False)     # shows it and asks, or refuses
receipt = await vote(creto, case, key, None, None, **terms)

INVARIANT: nothing is signed that its human has not named by its round, seen here, or chosen with --yes not to see.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from creto.cli.choices import confirmed, seconds
from creto.cli.output import counted, when
from creto.common.errors import IdempotencyConflict
from creto.oversight.arguments import parsed
from creto.oversight.display import changes, lasting, proposal
from creto.oversight.hostile import visible
from creto.oversight.types import Bound, Verdict

if TYPE_CHECKING:
    from creto.edge.api.approval_views import ApprovalDetail
    from creto.oversight import Receipt
    from creto.sdk import AgentKey, AsyncCreto


def check_seen(case: ApprovalDetail, terms: Mapping[str, Any], *, seen: int | None, yes: bool) -> None:
    """At a terminal, show what is about to be signed and ask; a program says which round was seen, or that nobody looks."""
    if seen is not None or yes:
        return
    verb = str(terms["verdict"]).capitalize()
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{verb} what? Name the round that was seen (--round N, as `creto approvals show` prints it),"
            " or vote without a look (--yes)."
        )
    lines = [
        case.shown.text(),
        "",
        f"Request {case.approval.request_id}, round {case.approval.round}.",
        *besides(case, terms),
    ]
    click.echo("\n".join(lines), err=True)
    confirmed(f"{verb}?", yes)


def besides(case: ApprovalDetail, terms: Mapping[str, Any]) -> list[str]:
    """What a vote says beyond yes or no."""
    lines = [f"{str(verdict).capitalize()} item {plain(item)}." for item, verdict in (terms.get("items") or {}).items()]
    if terms.get("arguments") is not None:
        before = case.arguments.encode() if case.arguments is not None else b"{}"
        lines += [
            "With other arguments:",
            *(f"  {line}" for line in changes(before, parsed(terms["arguments"].encode()), set())),
        ]
    if terms.get("wish") is not None:
        lines.append(
            f"And the same call for {lasting(terms['wish'].ttl_s)}, {counted(terms['wish'].uses, 'use')} in all."
        )
    if terms.get("counter"):
        lines.append(f"Propose instead: {proposal(terms['counter'])}.")
    return lines


async def vote(
    creto: AsyncCreto, case: ApprovalDetail, key: AgentKey | None, seen: int | None, hold: int | None, **terms: Any
) -> Receipt:
    """By the approver's own key, or attested by the service; of the round that was seen."""
    request_id, round, hold_s = case.approval.request_id, seen or case.approval.round, seconds(hold) if hold else 0
    if key is None:
        return await creto.approvals.decide(request_id=request_id, round=round, hold_s=hold_s, **terms)
    ballot = await creto.approvals.ballot(request_id=request_id, **terms)
    edit = terms.get("arguments") is not None
    if ballot.round != round + edit:
        raise IdempotencyConflict(
            "OV-409", f"SUPERSEDED: round {round} is not what stands there now, round {ballot.round - edit} is", field="round",
            got=round, expected=f"round {ballot.round - edit}", hint="`creto approvals show` shows it as it is now.",
        )  # fmt: skip
    return await creto.approvals.submit(
        request_id=request_id, ballot=ballot.ballot, key=key.public.to_bytes(),
        signature=key.sign(ballot.ballot, ballot.context), arguments=terms.get("arguments"), hold_s=hold_s,
    )  # fmt: skip


def said(receipt: Receipt) -> str:
    if receipt.settles_at is not None:
        return f"It takes effect at {when(receipt.settles_at)}; until then: creto approvals undo {receipt.request_id}"
    if receipt.state.open:
        return f"Counted: {receipt.approvals} for, {receipt.denials} against, {receipt.missing} missing."
    return f"{receipt.request_id} is {str(receipt.state).replace('_', ' ')}."


def item_verdicts(case: ApprovalDetail, approved: tuple[str, ...]) -> dict[str, Verdict]:
    """These are approved and the others of the batch denied; one that it does not have is refused."""
    others = dict.fromkeys((one.item_id for one in case.items), Verdict.DENY)
    return {**others, **dict.fromkeys(approved, Verdict.APPROVE)} if approved else {}


def bounds_of(limits: tuple[str, ...], values: tuple[str, ...]) -> tuple[Bound, ...]:
    """A counter-proposal as it is written on a command line."""
    most = tuple(Bound(path=path, at_most=value) for path, value in (named(one, "amount=40") for one in limits))
    return most + tuple(Bound(path=path, equal=value) for path, value in (named(one, "amount=40") for one in values))


def named(text: str, example: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.UsageError(f"{text!r} is not NAME=VALUE, as {example}.")
    return name, value


def plain(words: str) -> str:
    """What somebody else wrote, with nothing hidden in it."""
    return visible(words, prose=True).text
