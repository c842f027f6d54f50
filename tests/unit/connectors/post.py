"""Oversight with its channels, for tests: what is due is delivered when a test says so.

post = Post(await World.open(store))
slack = post.slack(server)              # a courier; `await slack.deliver_once()`
"""

from __future__ import annotations

from typing import Any

from creto.common.breaker import CircuitBreaker
from creto.common.ids import PolicyId
from creto.common.timestamps import SECOND
from creto.connectors.courier import Courier, Deliverer, Waits, doubling
from creto.connectors.destinations import Destinations
from creto.connectors.slack_channel import SlackChannel, SlackInstall
from creto.connectors.slack_inbound import SlackInbound
from creto.connectors.webhook import Sender, next_wait_s
from creto.connectors.webhook_channel import WebhookChannel
from creto.connectors.webhook_endpoints import Webhooks
from creto.oversight import Channel, EscalationTier, NotificationChannel, OversightPolicy
from creto.platform.crypto import Kek, Keystore
from creto.platform.nhi import nhi_of
from tests.slack_server import APP, SECRET, TEAM, TOKEN, SlackServer
from tests.unit.oversight.world import LAYER, TENANT, World, id_of
from tests.unit.oversight.world import PARTS as WORLD_PARTS

PARTS = (*WORLD_PARTS, "creto.connectors")
HERE = ("127.0.0.0/8",)
INSTALL = SlackInstall(tenant=TENANT, team_id=TEAM, app_id=APP, bot_token=TOKEN, signing_secret=SECRET)


class Post:
    def __init__(self, world: World) -> None:
        self.world = world
        keystore = Keystore(world.store, Kek(bytes(range(32))))
        sender = Sender(Destinations(allowed_networks=HERE), world.clock)
        self.webhooks = Webhooks(world.store, world.clock, keystore, sender, service=nhi_of(LAYER.public))

    def twin(self) -> Post:
        """Another process over the same rows."""
        return Post(self.world.twin())

    def courier(self, deliverer: Deliverer, waits: Waits = doubling) -> Courier:
        never = CircuitBreaker("tests", counts=lambda _: False)
        return Courier(self.world.oversight, deliverer, waits=waits, breaker=never)

    def webhook(self) -> Courier:
        return self.courier(WebhookChannel(self.world.oversight, self.webhooks), next_wait_s)

    def slack_channel(self, server: SlackServer, **options: Any) -> SlackChannel:
        return SlackChannel([INSTALL], api=lambda token: server.api(token, **options))

    def slack(self, server: SlackServer, **options: Any) -> tuple[Courier, SlackInbound]:
        server.now_s = self.world.clock.now() // SECOND
        channel = self.slack_channel(server, **options)
        return self.courier(channel), SlackInbound(self.world.oversight, channel)

    async def policy(
        self, *names: str, channel: Channel | None = None, full: bool = False, **changes: Any
    ) -> OversightPolicy:
        """One tier of these humans, told on this channel."""
        channels = (NotificationChannel(channel=channel, full_arguments=full),) if channel else ()
        tier = EscalationTier(name="tier", approvers=tuple(id_of(name) for name in names), channels=channels)
        policy = OversightPolicy(policy_id=PolicyId("told"), tiers=(tier,), **changes)
        return await self.world.oversight.put_policy(TENANT, policy, by=id_of("eve"))

    def count(self, channel: Channel, outcome: str) -> int:
        return self.world.oversight._metrics.attempts.labels(str(channel), outcome).value
