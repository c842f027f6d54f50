"""Plans and subscriptions: the use cases."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import AlreadyExists, InvalidInput, NotFound, ProductId
from creto.common.ids import AgentId, ResourceId, SubscriptionId, TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import PAGE_ITEMS_DEFAULT, SUBSCRIBE_KEY_S
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.metering import plans as rules
from creto.metering import store as rows
from creto.metering import subscriptions as steps
from creto.metering.catalogue import Catalogue
from creto.metering.core import PLANS_CHANGED, known, paged
from creto.metering.currencies import iso
from creto.metering.periods import period_at
from creto.metering.store_terms import coupon_uses, unredeem
from creto.metering.types import CouponId, Override, Phase, Plan, PlanId, Subscription
from creto.store import IdempotencyGuard
from creto.store.types import ReadTx, Tx

GUARD = IdempotencyGuard()


class Subscribing(Catalogue):
    # Plans

    async def create_plan(self, tenant: TenantId, plan: Plan, *, by: AgentId) -> Plan:
        """The first version of a plan."""
        checked_tenant(tenant)
        checked_name(plan.plan_id, "plan_id")
        first = rules.checked(replace(plan, version=1))

        def create(tx: Tx) -> Plan:
            if rows.versions(tx, tenant, plan.plan_id):
                hint = "Revise it, or take another id."
                raise AlreadyExists("MT-412", f"there is a plan {plan.plan_id} already", got=plan.plan_id, hint=hint)
            self._add_plan(tx, tenant, first, by)
            return first

        return await self._store.write(create)

    async def revise_plan(self, tenant: TenantId, plan: Plan, *, by: AgentId) -> Plan:
        """The next version. Subscriptions stay on theirs until they are changed."""

        def revise(tx: Tx) -> Plan:
            newest = rules.version_of(rows.versions(tx, checked_tenant(tenant), plan.plan_id), plan.plan_id)
            if plan.currency != newest.currency:
                raise InvalidInput.of("currency", got=plan.currency, expected=newest.currency, code="MT-400")
            following = rules.checked(replace(plan, version=newest.version + 1))
            self._add_plan(tx, tenant, following, by)
            return following

        return await self._store.write(revise)

    def _add_plan(self, tx: Tx, tenant: TenantId, plan: Plan, by: AgentId) -> None:
        now = self._clock.now()
        rows.add_plan(tx, tenant, plan, now)
        tx.signal(PLANS_CHANGED, tenant)
        subject = ResourceId("metering", "plan", plan.plan_id).to_uri()
        fields: dict[str, object] = {"version": plan.version}
        self._record(tx, tenant, "plan.version", "PlanVersionCreated", by=by, subject=subject, now=now, fields=fields)

    async def plan(self, tenant: TenantId, plan_id: PlanId, version: int | None = None) -> Plan:
        found = await self._store.read(lambda tx: rows.versions(tx, checked_tenant(tenant), plan_id))
        return rules.version_of(found, plan_id, version)

    async def plan_versions(self, tenant: TenantId, plan_id: PlanId) -> list[Plan]:
        """The oldest first."""
        found = await self._store.read(lambda tx: rows.versions(tx, checked_tenant(tenant), plan_id))
        rules.version_of(found, plan_id, None)
        return found

    async def plans(self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT) -> list[Plan]:
        """The newest version of each plan, by id."""
        return await self._store.read(lambda tx: rows.newest_plans(tx, checked_tenant(tenant), after, paged(limit)))

    # Subscriptions

    async def subscribe(
        self,
        tenant: TenantId,
        agent: AgentId,
        plan_id: PlanId,
        *,
        key: str,
        by: AgentId,
        version: int | None = None,
        starts_at: int | None = None,
        anchor: int | None = None,
        zone: str = "UTC",
        override: Override | None = None,
        coupons: tuple[CouponId, ...] = (),
        taxes: tuple[str, ...] = (),
        shown_in: str | None = None,
    ) -> Subscription:
        """Once for each key. Periods are counted from the anchor, which is the start if nothing else is said."""
        checked_tenant(tenant)
        checked_name(key, "key")
        now = self._clock.now()
        asked = wire.encode([agent, plan_id, version, starts_at, anchor, zone, override, coupons, taxes, shown_in])

        def effect(tx: Tx) -> bytes:
            plan = rules.version_of(rows.versions(tx, tenant, plan_id), plan_id, version)
            rules.effective(plan, override)
            start = now if starts_at is None else starts_at
            made = Subscription(
                subscription_id=SubscriptionId(new_id("sub-")),
                tenant=tenant,
                agent=agent,
                phases=(Phase(plan_id, plan.version, start),),
                started_at=start,
                anchor=start if anchor is None else anchor,
                zone=zone,
                override=override,
                taxes=self._known_taxes(tx, tenant, taxes),
                shown_in=None if shown_in is None else iso(shown_in).code,
            )
            steps.cycle_of(plan, made)
            for coupon_id in dict.fromkeys(coupons):
                made = self._redeemed(tx, made, coupon_id, plan.currency, now)
            self._save(tx, made, "created", by, self._clock.now())
            return wire.encode(made)

        done = await self._store.write(
            lambda tx: GUARD.once(
                tx, tenant, ProductId.METERING, "subscribe", key, asked, SUBSCRIBE_KEY_S * SECOND, now, effect
            )
        )
        return wire.decode(done.result, Subscription, what="subscription")

    async def create_subscription(self, tenant: TenantId, agent: AgentId, plan_id: str, key: str) -> SubscriptionId:
        """The first step of the provisioning saga."""
        made = await self.subscribe(tenant, agent, PlanId(plan_id), key=key, by=agent)
        return made.subscription_id

    async def delete_subscription(self, tenant: TenantId, subscription_id: SubscriptionId) -> None:
        """The saga's compensation: as if it had never been. Twice is as good as once; what was invoiced stays."""

        def delete(tx: Tx) -> None:
            found = rows.locked_subscription(tx, checked_tenant(tenant), subscription_id)
            if found is None:
                return
            numbered = [i.number for i, _ in rows.invoices_of(tx, tenant, subscription_id) if i.number]
            if numbered:
                raise AlreadyExists(
                    "MT-412", f"{subscription_id} has the invoice {numbered[0]}", hint="Terminate it instead."
                )
            for coupon_id in found.coupons:
                unredeem(tx, tenant, coupon_id)
            now = self._clock.now()
            rows.forget_subscription(tx, found, now)
            self._note(tx, found, "deleted", found.agent, now)

        await self._store.write(delete)

    async def change_plan(
        self,
        tenant: TenantId,
        subscription_id: SubscriptionId,
        plan_id: PlanId,
        *,
        by: AgentId,
        version: int | None = None,
        at_period_end: bool = False,
    ) -> Subscription:
        """Upgrades hold at once; a downgrade is often wanted only when the period that is paid for ends.

        What the subscription was made with otherwise goes on; what was changed of it since has to be said again.
        """

        def step(tx: Tx, current: Subscription, now: ConsensusTimestamp) -> Subscription:
            plan = rules.version_of(rows.versions(tx, tenant, plan_id), plan_id, version)
            old = self._plan_of(tx, current, now)
            if plan.currency != old.currency:
                raise InvalidInput.of("plan_id", got=plan.currency, expected=f"a plan in {old.currency}", code="MT-400")
            if (plan.cycle, plan.cycle_count) != (old.cycle, old.cycle_count):
                raise InvalidInput.of(
                    "plan_id", got=f"a cycle of {plan.cycle_count} {plan.cycle}", code="MT-400",
                    expected=f"one of {old.cycle_count} {old.cycle}: else end this subscription and begin another",
                )  # fmt: skip
            rules.effective(plan, current.override)
            since = period_at(steps.cycle_of(old, current), now).end if at_period_end else now
            return steps.changed(current, plan_id, plan.version, max(since, current.started_at))

        return await self._step(tenant, subscription_id, "changed", by, step)

    async def change_override(
        self,
        tenant: TenantId,
        subscription_id: SubscriptionId,
        override: Override,
        *,
        by: AgentId,
        at_period_end: bool = False,
    ) -> Subscription:
        """What a subscription has otherwise than its plan from now on; an empty one takes it all back. What was billed stays."""

        def step(tx: Tx, current: Subscription, now: ConsensusTimestamp) -> Subscription:
            plan = self._plan_of(tx, current, now)
            phase = rules.phase_at(current.phases, now) or current.phases[0]
            rules.effective(
                rules.version_of(rows.versions(tx, tenant, phase.plan_id), phase.plan_id, phase.version), override
            )
            since = period_at(steps.cycle_of(plan, current), now).end if at_period_end else now
            return steps.changed(current, phase.plan_id, phase.version, max(since, current.started_at), override)

        return await self._step(tenant, subscription_id, "overridden", by, step)

    async def apply_coupon(
        self, tenant: TenantId, subscription_id: SubscriptionId, coupon_id: CouponId, *, by: AgentId
    ) -> Subscription:
        """From the next invoice on that is not final."""

        def step(tx: Tx, current: Subscription, now: ConsensusTimestamp) -> Subscription:
            return self._redeemed(tx, current, coupon_id, self._plan_of(tx, current, now).currency, now)

        return await self._step(tenant, subscription_id, "discounted", by, step)

    async def remove_coupon(
        self, tenant: TenantId, subscription_id: SubscriptionId, coupon_id: CouponId, *, by: AgentId
    ) -> Subscription:
        """What it did not come off yet may be given to another."""

        def step(tx: Tx, current: Subscription, _: ConsensusTimestamp) -> Subscription:
            if coupon_id not in current.coupons:
                raise NotFound("MT-404", f"{subscription_id} has no coupon {coupon_id}")
            if not coupon_uses(tx, tenant, subscription_id, coupon_id):
                unredeem(tx, tenant, coupon_id)
            return replace(current, coupons=tuple(c for c in current.coupons if c != coupon_id))

        return await self._step(tenant, subscription_id, "undiscounted", by, step)

    async def set_taxes(
        self, tenant: TenantId, subscription_id: SubscriptionId, codes: tuple[str, ...], *, by: AgentId
    ) -> Subscription:
        """Which taxes its invoices bear, those that are not final yet."""
        return await self._step(
            tenant, subscription_id, "taxed", by,
            lambda tx, current, _: replace(current, taxes=self._known_taxes(tx, tenant, codes)),
        )  # fmt: skip

    async def show_in(
        self, tenant: TenantId, subscription_id: SubscriptionId, currency: str | None, *, by: AgentId
    ) -> Subscription:
        """In which other currency its invoices say what they come to."""
        code = None if currency is None else iso(currency).code
        return await self._step(tenant, subscription_id, "shown", by, lambda _, s, __: replace(s, shown_in=code))

    async def pause(self, tenant: TenantId, subscription_id: SubscriptionId, *, by: AgentId) -> Subscription:
        return await self._step(tenant, subscription_id, "paused", by, lambda _, s, now: steps.paused(s, now))

    async def resume(self, tenant: TenantId, subscription_id: SubscriptionId, *, by: AgentId) -> Subscription:
        return await self._step(tenant, subscription_id, "resumed", by, lambda _, s, now: steps.resumed(s, now))

    async def cancel(self, tenant: TenantId, subscription_id: SubscriptionId, *, by: AgentId) -> Subscription:
        """It ends with the period that runs."""

        def step(tx: Tx, current: Subscription, now: ConsensusTimestamp) -> Subscription:
            return steps.cancelled(current, self._plan_of(tx, current, now), now)

        return await self._step(tenant, subscription_id, "cancelled", by, step)

    async def terminate(self, tenant: TenantId, subscription_id: SubscriptionId, *, by: AgentId) -> Subscription:
        """It ends now."""
        return await self._step(tenant, subscription_id, "terminated", by, lambda _, s, now: steps.terminated(s, now))

    async def subscription(self, tenant: TenantId, subscription_id: SubscriptionId) -> Subscription:
        found = await self._store.read(lambda tx: rows.find_subscription(tx, checked_tenant(tenant), subscription_id))
        return known(found, subscription_id)

    async def subscriptions(
        self, tenant: TenantId, *, agent: AgentId | None = None, after: str = "", limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[Subscription]:
        """By id, which is the order in which they were made."""
        return await self._store.read(
            lambda tx: rows.subscriptions_of(tx, checked_tenant(tenant), agent, after, paged(limit))
        )

    def _plan_of(self, tx: ReadTx, subscription: Subscription, at: int) -> Plan:
        """The plan that holds at an instant; before the start the one it starts with."""
        phase = rules.phase_at(subscription.phases, at) or subscription.phases[0]
        found = rules.version_of(rows.versions(tx, subscription.tenant, phase.plan_id), phase.plan_id, phase.version)
        return rules.effective(found, rules.override_at(phase, subscription))

    async def _step(
        self,
        tenant: TenantId,
        subscription_id: SubscriptionId,
        act: str,
        by: AgentId,
        step: Callable[[Tx, Subscription, ConsensusTimestamp], Subscription],
    ) -> Subscription:
        """One locked transaction for each step from one state to the next. Its time is taken within it: what was counted before did not know of it."""

        def change(tx: Tx) -> Subscription:
            now = self._clock.now()
            current = known(rows.locked_subscription(tx, checked_tenant(tenant), subscription_id), subscription_id)
            changed = step(tx, current, now)
            self._save(tx, changed, act, by, now)
            return changed

        return await self._store.write(change)

    def _save(self, tx: Tx, subscription: Subscription, act: str, by: AgentId, now: ConsensusTimestamp) -> None:
        rows.put_subscription(tx, subscription, now)
        self._note(tx, subscription, act, by, now)

    def _note(self, tx: Tx, subscription: Subscription, act: str, by: AgentId, now: ConsensusTimestamp) -> None:
        last = subscription.phases[-1]
        self._record(
            tx, subscription.tenant, f"subscription.{act}", f"Subscription{act.capitalize()}", by=by, now=now,
            subject=ResourceId.subscription(subscription.subscription_id).to_uri(),
            fields={"agent": subscription.agent, "plan": last.plan_id, "version": last.version, "status": subscription.status},
        )  # fmt: skip
