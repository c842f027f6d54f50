"""What agents remember, over the wire. The resource of each question is the agent whose memory it is."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.errors import NotFound
from creto.common.limits import CONTEXT_BYTES_MAX, CONTEXT_TTL_S_MAX, PAGE_ITEMS_DEFAULT, VECTOR_DIMENSIONS_MAX
from creto.common.tracing import trace_id
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Agent, Count, Cursor, Id, Limit, Reason, octets
from creto.edge.api.parts import Parts
from creto.security.memory import (
    Context,
    ContextPage,
    ConversationPage,
    Erasure,
    Match,
    Metric,
    NewTurn,
    StateEntry,
    StateKeys,
    TurnPage,
    Usage,
)

Content = Annotated[str, Meta(max_length=CONTEXT_BYTES_MAX)]
Vector = Annotated[tuple[float, ...], Meta(min_length=1, max_length=VECTOR_DIMENSIONS_MAX)]
Ttl = Annotated[int, Meta(ge=1, le=CONTEXT_TTL_S_MAX)]


class StoreContext(Ask, frozen=True):
    agent: Agent
    kind: Id
    content: Content
    action: Id | None = None
    vector: Vector | None = None
    ttl_s: Ttl | None = None


class FetchReasoning(Ask, frozen=True):
    agent: Agent
    action: Id
    limit: Limit = 10


class RecentContexts(Ask, frozen=True):
    agent: Agent
    kind: Id | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class SearchContexts(Ask, frozen=True):
    agent: Agent
    query: Annotated[str, Meta(min_length=1, max_length=1_000)]
    kind: Id | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT


class NearestContexts(Ask, frozen=True):
    agent: Agent
    vector: Vector
    limit: Limit = 10
    metric: Metric = Metric.COSINE


class Contexts(View, frozen=True):
    items: tuple[Context, ...]


class Matches(View, frozen=True):
    items: tuple[Match, ...]


class EraseContext(Ask, frozen=True):
    agent: Agent
    id: Id
    reason: Reason = ""


class EraseAgent(Ask, frozen=True):
    """Everything that the agent remembers: its key is destroyed first."""

    agent: Agent
    reason: Reason = ""


class AppendTurns(Ask, frozen=True):
    agent: Agent
    conversation: Id
    turns: Annotated[tuple[NewTurn, ...], Meta(min_length=1, max_length=1_000)]
    ttl_s: Ttl | None = None


class ReadTurns(Ask, frozen=True):
    agent: Agent
    conversation: Id
    newest_first: bool = False
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class PutState(Ask, frozen=True):
    """`expected` is the version that must be there: 0 for none, absent for any."""

    agent: Agent
    key: Id
    value: Annotated[bytes, octets(CONTEXT_BYTES_MAX)]
    expected: Count | None = None
    ttl_s: Ttl | None = None


class GetState(Ask, frozen=True):
    agent: Agent
    key: Id


class GetContext(Ask, frozen=True):
    agent: Agent
    id: Id


class ListState(Ask, frozen=True):
    agent: Agent
    prefix: Annotated[str, Meta(max_length=200)] = ""
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class EraseState(Ask, frozen=True):
    """`expected` is the version that must be there; absent for any."""

    agent: Agent
    key: Id
    expected: Count | None = None
    reason: Reason = ""


class ListConversations(Ask, frozen=True):
    agent: Agent
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class EraseConversation(Ask, frozen=True):
    agent: Agent
    conversation: Id
    reason: Reason = ""


class GetUsage(Ask, frozen=True):
    agent: Agent


READ, WRITE, AGENT = "memory:read", "memory:write", "{agent}"
STORE = Endpoint("memory.store_context", "POST", "/v1/memory/{agent}/contexts", StoreContext, Context, WRITE, "Remember something", status=201, about=AGENT, errors=("PL-821",))  # fmt: skip
RECENT = Endpoint("memory.recent", "GET", "/v1/memory/{agent}/contexts", RecentContexts, ContextPage, READ, "What was remembered, the newest first", about=AGENT)  # fmt: skip
FETCH = Endpoint("memory.fetch_reasoning_context", "GET", "/v1/memory/{agent}/reasoning", FetchReasoning, Contexts, READ, "Why the agent does what it is about to do", about=AGENT)  # fmt: skip
SEARCH = Endpoint("memory.search", "GET", "/v1/memory/{agent}/search", SearchContexts, Contexts, READ, "Full-text search in an agent's memory", about=AGENT)  # fmt: skip
NEAREST = Endpoint("memory.nearest", "POST", "/v1/memory/{agent}/nearest", NearestContexts, Matches, READ, "The memories nearest to a vector", about=AGENT, errors=("PL-821",), keyed=False)  # fmt: skip
ERASE = Endpoint("memory.erase", "DELETE", "/v1/memory/{agent}/contexts/{id}", EraseContext, Erasure, WRITE, "Erase one memory", about=AGENT)  # fmt: skip
ERASE_AGENT = Endpoint("memory.erase_agent", "DELETE", "/v1/memory/{agent}", EraseAgent, Erasure, WRITE, "Erase all that an agent remembers", about=AGENT)  # fmt: skip
APPEND = Endpoint("memory.append_turns", "POST", "/v1/memory/{agent}/conversations/{conversation}", AppendTurns, TurnPage, WRITE, "Add turns to a conversation", status=201, about=AGENT)  # fmt: skip
TURNS = Endpoint("memory.turns", "GET", "/v1/memory/{agent}/conversations/{conversation}", ReadTurns, TurnPage, READ, "Read a conversation", about=AGENT)  # fmt: skip
PUT_STATE = Endpoint("memory.put_state", "PUT", "/v1/memory/{agent}/state/{key}", PutState, StateEntry, WRITE, "Keep a value, if its version is the expected one", about=AGENT)  # fmt: skip
GET_STATE = Endpoint("memory.get_state", "GET", "/v1/memory/{agent}/state/{key}", GetState, StateEntry, READ, "A kept value", about=AGENT)  # fmt: skip
GET = Endpoint("memory.get", "GET", "/v1/memory/{agent}/contexts/{id}", GetContext, Context, READ, "One memory", about=AGENT)  # fmt: skip
STATE_KEYS = Endpoint("memory.state_keys", "GET", "/v1/memory/{agent}/state", ListState, StateKeys, READ, "The keys under which an agent keeps values, and their versions", about=AGENT)  # fmt: skip
ERASE_STATE = Endpoint("memory.erase_state", "DELETE", "/v1/memory/{agent}/state/{key}", EraseState, Erasure, WRITE, "Erase a kept value", about=AGENT)  # fmt: skip
CONVERSATIONS = Endpoint("memory.conversations", "GET", "/v1/memory/{agent}/conversations", ListConversations, ConversationPage, READ, "An agent's conversations, by name", about=AGENT)  # fmt: skip
ERASE_CONVERSATION = Endpoint("memory.erase_conversation", "DELETE", "/v1/memory/{agent}/conversations/{conversation}", EraseConversation, Erasure, WRITE, "Erase a conversation", about=AGENT)  # fmt: skip
USAGE = Endpoint("memory.usage", "GET", "/v1/memory/{agent}/usage", GetUsage, Usage, READ, "How much an agent has stored", about=AGENT)  # fmt: skip

ENDPOINTS = (STORE, RECENT, FETCH, SEARCH, NEAREST, ERASE, ERASE_AGENT, APPEND, TURNS, PUT_STATE, GET_STATE, GET, STATE_KEYS, ERASE_STATE, CONVERSATIONS, ERASE_CONVERSATION, USAGE)  # fmt: skip


@handles(STORE)
async def store_context(parts: Parts, call: Call, ask: StoreContext) -> Context:
    return await parts.memory.store_context(
        call.tenant,
        ask.agent,
        ask.kind,
        ask.content,
        action=ask.action,
        vector=ask.vector,
        ttl_s=ask.ttl_s,
        written_by=call.known.agent,
        trace_id=trace_id(),
    )


@handles(FETCH)
async def fetch(parts: Parts, call: Call, ask: FetchReasoning) -> Contexts:
    found = await parts.memory.fetch_reasoning_context(call.tenant, ask.agent, ask.action, ask.limit)
    return Contexts(items=tuple(found))


@handles(RECENT)
async def recent(parts: Parts, call: Call, ask: RecentContexts) -> ContextPage:
    return await parts.memory.recent(call.tenant, ask.agent, kind=ask.kind, cursor=ask.cursor, limit=ask.limit)


@handles(SEARCH)
async def search(parts: Parts, call: Call, ask: SearchContexts) -> Contexts:
    found = await parts.memory.search(call.tenant, ask.agent, ask.query, kind=ask.kind, limit=ask.limit)
    return Contexts(items=tuple(found))


@handles(NEAREST)
async def nearest(parts: Parts, call: Call, ask: NearestContexts) -> Matches:
    found = await parts.memory.nearest(call.tenant, ask.agent, ask.vector, limit=ask.limit, metric=ask.metric)
    return Matches(items=tuple(found))


@handles(ERASE)
async def erase(parts: Parts, call: Call, ask: EraseContext) -> Erasure:
    me = call.known.agent
    return await parts.memory.erase(call.tenant, ask.agent, ask.id, by=me, reason=ask.reason, trace_id=trace_id())


@handles(ERASE_AGENT)
async def erase_agent(parts: Parts, call: Call, ask: EraseAgent) -> Erasure:
    me = call.known.agent
    return await parts.memory.erase_agent(call.tenant, ask.agent, by=me, reason=ask.reason, trace_id=trace_id())


@handles(APPEND)
async def append_turns(parts: Parts, call: Call, ask: AppendTurns) -> TurnPage:
    turns = await parts.memory.history.append(
        call.tenant,
        ask.agent,
        ask.conversation,
        ask.turns,
        ttl_s=ask.ttl_s,
        written_by=call.known.agent,
        trace_id=trace_id(),
    )
    return TurnPage(turns)


@handles(TURNS)
async def turns(parts: Parts, call: Call, ask: ReadTurns) -> TurnPage:
    return await parts.memory.history.page(
        call.tenant,
        ask.agent,
        ask.conversation,
        newest_first=ask.newest_first,
        cursor=ask.cursor,
        limit=ask.limit,
    )


@handles(PUT_STATE)
async def put_state(parts: Parts, call: Call, ask: PutState) -> StateEntry:
    return await parts.memory.state.put(
        call.tenant,
        ask.agent,
        ask.key,
        ask.value,
        expected=ask.expected,
        ttl_s=ask.ttl_s,
        written_by=call.known.agent,
        trace_id=trace_id(),
    )


@handles(GET_STATE)
async def get_state(parts: Parts, call: Call, ask: GetState) -> StateEntry:
    found = await parts.memory.state.get(call.tenant, ask.agent, ask.key)
    if found is None:
        raise NotFound("PL-404", f"{ask.agent} keeps nothing under {ask.key}")
    return found


@handles(GET)
async def get(parts: Parts, call: Call, ask: GetContext) -> Context:
    return await parts.memory.get(call.tenant, ask.agent, ask.id)


@handles(STATE_KEYS)
async def state_keys(parts: Parts, call: Call, ask: ListState) -> StateKeys:
    return await parts.memory.state.keys(call.tenant, ask.agent, ask.prefix, cursor=ask.cursor, limit=ask.limit)


@handles(ERASE_STATE)
async def erase_state(parts: Parts, call: Call, ask: EraseState) -> Erasure:
    return await parts.memory.state.erase(
        call.tenant,
        ask.agent,
        ask.key,
        by=call.known.agent,
        expected=ask.expected,
        reason=ask.reason,
        trace_id=trace_id(),
    )


@handles(CONVERSATIONS)
async def conversations(parts: Parts, call: Call, ask: ListConversations) -> ConversationPage:
    return await parts.memory.history.conversations(call.tenant, ask.agent, cursor=ask.cursor, limit=ask.limit)


@handles(ERASE_CONVERSATION)
async def erase_conversation(parts: Parts, call: Call, ask: EraseConversation) -> Erasure:
    me, why = call.known.agent, ask.reason
    return await parts.memory.history.erase(
        call.tenant, ask.agent, ask.conversation, by=me, reason=why, trace_id=trace_id()
    )


@handles(USAGE)
async def usage(parts: Parts, call: Call, ask: GetUsage) -> Usage:
    return await parts.memory.usage(call.tenant, ask.agent)
