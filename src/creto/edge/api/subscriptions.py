"""Subscriptions over the wire: who is billed by which plan, from when to when."""

from __future__ import annotations

from creto.common.ids import AgentId, SubscriptionId, new_id
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Endpoint, View
from creto.edge.api.fields import Agent, Count, Cursor, Id, Limit, Nanos
from creto.edge.api.metering_fields import Asked, Currency, Names, Zone, cursor_of
from creto.edge.api.parts import Parts
from creto.metering import Override, Subscription
from creto.metering.types import CouponId, PlanId


class Subscribe(Asked, frozen=True):
    """Once for each key. Periods are counted from the anchor: the start, if nothing else is said."""

    agent: Agent
    plan_id: Id
    key: Id | None = None
    version: Count | None = None
    starts_at: Nanos | None = None
    anchor: Nanos | None = None
    zone: Zone = "UTC"
    override: Override | None = None
    coupons: Names = ()
    taxes: Names = ()
    shown_in: Currency | None = None


class OfSubscription(Asked, frozen=True):
    subscription_id: Id


class ListSubscriptions(Asked, frozen=True):
    agent: Agent | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class SubscriptionPage(View, frozen=True):
    items: tuple[Subscription, ...]
    cursor: str | None = None


class ChangeSubscription(Asked, frozen=True):
    """To another plan or version, now or when the period ends."""

    subscription_id: Id
    plan_id: Id
    version: Count | None = None
    at_period_end: bool = False


class OverrideSubscription(Asked, frozen=True):
    """What it has otherwise than its plan from now on; an empty one takes all back."""

    subscription_id: Id
    override: Override
    at_period_end: bool = False


class CouponOf(Asked, frozen=True):
    subscription_id: Id
    coupon_id: Id


class TaxesOf(Asked, frozen=True):
    subscription_id: Id
    taxes: Names


class ShowIn(Asked, frozen=True):
    """In which other currency its invoices say what they come to."""

    subscription_id: Id
    currency: Currency | None = None


class Deleted(View, frozen=True):
    subscription_id: str


READ, MAKE, UPDATE, END = "metering:read", "create_subscription", "update_subscription", "cancel_subscription"
SUBSCRIPTION = "metering:subscription:{subscription_id}"
AT = "/v1/subscriptions"
ONE_AT = f"{AT}/{{subscription_id}}"
BAD, MISSING, STEP = ("MT-400",), ("MT-400", "MT-404"), ("MT-400", "MT-404", "MT-412")

