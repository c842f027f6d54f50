"""Credits over the wire: grants, wallets and top-ups; and the terms that invoices are made by: coupons, taxes, exchange rates."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta
from msgspec.structs import asdict, replace

from creto.common.ids import new_id
from creto.common.limits import PAGE_ITEMS_DEFAULT, WALLET_NAMES_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Endpoint, View
from creto.edge.api.fields import Agent, Count, Cursor, Id, Limit, Nanos
from creto.edge.api.metering_fields import Asked, Currency, Names, cursor_of
from creto.edge.api.parts import Parts
from creto.edge.api.quotas import Gone
from creto.metering import (
    BillingRules,
    BurnCredits,
    BurnKey,
    Burnt,
    Coupon,
    ExchangeRate,
    GrantBook,
    NewGrant,
    NewPurchase,
    Posting,
    Purchase,
    Rollover,
    Tax,
    TaxRounding,
    TopUp,
    TopUpRule,
    Wallet,
    preset,
)
from creto.metering.periods import Cycle
from creto.metering.types import CouponId, GrantId
from creto.metering.wallets import PurchaseId, RuleId

Only = Annotated[tuple[Id, ...], Meta(max_length=WALLET_NAMES_MAX)]
Priority = Annotated[int, Meta(ge=0, le=1_000)]
Days = Annotated[int, Meta(ge=1, le=36_500)]


class GrantCredits(Asked, frozen=True):
    """Once for each key. `only` names the charges that they may pay for; none means all."""

    agent: Agent
    amount: Decimal
    currency: Currency
    key: Id | None = None
    priority: Priority = 50
    effective_at: Nanos | None = None
    expires_at: Nanos | None = None
    renews: Cycle | None = None
    rollover: Rollover = Rollover()
    only: Only = ()
    reason: Annotated[str, Meta(max_length=1_000)] = ""


class OfGrant(Asked, frozen=True):
    grant_id: Id


class ExtendGrant(Asked, frozen=True):
    """What is left of it may be used until then, earlier or later than before; none: for ever."""

    grant_id: Id
    expires_at: Nanos | None


class OfWallet(Asked, frozen=True):
    agent: Agent
    currency: Currency
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class PostingsOf(Asked, frozen=True):
    grant_id: Id
    after: Count = 0
    limit: Limit = PAGE_ITEMS_DEFAULT


class PostingsFor(Asked, frozen=True):
    """Which grants paid for something, and what came back: an invoice, one of its lines, a purchase, or what somebody named."""

    ref: Id


class Postings(View, frozen=True):
    items: tuple[Posting, ...]


class Burn(Asked, frozen=True):
    """Use credits for something of one's own, once for each key; with `whole` all of it or nothing."""

    agent: Agent
    amount: Decimal
    currency: Currency
    ref: Id
    key: Id | None = None
    names: Only = ()
    whole: bool = False


class PutTopUp(Asked, frozen=True):
    """When to buy more: as often as a cycle says, or whenever the balance falls below. With `payment` granted once it is paid."""

    rule_id: Id
    agent: Agent
    currency: Currency
    top_up: TopUp
    priority: Priority = 50
    expires_after_days: Days | None = None
    payment: bool = True


class OfRule(Asked, frozen=True):
    rule_id: Id


