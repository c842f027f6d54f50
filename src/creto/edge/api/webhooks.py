"""Webhook endpoints over the wire: where the layer posts to, in the form of Standard Webhooks.

An endpoint is told of metering what it wants to hear (`events`). Link its id to a human (`approvals.link`, channel `webhook`), and what that
human is asked is posted there too. A secret is shown once, when it is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from creto.common.limits import PAGE_ITEMS_DEFAULT, WEBHOOK_ROTATION_S, WEBHOOK_ROTATION_S_MAX, WEBHOOK_WISHES_MAX
from creto.common.paging import cursor_of, place_of
from creto.common.timestamps import ConsensusTimestamp
from creto.connectors.metering_webhooks import Delivery, DeliveryState
from creto.connectors.webhook import Outcome
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, Nothing, View
from creto.edge.api.fields import Cursor, Id, Limit, Reason
from creto.edge.api.parts import Parts
from creto.gate import Effect

if TYPE_CHECKING:
    from creto.connectors.webhook_endpoints import Endpoint as Receiver

Pattern = Annotated[str, Meta(min_length=1, max_length=200)]
Events = Annotated[tuple[Pattern, ...], Meta(max_length=WEBHOOK_WISHES_MAX)]


class AddWebhook(Ask, frozen=True):
    """A public address, over https, and the subjects of metering that it is told of: `metering.invoice.*`, `metering.payment.paid`."""

    url: Annotated[str, Meta(min_length=1, max_length=2_000)]
    events: Events = ()


class ListWebhooks(Ask, frozen=True):
    """All of the tenant's."""


class NameWebhook(Ask, frozen=True):
    endpoint_id: Id


class WantEvents(Ask, frozen=True):
    """What it is told of metering from now on; an empty list is nothing."""

    endpoint_id: Id
    events: Events


class RotateWebhook(Ask, frozen=True):
    """A new secret; the old one signs beside it until the overlap is over."""

    endpoint_id: Id
    overlap_s: Annotated[int, Meta(ge=0, le=WEBHOOK_ROTATION_S_MAX)] = WEBHOOK_ROTATION_S


class DisableWebhook(Ask, frozen=True):
    endpoint_id: Id
    reason: Reason = ""


class ListDeliveries(Ask, frozen=True):
    endpoint_id: Id
    state: DeliveryState | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class NameDelivery(Ask, frozen=True):
    endpoint_id: Id
    message_id: Id


class WebhookView(View, frozen=True):
    endpoint_id: str
    url: str
    created_at: ConsensusTimestamp
    disabled: str | None = None  # why
    events: tuple[str, ...] = ()


class AddedWebhook(View, frozen=True):
    webhook: WebhookView
    secret: str


class WebhookSecret(View, frozen=True):
    endpoint_id: str
    secret: str


class WebhookList(View, frozen=True):
    """`public_key` verifies every `v1a` signature of the tenant."""

    items: tuple[WebhookView, ...]
    public_key: str


class WebhookStanding(View, frozen=True):
    """How many of the last month's deliveries wait, arrived and failed."""

    webhook: WebhookView
    queued: int
    delivered: int
    failed: int


class DeliveryView(View, frozen=True):
    """`detail` says how the last attempt went, `next_at` when the next one is due."""

    message_id: str
    event_type: str
    state: DeliveryState
    attempts: int
    changed_at: ConsensusTimestamp
    next_at: ConsensusTimestamp | None = None
    detail: str = ""


class DeliveryPage(View, frozen=True):
    items: tuple[DeliveryView, ...]
    cursor: str | None = None


class WholeDelivery(View, frozen=True):
    delivery: DeliveryView
    payload: bytes


class TestedWebhook(View, frozen=True):
    endpoint_id: str
    message_id: str
    outcome: Outcome
    detail: str
    status: int | None = None


