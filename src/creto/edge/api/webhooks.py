"""Webhook endpoints over the wire: where oversight's notifications are posted to, in the form of Standard Webhooks.

A secret is shown once, when it is made. Link the endpoint's id to a human (`approvals.link`, channel `webhook`), and they are told there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from creto.common.limits import WEBHOOK_ROTATION_S, WEBHOOK_ROTATION_S_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Ask, Endpoint, Nothing, View
from creto.edge.api.fields import Id, Reason
from creto.edge.api.parts import Parts
from creto.gate import Effect

if TYPE_CHECKING:
    from creto.connectors.webhook_endpoints import Endpoint as Receiver


class AddWebhook(Ask, frozen=True):
    """A public address, over https."""

    url: Annotated[str, Meta(min_length=1, max_length=2_000)]


class ListWebhooks(Ask, frozen=True):
    """All of the tenant's."""


class NameWebhook(Ask, frozen=True):
    endpoint_id: Id


class RotateWebhook(Ask, frozen=True):
    """A new secret; the old one signs beside it until the overlap is over."""

    endpoint_id: Id
    overlap_s: Annotated[int, Meta(ge=0, le=WEBHOOK_ROTATION_S_MAX)] = WEBHOOK_ROTATION_S


class DisableWebhook(Ask, frozen=True):
    endpoint_id: Id
    reason: Reason = ""


class WebhookView(View, frozen=True):
    endpoint_id: str
    url: str
    created_at: ConsensusTimestamp
    disabled: str | None = None  # why


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


READ, WRITE, ONE, NONE = "oversight:read", "oversight:write", "oversight:webhook:{endpoint_id}", ("PL-404",)
ADD = Endpoint("webhooks.add", "POST", "/v1/webhooks", AddWebhook, AddedWebhook, WRITE, "A new endpoint, with its secret", status=201, keyed=False, effect=Effect.RECORDED)  # fmt: skip
LIST = Endpoint("webhooks.list", "GET", "/v1/webhooks", ListWebhooks, WebhookList, READ, "The endpoints, and the key that verifies what is sent to them")  # fmt: skip
ROTATE = Endpoint("webhooks.rotate", "POST", "/v1/webhooks/{endpoint_id}/rotate", RotateWebhook, WebhookSecret, WRITE, "A new secret", keyed=False, effect=Effect.RECORDED, errors=NONE, about=ONE)  # fmt: skip
DISABLE = Endpoint("webhooks.disable", "POST", "/v1/webhooks/{endpoint_id}/disable", DisableWebhook, WebhookView, WRITE, "Send nothing there", errors=NONE, about=ONE)  # fmt: skip
ENABLE = Endpoint("webhooks.enable", "POST", "/v1/webhooks/{endpoint_id}/enable", NameWebhook, WebhookView, WRITE, "Send there again", errors=NONE, about=ONE)  # fmt: skip
REMOVE = Endpoint("webhooks.remove", "DELETE", "/v1/webhooks/{endpoint_id}", NameWebhook, Nothing, WRITE, "Forget an endpoint", status=204, errors=NONE, about=ONE)  # fmt: skip

ENDPOINTS = (ADD, LIST, ROTATE, DISABLE, ENABLE, REMOVE)


def view(one: Receiver) -> WebhookView:
    return WebhookView(endpoint_id=one.endpoint_id, url=one.url, created_at=one.created_at, disabled=one.disabled)


@handles(ADD)
async def add(parts: Parts, call: Call, ask: AddWebhook) -> AddedWebhook:
    made, secret = await parts.channels.webhooks.add(call.tenant, ask.url, by=call.known.agent)
    return AddedWebhook(webhook=view(made), secret=secret)


@handles(LIST)
async def list_webhooks(parts: Parts, call: Call, ask: ListWebhooks) -> WebhookList:
    webhooks = parts.channels.webhooks
    found = await webhooks.list(call.tenant)
    return WebhookList(items=tuple(map(view, found)), public_key=await webhooks.public_key(call.tenant))


@handles(ROTATE)
async def rotate(parts: Parts, call: Call, ask: RotateWebhook) -> WebhookSecret:
    made = await parts.channels.webhooks.rotate(
        call.tenant, ask.endpoint_id, by=call.known.agent, overlap_s=ask.overlap_s
    )
    return WebhookSecret(endpoint_id=ask.endpoint_id, secret=made)


@handles(DISABLE)
async def disable(parts: Parts, call: Call, ask: DisableWebhook) -> WebhookView:
    why = ask.reason or "disabled by hand"
    return view(await parts.channels.webhooks.disable(call.tenant, ask.endpoint_id, why, by=call.known.agent))


@handles(ENABLE)
async def enable(parts: Parts, call: Call, ask: NameWebhook) -> WebhookView:
    return view(await parts.channels.webhooks.enable(call.tenant, ask.endpoint_id, by=call.known.agent))


@handles(REMOVE)
async def remove(parts: Parts, call: Call, ask: NameWebhook) -> Nothing:
    await parts.channels.webhooks.remove(call.tenant, ask.endpoint_id, by=call.known.agent)
    return Nothing()