class ListPage(Asked, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class TopUpPage(View, frozen=True):
    items: tuple[TopUpRule, ...]
    cursor: str | None = None


class PurchasePage(View, frozen=True):
    items: tuple[Purchase, ...]
    cursor: str | None = None


class BuyCredits(Asked, frozen=True):
    """Once for each key. They are granted once they are paid: by the payment service, or when somebody says so."""

    agent: Agent
    amount: Decimal
    currency: Currency
    key: Id | None = None
    priority: Priority = 50
    expires_after_days: Days | None = None


class SettlePurchase(Asked, frozen=True):
    """It was paid and is granted, or it failed."""

    purchase_id: Id
    paid: bool


class PutCoupon(Asked, frozen=True):
    """Off the price: a share or an amount with its currency, for so many periods (none: for ever), on all charges or some."""

    coupon_id: Id
    percent: Decimal | None = None
    amount: Decimal | None = None
    currency: Currency | None = None
    periods: Count | None = 1
    charges: Names = ()
    until: Nanos | None = None
    redemptions_max: Count | None = None


class OfCoupon(Asked, frozen=True):
    coupon_id: Id


class CouponPage(View, frozen=True):
    items: tuple[Coupon, ...]
    cursor: str | None = None


class PutTax(Asked, frozen=True):
    code: Id
    percent: Decimal
    name: Annotated[str, Meta(max_length=200)] = ""


class OfTax(Asked, frozen=True):
    code: Id


class TaxPage(View, frozen=True):
    items: tuple[Tax, ...]
    cursor: str | None = None


class PutRules(Asked, frozen=True):
    """A preset, which is the way of a billing system, and what of it is otherwise. It holds for all invoices that are not final yet."""

    preset: Id = "creto"
    tax_rounding: TaxRounding | None = None
    percent_first: bool | None = None
    burn_order: Annotated[tuple[BurnKey, ...], Meta(min_length=1, max_length=3)] | None = None


class GetRules(Asked, frozen=True):
    """Of the tenant."""


class AddExchangeRate(Asked, frozen=True):
    """What one unit of `base` is in `quote`, from an instant on; now, if none is named. A rate never changes."""

    base: Currency
    quote: Currency
    rate: Decimal
    at: Nanos | None = None


class ListExchangeRates(Asked, frozen=True):
    """The newest first, or those that held until an instant."""

    base: Currency
    quote: Currency
    until: Nanos | None = None
    limit: Limit = PAGE_ITEMS_DEFAULT


class ExchangeRates(View, frozen=True):
    items: tuple[ExchangeRate, ...]


READ, WRITE, GRANT_IT, OF_GRANT, OF_RULE = "metering:read", "metering:write", "grant_credits", "metering:grant:{grant_id}", "metering:top-up:{rule_id}"  # fmt: skip
BAD, MISSING, STEP = ("MT-400",), ("MT-400", "MT-404"), ("MT-400", "MT-404", "MT-412")
ONCE = ("MT-400", "MT-409", "PL-410")

GRANT = Endpoint("credits.grant", "POST", "/v1/credits/grants", GrantCredits, GrantBook, GRANT_IT, "Give an agent credits", status=201, errors=ONCE, about="{agent}")  # fmt: skip
VOID = Endpoint("credits.void", "POST", "/v1/credits/grants/{grant_id}/void", OfGrant, GrantBook, GRANT_IT, "Nobody can use what is left of a grant", errors=STEP, about=OF_GRANT)  # fmt: skip
EXTEND = Endpoint("credits.extend", "PUT", "/v1/credits/grants/{grant_id}/expiry", ExtendGrant, GrantBook, GRANT_IT, "What is left of a grant may be used until another time, or for ever", errors=STEP, about=OF_GRANT)  # fmt: skip
WALLET = Endpoint("credits.wallet", "GET", "/v1/credits/wallets/{agent}/{currency}", OfWallet, Wallet, READ, "All that an agent has in a currency", errors=BAD, about="{agent}")  # fmt: skip
POSTINGS = Endpoint("credits.postings", "GET", "/v1/credits/grants/{grant_id}/postings", PostingsOf, Postings, READ, "Where every micro of a grant went", errors=MISSING, about=OF_GRANT)  # fmt: skip
POSTINGS_FOR = Endpoint("credits.postings_for", "GET", "/v1/credits/postings", PostingsFor, Postings, READ, "Which grants paid for something, and what came back", errors=BAD)  # fmt: skip
BURN = Endpoint("credits.burn", "POST", "/v1/credits/burns", Burn, Burnt, GRANT_IT, "Use credits for something of one's own", errors=(*ONCE, "MT-402"), about="{agent}")  # fmt: skip
SET_TOP_UP = Endpoint("credits.set_top_up", "PUT", "/v1/credits/top-ups/{rule_id}", PutTopUp, TopUpRule, GRANT_IT, "When to buy more for an agent", errors=STEP, about=OF_RULE)  # fmt: skip
DROP_TOP_UP = Endpoint("credits.drop_top_up", "DELETE", "/v1/credits/top-ups/{rule_id}", OfRule, Gone, GRANT_IT, "Buy no more", errors=MISSING, about=OF_RULE)  # fmt: skip
TOP_UPS = Endpoint("credits.top_ups", "GET", "/v1/credits/top-ups", ListPage, TopUpPage, READ, "When more is bought for whom", errors=BAD)  # fmt: skip
BUY = Endpoint("credits.buy", "POST", "/v1/credits/purchases", BuyCredits, Purchase, GRANT_IT, "Buy credits for an agent, which it gets once they are paid", status=201, errors=ONCE, about="{agent}")  # fmt: skip
PURCHASES = Endpoint("credits.purchases", "GET", "/v1/credits/purchases", ListPage, PurchasePage, READ, "Credits that were bought or are to be, by top-ups too", errors=BAD)  # fmt: skip
SETTLE = Endpoint("credits.settle_purchase", "POST", "/v1/credits/purchases/{purchase_id}/settle", SettlePurchase, Purchase, GRANT_IT, "It was paid, or it failed", errors=STEP, about="metering:purchase:{purchase_id}")  # fmt: skip
PUT_COUPON = Endpoint("credits.create_coupon", "POST", "/v1/coupons", PutCoupon, Coupon, WRITE, "A new coupon", status=201, errors=("MT-400", "MT-412"))  # fmt: skip
GET_COUPON = Endpoint("credits.coupon", "GET", "/v1/coupons/{coupon_id}", OfCoupon, Coupon, READ, "One coupon", errors=MISSING, about="metering:coupon:{coupon_id}")  # fmt: skip
COUPONS = Endpoint("credits.coupons", "GET", "/v1/coupons", ListPage, CouponPage, READ, "The coupons", errors=BAD)
DROP_COUPON = Endpoint("credits.drop_coupon", "DELETE", "/v1/coupons/{coupon_id}", OfCoupon, Coupon, WRITE, "Give a coupon out no more; whoever has it keeps it", errors=MISSING, about="metering:coupon:{coupon_id}")  # fmt: skip
PUT_TAX = Endpoint("credits.set_tax", "PUT", "/v1/taxes/{code}", PutTax, Tax, WRITE, "A tax, or another rate for it", errors=BAD, about="metering:tax:{code}")  # fmt: skip
TAXES = Endpoint("credits.taxes", "GET", "/v1/taxes", ListPage, TaxPage, READ, "The taxes", errors=BAD)
DROP_TAX = Endpoint("credits.drop_tax", "DELETE", "/v1/taxes/{code}", OfTax, Gone, WRITE, "Take away a tax that no subscription bears", errors=STEP, about="metering:tax:{code}")  # fmt: skip
ADD_RATE = Endpoint("credits.add_exchange_rate", "POST", "/v1/exchange-rates", AddExchangeRate, ExchangeRate, WRITE, "What a currency is in another, from an instant on", status=201, errors=("MT-400", "MT-412"))  # fmt: skip
RATES = Endpoint("credits.exchange_rates", "GET", "/v1/exchange-rates", ListExchangeRates, ExchangeRates, READ, "The rates of two currencies", errors=BAD)  # fmt: skip
SET_RULES = Endpoint("credits.set_rules", "PUT", "/v1/billing-rules", PutRules, BillingRules, WRITE, "How invoices are made where billing systems differ", errors=MISSING)  # fmt: skip
RULES = Endpoint("credits.rules", "GET", "/v1/billing-rules", GetRules, BillingRules, READ, "How invoices are made where billing systems differ", errors=BAD)  # fmt: skip

ENDPOINTS = (GRANT, VOID, EXTEND, WALLET, POSTINGS, POSTINGS_FOR, BURN, SET_TOP_UP, DROP_TOP_UP, TOP_UPS, BUY, PURCHASES, SETTLE, PUT_COUPON, GET_COUPON, COUPONS, DROP_COUPON, PUT_TAX, TAXES, DROP_TAX, ADD_RATE, RATES, SET_RULES, RULES)  # fmt: skip


@handles(GRANT)
async def grant(parts: Parts, call: Call, ask: GrantCredits) -> GrantBook:
    fields = asdict(ask)
    key = fields.pop("key") or new_id("key-")
    return await parts.billing.grant_credits(call.tenant, NewGrant(**fields), key=key, by=call.known.agent)


@handles(VOID)
async def void(parts: Parts, call: Call, ask: OfGrant) -> GrantBook:
    return await parts.billing.void_credits(call.tenant, GrantId(ask.grant_id), by=call.known.agent)


@handles(EXTEND)
async def extend(parts: Parts, call: Call, ask: ExtendGrant) -> GrantBook:
    return await parts.billing.extend_credits(call.tenant, GrantId(ask.grant_id), ask.expires_at, by=call.known.agent)


@handles(WALLET)
async def wallet(parts: Parts, call: Call, ask: OfWallet) -> Wallet:
    return await parts.billing.wallet(call.tenant, ask.agent, ask.currency, after=ask.cursor or "", limit=ask.limit)


@handles(POSTINGS)
async def postings(parts: Parts, call: Call, ask: PostingsOf) -> Postings:
    found = await parts.billing.grant_postings(call.tenant, GrantId(ask.grant_id), after=ask.after, limit=ask.limit)
    return Postings(items=tuple(found))


@handles(POSTINGS_FOR)
async def postings_for(parts: Parts, call: Call, ask: PostingsFor) -> Postings:
    return Postings(items=tuple(await parts.billing.postings_for(call.tenant, ask.ref)))


@handles(BURN)
async def burn(parts: Parts, call: Call, ask: Burn) -> Burnt:
    fields = asdict(ask)
    key = fields.pop("key") or new_id("key-")
    return await parts.billing.burn_credits(call.tenant, BurnCredits(**fields), key=key, by=call.known.agent)


@handles(SET_TOP_UP)
async def set_top_up(parts: Parts, call: Call, ask: PutTopUp) -> TopUpRule:
    rule = TopUpRule(**(asdict(ask) | {"rule_id": RuleId(ask.rule_id)}))
    return await parts.billing.set_top_up(call.tenant, rule, by=call.known.agent)


@handles(DROP_TOP_UP)
async def drop_top_up(parts: Parts, call: Call, ask: OfRule) -> Gone:
    await parts.billing.drop_top_up(call.tenant, RuleId(ask.rule_id), by=call.known.agent)
    return Gone(name=ask.rule_id)


@handles(TOP_UPS)
async def top_ups(parts: Parts, call: Call, ask: ListPage) -> TopUpPage:
    found = await parts.billing.top_ups(call.tenant, after=ask.cursor or "", limit=ask.limit)
    return TopUpPage(items=tuple(found), cursor=cursor_of(found, ask.limit, "rule_id"))


@handles(BUY)
async def buy(parts: Parts, call: Call, ask: BuyCredits) -> Purchase:
    fields = asdict(ask)
    key = fields.pop("key") or new_id("key-")
    return await parts.billing.buy_credits(call.tenant, NewPurchase(**fields), key=key, by=call.known.agent)


@handles(PURCHASES)
async def purchases(parts: Parts, call: Call, ask: ListPage) -> PurchasePage:
    found = await parts.billing.purchases(call.tenant, after=ask.cursor or "", limit=ask.limit)
    return PurchasePage(items=tuple(found), cursor=cursor_of(found, ask.limit, "purchase_id"))


@handles(SETTLE)
async def settle(parts: Parts, call: Call, ask: SettlePurchase) -> Purchase:
    return await parts.billing.settle_purchase(
        call.tenant, PurchaseId(ask.purchase_id), paid=ask.paid, by=call.known.agent
    )


@handles(PUT_COUPON)
async def create_coupon(parts: Parts, call: Call, ask: PutCoupon) -> Coupon:
    return await parts.billing.create_coupon(call.tenant, Coupon(**asdict(ask)), by=call.known.agent)


@handles(GET_COUPON)
async def coupon(parts: Parts, call: Call, ask: OfCoupon) -> Coupon:
    return await parts.billing.coupon(call.tenant, CouponId(ask.coupon_id))


@handles(COUPONS)
async def coupons(parts: Parts, call: Call, ask: ListPage) -> CouponPage:
    found = await parts.billing.coupons(call.tenant, after=ask.cursor or "", limit=ask.limit)
    return CouponPage(items=tuple(found), cursor=cursor_of(found, ask.limit, "coupon_id"))


@handles(DROP_COUPON)
async def drop_coupon(parts: Parts, call: Call, ask: OfCoupon) -> Coupon:
    return await parts.billing.drop_coupon(call.tenant, CouponId(ask.coupon_id), by=call.known.agent)


@handles(PUT_TAX)
async def set_tax(parts: Parts, call: Call, ask: PutTax) -> Tax:
    return await parts.billing.set_tax(call.tenant, Tax(**asdict(ask)), by=call.known.agent)


@handles(TAXES)
async def taxes(parts: Parts, call: Call, ask: ListPage) -> TaxPage:
    found = await parts.billing.taxes(call.tenant, after=ask.cursor or "", limit=ask.limit)
    return TaxPage(items=tuple(found), cursor=cursor_of(found, ask.limit, "code"))


@handles(DROP_TAX)
async def drop_tax(parts: Parts, call: Call, ask: OfTax) -> Gone:
    await parts.billing.drop_tax(call.tenant, ask.code, by=call.known.agent)
    return Gone(name=ask.code)


@handles(ADD_RATE)
async def add_exchange_rate(parts: Parts, call: Call, ask: AddExchangeRate) -> ExchangeRate:
    at = parts.clock.now() if ask.at is None else ConsensusTimestamp(ask.at)
    rate = ExchangeRate(ask.base, ask.quote, ask.rate, at)
    return await parts.billing.add_rate(call.tenant, rate, by=call.known.agent)


@handles(SET_RULES)
async def set_rules(parts: Parts, call: Call, ask: PutRules) -> BillingRules:
    said = {name: value for name, value in asdict(ask).items() if value is not None}
    rules = replace(preset(said.pop("preset")).rules(), **said)
    return await parts.billing.set_rules(call.tenant, rules, by=call.known.agent)


@handles(RULES)
async def rules(parts: Parts, call: Call, ask: GetRules) -> BillingRules:
    return await parts.billing.rules(call.tenant)


@handles(RATES)
async def exchange_rates(parts: Parts, call: Call, ask: ListExchangeRates) -> ExchangeRates:
    found = await parts.billing.rates(call.tenant, ask.base, ask.quote, until=ask.until, limit=ask.limit)
    return ExchangeRates(items=tuple(found))