READ, WRITE, ONE, NONE = "webhooks:read", "webhooks:write", "webhook:endpoint:{endpoint_id}", ("PL-404",)
AT = "/v1/webhooks"
ONE_AT = f"{AT}/{{endpoint_id}}"
SENT_AT = f"{ONE_AT}/deliveries"
ADD = Endpoint("webhooks.add", "POST", AT, AddWebhook, AddedWebhook, WRITE, "A new endpoint, with its secret", status=201, keyed=False, effect=Effect.RECORDED, errors=("PL-901",))  # fmt: skip
LIST = Endpoint("webhooks.list", "GET", AT, ListWebhooks, WebhookList, READ, "The endpoints, and the key that verifies what is sent to them")  # fmt: skip
GET = Endpoint("webhooks.get", "GET", ONE_AT, NameWebhook, WebhookStanding, READ, "One endpoint, and how its deliveries stand", errors=NONE, about=ONE)  # fmt: skip
WANT = Endpoint("webhooks.want", "PUT", f"{ONE_AT}/events", WantEvents, WebhookView, WRITE, "What it is told of metering", errors=("PL-404", "PL-901"), about=ONE)  # fmt: skip
ROTATE = Endpoint("webhooks.rotate", "POST", f"{ONE_AT}/rotate", RotateWebhook, WebhookSecret, WRITE, "A new secret", keyed=False, effect=Effect.RECORDED, errors=NONE, about=ONE)  # fmt: skip
DISABLE = Endpoint("webhooks.disable", "POST", f"{ONE_AT}/disable", DisableWebhook, WebhookView, WRITE, "Send nothing there", errors=NONE, about=ONE)  # fmt: skip
ENABLE = Endpoint("webhooks.enable", "POST", f"{ONE_AT}/enable", NameWebhook, WebhookView, WRITE, "Send there again", errors=NONE, about=ONE)  # fmt: skip
REMOVE = Endpoint("webhooks.remove", "DELETE", ONE_AT, NameWebhook, Nothing, WRITE, "Forget an endpoint, and what was on its way there", status=204, errors=NONE, about=ONE)  # fmt: skip
TEST = Endpoint("webhooks.test", "POST", f"{ONE_AT}/test", NameWebhook, TestedWebhook, WRITE, "Send a message that says nothing, now, and say how it went", errors=NONE, about=ONE, effect=Effect.OUTSIDE)  # fmt: skip
DELIVERIES = Endpoint("webhooks.deliveries", "GET", SENT_AT, ListDeliveries, DeliveryPage, READ, "What was sent of metering, or waits to be, the oldest first", errors=NONE, about=ONE)  # fmt: skip
DELIVERY = Endpoint("webhooks.delivery", "GET", f"{SENT_AT}/{{message_id}}", NameDelivery, WholeDelivery, READ, "One of them, with what it says", errors=NONE, about=ONE)  # fmt: skip
AGAIN = Endpoint("webhooks.again", "POST", f"{SENT_AT}/{{message_id}}/again", NameDelivery, DeliveryView, WRITE, "Deliver it once more, with the whole schedule before it", errors=NONE, about=ONE)  # fmt: skip

ENDPOINTS = (ADD, LIST, GET, WANT, ROTATE, DISABLE, ENABLE, REMOVE, TEST, DELIVERIES, DELIVERY, AGAIN)


async def view(parts: Parts, one: Receiver) -> WebhookView:
    return shown(one, await parts.hooks.wants(one.tenant, one.endpoint_id))


def shown(one: Receiver, events: tuple[str, ...]) -> WebhookView:
    return WebhookView(
        endpoint_id=one.endpoint_id, url=one.url, created_at=one.created_at, disabled=one.disabled, events=events
    )


def delivery_view(one: Delivery) -> DeliveryView:
    return DeliveryView(
        message_id=one.message_id, event_type=one.event_type, state=one.state, attempts=one.attempts,
        changed_at=ConsensusTimestamp(one.changed_at),
        next_at=ConsensusTimestamp(one.next_at) if one.state is DeliveryState.QUEUED else None, detail=one.detail,
    )  # fmt: skip


