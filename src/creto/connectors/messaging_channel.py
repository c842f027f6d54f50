"""Oversight by message: end to end encrypted to an agent that acts for a human, or to a bot that shows cards elsewhere.

The address of a contact is the agent's id. What it gets is what a webhook gets (`webhook_channel`): the same fields, at the end the signed
decision. The approver's agent answers with a ballot signed by its human's key (A3), over the API.
"""

from __future__ import annotations

from creto.common.ids import AgentId
from creto.common.limits import BUS_PAYLOAD_BYTES_MAX
from creto.connectors.webhook_channel import body_of
from creto.contracts import Notifier
from creto.oversight import Channel, Oversight
from creto.oversight.letters import Letter


class MessagingChannel:
    channel = Channel.MESSAGING

    def __init__(self, oversight: Oversight, notifier: Notifier) -> None:
        self._oversight = oversight
        self._notifier = notifier

    async def deliver(self, letter: Letter) -> str:
        one = letter.notification
        body = await body_of(self._oversight, letter, BUS_PAYLOAD_BYTES_MAX // 2)
        return await self._notifier.notify(one.tenant, AgentId(one.address), body, one.notification_id)

    async def withdraw(self, letter: Letter, reference: str | None) -> None:
        """Both were sent under one key: messaging took them for one."""

    def close(self) -> None:
        """Nothing is held between two messages."""
