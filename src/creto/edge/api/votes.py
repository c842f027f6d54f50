"""What approvers do, over the wire: vote, by their own key or as the service attests it, and everything around a vote.

    ballot = await ask(BALLOT, …)                       # everything the vote is bound to, to be signed
    receipt = await ask(SUBMIT, … ballot, signature)    # A3: the human's own key
    receipt = await ask(DECIDE, …)                      # A2: the service attests who was signed in

Who has a seat in a request needs no role for it: the oversight policy has named them. To the gate it is an act on themselves.
INVARIANT: a vote is about the round that the approver saw; one that was edited since is refused (OV-409).
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, RequestId
from creto.common.limits import (
    OVERSIGHT_ARGUMENTS_BYTES_MAX,
    OVERSIGHT_BOUNDS_MAX,
    OVERSIGHT_CLAIM_S_MAX,
    OVERSIGHT_EXTENSION_S_MAX,
    OVERSIGHT_HOLD_S_MAX,
    OVERSIGHT_ITEMS_MAX,
    OVERSIGHT_ROUNDS_MAX,
    OVERSIGHT_SNOOZE_S_MAX,
)
from creto.edge.api.approval_views import ApprovalView, Json, Text, line
from creto.edge.api.approvals import REQUEST, known
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, Nothing, View
from creto.edge.api.fields import Agent, Id, KeyBytes, SignatureBytes, octets
from creto.edge.api.parts import Parts
from creto.oversight import Ballot, Bound, Channel, Evidence, GrantWish, Receipt, SignedBallot, Verdict
from creto.oversight.decisions import VOTE_CONTEXT, OwnKey
from creto.oversight.types import Note
from creto.platform.consensus import PersonId

Hold = Annotated[int, Meta(ge=0, le=OVERSIGHT_HOLD_S_MAX)]


class GetBallot(Ask, frozen=True):
    """A vote as its human will sign it. With `arguments` (JSON): edit and approve. `counter`: not this, but within these bounds."""

    request_id: Id
    verdict: Verdict
    reason: Text = ""
    on_behalf_of: Agent | None = None
    items: Annotated[dict[Id, Verdict], Meta(max_length=OVERSIGHT_ITEMS_MAX)] = {}
    wish: GrantWish | None = None
    counter: Annotated[tuple[Bound, ...], Meta(max_length=OVERSIGHT_BOUNDS_MAX)] = ()
    arguments: Json | None = None


class Decide(GetBallot, frozen=True, kw_only=True):
    """The same, attested by the service with how the caller was signed in. `round` is that of what the caller has seen.

    With `hold_s` a vote that decides has its effect so much later, and can be undone until then.
    """

    round: Annotated[int, Meta(ge=1, le=OVERSIGHT_ROUNDS_MAX)]
    hold_s: Hold = 0


class BallotView(View, frozen=True):
    """`ballot` is signed as it is, Ed25519 and ML-DSA-65, under `context`. It names what was shown by `display_hash`."""

    ballot: bytes
    context: bytes
    round: int
    args_hash: bytes
    display_hash: bytes


class SubmitBallot(Ask, frozen=True):
    """`arguments` again where the ballot is for edited ones."""

    request_id: Id
    ballot: Annotated[bytes, octets(2 * OVERSIGHT_ARGUMENTS_BYTES_MAX)]
    key: KeyBytes
    signature: SignatureBytes
    arguments: Json | None = None
    hold_s: Hold = 0


class WriteNote(Ask, frozen=True):
    request_id: Id
    text: Text


class ClaimApproval(Ask, frozen=True):
    """Somebody is looking into it: no escalation until then."""

    request_id: Id
    ttl_s: Annotated[int, Meta(ge=1, le=OVERSIGHT_CLAIM_S_MAX)] = 900


class ExtendApproval(Ask, frozen=True):
    request_id: Id
    by_s: Annotated[int, Meta(ge=1, le=OVERSIGHT_EXTENSION_S_MAX)] = 300


class SnoozeApproval(Ask, frozen=True):
    """Out of the caller's own inbox for a while."""

    request_id: Id
    for_s: Annotated[int, Meta(ge=1, le=OVERSIGHT_SNOOZE_S_MAX)] = 3_600


class RevokeApproval(Ask, frozen=True):
    request_id: Id
    reason: Text = ""


DECIDES = "submit_decision"
REFUSED = ("OV-400", "OV-401", "OV-403", "OV-404", "OV-409")
BALLOT = Endpoint("approvals.ballot", "POST", "/v1/approvals/{request_id}/ballot", GetBallot, BallotView, DECIDES, "A vote to be signed by the approver's own key", errors=REFUSED, keyed=False, about=REQUEST)  # fmt: skip
SUBMIT = Endpoint("approvals.submit", "POST", "/v1/approvals/{request_id}/ballots", SubmitBallot, Receipt, DECIDES, "Count a vote that its human signed", rpc="SubmitResponse", errors=REFUSED, about=REQUEST)  # fmt: skip
DECIDE = Endpoint("approvals.decide", "POST", "/v1/approvals/{request_id}/decide", Decide, Receipt, DECIDES, "Vote, attested by the service", errors=REFUSED, about=REQUEST)  # fmt: skip
COMMENT = Endpoint("approvals.comment", "POST", "/v1/approvals/{request_id}/comments", WriteNote, Note, DECIDES, "Say something to the other approvers", status=201, errors=REFUSED, about=REQUEST)  # fmt: skip
ASK = Endpoint("approvals.ask", "POST", "/v1/approvals/{request_id}/questions", WriteNote, Note, DECIDES, "Ask the agent something; the time goes on", status=201, errors=REFUSED, about=REQUEST)  # fmt: skip
CLAIM = Endpoint("approvals.claim", "POST", "/v1/approvals/{request_id}/claim", ClaimApproval, ApprovalView, DECIDES, "Say that one is looking into it: no escalation until the claim ends", errors=REFUSED, about=REQUEST)  # fmt: skip
EXTEND = Endpoint("approvals.extend", "POST", "/v1/approvals/{request_id}/extend", ExtendApproval, ApprovalView, DECIDES, "More time for this tier", errors=REFUSED, about=REQUEST)  # fmt: skip
SNOOZE = Endpoint("approvals.snooze", "POST", "/v1/approvals/{request_id}/snooze", SnoozeApproval, Nothing, DECIDES, "Out of one's own inbox for a while", status=204, errors=REFUSED, about=REQUEST)  # fmt: skip
REVOKE = Endpoint("approvals.revoke", "POST", "/v1/approvals/{request_id}/revoke", RevokeApproval, ApprovalView, DECIDES, "Take an approval back before it is used", errors=(*REFUSED, "OV-410"), about=REQUEST)  # fmt: skip

