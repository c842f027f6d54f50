"""Oversight by webhook: a hint with what is shown, and at the end the signed decision itself, for a program that acts for a human.

    {"type": "oversight.request.asked", "timestamp": "2026-01-31T09:30:00.000000000Z",
     "data": {"request_id": "req-…", "round": 1, "effect": "…", "args_hash": "…", "display_hash": "…", "link": "https://…", …}}

The address of a contact is the id of an endpoint (`whe-…`). The receiver proves the decision from its own bytes (`decision`, base64 of
the file that `creto verify` reads), so order and loss of webhooks matter to nobody.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from creto.common import wire
from creto.common.errors import ConnectionFailed, NotFound, QuotaExceeded, Unauthorized
from creto.common.limits import WEBHOOK_BODY_BYTES_MAX
from creto.common.timestamps import iso
from creto.connectors.webhook import Attempt, Outcome
from creto.connectors.webhook_endpoints import Webhooks
from creto.oversight import Channel, Oversight
from creto.oversight.letters import Letter


class WebhookChannel:
    channel = Channel.WEBHOOK

    def __init__(self, oversight: Oversight, webhooks: Webhooks) -> None:
        self._oversight = oversight
        self._webhooks = webhooks

    async def withdraw(self, letter: Letter, reference: str | None) -> None:
        """Both carry the same id: the receiver takes them for one."""

    def close(self) -> None:
        """Nothing is held between two messages."""

    async def deliver(self, letter: Letter) -> str:
        one = letter.notification
        body = await body_of(self._oversight, letter, WEBHOOK_BODY_BYTES_MAX)
        attempt = await self._webhooks.send(one.tenant, one.address, one.notification_id, body)
        if attempt.outcome is Outcome.DELIVERED:
            return one.notification_id
        raise trouble(attempt)


async def body_of(oversight: Oversight, letter: Letter, bytes_max: int) -> bytes:
    """What a program is told, with the signed decision once there is one; what is too large is left for it to fetch."""
    one, decision = letter.notification, b""
    if not letter.open:
        decision = await oversight.decision_file(one.tenant, one.request_id)
    brief = msgspec.structs.replace(letter, full=False)
    for what, proof in ((letter, decision), (brief, decision)):
        body = wire.encode(message(what, proof))
        if len(body) <= bytes_max:
            return body
    return wire.encode(message(brief, b""))


def message(letter: Letter, decision: bytes) -> dict[str, Any]:
    ask, shown, one = letter.record.ask, letter.shown, letter.notification
    data: dict[str, Any] = {
        "request_id": ask.request_id, "round": ask.round, "person": one.person, "agent": ask.agent,
        "effect": shown.effect, "action": shown.action, "resource": shown.resource, "risk": shown.risk, "risks": shown.risks,
        "policy": shown.policy, "warnings": shown.warnings, "args_hash": letter.digest,
        "display_hash": letter.record.display_hash.hex(), "state": letter.record.progress.state, "standing": letter.standing,
        "link": letter.link,
    }  # fmt: skip
    if letter.full:
        data["arguments"] = [{"name": line.name, "value": line.value} for line in shown.arguments]
    if letter.open:
        data["ends_at"] = letter.ends_at
    if decision:
        data["decision"] = base64.b64encode(decision).decode()
    return {"type": f"oversight.request.{one.kind}", "timestamp": iso(ask.created_at), "data": data}


def trouble(attempt: Attempt) -> Exception:
    if attempt.outcome is Outcome.THROTTLED:
        return QuotaExceeded("PL-429", f"the endpoint is busy: {attempt.detail}", retry_after_s=attempt.retry_after_s)
    if attempt.outcome is Outcome.GONE:
        return NotFound("PL-404", f"the endpoint wants nothing more: {attempt.detail}")
    if attempt.outcome is Outcome.REFUSED:
        return Unauthorized("PL-940", attempt.detail)
    return ConnectionFailed("PL-503", f"the endpoint did not take it: {attempt.detail}")
