"""Approvals over the wire: what agents ask, and what becomes of it. Voting is in `votes`, policies and people in `approvers`.

An agent asks for itself, under a stored policy; who decides is not its to say. It needs no rights to learn what became of its own request, and
whoever has a seat in a request may look at it: to the gate that is an act on themselves, which the shipped policies permit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from creto.common.errors import InvalidInput, NotFound, ProductId, Timeout, Unauthorized
from creto.common.ids import AgentId, Name, PolicyId, RequestId, SandboxId
from creto.common.limits import (
    CHAIN_LINKS_MAX,
    INTEGER_MAX,
    OVERRIDE_TOKEN_BYTES_MAX,
    OVERSIGHT_ITEMS_MAX,
    OVERSIGHT_RISK_FACTORS_MAX,
    OVERSIGHT_WAIT_S_MAX,
    PAGE_ITEMS_DEFAULT,
)
from creto.contracts import (
    Action,
    OversightRequest,
    OversightRequirement,
    RiskFactor,
)
from creto.contracts import Resource as Target
from creto.edge.api.approval_views import (
    ApprovalDetail,
    ApprovalPage,
    ApprovalView,
    Json,
    NotificationView,
    Outcome,
    Text,
    detail,
    line,
    noticed,
    told,
)
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Agent, Cursor, Id, Limit, Nanos, Policies, Reason, Resource
from creto.edge.api.parts import Parts
from creto.gate import Operation
from creto.oversight import BatchItem, Record
from creto.oversight.approvals import as_runtime
from creto.oversight.outcome import approved_arguments
from creto.oversight.requests import LAST
from creto.oversight.types import Note
from creto.platform.crypto import digest
from creto.platform.nhi import PrincipalKind


class Item(Ask, frozen=True):
    """One act of a batch. `after` are items that it is pointless without; they stand before it."""

    item_id: Id
    arguments: Json
    after: Annotated[tuple[Id, ...], Meta(max_length=OVERSIGHT_ITEMS_MAX)] = ()


class CreateApproval(Ask, frozen=True):
    """Ask humans. `arguments` are a JSON text: exactly these bytes are approved; or `items`, each decided by itself.

    Without `agent` the caller asks for itself. Who asks for another cannot approve it, nor can anybody in that one's `chain`, from the root to the
    agent. The same request again is the same approval; `key` names it in the agent's own words.
    """

    policy_id: Policies
    action: Name
    resource: Resource
    arguments: Json = "{}"
    description: Text = ""
    agent: Agent | None = None
    risk_factors: Annotated[tuple[RiskFactor, ...], Meta(max_length=OVERSIGHT_RISK_FACTORS_MAX)] = ()
    items: Annotated[tuple[Item, ...], Meta(max_length=OVERSIGHT_ITEMS_MAX)] = ()
    blocking: bool = True
    key: Id | None = None
    supersedes: Id | None = None
    requirement: OversightRequirement | None = (
        None  # of a person or a service, where no policy is stored; an agent's is dropped
    )
    takes_up: Id | None = None  # a denied request whose counter-proposal this is
    chain: Annotated[tuple[Agent, ...], Meta(max_length=CHAIN_LINKS_MAX)] = ()
    sandbox_id: Id | None = None  # from which it acts

    GRPC = (("agent", "agent_nhi"), ("chain", "delegation_chain"), ("description", "action_description"))


class ListApprovals(Ask, frozen=True):
    """What is open, the oldest first."""

    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class ListInbox(Ask, frozen=True):
    """What the caller can decide now and has not put to sleep, the oldest first."""

    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class ListHistory(Ask, frozen=True):
    """By who asked, by who voted, or by when it was asked; the newest first."""

    agent: Agent | None = None
    approver: Agent | None = None
    since: Nanos = 0
    until: Nanos = INTEGER_MAX
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class GetApproval(Ask, frozen=True):
    request_id: Id


class CancelApproval(Ask, frozen=True):
    request_id: Id
    reason: Reason = ""


class AwaitApproval(Ask, frozen=True):
    """For so long the answer waits for a decision; the request stays open whatever the caller does."""

    request_id: Id
    wait_s: Annotated[float, Meta(ge=0, le=OVERSIGHT_WAIT_S_MAX)] = 0
    heard_at: Nanos | None = None  # of the last question that the agent knows: a later one is answered at once


class UseApproval(Ask, frozen=True):
    """The act begins: for who acts outside the layer. The token is used up before this answers."""

    request_id: Id
    override_token: Annotated[str, Meta(min_length=1, max_length=OVERRIDE_TOKEN_BYTES_MAX)]


class UsedApproval(View, frozen=True):
    """What may be done, once."""

    request_id: RequestId
    arguments: str
    approved_items: tuple[str, ...] = ()


class ReportOutcome(Ask, frozen=True):
    """What became of the act, once: the other end of having used the approval."""

    request_id: Id
    succeeded: bool
    detail: Reason = ""


class ReportedOutcome(View, frozen=True):
    request_id: RequestId
    succeeded: bool


class AnswerQuestion(Ask, frozen=True):
    request_id: Id
    text: Text


class DecisionView(View, frozen=True):
    """`file` is the decision as `creto verify` reads it."""

    request_id: RequestId
    file: bytes


class Notifications(View, frozen=True):
    items: tuple[NotificationView, ...]


REQUEST = "oversight:request:{request_id}"
KNOWN = ("OV-404",)
CREATE = Endpoint("approvals.create", "POST", "/v1/approvals", CreateApproval, ApprovalView, "create_request", "Ask humans to approve an act, or find what was asked", rpc="CreateRequest", status=201, errors=("OV-400", "OV-403", "OV-424", "OV-429", "OV-409", "PL-410", "PL-102"))  # fmt: skip
LIST = Endpoint("approvals.list", "GET", "/v1/approvals", ListApprovals, ApprovalPage, "list_requests", "Open requests, the oldest first")  # fmt: skip
INBOX = Endpoint("approvals.inbox", "GET", "/v1/approvals/inbox", ListInbox, ApprovalPage, "list_requests", "What the caller can decide now", errors=("OV-400", "OV-403"))  # fmt: skip
HISTORY = Endpoint("approvals.history", "GET", "/v1/approvals/history", ListHistory, ApprovalPage, "list_requests", "Requests, decided ones too, the newest first", errors=("OV-400", "OV-403"))  # fmt: skip
GET = Endpoint("approvals.get", "GET", "/v1/approvals/{request_id}", GetApproval, ApprovalDetail, "get_request", "One request with all that its approvers look at", rpc="GetRequest", errors=KNOWN, about=REQUEST)  # fmt: skip
CANCEL = Endpoint("approvals.cancel", "POST", "/v1/approvals/{request_id}/cancel", CancelApproval, ApprovalView, "cancel_request", "Nobody needs to decide any more", errors=(*KNOWN, "OV-400", "OV-403", "OV-409"), about=REQUEST)  # fmt: skip
WAIT = Endpoint("approvals.wait", "POST", "/v1/approvals/{request_id}/wait", AwaitApproval, Outcome, None, "What became of a request; who asked gets the token", rpc="AwaitApproval", errors=(*KNOWN, "OV-409", "OV-410", "OV-451"), about=REQUEST)  # fmt: skip
USE = Endpoint("approvals.use", "POST", "/v1/approvals/{request_id}/use", UseApproval, UsedApproval, None, "Use an approval up: the act begins", errors=(*KNOWN, "OV-403", "OV-410", "OV-451", "PL-703", "PL-704", "PL-705", "PL-706"), about=REQUEST)  # fmt: skip
REPORT = Endpoint("approvals.report", "POST", "/v1/approvals/{request_id}/outcome", ReportOutcome, ReportedOutcome, None, "Say what became of the act", errors=(*KNOWN, "OV-400", "OV-403", "OV-409"), about=REQUEST)  # fmt: skip
ANSWER = Endpoint("approvals.answer", "POST", "/v1/approvals/{request_id}/answers", AnswerQuestion, Note, "create_request", "The agent answers a question", status=201, errors=(*KNOWN, "OV-400", "OV-403"), about=REQUEST)  # fmt: skip
DECISION = Endpoint("approvals.decision_file", "GET", "/v1/approvals/{request_id}/decision", GetApproval, DecisionView, "get_request", "The decision as a file that proves itself", errors=KNOWN, about=REQUEST)  # fmt: skip
NOTIFICATIONS = Endpoint("approvals.notifications", "GET", "/v1/approvals/{request_id}/notifications", GetApproval, Notifications, "oversight:read", "Whom the request was sent to, and how far that got", errors=KNOWN, about=REQUEST)  # fmt: skip

ENDPOINTS = (CREATE, LIST, INBOX, HISTORY, GET, CANCEL, WAIT, USE, REPORT, ANSWER, DECISION, NOTIFICATIONS)


# Who may: what is one's own is an act on oneself


async def known(parts: Parts, call: Call, request_id: str) -> Record | None:
    try:
        return await parts.oversight.get(call.tenant, RequestId(request_id))
    except NotFound:
        return None


def asked_by(parts: Parts, record: Record, call: Call) -> bool:
    """Under its key, or under one that it has replaced since."""
    return parts.oversight.own(call.tenant, call.known.agent, record.ask.agent)


@concerns(CREATE)
async def who_asks(parts: Parts, call: Call, ask: CreateApproval) -> str | None:
    return ask.agent or call.known.agent


@concerns(INBOX)
async def whose_inbox(parts: Parts, call: Call, ask: ListInbox) -> str | None:
    return call.known.agent


@concerns(HISTORY)
async def whose_history(parts: Parts, call: Call, ask: ListHistory) -> str | None:
    me, asker = call.known.agent, ask.agent
    return me if me == ask.approver or (asker is not None and parts.oversight.own(call.tenant, me, asker)) else None


@concerns(CANCEL, ANSWER)
async def own(parts: Parts, call: Call, ask: CancelApproval | AnswerQuestion) -> str | None:
    return call.known.agent if await is_own(parts, call, ask.request_id) else None


@concerns(GET, DECISION)
async def own_or_mine_to_decide(parts: Parts, call: Call, ask: GetApproval) -> str | None:
    record = await known(parts, call, ask.request_id)
    if record is None:
        return None
    mine = asked_by(parts, record, call) or parts.oversight.has_seat(record, call.known.agent)
    return call.known.agent if mine else None


async def is_own(parts: Parts, call: Call, request_id: str) -> bool:
    record = await known(parts, call, request_id)
    return record is not None and asked_by(parts, record, call)


async def may_read(parts: Parts, call: Call, request_id: str) -> None:
    """For who neither asked nor has a seat: what every other reader needs."""
    caller = call.known
    operation = Operation(
        tenant=caller.tenant, agent=caller.agent, chain=call.chain, action="get_request",
        resource=REQUEST.format(request_id=request_id), product=ProductId.PLATFORM, grade=call.grade, scopes=caller.scopes,
    )  # fmt: skip
    parts.gate.settle(await parts.gate.authorized_operation(operation))


# Handlers


@handles(CREATE)
async def create(parts: Parts, call: Call, ask: CreateApproval) -> ApprovalView:
    caller = call.known
    request = OversightRequest(
        tenant=call.tenant, agent_nhi=ask.agent or caller.agent, delegation_chain=chain_of(call, ask.agent, ask.chain),
        action=Action(name=ask.action, parameters=msgspec.Raw(ask.arguments.encode())),
        resource=Target(resource_type="", resource_id=ask.resource), policy_id=PolicyId(ask.policy_id),
        action_description=ask.description, risk_factors=ask.risk_factors, blocking=ask.blocking,
        requirement=None if caller.kind is PrincipalKind.AGENT else ask.requirement,
    )  # fmt: skip
    if ask.sandbox_id is not None:
        request = replace(as_runtime(request), sandbox_id=SandboxId(ask.sandbox_id))
    items = batch(ask.items)
    supersedes = RequestId(ask.supersedes) if ask.supersedes is not None else None
    takes_up = RequestId(ask.takes_up) if ask.takes_up is not None else None
    record = await parts.oversight.create(
        request, idempotency_key=ask.key, supersedes=supersedes, takes_up=takes_up, items=items, by=caller.agent
    )
    return line(record, await parts.oversight.notices(record))


def chain_of(call: Call, agent: AgentId | None, chain: Sequence[AgentId]) -> tuple[AgentId, ...]:
    """Under which the agent acts: its own where it asks itself."""
    if agent not in (None, call.known.agent):
        return tuple(chain)
    return call.chain.agents if call.chain is not None else ()


def batch(items: Sequence[Item]) -> list[BatchItem]:
    return [BatchItem(item_id=one.item_id, arguments=one.arguments.encode(), after=one.after) for one in items]


@handles(LIST)
async def list_open(parts: Parts, call: Call, ask: ListApprovals) -> ApprovalPage:
    found = await parts.oversight.list_pending_requests(call.tenant, after=place(ask.cursor), limit=ask.limit)
    return page(found, ask.limit)


@handles(INBOX)
async def inbox(parts: Parts, call: Call, ask: ListInbox) -> ApprovalPage:
    found = await parts.oversight.inbox(call.tenant, call.known.agent, after=place(ask.cursor), limit=ask.limit)
    return page(found, ask.limit)


@handles(HISTORY)
async def history(parts: Parts, call: Call, ask: ListHistory) -> ApprovalPage:
    if ask.agent is not None and ask.approver is not None:
        raise InvalidInput.of("approver", got="agent and approver", expected="one of them", code="OV-400")
    if (ask.agent or ask.approver) is not None and (ask.since, ask.until) != (0, INTEGER_MAX):
        raise InvalidInput.of(
            "since", got="who and when", expected="one of them: pages go back from the newest", code="OV-400"
        )
    found = await parts.oversight.history(
        call.tenant, agent=ask.agent, approver=ask.approver, start=ask.since, end=ask.until,
        before=place(ask.cursor) or LAST, limit=ask.limit,
    )  # fmt: skip
    return page(found, ask.limit)


def page(found: Sequence[Record], limit: int) -> ApprovalPage:
    last = found[-1].ask.request_id if len(found) == limit else None
    return ApprovalPage(items=tuple(map(line, found)), cursor=last)


def place(cursor: str | None) -> str:
    """A cursor is the id behind which the next page begins."""
    if cursor is not None and not (cursor.isascii() and cursor.isprintable() and cursor.startswith("req-")):
        raise InvalidInput.of("cursor", got=cursor, expected="the cursor of an answer")
    return cursor or ""


@handles(GET)
async def get(parts: Parts, call: Call, ask: GetApproval) -> ApprovalDetail:
    case = await parts.oversight.case(call.tenant, RequestId(ask.request_id))
    notices = await parts.oversight.notices(case.record)
    return detail(case, parts.nhi, own=asked_by(parts, case.record, call), notices=notices)


@handles(CANCEL)
async def cancel(parts: Parts, call: Call, ask: CancelApproval) -> ApprovalView:
    return line(
        await parts.oversight.cancel(call.tenant, RequestId(ask.request_id), by=call.known.agent, reason=ask.reason)
    )


async def asked_since(parts: Parts, record: Record, heard_at: int) -> bool:
    questions = await parts.oversight.unanswered(record.ask.tenant, record.ask.request_id)
    return any(one.at > heard_at for one in questions)


@handles(WAIT)
async def wait(parts: Parts, call: Call, ask: AwaitApproval) -> Outcome:
    mine, request_id = await is_own(parts, call, ask.request_id), RequestId(ask.request_id)
    if not mine:
        await may_read(parts, call, request_id)
    record = await parts.oversight.get(call.tenant, request_id)
    news = mine and ask.heard_at is not None and await asked_since(parts, record, ask.heard_at)
    if record.progress.state.open and ask.wait_s and not news:
        try:
            record = await parts.oversight.decided(call.tenant, request_id, ask.wait_s)
        except Timeout:
            record = await parts.oversight.get(call.tenant, request_id)
    if record.progress.state.open:
        questions = await parts.oversight.unanswered(call.tenant, request_id)
        notices = noticed(await parts.oversight.notices(record))
        return Outcome(
            request_id=request_id, state=record.progress.state, questions=questions if mine else (), notices=notices
        )
    chain = call.chain.agents if call.chain is not None else ()
    result = await parts.oversight.result(record, permit=mine, chain=chain, to=call.known.agent)
    return Outcome(request_id=request_id, state=record.progress.state, result=result)


@handles(USE)
async def use(parts: Parts, call: Call, ask: UseApproval) -> UsedApproval:
    if not await is_own(parts, call, ask.request_id):
        await may_read(parts, call, ask.request_id)
        raise Unauthorized("OV-403", "only who asked acts on the approval", field="request_id", got=ask.request_id)
    record = await parts.oversight.get(call.tenant, RequestId(ask.request_id))
    arguments, acted = approved_arguments(record), record.ask
    await parts.authz.consume_durable(
        ask.override_token, tenant=call.tenant, agent=call.known.agent, action=acted.action, resource=acted.resource,
        args_digest=digest(arguments), policy_id=PolicyId(parts.oversight.asking(acted, arguments).under),
        chain=call.chain.agents if call.chain is not None else (),
    )  # fmt: skip
    return UsedApproval(
        request_id=acted.request_id, arguments=arguments.decode(), approved_items=record.progress.approved_items
    )


@handles(REPORT)
async def report(parts: Parts, call: Call, ask: ReportOutcome) -> ReportedOutcome:
    if not await is_own(parts, call, ask.request_id):
        await may_read(parts, call, ask.request_id)
    done = await parts.oversight.report(
        call.tenant, RequestId(ask.request_id), by=call.known.agent, succeeded=ask.succeeded, detail=ask.detail
    )
    return ReportedOutcome(request_id=done.ask.request_id, succeeded=ask.succeeded)


@handles(ANSWER)
async def answer(parts: Parts, call: Call, ask: AnswerQuestion) -> Note:
    return await parts.oversight.answer(call.tenant, RequestId(ask.request_id), ask.text, by=call.known.agent)


@handles(DECISION)
async def decision_file(parts: Parts, call: Call, ask: GetApproval) -> DecisionView:
    request_id = RequestId(ask.request_id)
    return DecisionView(request_id=request_id, file=await parts.oversight.decision_file(call.tenant, request_id))


@handles(NOTIFICATIONS)
async def notifications(parts: Parts, call: Call, ask: GetApproval) -> Notifications:
    record = await parts.oversight.get(call.tenant, RequestId(ask.request_id))
    found = await parts.oversight.notifications(call.tenant, record.ask.request_id)
    return Notifications(items=tuple(map(told, found)))
