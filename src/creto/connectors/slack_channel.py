"""Oversight in Slack: a card for each human in a conversation with the app, kept true until the request is over.

    channel = SlackChannel([SlackInstall(tenant="acme", team_id="T1", app_id="A1", bot_token="xoxb-…", signing_secret="…")])
    courier = Courier(oversight, channel)

The address of a contact is the human's Slack user id (`U…`), which never changes. A card's reference is where it stands:
`<team>/<app>/<conversation>/<ts>`; a click counts only if it comes from there.

Without an app there is the incoming webhook: one conversation that everybody reads, cards without buttons, links to the page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from creto.common.errors import InternalError, InvalidInput, NotFound
from creto.common.ids import TenantId
from creto.common.limits import SLACK_INSTALLS_MAX
from creto.connectors import slack_cards
from creto.connectors.slack_api import SlackApi
from creto.oversight import Channel, Notification, NotificationKind
from creto.oversight.letters import Letter


class SlackInstall(msgspec.Struct, frozen=True, kw_only=True):
    """Our app in one workspace, for one tenant."""

    tenant: TenantId
    team_id: str
    app_id: str
    bot_token: str
    signing_secret: str

    def __repr__(self) -> str:
        return f"SlackInstall({self.tenant!r}, {self.team_id!r}, {self.app_id!r})"


class SlackChannel:
    channel = Channel.SLACK

    def __init__(self, installs: Sequence[SlackInstall], *, api: Callable[[str], SlackApi] = SlackApi) -> None:
        if len({one.tenant for one in installs}) != len(installs) or len(installs) > SLACK_INSTALLS_MAX:
            raise InvalidInput.of(
                "slack", got=len(installs), expected="one workspace for each tenant, a hundred at most"
            )
        self.installs = {one.tenant: one for one in installs}
        self._apis = {one.tenant: api(one.bot_token) for one in installs}

    def api(self, tenant: TenantId) -> SlackApi:
        found = self._apis.get(tenant)
        if found is None:
            raise not_set_up(tenant)
        return found

    def close(self) -> None:
        for api in self._apis.values():
            api.close()

    async def deliver(self, letter: Letter) -> str:
        one = letter.notification
        if one.kind is NotificationKind.CLOSED:
            for card in letter.cards:
                await self.update(letter, card)
            return letter.cards[-1].reference or one.notification_id
        posted = await self.api(one.tenant).call(
            "chat.postMessage", channel=one.address, text=slack_cards.notice(letter), blocks=slack_cards.card(letter),
            unfurl_links=False, unfurl_media=False,
            metadata={"event_type": "creto_approval", "event_payload": {"notification_id": one.notification_id}},
        )  # fmt: skip
        return self._reference(one, posted)

    async def update(self, letter: Letter, card: Notification) -> None:
        """Make a card say what is true now. One that is gone needs nothing."""
        conversation, ts = place(card.reference)
        try:
            await self.api(card.tenant).call(
                "chat.update",
                channel=conversation,
                ts=ts,
                text=slack_cards.notice(letter),
                blocks=slack_cards.card(letter),
            )
        except NotFound:
            return

    async def withdraw(self, letter: Letter, reference: str | None) -> None:
        conversation, ts = place(reference)
        await self.api(letter.notification.tenant).call(
            "chat.update",
            channel=conversation,
            ts=ts,
            text=slack_cards.REPLACED,
            blocks=[slack_cards.prose(slack_cards.REPLACED)],
        )

    def _reference(self, one: Notification, posted: dict[str, object]) -> str:
        install = self.installs[one.tenant]
        conversation, ts = posted.get("channel"), posted.get("ts")
        if not isinstance(conversation, str) or not isinstance(ts, str):
            raise InternalError("PL-500", "Slack did not say where the message stands")
        return reference(install.team_id, install.app_id, conversation, ts)


class SlackIncoming:
    """By an incoming webhook (`https://hooks.slack.com/services/…`): cards that nobody can press, in the conversation it belongs to.

    INVARIANT: that conversation is one tenant's, and shows nothing of another's.
    """

    channel = Channel.SLACK

    def __init__(self, url: str, tenant: TenantId, *, api: Callable[[str], SlackApi] = SlackApi) -> None:
        self._url = url
        self._tenant = tenant
        self._api = api("")

    def close(self) -> None:
        self._api.close()

    async def deliver(self, letter: Letter) -> None:
        if letter.notification.tenant != self._tenant:
            raise not_set_up(letter.notification.tenant)
        await self._api.post_incoming(self._url, slack_cards.notice(letter), slack_cards.unpressable(letter))

    async def withdraw(self, letter: Letter, reference: str | None) -> None:
        """Nobody can press it, and nobody can find it again."""


def not_set_up(tenant: TenantId) -> NotFound:
    return NotFound("PL-404", "Slack is not set up for this tenant", field="tenant", got=tenant)


def reference(team_id: str, app_id: str, conversation: str, ts: str) -> str:
    return f"{team_id}/{app_id}/{conversation}/{ts}"


def place(where: str | None) -> tuple[str, str]:
    _, _, conversation, ts = (where or "///").split("/")
    return conversation, ts