@handles(ADD)
async def add(parts: Parts, call: Call, ask: AddWebhook) -> AddedWebhook:
    made, secret = await parts.hooks.add(call.tenant, ask.url, ask.events, by=call.known.agent)
    return AddedWebhook(webhook=await view(parts, made), secret=secret)


@handles(LIST)
async def list_webhooks(parts: Parts, call: Call, ask: ListWebhooks) -> WebhookList:
    webhooks = parts.channels.webhooks
    found, wishes = await webhooks.list(call.tenant), await parts.hooks.wishes(call.tenant)
    items = tuple(shown(one, wishes.get(one.endpoint_id, ())) for one in found)
    return WebhookList(items=items, public_key=await webhooks.public_key(call.tenant))


@handles(GET)
async def get(parts: Parts, call: Call, ask: NameWebhook) -> WebhookStanding:
    found = await parts.channels.webhooks.get(call.tenant, ask.endpoint_id)
    counts = await parts.hooks.standing(call.tenant, ask.endpoint_id)
    return WebhookStanding(
        webhook=await view(parts, found), queued=counts.get(DeliveryState.QUEUED, 0),
        delivered=counts.get(DeliveryState.DELIVERED, 0), failed=counts.get(DeliveryState.FAILED, 0),
    )  # fmt: skip


@handles(WANT)
async def want(parts: Parts, call: Call, ask: WantEvents) -> WebhookView:
    return await view(parts, await parts.hooks.want(call.tenant, ask.endpoint_id, ask.events, by=call.known.agent))


@handles(ROTATE)
async def rotate(parts: Parts, call: Call, ask: RotateWebhook) -> WebhookSecret:
    made = await parts.channels.webhooks.rotate(
        call.tenant, ask.endpoint_id, by=call.known.agent, overlap_s=ask.overlap_s
    )
    return WebhookSecret(endpoint_id=ask.endpoint_id, secret=made)


@handles(DISABLE)
async def disable(parts: Parts, call: Call, ask: DisableWebhook) -> WebhookView:
    why = ask.reason or "disabled by hand"
    webhooks = parts.channels.webhooks
    return await view(parts, await webhooks.disable(call.tenant, ask.endpoint_id, why, by=call.known.agent))


@handles(ENABLE)
async def enable(parts: Parts, call: Call, ask: NameWebhook) -> WebhookView:
    return await view(parts, await parts.channels.webhooks.enable(call.tenant, ask.endpoint_id, by=call.known.agent))


@handles(REMOVE)
async def remove(parts: Parts, call: Call, ask: NameWebhook) -> Nothing:
    await parts.hooks.remove(call.tenant, ask.endpoint_id, by=call.known.agent)
    return Nothing()


@handles(TEST)
async def test(parts: Parts, call: Call, ask: NameWebhook) -> TestedWebhook:
    message_id, attempt = await parts.channels.webhooks.test(call.tenant, ask.endpoint_id)
    return TestedWebhook(
        endpoint_id=ask.endpoint_id, message_id=message_id, outcome=attempt.outcome, detail=attempt.detail, status=attempt.status
    )  # fmt: skip


@handles(DELIVERIES)
async def deliveries(parts: Parts, call: Call, ask: ListDeliveries) -> DeliveryPage:
    after = place_of(ask.cursor, str, "")
    found = await parts.hooks.deliveries(call.tenant, ask.endpoint_id, state=ask.state, after=after, limit=ask.limit)
    cursor = cursor_of(found[-1].message_id) if len(found) == ask.limit else None
    return DeliveryPage(items=tuple(map(delivery_view, found)), cursor=cursor)


@handles(DELIVERY)
async def delivery(parts: Parts, call: Call, ask: NameDelivery) -> WholeDelivery:
    found = await parts.hooks.delivery(call.tenant, ask.endpoint_id, ask.message_id)
    return WholeDelivery(delivery=delivery_view(found), payload=found.payload)


@handles(AGAIN)
async def again(parts: Parts, call: Call, ask: NameDelivery) -> DeliveryView:
    queued = await parts.hooks.again(call.tenant, ask.endpoint_id, ask.message_id, by=call.known.agent)
    return delivery_view(queued)