ENDPOINTS = (BALLOT, SUBMIT, DECIDE, COMMENT, ASK, CLAIM, EXTEND, SNOOZE, REVOKE)


@concerns(*ENDPOINTS)
async def mine_to_decide(parts: Parts, call: Call, ask: Any) -> str | None:
    record = await known(parts, call, ask.request_id)
    me = call.known.agent
    return me if record is not None and parts.oversight.has_seat(record, me) else None


@handles(BALLOT)
async def ballot(parts: Parts, call: Call, ask: GetBallot) -> BallotView:
    made = await parts.oversight.ballot(
        call.tenant, RequestId(ask.request_id), approver=call.known.agent, verdict=ask.verdict, reason=ask.reason,
        on_behalf_of=person(parts, call, ask.on_behalf_of), items=ask.items, wish=ask.wish, counter=ask.counter,
        arguments=encoded(ask.arguments),
    )  # fmt: skip
    return BallotView(
        ballot=made.signed_bytes(), context=VOTE_CONTEXT, round=made.round, args_hash=made.args_hash,
        display_hash=made.display_hash,
    )  # fmt: skip


@handles(SUBMIT)
async def submit(parts: Parts, call: Call, ask: SubmitBallot) -> Receipt:
    vote = wire.decode(ask.ballot, Ballot, code="OV-400", what="ballot")
    if vote.request_id != ask.request_id:
        raise InvalidInput.of("ballot.request_id", got=vote.request_id, expected=ask.request_id, code="OV-400")
    signed = SignedBallot(ballot=vote, proof=OwnKey(key=ask.key, signature=ask.signature))
    return await parts.oversight.submit_response(
        call.tenant, signed, arguments=encoded(ask.arguments), hold_s=ask.hold_s
    )


@handles(DECIDE)
async def decide(parts: Parts, call: Call, ask: Decide) -> Receipt:
    me = call.known.agent
    return await parts.oversight.relay_response(
        call.tenant, RequestId(ask.request_id), approver=me, verdict=ask.verdict, evidence=evidence_of(call), reason=ask.reason,
        on_behalf_of=person(parts, call, ask.on_behalf_of), items=ask.items, wish=ask.wish, counter=ask.counter,
        arguments=encoded(ask.arguments), round=ask.round, hold_s=ask.hold_s,
    )  # fmt: skip


def evidence_of(call: Call) -> Evidence:
    """How the caller was signed in."""
    return Evidence(
        channel=Channel.WEB if call.by_session else Channel.API, account=call.known.agent,
        method="session" if call.by_session else "credential",
    )  # fmt: skip


@handles(COMMENT)
async def comment(parts: Parts, call: Call, ask: WriteNote) -> Note:
    return await parts.oversight.comment(call.tenant, RequestId(ask.request_id), ask.text, by=call.known.agent)


@handles(ASK)
async def question(parts: Parts, call: Call, ask: WriteNote) -> Note:
    return await parts.oversight.ask(call.tenant, RequestId(ask.request_id), ask.text, by=call.known.agent)


@handles(CLAIM)
async def claim(parts: Parts, call: Call, ask: ClaimApproval) -> ApprovalView:
    me = call.known.agent
    return line(await parts.oversight.claim(call.tenant, RequestId(ask.request_id), by=me, ttl_s=ask.ttl_s))


@handles(EXTEND)
async def extend(parts: Parts, call: Call, ask: ExtendApproval) -> ApprovalView:
    me = call.known.agent
    return line(await parts.oversight.extend(call.tenant, RequestId(ask.request_id), by=me, by_s=ask.by_s))


@handles(SNOOZE)
async def snooze(parts: Parts, call: Call, ask: SnoozeApproval) -> Nothing:
    await parts.oversight.snooze(call.tenant, RequestId(ask.request_id), by=call.known.agent, for_s=ask.for_s)
    return Nothing()


@handles(REVOKE)
async def revoke(parts: Parts, call: Call, ask: RevokeApproval) -> ApprovalView:
    me = call.known.agent
    return line(await parts.oversight.revoke(call.tenant, RequestId(ask.request_id), by=me, reason=ask.reason))


def person(parts: Parts, call: Call, named: AgentId | None) -> PersonId | None:
    """Whichever of their keys is named."""
    return parts.oversight.approver(call.tenant, named).person if named is not None else None


def encoded(arguments: str | None) -> bytes | None:
    return arguments.encode() if arguments is not None else None
