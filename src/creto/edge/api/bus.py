"""The bus over the wire: what consumers could not take, to look at, to deliver again, or to give up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from creto.bus import DeadLetter
from creto.common.limits import PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from creto.common.paging import cursor_of, place_of
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Cursor, Id, Limit
from creto.edge.api.parts import Parts
from creto.store.entries import entry
from creto.store.types import Tx

Durable = Annotated[str, Meta(min_length=1, max_length=64)]
Ids = Annotated[tuple[Id, ...], Meta(min_length=1, max_length=PAGE_ITEMS_MAX)]


class ListDeadLetters(Ask, frozen=True):
    durable: Durable | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class GetDeadLetter(Ask, frozen=True):
    message_id: Id
    durable: Durable


class TakeDeadLetters(Ask, frozen=True):
    """Of one durable; an id that is no dead letter of it is passed over."""

    durable: Durable
    ids: Ids


class DeadLetterView(View, frozen=True):
    """A message that a durable could not take, and why at last. `died_at` is in nanoseconds."""

    id: str
    durable: str
    subject: str
    agent: str
    deliveries: int
    died_at: int
    code: str
    reason: str


class DeadLetterPage(View, frozen=True):
    items: tuple[DeadLetterView, ...]
    cursor: str | None = None


class WholeDeadLetter(View, frozen=True):
    letter: DeadLetterView
    headers: dict[str, str]
    payload: bytes


class DeadLettersTaken(View, frozen=True):
    ids: tuple[str, ...]


class DeadLettersReplayed(msgspec.Struct, frozen=True):
    """What the log keeps."""

    durable: str
    ids: tuple[str, ...]


class DeadLettersDiscarded(DeadLettersReplayed, frozen=True):
    """What the log keeps of letters that nobody will read."""


READ, WRITE, DURABLE = "bus:read", "bus:write", "bus:durable:{durable}"

LIST = Endpoint("bus.dead_letters", "GET", "/v1/bus/dead-letters", ListDeadLetters, DeadLetterPage, READ, "Messages that a consumer could not take, oldest first")  # fmt: skip
GET = Endpoint("bus.dead_letter", "GET", "/v1/bus/dead-letters/{message_id}", GetDeadLetter, WholeDeadLetter, READ, "One of them, with what it says", errors=("PL-404",), about=DURABLE)  # fmt: skip
REPLAY = Endpoint("bus.replay_dead", "POST", "/v1/bus/replay", TakeDeadLetters, DeadLettersTaken, WRITE, "Deliver dead letters again", errors=("PL-404",), about=DURABLE)  # fmt: skip
DISCARD = Endpoint("bus.discard_dead", "POST", "/v1/bus/discard", TakeDeadLetters, DeadLettersTaken, WRITE, "Forget dead letters for good", about=DURABLE)  # fmt: skip

ENDPOINTS = (LIST, GET, REPLAY, DISCARD)


@handles(LIST)
async def list_dead(parts: Parts, call: Call, ask: ListDeadLetters) -> DeadLetterPage:
    after = place_of(ask.cursor, tuple[str, str], ("", ""))
    letters = await parts.bus.dead_letters(call.tenant, durable=ask.durable, after=after, limit=ask.limit)
    last = letters[-1] if len(letters) == ask.limit else None
    return DeadLetterPage(items=tuple(map(view, letters)), cursor=cursor_of((last.id, last.durable)) if last else None)


@handles(GET)
async def get_dead(parts: Parts, call: Call, ask: GetDeadLetter) -> WholeDeadLetter:
    found = await parts.bus.dead_letter(call.tenant, ask.durable, ask.message_id)
    return WholeDeadLetter(letter=view(found), headers=found.headers, payload=found.payload)


@handles(REPLAY)
async def replay_dead(parts: Parts, call: Call, ask: TakeDeadLetters) -> DeadLettersTaken:
    def also(tx: Tx, taken: Sequence[str]) -> None:
        record(parts, call, tx, "bus.replay_dead", DeadLettersReplayed(ask.durable, tuple(taken)))

    return DeadLettersTaken(ids=tuple(await parts.bus.replay_dead(call.tenant, ask.durable, ask.ids, also=also)))


@handles(DISCARD)
async def discard_dead(parts: Parts, call: Call, ask: TakeDeadLetters) -> DeadLettersTaken:
    def also(tx: Tx, taken: Sequence[str]) -> None:
        record(parts, call, tx, "bus.discard_dead", DeadLettersDiscarded(ask.durable, tuple(taken)))

    return DeadLettersTaken(ids=tuple(await parts.bus.discard_dead(call.tenant, ask.durable, ask.ids, also=also)))


def record(parts: Parts, call: Call, tx: Tx, action: str, event: DeadLettersReplayed) -> None:
    """Who did it to which messages, in the transaction that does it."""
    tx.record(
        entry(
            tenant=call.tenant,
            agent=call.known.agent,
            action=action,
            resource=f"bus:durable:{event.durable}",
            timestamp=parts.clock.now(),
            event=type(event).__name__,
            facts=event,
            degraded_clock=parts.clock.degraded,
        )
    )


def view(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.id,
        durable=letter.durable,
        subject=letter.subject,
        agent=letter.agent,
        deliveries=letter.deliveries,
        died_at=letter.died_at,
        code=letter.reason.code,
        reason=letter.reason.message,
    )
