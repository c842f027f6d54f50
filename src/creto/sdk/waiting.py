"""Waiting for humans, as long as it takes: over lost connections and restarts of the layer, since the request is kept there."""

from __future__ import annotations

import asyncio

from creto.common.errors import ConnectionFailed, Timeout
from creto.common.limits import OVERSIGHT_WAIT_S_MAX
from creto.edge.api.approval_views import Outcome
from creto.edge.api.approvals import WAIT, AwaitApproval
from creto.sdk.line import Line

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
