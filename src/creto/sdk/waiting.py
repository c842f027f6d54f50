"""Waiting for humans, as long as it takes: over lost connections and restarts of the layer, since the request is kept there."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from creto.common import wire
from creto.common.errors import ApprovalDenied, ApprovalTimeout, ConnectionFailed, OversightRequired, Timeout
from creto.common.limits import OVERSIGHT_WAIT_S_MAX
from creto.contracts import Approved, Denied, TimedOut
from creto.edge.api.approval_views import Outcome
from creto.edge.api.approvals import WAIT, AwaitApproval
from creto.edge.api.endpoint import Endpoint
from creto.oversight.display import proposal
from creto.platform.nhi import DelegationChain
from creto.sdk.line import Line

R = TypeVar("R")
AGAIN_S = 1.0  # after the layer was away


async def wait(line: Line, request_id: str, timeout_s: float | None = None) -> Outcome:
    """What became of a request, whenever it is decided. After `timeout_s`: without a result, and the request stays open."""
    clock = asyncio.get_running_loop().time
    ends_at = None if timeout_s is None else clock() + timeout_s
    answered = False
    while True:
        left_s = OVERSIGHT_WAIT_S_MAX if ends_at is None else ends_at - clock()
        try:
            asked = AwaitApproval(request_id=request_id, wait_s=min(OVERSIGHT_WAIT_S_MAX, max(0.0, left_s)))
            outcome = await line.call(WAIT, asked)
            answered = True
            if outcome.result is not None or left_s <= 0:
                return outcome
        except (ConnectionFailed, Timeout):
            if not answered or left_s <= 0:
                raise
            await asyncio.sleep(AGAIN_S)


class PatientLine:
    """A line on which what needs an approval waits for it."""

    def __init__(self, line: Line, timeout_s: float | None) -> None:
        self._line = line
        self._timeout_s = timeout_s

    def acting(self, chain: DelegationChain) -> PatientLine:
        return PatientLine(self._line.acting(chain), self._timeout_s)

    def with_override(self, token: str) -> Line:
        return self._line.with_override(token)

    async def call(self, endpoint: Endpoint[..., R], request: Any) -> R:
        try:
            return await self._line.call(endpoint, request)
        except OversightRequired as asked:
            if "request_id" not in asked.details:
                raise
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
