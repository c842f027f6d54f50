"""What comes from Slack: clicks, modals, commands. Plain functions from raw headers and body to an answer.

    inbound = SlackInbound(oversight, channel)
    answer = await inbound.interactions(headers, body)        # POST /v1/connectors/slack/interactions
    answer = await inbound.commands(headers, body)            # POST /v1/connectors/slack/commands
    answer = await inbound.events(headers, body)              # POST /v1/connectors/slack/events

The bytes are verified before they are read. A vote is committed before Slack gets its answer; if that takes longer than Slack waits, Slack
shows the human an error rather than that we tell them of a decision that may not be: the work goes on, and the card says how it ended.

INVARIANT: a click counts only from the message that was posted (team, app, conversation, ts), for the round that message shows.
INVARIANT: the same bytes have one effect, in whichever process they arrive: a vote's delivery is in its ballot's nonce, every other act is
marked in its own transaction. A retry header changes nothing: what crashed before its commit is done when it comes again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import msgspec

from creto.common import wire
from creto.common.errors import (
    EnablementError,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    ProductId,
    SignatureVerificationFailed,
)
from creto.common.ids import AgentId, RequestId, TenantId
from creto.common.limits import OVERSIGHT_TAKEN_S, SLACK_ANSWER_S_MAX, SLACK_REPLAY_S
from creto.common.telemetry import fields
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.connectors import slack_cards
from creto.connectors.inbound import Answer, RawHeaders, json_answer
from creto.connectors.slack_channel import SlackChannel, SlackInstall, reference
from creto.connectors.slack_signing import verified
from creto.oversight import Channel, Evidence, Notification, Oversight, Receipt, Verdict
from creto.oversight.core import Mark
from creto.platform.crypto import digest
from creto.store.idempotency import IdempotencyGuard
from creto.store.types import Tx

log = logging.getLogger("creto.connectors")
UNREADABLE = Answer(400, b"the callback cannot be read")
STRANGER = "This card is not known here. Press again in a moment, or use another card of the request"
SETTLING_S = 2 * OVERSIGHT_TAKEN_S  # a card that is not known after this long never will be


class Named(msgspec.Struct, frozen=True):
    id: str


class Container(msgspec.Struct, frozen=True):
    channel_id: str = ""
    message_ts: str = ""


class Action(msgspec.Struct, frozen=True):
    action_id: str
    value: str = ""


class View(msgspec.Struct, frozen=True):
    callback_id: str = ""
    private_metadata: str = ""
    state: dict[str, Any] = {}


class Interaction(msgspec.Struct, frozen=True):
    """The fields that we use; Slack sends many more."""

    type: str
    team: Named
    user: Named
    api_app_id: str
    container: Container = Container()
    actions: tuple[Action, ...] = ()
    view: View = View()
    response_url: str = ""
    trigger_id: str = ""


class Event(msgspec.Struct, frozen=True):
    type: str
    challenge: str = ""


class Delivery(msgspec.Struct, frozen=True):
    """Genuine bytes: whose app, their digest, and when they were signed."""

    install: SlackInstall
    id: str
    signed_at: ConsensusTimestamp

    @property
    def tenant(self) -> TenantId:
        return self.install.tenant


class Repeated(Exception):
    """These bytes have had their effect."""


def marked(delivery: Delivery) -> tuple[TenantId, ProductId, str, str]:
    """Under what name the store knows that they had."""
    return delivery.tenant, ProductId.OVERSIGHT, "slack", delivery.id


class SlackInbound:
    def __init__(self, oversight: Oversight, channel: SlackChannel, *, answer_s: float = SLACK_ANSWER_S_MAX) -> None:
        self._oversight = oversight
        self._channel = channel
        self._answer_s = answer_s
        self._guard = IdempotencyGuard()
        self._going: set[asyncio.Task[Any]] = set()

    # The three ways in

    async def interactions(self, headers: RawHeaders, body: bytes) -> Answer:
        """A click on a card, or a modal that was sent."""

        async def act(genuine: Genuine) -> Answer:
            said = wire.decode(field(form(body), "payload"), Interaction)
            delivery = self._delivery(genuine, body, said.team.id, said.api_app_id)
            if said.type == "block_actions" and said.actions:
                return await self._clicked(delivery, said, said.actions[0])
            if said.type == "view_submission" and said.view.callback_id == slack_cards.DENY:
                return await self._denied(delivery, said)
            return Answer()  # a modal that was closed decides nothing

        return await self._answered(headers, body, act)

    async def commands(self, headers: RawHeaders, body: bytes) -> Answer:
        """`/creto …`"""
        from creto.connectors.slack_commands import run

        async def act(genuine: Genuine) -> Answer:
            found = form(body)
            delivery = self._delivery(genuine, body, field(found, "team_id"), field(found, "api_app_id"))
            words = found.get("text", "").split()
            text = await run(self, self._oversight, delivery, field(found, "user_id"), words)
            blocks = slack_cards.fenced(text.split("\n"))  # letter by letter; the text is for who sees no blocks
            return json_answer({"response_type": "ephemeral", "text": slack_cards.escaped(text), "blocks": blocks})

        return await self._answered(headers, body, act)

    async def events(self, headers: RawHeaders, body: bytes) -> Answer:
        """Slack's check of the address; other events change nothing here."""

        async def act(_: Genuine) -> Answer:
            said = wire.decode(body, Event)
            return json_answer({"challenge": said.challenge}) if said.type == "url_verification" else Answer()

        return await self._answered(headers, body, act)

    async def settled(self) -> None:
        """Until everything that was begun is done: for tests and before a stop."""
        while self._going:
            await asyncio.gather(*self._going, return_exceptions=True)

    # Genuine, readable, in time

    async def _answered(self, headers: RawHeaders, body: bytes, act: Callable[[Genuine], Awaitable[Answer]]) -> Answer:
        secrets = sorted({one.signing_secret for one in self._channel.installs.values()})
        try:
            genuine = verified(headers, body, secrets, now=self._oversight.clock.now())
        except SignatureVerificationFailed:
            return Answer(401, b"not signed by a known app")
        task = self._later(self._done(act, genuine))
        try:
            return await asyncio.wait_for(asyncio.shield(task), self._answer_s)
        except TimeoutError:
            return Answer(503, b"not recorded yet")

    async def _done(self, act: Callable[[Genuine], Awaitable[Answer]], genuine: Genuine) -> Answer:
        try:
            return await act(genuine)
        except InvalidInput:
            return UNREADABLE
        except EnablementError as error:
            log.warning("a callback of Slack failed: %s", error.message, extra=fields(operation="oversight.slack"))
            return Answer(503 if error.retryable else 403, b"it was not done")

    def _delivery(self, genuine: Genuine, body: bytes, team_id: str, app_id: str) -> Delivery:
        secret, signed_at_s = genuine
        for one in self._channel.installs.values():
            if (one.signing_secret, one.team_id, one.app_id) == (secret, team_id, app_id):
                return Delivery(one, digest(body).hex(), ConsensusTimestamp(signed_at_s * SECOND))
        raise NotFound("PL-404", "the workspace or the app is not known", field="team", got=f"{team_id}/{app_id}")

    def _later(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._going.add(task)
        task.add_done_callback(self._going.discard)
        return task

    # Acts

    async def _clicked(self, delivery: Delivery, said: Interaction, action: Action) -> Answer:
        if action.action_id == slack_cards.OPEN:
            return Answer()  # a link: the browser has it
        where = reference(said.team.id, said.api_app_id, said.container.channel_id, said.container.message_ts)
        try:
            card = await self._card(delivery, where)
            if card.notification_id != action.value:
                raise unbound(where)
            text, replace = await self._pressed(delivery, said, action, card, where), False
        except EnablementError as error:
            if error.retryable:
                raise
            text, replace = explained(error), orphaned(delivery, said, error)
        if text:
            told = slack_cards.REPLACED if replace else text
            self._later(self._tell(delivery, said.response_url, told, replace=replace))
        return Answer()

    async def _pressed(
        self, delivery: Delivery, said: Interaction, action: Action, card: Notification, where: str
    ) -> str:
        """What to tell the human; nothing where a modal or the card itself says it."""
        oversight, user = self._oversight, said.user.id
        who = oversight.who(delivery.tenant, Channel.SLACK, user)
        if card.person == oversight.approver(delivery.tenant, who).person:
            await oversight.seen(card)
        if action.action_id == slack_cards.APPROVE:
            return voted(await self.vote(delivery, user, card.request_id, Verdict.APPROVE, where, round=card.round))
        if action.action_id == slack_cards.EXTEND:
            return await self._extended(delivery, card, who)
        if action.action_id in (slack_cards.DENY, slack_cards.DETAILS):
            await self._show_modal(delivery, said, action, card, where)
        return ""

    async def _extended(self, delivery: Delivery, card: Notification, who: AgentId) -> str:
        try:
            await self._oversight.extend(delivery.tenant, card.request_id, by=who, mark=self.once(delivery))
        except Repeated:
            return ""
        return "Five more minutes."

    async def _show_modal(
        self, delivery: Delivery, said: Interaction, action: Action, card: Notification, where: str
    ) -> None:
        letter = await self._oversight.letter(card)
        if not letter.open:
            raise IdempotencyConflict("OV-409", letter.decision)
        deny = action.action_id == slack_cards.DENY
        view = slack_cards.reason_modal(letter, where) if deny else slack_cards.details_modal(letter)
        await self._channel.api(delivery.tenant).call("views.open", trigger_id=said.trigger_id, view=view)

    async def _denied(self, delivery: Delivery, said: Interaction) -> Answer:
        """The modal that asked for the reason of a denial."""
        where, reason = said.view.private_metadata, reason_of(said.view)
        try:
            card = await self._card(delivery, where)
            receipt = await self.vote(
                delivery, said.user.id, card.request_id, Verdict.DENY, where, round=card.round, reason=reason
            )
        except EnablementError as error:
            if error.retryable:
                raise
            return json_answer({"response_action": "errors", "errors": {slack_cards.REASON: explained(error)[:150]}})
        view = slack_cards.text_modal("Deny", [voted(receipt)])
        return json_answer({"response_action": "update", "view": view})

    async def vote(
        self, delivery: Delivery, user: str, request_id: RequestId, verdict: Verdict, where: str, *,
        round: int | None = None, reason: str = "",
    ) -> Receipt:  # fmt: skip
        """A vote of the human behind the account; committed when this returns."""
        oversight, tenant = self._oversight, delivery.tenant
        evidence = Evidence(
            channel=Channel.SLACK, account=f"{delivery.install.team_id}/{user}", message=where, delivery=delivery.id,
            authenticated_at=delivery.signed_at, method="slack signature v0",
        )  # fmt: skip
        return await oversight.relay_response(
            tenant, request_id, approver=oversight.who(tenant, Channel.SLACK, user), verdict=verdict, evidence=evidence,
            reason=reason, round=round,
        )  # fmt: skip

    def once(self, delivery: Delivery) -> Mark:
        """For the transaction of an act: these bytes have had it now. `Repeated` if they had it before, in any process."""

        def mark(tx: Tx) -> None:
            window_ns, now = SLACK_REPLAY_S * SECOND, self._oversight.clock.now()
            if not self._guard.once(tx, *marked(delivery), b"", window_ns, now, lambda _: b"").first:
                raise Repeated

        return mark

    async def check_new(self, delivery: Delivery) -> None:
        """`Repeated` if these bytes had their act: for one of several transactions, of which the last is marked."""
        now = self._oversight.clock.now()
        if await self._oversight.store.read(lambda tx: self._guard.recall(tx, *marked(delivery), b"", now)):
            raise Repeated

    async def _card(self, delivery: Delivery, where: str) -> Notification:
        """The card that was posted there, by the app and in the workspace that the callback is from."""
        ours = reference(delivery.install.team_id, delivery.install.app_id, "", "").removesuffix("//")
        if not where.startswith(f"{ours}/"):
            raise unbound(where)
        try:
            return await self._oversight.card(delivery.tenant, Channel.SLACK, where)
        except NotFound as error:
            raise unbound(where) from error

    async def _tell(self, delivery: Delivery, url: str, text: str, *, replace: bool = False) -> None:
        """A courtesy: the decision is recorded whether it arrives or not."""
        try:
            await self._channel.api(delivery.tenant).respond(url, slack_cards.escaped(text), replace=replace)
        except EnablementError as error:
            log.info("an answer did not reach Slack: %s", error.message, extra=fields(operation="oversight.slack"))


Genuine = tuple[str, int]


def form(body: bytes) -> dict[str, str]:
    """The fields of a form, each once."""
    try:
        found = parse_qs(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=64, errors="strict"
        )
    except ValueError as error:
        raise InvalidInput.of(
            "body", got="another form", expected="fields of application/x-www-form-urlencoded"
        ) from error
    if any(len(values) != 1 for values in found.values()):
        raise InvalidInput.of("body", got="a field twice", expected="each once")
    return {name: values[0] for name, values in found.items()}


def field(found: dict[str, str], name: str) -> str:
    if not found.get(name):
        raise InvalidInput.of(name, got="nothing", expected="a value")
    return found[name]


def reason_of(view: View) -> str:
    """The text that was typed; Slack nests it under the ids of block and element."""
    try:
        typed = view.state["values"][slack_cards.REASON][slack_cards.REASON]["value"]
    except (KeyError, TypeError):
        return ""
    return typed if isinstance(typed, str) else ""


def voted(receipt: Receipt) -> str:
    if not receipt.state.open:
        return f"Recorded: the request is {str(receipt.state).replace('_', ' ')}."
    lacking = (*receipt.missing_groups, *(f"the policy {one}" for one in receipt.missing_policies))
    groups = f" (of {', '.join(lacking)})" if lacking else ""
    return f"Recorded: {receipt.approvals} approved, {receipt.missing} more needed{groups}."


def explained(error: EnablementError) -> str:
    """For the human who pressed; faults of ours are said to be that."""
    if error.code.startswith("PL-5"):
        return "It was not recorded: something failed here. Press again in a moment."
    return f"It was not recorded: {error.message}. {error.hint or ''}".strip()


def orphaned(delivery: Delivery, said: Interaction, error: EnablementError) -> bool:
    """Whether the card is one that a process posted and could not record before it died: the next press takes its buttons away."""
    posted_s = said.container.message_ts.partition(".")[0]
    if error.message != STRANGER or not posted_s.isdecimal() or len(posted_s) > 11:
        return False
    return delivery.signed_at > (int(posted_s) + SETTLING_S) * SECOND


def unbound(where: str) -> NotFound:
    return NotFound("OV-404", STRANGER, field="message", got=where)
