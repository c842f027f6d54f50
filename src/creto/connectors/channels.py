"""All channels that the configuration names, in one object.

    channels = await open_channels(config, oversight, keystore, tenant=tenant)
    channels.slack              # SlackInbound, or None: what the edge mounts
    channels.webhooks           # endpoints
    channels.links              # opens the token of a mail's link
    async with channels.running(bus):           # in the worker
        …

What is not configured is not loaded; oversight is told what there is, so that a chain which could be told on no channel shows as unreachable.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from creto.bus.types import Bus
from creto.common.breaker import CircuitBreaker
from creto.common.config import Config
from creto.common.errors import EnablementError
from creto.common.ids import PLATFORM_TENANT, PolicyId, TenantId
from creto.common.limits import OVERSIGHT_IDLE_S, OVERSIGHT_REACH_S
from creto.common.settings import OversightConfig, WebhooksConfig
from creto.common.telemetry import fields
from creto.connectors.courier import Courier, Deliverer, durable_of
from creto.connectors.destinations import Destinations
from creto.connectors.messaging_channel import MessagingChannel
from creto.connectors.webhook import Sender, next_wait_s
from creto.connectors.webhook_channel import WebhookChannel
from creto.connectors.webhook_endpoints import Webhooks
from creto.contracts import Notifier
from creto.oversight import Channel, Oversight
from creto.oversight.links import Links
from creto.platform.crypto import Keystore, SecretKey

if TYPE_CHECKING:
    from creto.connectors.slack_inbound import SlackInbound

log = logging.getLogger("creto.connectors")
LINK_KEY = "oversight-links"
FIRST_LOOK_S = 5.0


class Channels:
    def __init__(
        self,
        oversight: Oversight,
        couriers: list[Courier],
        *,
        webhooks: Webhooks,
        links: Links,
        slack: SlackInbound | None,
        slack_of_tenant: TenantId | None = None,  # whose workspace it is
    ) -> None:
        self.couriers = couriers
        self.webhooks = webhooks
        self.links = links
        self.slack = slack
        self._oversight = oversight
        self._said: dict[TenantId, dict[PolicyId, tuple[str, ...]]] = {}
        oversight.offered = frozenset(one.channel for one in couriers)
        oversight.served = {Channel.SLACK: (slack_of_tenant,)} if slack_of_tenant is not None else {}
        oversight.troubles = {Channel.WEBHOOK: webhooks.trouble}

    @property
    def breakers(self) -> list[CircuitBreaker]:
        return [one.breaker for one in self.couriers]

    @asynccontextmanager
    async def running(self, bus: Bus) -> AsyncIterator[None]:
        """While the block lasts: deliver on every channel, and look every few minutes whether each chain ends in somebody."""
        async with AsyncExitStack() as stack:
            await self._leave(bus)
            for courier in self.couriers:
                await stack.enter_async_context(courier.running(bus))
            watches = [
                asyncio.create_task(self._every(OVERSIGHT_REACH_S, self.look), name="creto-reach"),
                asyncio.create_task(
                    self._every(OVERSIGHT_IDLE_S, self._oversight.sweep_idle), name="creto-idle-channels"
                ),
            ]
            try:
                yield
            finally:
                for watch in watches:
                    watch.cancel()
                await asyncio.gather(*watches, return_exceptions=True)
                if self.slack is not None:
                    await self.slack.settled()

    def close(self) -> None:
        """After the last callback: the layer ends."""
        for courier in self.couriers:
            courier.close()

    async def _leave(self, bus: Bus) -> None:
        """A channel that is not configured any more keeps nothing on the bus: its rows wait in oversight, where they are told of."""
        gone = {durable_of(channel) for channel in Channel if not self._oversight.delivers(channel)}
        for one in await bus.durables():
            if one.name in gone:
                await bus.drop(one.name)

    async def _every(self, seconds: float, look: Callable[[], Awaitable[object]]) -> None:
        await asyncio.sleep(FIRST_LOOK_S)  # a command that is over at once says nothing of it
        while True:
            try:
                await look()
            except EnablementError:
                log.exception("the channels are looked at again", extra=fields(operation="oversight.reach"))
            await asyncio.sleep(seconds)

    async def look(self) -> dict[TenantId, dict[PolicyId, tuple[str, ...]]]:
        """What keeps policies from being met, by tenant and policy; each is said in the log once, when it begins."""
        found: dict[TenantId, dict[PolicyId, tuple[str, ...]]] = {}
        for tenant, health in (await self._oversight.reach()).items():
            said = found.setdefault(tenant, dict(health.unreachable))
            for policy_id, tiers in health.unreachable.items():
                if self._said.get(tenant, {}).get(policy_id, ())[: len(tiers)] != tiers:
                    log.warning(
                        "Nobody can be told at %s of the policy %s: no approver there has an address on a channel that works",
                        ", ".join(tiers), policy_id, extra=fields(operation="oversight.reach", tenant=tenant),
                    )  # fmt: skip
            for policy_id, why in health.short.items():
                said[policy_id] = (*said.get(policy_id, ()), why)
                if why not in self._said.get(tenant, {}).get(policy_id, ()):
                    log.warning(
                        "The policy %s cannot be met: %s", policy_id, why,
                        extra=fields(operation="oversight.reach", tenant=tenant),
                    )  # fmt: skip
        self._said = found
        return found


async def open_channels(
    config: Config, oversight: Oversight, keystore: Keystore, *, tenant: TenantId, notifier: Notifier | None = None
) -> Channels:
    """What the configuration names; webhooks need nothing but their endpoints.

    Slack's workspace belongs to `tenant`; `notifier` is messaging, where it runs.
    """
    key = await keystore.ensure(PLATFORM_TENANT, LINK_KEY, SecretKey)
    links = Links(key.reveal())
    sender = Sender(Destinations(allowed_networks=config[WebhooksConfig].allowed_networks), oversight.clock)
    webhooks = Webhooks(oversight.store, oversight.clock, keystore, sender, service=oversight.service_id)
    # One endpoint that is away says nothing about the others: each has its own schedule instead of a common breaker.
    patient = CircuitBreaker("webhooks", counts=lambda _: False)
    couriers = [Courier(oversight, WebhookChannel(oversight, webhooks), waits=next_wait_s, breaker=patient)]
    wanted = config[OversightConfig]
    slack, inbound = slack_of(wanted, oversight, tenant)
    mail = mail_of(wanted, oversight, links)
    messages = MessagingChannel(oversight, notifier) if notifier is not None else None
    couriers += [Courier(oversight, one) for one in (slack, mail, messages) if one is not None]
    return Channels(
        oversight,
        couriers,
        webhooks=webhooks,
        links=links,
        slack=inbound,
        slack_of_tenant=tenant if slack is not None else None,
    )


def slack_of(
    wanted: OversightConfig, oversight: Oversight, tenant: TenantId
) -> tuple[Deliverer | None, SlackInbound | None]:
    """The app, which can be answered; or the incoming webhook, which cannot."""
    if wanted.slack_bot_token is not None and wanted.slack_signing_secret is not None:
        from creto.connectors.slack_channel import SlackChannel, SlackInstall
        from creto.connectors.slack_inbound import SlackInbound

        install = SlackInstall(
            tenant=tenant, team_id=wanted.slack_team_id, app_id=wanted.slack_app_id,
            bot_token=wanted.slack_bot_token.reveal(), signing_secret=wanted.slack_signing_secret.reveal(),
        )  # fmt: skip
        channel = SlackChannel([install])
        return channel, SlackInbound(oversight, channel)
    if wanted.slack_webhook_url is not None:
        from creto.connectors.slack_channel import SlackIncoming

        return SlackIncoming(wanted.slack_webhook_url.reveal(), tenant), None
    return None, None


def mail_of(wanted: OversightConfig, oversight: Oversight, links: Links) -> Deliverer | None:
    if wanted.email_smtp_host is None:
        return None
    from creto.connectors.smtp import MailChannel, Relay

    relay = Relay(
        host=wanted.email_smtp_host, port=wanted.email_smtp_port, security=wanted.email_security,
        username=wanted.email_username, password=wanted.email_password.reveal() if wanted.email_password else None,
    )  # fmt: skip
    return MailChannel(relay, sender=wanted.email_from, links=links, clock=oversight.clock)