SUBSCRIBE = Endpoint("billing.subscribe", "POST", AT, Subscribe, Subscription, MAKE, "Bill an agent, and all below it, by a plan", status=201, errors=(*STEP, "MT-409", "PL-410"), about="{agent}")  # fmt: skip
GET = Endpoint("billing.subscription", "GET", ONE_AT, OfSubscription, Subscription, READ, "One subscription", errors=MISSING, about=SUBSCRIPTION)  # fmt: skip
LIST = Endpoint("billing.subscriptions", "GET", AT, ListSubscriptions, SubscriptionPage, READ, "The subscriptions of the tenant, or of an agent", errors=BAD)  # fmt: skip
CHANGE = Endpoint("billing.change", "POST", f"{ONE_AT}/change", ChangeSubscription, Subscription, UPDATE, "Upgrade or downgrade, now or at the period's end", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
OVERRIDE = Endpoint("billing.override", "POST", f"{ONE_AT}/override", OverrideSubscription, Subscription, UPDATE, "What it has otherwise than its plan", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
ADD_COUPON = Endpoint("billing.apply_coupon", "POST", f"{ONE_AT}/coupons", CouponOf, Subscription, UPDATE, "Give it a coupon", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
DROP_COUPON = Endpoint("billing.remove_coupon", "DELETE", f"{ONE_AT}/coupons/{{coupon_id}}", CouponOf, Subscription, UPDATE, "Take a coupon from it", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
TAXES = Endpoint("billing.set_taxes", "PUT", f"{ONE_AT}/taxes", TaxesOf, Subscription, UPDATE, "Which taxes its invoices bear", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
SHOW_IN = Endpoint("billing.show_in", "PUT", f"{ONE_AT}/shown-in", ShowIn, Subscription, UPDATE, "In which other currency its invoices say what they come to", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
PAUSE = Endpoint("billing.pause", "POST", f"{ONE_AT}/pause", OfSubscription, Subscription, UPDATE, "Charge nothing until it is resumed", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
RESUME = Endpoint("billing.resume", "POST", f"{ONE_AT}/resume", OfSubscription, Subscription, UPDATE, "Charge again", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
CANCEL = Endpoint("billing.cancel", "POST", f"{ONE_AT}/cancel", OfSubscription, Subscription, END, "It ends with the period that runs", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
TERMINATE = Endpoint("billing.terminate", "POST", f"{ONE_AT}/terminate", OfSubscription, Subscription, END, "It ends now", errors=STEP, about=SUBSCRIPTION)  # fmt: skip
DELETE = Endpoint("billing.delete", "DELETE", ONE_AT, OfSubscription, Deleted, END, "As if it had never been, unless it was invoiced", errors=STEP, about=SUBSCRIPTION)  # fmt: skip

ENDPOINTS = (
    SUBSCRIBE, GET, LIST, CHANGE, OVERRIDE, ADD_COUPON, DROP_COUPON, TAXES, SHOW_IN, PAUSE, RESUME, CANCEL, TERMINATE, DELETE,
)  # fmt: skip


@handles(SUBSCRIBE)
async def subscribe(parts: Parts, call: Call, ask: Subscribe) -> Subscription:
    return await parts.billing.subscribe(
        call.tenant, ask.agent, PlanId(ask.plan_id), key=ask.key or new_id("key-"), by=call.known.agent, version=ask.version,
        starts_at=ask.starts_at, anchor=ask.anchor, zone=ask.zone, override=ask.override,
        coupons=tuple(map(CouponId, ask.coupons)), taxes=ask.taxes, shown_in=ask.shown_in,
    )  # fmt: skip


@handles(GET)
async def subscription(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.subscription(call.tenant, SubscriptionId(ask.subscription_id))


@handles(LIST)
async def subscriptions(parts: Parts, call: Call, ask: ListSubscriptions) -> SubscriptionPage:
    found = await parts.billing.subscriptions(call.tenant, agent=ask.agent, after=ask.cursor or "", limit=ask.limit)
    return SubscriptionPage(items=tuple(found), cursor=cursor_of(found, ask.limit, "subscription_id"))


@concerns(LIST)
async def whose_subscriptions(parts: Parts, call: Call, ask: ListSubscriptions) -> str | None:
    return None if ask.agent is None else AgentId(ask.agent)


@handles(CHANGE)
async def change(parts: Parts, call: Call, ask: ChangeSubscription) -> Subscription:
    return await parts.billing.change_plan(
        call.tenant, SubscriptionId(ask.subscription_id), PlanId(ask.plan_id), by=call.known.agent, version=ask.version,
        at_period_end=ask.at_period_end,
    )  # fmt: skip


@handles(OVERRIDE)
async def override(parts: Parts, call: Call, ask: OverrideSubscription) -> Subscription:
    return await parts.billing.change_override(
        call.tenant, SubscriptionId(ask.subscription_id), ask.override, by=call.known.agent, at_period_end=ask.at_period_end
    )  # fmt: skip


@handles(ADD_COUPON)
async def apply_coupon(parts: Parts, call: Call, ask: CouponOf) -> Subscription:
    return await parts.billing.apply_coupon(
        call.tenant, SubscriptionId(ask.subscription_id), CouponId(ask.coupon_id), by=call.known.agent
    )


@handles(DROP_COUPON)
async def remove_coupon(parts: Parts, call: Call, ask: CouponOf) -> Subscription:
    return await parts.billing.remove_coupon(
        call.tenant, SubscriptionId(ask.subscription_id), CouponId(ask.coupon_id), by=call.known.agent
    )


@handles(TAXES)
async def set_taxes(parts: Parts, call: Call, ask: TaxesOf) -> Subscription:
    return await parts.billing.set_taxes(
        call.tenant, SubscriptionId(ask.subscription_id), ask.taxes, by=call.known.agent
    )


@handles(SHOW_IN)
async def show_in(parts: Parts, call: Call, ask: ShowIn) -> Subscription:
    return await parts.billing.show_in(
        call.tenant, SubscriptionId(ask.subscription_id), ask.currency, by=call.known.agent
    )


@handles(PAUSE)
async def pause(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.pause(call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent)


@handles(RESUME)
async def resume(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.resume(call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent)


@handles(CANCEL)
async def cancel(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.cancel(call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent)


@handles(TERMINATE)
async def terminate(parts: Parts, call: Call, ask: OfSubscription) -> Subscription:
    return await parts.billing.terminate(call.tenant, SubscriptionId(ask.subscription_id), by=call.known.agent)


@handles(DELETE)
async def delete(parts: Parts, call: Call, ask: OfSubscription) -> Deleted:
    await parts.billing.delete_subscription(call.tenant, SubscriptionId(ask.subscription_id))
    return Deleted(subscription_id=ask.subscription_id)
