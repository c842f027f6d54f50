"""Waiting for humans, as long as it takes: over lost connections and restarts of the layer, since the request is kept there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from creto.common import wire
from creto.common.errors import (
    ApprovalDenied,
    ApprovalTimeout,
    ConnectionFailed,
    InvalidInput,
    OversightRequired,
    Timeout,
)
from creto.common.limits import OVERSIGHT_WAIT_S_MAX
from creto.contracts import Approved, Denied, TimedOut
from creto.edge.api.approval_views import Outcome
from creto.edge.api.approvals import ANSWER, WAIT, AnswerQuestion, AwaitApproval
from creto.edge.api.endpoint import Endpoint
from creto.edge.api.usage import WAIT as WAIT_EVENT
from creto.edge.api.usage import AwaitEvent
from creto.metering import EventState, StoredEvent
from creto.oversight.display import proposal
from creto.platform.nhi import DelegationChain
from creto.sdk.line import Line

R = TypeVar("R")
Answer = Callable[[str], str | None]  # of an approver's question; None: the agent has nothing to say
AGAIN_S = 1.0  # after the layer was away


def checked_timeout(timeout_s: float | None) -> float | None:
    """As it is, or PL-400, before anything is asked."""
    if timeout_s is not None and not timeout_s >= 0:  # not a number is no time either
        raise InvalidInput.of("timeout_s", got=timeout_s, expected="0 or more seconds, or None: as long as it takes")
    return timeout_s


async def wait(line: Line, request_id: str, timeout_s: float | None = None, answer: Answer | None = None) -> Outcome:
    """What became of a request, whenever it is decided. After `timeout_s`: without a result, and the request stays open.

    `answer` is told each question that an approver has for the agent, and says what to answer, or nothing.
    """
    heard_at = 0

    async def ask(wait_s: float) -> Outcome:
        nonlocal heard_at
        heard = heard_at if answer is not None else None
        outcome = await line.call(WAIT, AwaitApproval(request_id=request_id, wait_s=wait_s, heard_at=heard))
        if answer is not None:
            heard_at = await answer_all(line, outcome, heard_at, answer)
        return outcome

    return await patiently(ask, lambda outcome: outcome.result is not None, timeout_s)


async def wait_event(line: Line, event_id: str, timeout_s: float | None = None) -> StoredEvent:
    """What became of a usage event that waits for a human, whenever that is. After `timeout_s`: held, as it is then."""

    async def ask(wait_s: float) -> StoredEvent:
        return await line.call(WAIT_EVENT, AwaitEvent(event_id=event_id, wait_s=wait_s))

    return await patiently(ask, lambda found: found.state is not EventState.HELD, timeout_s)


async def patiently(ask: Callable[[float], Awaitable[R]], ended: Callable[[R], bool], timeout_s: float | None) -> R:
    """Ask, each time for as long as one question may wait, until it has ended or the time is over."""
    timeout_s, clock = checked_timeout(timeout_s), asyncio.get_running_loop().time
    ends_at = None if timeout_s is None else clock() + timeout_s
    answered = False
    while True:
        left_s = OVERSIGHT_WAIT_S_MAX if ends_at is None else ends_at - clock()
        try:
            found = await ask(min(OVERSIGHT_WAIT_S_MAX, max(0.0, left_s)))
            answered = True
            if ended(found) or left_s <= 0:
                return found
        except (ConnectionFailed, Timeout):
            if not answered or left_s <= 0:
                raise
            await asyncio.sleep(AGAIN_S)


async def answer_all(line: Line, outcome: Outcome, heard_at: int, answer: Answer) -> int:
    """Each question once, the oldest first; when the last one was asked."""
    for question in outcome.questions:
        if question.at > heard_at:
            text = answer(question.text)
            heard_at = question.at
            if text:
                await line.call(ANSWER, AnswerQuestion(request_id=outcome.request_id, text=text))
    return heard_at


class PatientLine:
    """A line on which what needs an approval waits for it."""

    def __init__(self, line: Line, timeout_s: float | None) -> None:
        self._line = line
        self._timeout_s = checked_timeout(timeout_s)

    def acting(self, chain: DelegationChain) -> PatientLine:
        return PatientLine(self._line.acting(chain), self._timeout_s)

    def with_override(self, token: str) -> Line:
        return self._line.with_override(token)

    async def call(self, endpoint: Endpoint[..., R], request: Any) -> R:
        try:
            return await self._line.call(endpoint, request)
        except OversightRequired as asked:
            if "request_id" not in asked.details:
                if "event_id" not in asked.details:
                    raise
                event = await wait_event(self._line, str(asked.details["event_id"]), self._timeout_s)
                if event.state is EventState.HELD:
                    raise
                return await self._line.call(
                    endpoint, request
                )  # the same event once more: it counts, or why it does not
            outcome = await wait(self._line, str(asked.details["request_id"]), self._timeout_s)
            if outcome.result is None:
                raise
            token, arguments = allowed(outcome)
        if arguments is not None:  # a human approved something else than was asked
            request = wire.decode(arguments, endpoint.request_type, what="arguments")
        return await self._line.with_override(token).call(endpoint, request)

    async def close(self) -> None:
        """The line is closed by whoever opened it."""


def allowed(outcome: Outcome) -> tuple[str, bytes | None]:
    """The token, and what may be done where that is not what was asked. OV-451 if it was denied, OV-408 if nobody decided."""
    match outcome.result:
        case Approved() | TimedOut() as said if said.override_token is not None:
            return said.override_token, said.arguments
        case Denied(reason=reason, counter=counter):
            instead = {"proposed": proposal(counter)} if counter else {}
            raise ApprovalDenied(
                "OV-451", f"the request was denied: {reason or 'no reason was given'}", reason=reason,
                details={"request_id": outcome.request_id, **instead},
                hint=f"Ask again within what was proposed instead: {instead['proposed']}." if instead else None,
            )  # fmt: skip
        case TimedOut():
            raise ApprovalTimeout("OV-408", details={"request_id": outcome.request_id})
        case _:
            raise Timeout(
                "OV-504", field="timeout_s", expected="a decision", details={"request_id": outcome.request_id}
            )
