"""Coupons, taxes and exchange rates: the use cases.

INVARIANT: what an invoice was drafted with is kept in its terms: a tax that changes later changes no invoice that is final.
"""

from __future__ import annotations

from decimal import Decimal

from msgspec.structs import replace

from creto.common.errors import AlreadyExists, InvalidInput, NotFound
from creto.common.ids import AgentId, SubscriptionId, TenantId, checked_name, checked_tenant
from creto.common.limits import COUPONS_MAX, INTEGER_MAX, PAGE_ITEMS_DEFAULT
from creto.common.timestamps import ConsensusTimestamp
from creto.common.timestamps import iso as iso_time
from creto.metering import store_terms as rows
from creto.metering import tokens
from creto.metering.core import Core, paged
from creto.metering.currencies import ExchangeRate, convert, iso
from creto.metering.parties import Letterhead, Party
from creto.metering.presets import BillingRules, preset
from creto.metering.rounding import HUNDRED
from creto.metering.store import subscriptions_of
from creto.metering.tokens import PriceTable
from creto.metering.types import Coupon, CouponId, Subscription, Tax
from creto.store.types import ReadTx, Tx


class Catalogue(Core):
    async def create_coupon(self, tenant: TenantId, coupon: Coupon, *, by: AgentId) -> Coupon:
        checked_tenant(tenant)
        checked_name(coupon.coupon_id, "coupon_id")
        if coupon.currency is not None:
            iso(coupon.currency)
        now = self._clock.now()

        def create(tx: Tx) -> Coupon:
            if rows.find_coupon(tx, tenant, coupon.coupon_id) is not None:
                raise AlreadyExists("MT-412", f"there is a coupon {coupon.coupon_id} already", got=coupon.coupon_id)
            rows.add_coupon(tx, tenant, coupon)
            self._tell_term(tx, tenant, "coupon.created", "CouponCreated", f"coupon:{coupon.coupon_id}", by, now)
            return coupon

        return await self._store.write(create)

    async def coupon(self, tenant: TenantId, coupon_id: CouponId) -> Coupon:
        return await self._store.read(lambda tx: self._coupon(tx, checked_tenant(tenant), coupon_id))

    async def coupons(self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT) -> list[Coupon]:
        return await self._store.read(lambda tx: rows.coupons(tx, checked_tenant(tenant), after, paged(limit)))

    async def drop_coupon(self, tenant: TenantId, coupon_id: CouponId, *, by: AgentId) -> Coupon:
        """It is given out no more; whoever has it keeps it. One that nobody ever had is gone."""
        now = self._clock.now()

        def drop(tx: Tx) -> Coupon:
            found = self._coupon(tx, checked_tenant(tenant), coupon_id)
            ended = replace(found, until=now if found.until is None else min(found.until, now))
            if not rows.forget_coupon(tx, tenant, coupon_id):
                rows.put_coupon(tx, tenant, ended)
            self._tell_term(tx, tenant, "coupon.dropped", "CouponDropped", f"coupon:{coupon_id}", by, now)
            return ended

        return await self._store.write(drop)

    async def set_tax(self, tenant: TenantId, tax: Tax, *, by: AgentId) -> Tax:
        """A new tax, or another rate for the one with its code: invoices that are not final yet take it."""
        checked_tenant(tenant)
        checked_name(tax.code, "code")
        if tax.percent > HUNDRED:
            raise InvalidInput.of("percent", got=str(tax.percent), expected="0 to 100", code="MT-400")
        now = self._clock.now()

        def put(tx: Tx) -> Tax:
            rows.put_tax(tx, tenant, tax)
            self._tell_term(
                tx, tenant, "tax.set", "TaxSet", f"tax:{tax.code}", by, now, {"percent": tax.percent, "name": tax.name}
            )
            return tax

        return await self._store.write(put)

    async def taxes(self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT) -> list[Tax]:
        return await self._store.read(lambda tx: rows.taxes(tx, checked_tenant(tenant), after, paged(limit)))

    async def drop_tax(self, tenant: TenantId, code: str, *, by: AgentId) -> None:
        """INVARIANT: no subscription bears a tax that is not there: it would silently be charged without."""
        now = self._clock.now()

        def drop(tx: Tx) -> None:
            all_of_them = subscriptions_of(tx, checked_tenant(tenant), None, "", INTEGER_MAX)
            bearing = next((one for one in all_of_them if code in one.taxes), None)
            if bearing is not None:
                raise AlreadyExists(
                    "MT-412", f"{bearing.subscription_id} bears the tax {code}", got=code,
                    hint="Set the subscription's taxes first; or give the tax another rate.",
                )  # fmt: skip
            if not rows.forget_tax(tx, tenant, code):
                raise NotFound("MT-404", f"tax {code} does not exist")
            self._tell_term(tx, tenant, "tax.dropped", "TaxDropped", f"tax:{code}", by, now)

        await self._store.write(drop)

    async def add_rate(self, tenant: TenantId, rate: ExchangeRate, *, by: AgentId) -> ExchangeRate:
        """A rate never changes: a new one holds from its own instant on."""
        checked_tenant(tenant)
        if iso(rate.base) == iso(rate.quote):
            raise InvalidInput.of("quote", got=rate.quote, expected="another currency", code="MT-400")
        now = self._clock.now()

        def add(tx: Tx) -> ExchangeRate:
            known = rows.rates(tx, tenant, rate.base, rate.quote, rate.at, 1)
            if known and known[0].at == rate.at:
                raise AlreadyExists(
                    "MT-412", f"1 {rate.base} is {known[0].rate} {rate.quote} from {iso_time(rate.at)} on already",
                    got=str(known[0].rate), hint="A rate never changes. Give another instant.",
                )  # fmt: skip
            rows.add_rate(tx, tenant, rate)
            self._tell_term(
                tx, tenant, "rate.added", "ExchangeRateAdded", f"rate:{rate.base}/{rate.quote}", by, now,
                {"rate": rate.rate, "since": rate.at},
            )  # fmt: skip
            return rate

        return await self._store.write(add)

    async def rates(
        self, tenant: TenantId, base: str, quote: str, *, until: int | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[ExchangeRate]:
        """The newest first; with `until` those that held then or before."""
        return await self._store.read(
            lambda tx: rows.rates(tx, checked_tenant(tenant), base, quote, until, paged(limit))
        )

    async def convert(self, tenant: TenantId, amount: Decimal, base: str, to: str, *, at: int | None = None) -> Decimal:
        """An amount in another currency, by the rate that held at an instant (or holds now), rounded."""
        moment = self._clock.now() if at is None else at
        found = await self.rates(tenant, base, to, until=moment, limit=1)
        return convert(amount, iso(to), found, iso(base).code, moment)

    async def token_prices(self, *, at: int | None = None) -> PriceTable:
        """What tokens of language models cost at an instant (or now), by the table in use."""
        table = tokens.in_use()
        return PriceTable(table.version, table.currency, table.as_of(self._clock.now() if at is None else at))

    async def set_rules(self, tenant: TenantId, rules: BillingRules, *, by: AgentId) -> BillingRules:
        """For all of the tenant's invoices that are not final yet, and for credits that are burnt from now on."""
        checked_tenant(tenant)
        preset(rules.preset)
        now = self._clock.now()

        def put(tx: Tx) -> BillingRules:
            rows.put_rules(tx, tenant, rules)
            fields: dict[str, object] = {
                "preset": rules.preset, "tax_rounding": rules.tax_rounding, "percent_first": rules.percent_first,
                "burn_order": rules.burn_order,
            }  # fmt: skip
            self._tell_term(tx, tenant, "rules.set", "BillingRulesSet", "rules:billing", by, now, fields)
            return rules

        return await self._store.write(put)

    async def rules(self, tenant: TenantId) -> BillingRules:
        return await self._store.read(lambda tx: rows.find_rules(tx, checked_tenant(tenant)))

    async def set_party(
        self, tenant: TenantId, party: Party, *, by: AgentId, subscription_id: SubscriptionId | None = None
    ) -> Party:
        """Who sends the tenant's invoices, or, with a subscription, who gets its invoices."""
        checked_tenant(tenant)
        now = self._clock.now()

        def put(tx: Tx) -> Party:
            rows.put_party(tx, tenant, subscription_id, party)
            self._tell_term(tx, tenant, "party.set", "PartySet", f"party:{subscription_id or 'issuer'}", by, now)
            return party

        return await self._store.write(put)

    async def letterhead(self, tenant: TenantId, subscription_id: SubscriptionId) -> Letterhead:
        """Who stands on the invoices of a subscription; where nobody was named, the tenant and the subscription."""
        sender, customer = await self._store.read(
            lambda tx: (
                rows.find_party(tx, checked_tenant(tenant), None),
                rows.find_party(tx, tenant, subscription_id),
            )
        )
        return Letterhead(issuer=sender or Party(name=tenant), customer=customer or Party(name=subscription_id))

    async def customer_of(self, tenant: TenantId, agent: AgentId) -> Party | None:
        """Who gets an agent's invoices: as its newest subscription that names somebody says."""

        def look(tx: ReadTx) -> Party | None:
            newest_first = reversed(subscriptions_of(tx, checked_tenant(tenant), agent, "", INTEGER_MAX))
            parties = (rows.find_party(tx, tenant, one.subscription_id) for one in newest_first)
            return next((party for party in parties if party is not None), None)

        return await self._store.read(look)

    # Within a transaction

    def _coupon(self, tx: ReadTx, tenant: TenantId, coupon_id: CouponId) -> Coupon:
        found = rows.find_coupon(tx, tenant, coupon_id)
        if found is None:
            raise NotFound("MT-404", f"coupon {coupon_id} does not exist", hint="`creto coupons list` has them.")
        return found

    def _redeemed(
        self, tx: Tx, subscription: Subscription, coupon_id: CouponId, currency: str, now: int
    ) -> Subscription:
        """The subscription with a coupon that is still given out."""
        coupon = self._coupon(tx, subscription.tenant, coupon_id)
        if coupon_id in subscription.coupons:
            raise AlreadyExists("MT-412", f"{subscription.subscription_id} has the coupon {coupon_id} already")
        if coupon.currency not in (None, currency):
            raise InvalidInput.of("coupon_id", got=coupon.currency, expected=f"one in {currency}", code="MT-400")
        if coupon.until is not None and now >= coupon.until:
            raise AlreadyExists("MT-412", f"the coupon {coupon_id} is given out no more", got="ended")
        if len(subscription.coupons) >= COUPONS_MAX:
            raise InvalidInput.of(
                "coupon_id", got=len(subscription.coupons) + 1, expected=f"at most {COUPONS_MAX} coupons", code="MT-400"
            )
        if not rows.redeem(tx, subscription.tenant, coupon_id, coupon.redemptions_max):
            raise AlreadyExists(
                "MT-412", f"the coupon {coupon_id} was given to all of its {coupon.redemptions_max}", got="used up"
            )
        return replace(subscription, coupons=(*subscription.coupons, coupon_id))

    def _known_taxes(self, tx: ReadTx, tenant: TenantId, codes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [code for code in codes if rows.find_tax(tx, tenant, code) is None]
        if unknown:
            raise NotFound("MT-404", f"tax {unknown[0]} does not exist", hint="`creto taxes list` has them.")
        return tuple(dict.fromkeys(codes))

    def _tell_term(
        self, tx: Tx, tenant: TenantId, act: str, event: str, name: str, by: AgentId, now: ConsensusTimestamp,
        fields: dict[str, object] | None = None,
    ) -> None:  # fmt: skip
        self._record(tx, tenant, act, event, by=by, subject=f"metering:{name}", now=now, fields=fields or {})
