"""`/creto` in Slack: what waits for me, one request, a vote, out of office.

    /creto pending
    /creto show req-…
    /creto approve req-… 3f9a1c02          # the code that `show` prints: one approves what one has seen
    /creto deny req-… too much
    /creto ooo 3d @sam                     # sam sits in my seats for three days; `ooo end` ends it

Whoever asks sees only what they could decide. A request of somebody else, of another tenant and one that never was are told in the same words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from creto.common.errors import EnablementError, InvalidInput, NotFound
from creto.common.ids import AgentId
from creto.common.limits import PAGE_ITEMS_MAX, SLACK_LIST_MAX, SLACK_TEXT_CHARS_MAX
from creto.common.timestamps import ConsensusTimestamp, duration_ns, iso
from creto.connectors.slack_cards import bounded, facts, undecidable
from creto.oversight import Channel, Oversight, Record, Verdict, render
from creto.oversight.letters import full_on

if TYPE_CHECKING:
    from creto.connectors.slack_inbound import Delivery, SlackInbound

USAGE = """pending: what waits for you
show ID: one request, with its code
approve ID CODE: approve what `show` has shown
deny ID REASON: deny it
ooo 3d @COLLEAGUE: who sits in your seats meanwhile; `ooo end` ends it"""
MENTION = re.compile(r"<@([A-Z0-9]{2,40})(?:\|[^>]*)?>")
CODE_CHARS = 8
COMMAND = "command"  # where the vote was made: on no card


async def run(inbound: SlackInbound, oversight: Oversight, delivery: Delivery, user: str, words: Sequence[str]) -> str:
    """What to answer, in plain text. Faults of ours are raised; what the human can do something about is answered."""
    verb, *rest = words or ("help",)
    try:
        who = oversight.who(delivery.tenant, Channel.SLACK, user)
        if verb == "pending" and not rest:
            return pending(await oversight.inbox(delivery.tenant, who, limit=SLACK_LIST_MAX))
        if verb == "show" and len(rest) == 1:
            return shown(await mine(oversight, delivery, who, rest[0]))
        if verb in ("approve", "deny") and rest:
            return await decided(inbound, oversight, delivery, user, who, verb, rest)
        if verb == "ooo" and rest:
            return await away(inbound, oversight, delivery, who, rest)
        return USAGE
    except EnablementError as error:
        if error.retryable or error.code.startswith("PL-5"):
            raise
        return f"Not done: {error.message}. {error.hint or ''}".strip()


async def mine(oversight: Oversight, delivery: Delivery, who: AgentId, request_id: str) -> Record:
    """A request that this human could decide, or has voted on."""
    tenant = delivery.tenant
    open_ones = await oversight.inbox(tenant, who, limit=PAGE_ITEMS_MAX)
    for record in [*open_ones, *await oversight.history(tenant, approver=who, limit=PAGE_ITEMS_MAX)]:
        if record.ask.request_id == request_id:
            return record
    raise NotFound("OV-404", "there is no such approval request", field="request_id", got=request_id)


def code_of(record: Record) -> str:
    """The head of the digest of what is shown: an edit changes it."""
    return record.display_hash.hex()[2 : 2 + CODE_CHARS]


def pending(records: Sequence[Record]) -> str:
    if not records:
        return "Nothing waits for you."
    lines = [f"{one.ask.request_id}  {render(one.ask).effect}" for one in records]
    return bounded("\n".join(lines), SLACK_TEXT_CHARS_MAX)


def shown(record: Record) -> str:
    display = render(record.ask)
    lines = [display.effect, *facts(display, record.args_hash.hex(), full=full_on(record, Channel.SLACK))]
    text, elsewhere = bounded("\n".join(lines), SLACK_TEXT_CHARS_MAX), undecidable(record, lines, SLACK_TEXT_CHARS_MAX)
    return f"{text}\n{elsewhere or f'To approve: /creto approve {record.ask.request_id} {code_of(record)}'}"


async def decided(
    inbound: SlackInbound, oversight: Oversight, delivery: Delivery, user: str, who: AgentId, verb: str, rest: Sequence[str]
) -> str:  # fmt: skip
    from creto.connectors.slack_inbound import voted

    request_id, *more = rest
    verdict = Verdict.APPROVE if verb == "approve" else Verdict.DENY
    record = await mine(oversight, delivery, who, request_id)
    if verdict is Verdict.APPROVE and more != [code_of(record)]:
        return f"Look first, then approve what you have seen.\n\n{shown(record)}"
    reason = " ".join(more) if verdict is Verdict.DENY else ""
    receipt = await inbound.vote(
        delivery, user, record.ask.request_id, verdict, COMMAND, round=record.ask.round, reason=reason
    )
    return voted(receipt)


async def away(
    inbound: SlackInbound, oversight: Oversight, delivery: Delivery, who: AgentId, rest: Sequence[str]
) -> str:
    """Who sits in one's seats; the same command that comes again changes nothing."""
    from creto.connectors.slack_inbound import Repeated

    try:
        if rest == ["end"]:
            return await back(inbound, oversight, delivery, who)
        return await left(inbound, oversight, delivery, who, rest)
    except Repeated:
        return "That is done already."


async def left(
    inbound: SlackInbound, oversight: Oversight, delivery: Delivery, who: AgentId, rest: Sequence[str]
) -> str:
    tenant = delivery.tenant
    mention = MENTION.fullmatch(rest[1]) if len(rest) == 2 else None
    if mention is None:
        raise InvalidInput("OV-400", "say for how long and who: /creto ooo 3d @colleague")
    to, starts_at = oversight.who(tenant, Channel.SLACK, mention[1]), oversight.clock.now()
    ends_at = ConsensusTimestamp(starts_at + duration_ns(rest[0]))
    await oversight.delegate(
        tenant, of=who, to=to, starts_at=starts_at, ends_at=ends_at, by=who, mark=inbound.once(delivery)
    )
    return f"{oversight.approver(tenant, to).name} sits in your seats until {iso(ends_at)[:16]}Z."


async def back(inbound: SlackInbound, oversight: Oversight, delivery: Delivery, who: AgentId) -> str:
    await inbound.check_new(delivery)
    tenant, person = delivery.tenant, oversight.approver(delivery.tenant, who).person
    ended = [one.delegation_id for one in oversight.delegations(tenant) if one.of == person]
    for one in ended:
        mark = inbound.once(delivery) if one == ended[-1] else None
        await oversight.end_delegation(tenant, one, by=who, mark=mark)
    return "You are back." if ended else "Nobody sits in your seats."
