"""Credits: the use cases. Grants, their burning, their end, and when more is bought.

INVARIANT: a wallet is changed under its lock, and what time did to it is posted before anything else is.
INVARIANT: the books of every grant balance in every transaction; the database refuses those that do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TypeVar

from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import AlreadyExists, NotFound, ProductId, QuotaExceeded
from creto.common.ids import AgentId, TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import CREDITS_KEY_S, PAGE_ITEMS_DEFAULT, WALLETS_TENDED_MAX
from creto.common.timestamps import DAY, SECOND, ConsensusTimestamp
from creto.metering import store_credits as rows
from creto.metering.core import Core, paged
from creto.metering.credits import Account, Posting, top_up_due
from creto.metering.currencies import iso
from creto.metering.rounding import ZERO
from creto.metering.store_terms import find_rules
from creto.metering.types import CreditUse, GrantId
from creto.metering.wallets import (
    PURCHASE,
    PURCHASE_ID,
    BurnCredits,
    Burnt,
    GrantBook,
    Held,
    NewGrant,
    NewPurchase,
    Purchase,
    PurchaseId,
    PurchaseState,
    RuleId,
    TopUpRule,
    Wallet,
    added,
    burnt,
    checked_ref,
    opened,
    reference,
    spent,
    usable,
    wallet,
)
from creto.store import IdempotencyGuard
from creto.store.types import Isolation, ReadTx, Tx

T = TypeVar("T")
GUARD = IdempotencyGuard()


class Crediting(Core):
    async def grant_credits(self, tenant: TenantId, asked: NewGrant, *, key: str, by: AgentId) -> GrantBook:
        """Once for each key."""
        checked_tenant(tenant)
        checked_name(key, "key")
        if asked.reason:
            checked_ref(asked.reason, "reason")
        now = self._clock.now()

        def effect(tx: Tx) -> bytes:
            rows.lock_wallet(tx, tenant, asked.agent)
            return wire.encode(self._grant(tx, tenant, asked, by, now).book)

        done = await self._locking(
            lambda tx: GUARD.once(
                tx, tenant, ProductId.METERING, "grant", key, wire.encode(asked), CREDITS_KEY_S * SECOND, now, effect
            )
        )
        return wire.decode(done.result, GrantBook, what="grant")

    async def void_credits(self, tenant: TenantId, grant_id: GrantId, *, by: AgentId) -> GrantBook:
        """What is left of a grant is gone; what was used stays used."""
        now = self._clock.now()

        def void(tx: Tx) -> GrantBook:
            held = self._lasting(tx, tenant, grant_id, now)
            after = held.voided(now)
            rows.put_held(tx, tenant, after)
            lost = after.balance.voided - held.balance.voided
            self._tell_credits(tx, tenant, "voided", after, by, now, amount=lost)
            return after.book

        return await self._locking(void)

    async def extend_credits(
        self, tenant: TenantId, grant_id: GrantId, expires_at: int | None, *, by: AgentId
    ) -> GrantBook:
        """What is left of a grant may be used until another instant, earlier or later, or for ever (None). Which grant burns next follows."""
        now = self._clock.now()

        def extend(tx: Tx) -> GrantBook:
            held = self._lasting(tx, tenant, grant_id, now)
            after = held.lasting(expires_at, now)
            rows.put_held(tx, tenant, after)
            before = held.grant.expires_at
            self._tell_credits(
                tx, tenant, "extended", after, by, now, amount=held.balance.remaining, before=before, expires_at=expires_at
            )  # fmt: skip
            return after.book

        return await self._locking(extend)

    def _lasting(self, tx: Tx, tenant: TenantId, grant_id: GrantId, now: int) -> Held:
        """A grant that has not ended (MT-412), its wallet locked, with what time did to it."""
        held = self._found_grant(tx, checked_tenant(tenant), grant_id)
        rows.lock_wallet(tx, tenant, owner(held))
        held = self._found_grant(tx, tenant, grant_id).aged(now)
        if held.grant.ends_at() <= now:
            raise AlreadyExists("MT-412", f"{grant_id} has ended already", got="ended", expected="a grant that lasts")
        return held

    async def burn_credits(self, tenant: TenantId, asked: BurnCredits, *, key: str, by: AgentId) -> Burnt:
        """Once for each key: take what there is, or with `whole` all or nothing (MT-402)."""
        checked_tenant(tenant)
        checked_name(key, "key")
        checked_ref(asked.ref, "ref")
        now = self._clock.now()

        def effect(tx: Tx) -> bytes:
            return wire.encode(self.burning(tx, tenant, asked, by))

        done = await self._locking(
            lambda tx: GUARD.once(
                tx, tenant, ProductId.METERING, "burn", key, wire.encode(asked), CREDITS_KEY_S * SECOND, now, effect
            )
        )
        return wire.decode(done.result, Burnt, what="burn")

    def burning(self, tx: Tx, tenant: TenantId, asked: BurnCredits, by: AgentId) -> Burnt:
        """The same in a transaction of somebody else, who sees to it that it is done once."""
        now = self._clock.now()
        held = self._opened(tx, tenant, asked.agent, asked.currency, now)
        after, uses, short = burnt(held, asked, now, find_rules(tx, tenant).burn_order)
        if asked.whole and short:
            raise QuotaExceeded("MT-402", f"{asked.amount - short} {asked.currency} are left", got=str(asked.amount - short), expected=str(asked.amount))  # fmt: skip
        rows.put_all(tx, tenant, after)
        self._tell_burnt(tx, tenant, asked.agent, asked.currency, uses, asked.ref, by, now)
        self._top_up(tx, tenant, asked.agent, asked.currency, by, now)
        return Burnt(uses, short, usable(after, now))

    def burnable(self, tx: ReadTx, tenant: TenantId, asked: BurnCredits) -> bool:
        """Whether all of it could be burnt now. Nothing is locked: somebody may be faster."""
        now = self._clock.now()
        held = [one.aged(now) for one in rows.held_by(tx, tenant, asked.agent, asked.currency)]
        _, _, short = burnt(held, asked, now, find_rules(tx, tenant).burn_order)
        return not short

    async def return_credits(self, tenant: TenantId, ref: str, *, by: AgentId) -> tuple[CreditUse, ...]:
        """What was burnt for a reference goes back to its grants; twice is as good as once."""
        checked_ref(ref, "ref")
        now = self._clock.now()
        return await self._locking(lambda tx: self._give_back(tx, checked_tenant(tenant), ref, by, now))

    async def wallet(
        self, tenant: TenantId, agent: AgentId, currency: str, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT
    ) -> Wallet:
        """What an agent has, with a page of its grants, as it is now: what has expired counts as expired."""
        now = self._clock.now()
        iso(currency)

        def look(tx: ReadTx) -> Wallet:
            page = rows.all_held_by(tx, checked_tenant(tenant), agent, currency, after, paged(limit))
            live = [one.aged(now) for one in rows.held_by(tx, tenant, agent, currency)]
            whole = wallet(agent, currency, live, now)
            rest = rows.totals_of_ended(tx, tenant, agent, currency)
            return replace(whole, balance=added(whole.balance, rest), grants=tuple(one.aged(now).book for one in page))

        return await self._store.read(look)

    async def grant_postings(
        self, tenant: TenantId, grant_id: GrantId, *, after: int = 0, limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[Posting]:
        """The ledger of a grant, in order; `after` is how many postings are known."""
        return await self._store.read(
            lambda tx: rows.postings_of(tx, checked_tenant(tenant), grant_id, after, paged(limit))
        )

    async def postings_for(self, tenant: TenantId, ref: str) -> list[Posting]:
        """Which credits paid for an invoice, one of its lines, or whatever else was named."""
        return await self._store.read(lambda tx: rows.postings_for(tx, checked_tenant(tenant), ref))

    # Buying more

    async def set_top_up(self, tenant: TenantId, rule: TopUpRule, *, by: AgentId) -> TopUpRule:
        """A new rule, or another in the place of the one with its id. What is due by it is asked for at once."""
        checked_tenant(tenant)
        checked_name(rule.rule_id, "rule_id")
        iso(rule.currency)
        now = self._clock.now()

        def put(tx: Tx) -> TopUpRule:
            rows.lock_wallet(tx, tenant, rule.agent)
            known = rows.find_rule(tx, tenant, rule.rule_id)
            rows.put_rule(tx, tenant, rule, None if known is None else known[1], now)
            self._tell_rule(tx, tenant, "set", rule.rule_id, by, now)
            self._top_up(tx, tenant, rule.agent, rule.currency, by, now)
            return rule

        return await self._locking(put)

    async def drop_top_up(self, tenant: TenantId, rule_id: RuleId, *, by: AgentId) -> None:
        now = self._clock.now()

        def drop(tx: Tx) -> None:
            if not rows.forget_rule(tx, checked_tenant(tenant), rule_id):
                raise NotFound("MT-404", f"rule {rule_id} does not exist")
            self._tell_rule(tx, tenant, "dropped", rule_id, by, now)

        await self._locking(drop)

    async def top_ups(self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT) -> list[TopUpRule]:
        return await self._store.read(lambda tx: rows.all_rules(tx, checked_tenant(tenant), after, paged(limit)))

    async def buy_credits(self, tenant: TenantId, wanted: NewPurchase, *, key: str, by: AgentId) -> Purchase:
        """Asked for once for each key, and granted once it is paid: as what a rule buys."""
        checked_tenant(tenant)
        checked_name(key, "key")
        now = self._clock.now()

        def effect(tx: Tx) -> bytes:
            rows.lock_wallet(tx, tenant, wanted.agent)
            asked = Purchase(
                purchase_id=PurchaseId(new_id(PURCHASE_ID)), agent=wanted.agent, amount=wanted.amount, currency=wanted.currency,
                asked_at=now, priority=wanted.priority, expires_after_days=wanted.expires_after_days,
            )  # fmt: skip
            self._ask_for(tx, tenant, asked, by, now)
            return wire.encode(asked)

        done = await self._locking(
            lambda tx: GUARD.once(
                tx, tenant, ProductId.METERING, "buy", key, wire.encode(wanted), CREDITS_KEY_S * SECOND, now, effect
            )
        )
        return wire.decode(done.result, Purchase, what="purchase")

    def _ask_for(self, tx: Tx, tenant: TenantId, asked: Purchase, by: AgentId, now: ConsensusTimestamp) -> None:
        rows.put_purchase(tx, tenant, asked)
        fields = {
            "agent": asked.agent, "rule": asked.rule_id, "amount": asked.amount, "currency": asked.currency, "state": asked.state,
        }  # fmt: skip
        self._record(
            tx, tenant, "credits.purchase_asked", "CreditsPurchaseAsked", by=by, now=now,
            subject=f"metering:purchase:{asked.purchase_id}", fields=fields,
        )  # fmt: skip

    async def purchases(self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT) -> list[Purchase]:
        """What rules or somebody asked for, the oldest first."""
        return await self._store.read(lambda tx: rows.purchases(tx, checked_tenant(tenant), after, paged(limit)))

    async def purchase(self, tenant: TenantId, purchase_id: PurchaseId) -> Purchase | None:
        return await self._store.read(lambda tx: rows.find_purchase(tx, checked_tenant(tenant), purchase_id))

    async def settle_purchase(self, tenant: TenantId, purchase_id: PurchaseId, *, paid: bool, by: AgentId) -> Purchase:
        """Paid: it is granted. Failed: it is not, and the rule may ask again. The same news twice is as good as once."""
        now = self._clock.now()
        wanted = PurchaseState.PAID if paid else PurchaseState.FAILED

        def settle(tx: Tx) -> Purchase:
            found = rows.find_purchase(tx, checked_tenant(tenant), purchase_id)
            if found is None:
                raise NotFound("MT-404", f"purchase {purchase_id} does not exist")
            rows.lock_wallet(tx, tenant, found.agent)
            found = rows.find_purchase(tx, tenant, purchase_id) or found
            if found.state is wanted:
                return found
            if found.state is not PurchaseState.PENDING:
                raise AlreadyExists("MT-412", f"{purchase_id} is {found.state}", got=found.state, expected="pending")
            settled = replace(
                found, state=wanted, grant_id=self._granted_for(tx, tenant, found, by, now) if paid else None
            )
            rows.put_purchase(tx, tenant, settled)
            self._record(
                tx, tenant, f"credits.purchase_{wanted}", f"CreditsPurchase{wanted.capitalize()}", by=by, now=now,
                subject=f"metering:purchase:{purchase_id}", fields={"agent": found.agent, "amount": found.amount},
            )  # fmt: skip
            return settled

        return await self._locking(settle)

    async def tend_credits(self, limit: int = WALLETS_TENDED_MAX) -> int:
        """What time does: ends, renewals, cycles of buying. How many wallets were tended; at the limit there may be more."""
        now = self._clock.now()
        aging = await self._store.read(lambda tx: rows.aging(tx, now, limit))
        due = await self._store.read(lambda tx: rows.rules_due(tx, now, limit))
        wallets = list(dict.fromkeys([*aging, *due]))[:limit]
        for tenant, agent, currency in wallets:
            await self._locking(lambda tx, t=tenant, a=agent, c=currency: self._tend(tx, t, a, c, now))  # type: ignore[misc]
        return len(wallets)

    def _tend(self, tx: Tx, tenant: TenantId, agent: AgentId, currency: str, now: ConsensusTimestamp) -> None:
        for one in self._opened(tx, tenant, agent, currency, now):
            rows.put_held(tx, tenant, one)
            if one.fresh:
                self._tell_credits(tx, tenant, "aged", one, agent, now, amount=sum((p.amount for p in one.fresh), ZERO))
        self._top_up(tx, tenant, agent, currency, agent, now)

    # Within a transaction

    async def _locking(self, change: Callable[[Tx], T]) -> T:
        """A transaction that locks the wallets it changes before it reads them, and so may see what came while it waited."""
        return await self._store.write(change, isolation=Isolation.READ_COMMITTED)

    def _grant(self, tx: Tx, tenant: TenantId, asked: NewGrant, by: AgentId, now: ConsensusTimestamp) -> Held:
        held = opened(asked.made(GrantId(new_id("cr-")), now), now, asked.reason).aged(now)
        rows.put_held(tx, tenant, held)
        self._tell_credits(tx, tenant, "granted", held, by, now, amount=held.grant.amount)
        return held

    def _opened(self, tx: Tx, tenant: TenantId, agent: AgentId, currency: str, now: int) -> list[Held]:
        """A wallet under its lock, with what time did to it; nothing is written yet."""
        rows.lock_wallet(tx, tenant, agent)
        return [one.aged(now) for one in rows.held_by(tx, tenant, agent, currency)]

    def _pay(
        self, tx: Tx, tenant: TenantId, currency: str, uses: Sequence[CreditUse], ref: str, by: AgentId, now: ConsensusTimestamp
    ) -> None:  # fmt: skip
        """Burn what an invoice is paid with. Wallets are locked in one order, so that nobody waits in a circle."""
        owners = {owner(self._found_grant(tx, tenant, use.grant_id)) for use in uses}
        for agent in sorted(owners):
            held = self._opened(tx, tenant, agent, currency, now)
            own = [use for use in uses if any(use.grant_id == one.grant.grant_id for one in held)]
            rows.put_all(tx, tenant, spent(held, own, now, ref))
            self._tell_burnt(tx, tenant, agent, currency, own, ref, by, now)
            self._top_up(tx, tenant, agent, currency, by, now)

    def _give_back(
        self, tx: Tx, tenant: TenantId, ref: str, by: AgentId, now: ConsensusTimestamp
    ) -> tuple[CreditUse, ...]:
        """Postings of a reference, turned round, as far as they were not before. What has ended meanwhile ends again."""
        concerned = {posting.grant_id for posting in rows.postings_for(tx, tenant, ref)}
        for agent in sorted({owner(self._found_grant(tx, tenant, grant_id)) for grant_id in concerned}):
            rows.lock_wallet(tx, tenant, agent)
        back = still_used(rows.postings_for(tx, tenant, ref))
        for (grant_id, own), amount in back.items():
            held = self._found_grant(tx, tenant, grant_id).aged(now)
            after = held.moved(now, Account.USED, Account.REMAINING, amount, own).aged(now)
            rows.put_held(tx, tenant, after)
            self._tell_credits(tx, tenant, "returned", after, by, now, amount=amount, ref=ref)
        return tuple(CreditUse(id, amount, own.partition("#")[2] or None) for (id, own), amount in back.items())

    def _return(
        self, tx: Tx, tenant: TenantId, uses: Sequence[CreditUse], ref: str, by: AgentId, now: ConsensusTimestamp, *,
        undo: bool = False,
    ) -> None:  # fmt: skip
        """A part of what was burnt for a reference goes back; what has ended meanwhile ends again. To undo it, it is burnt again."""
        for agent in sorted({owner(self._found_grant(tx, tenant, use.grant_id)) for use in uses}):
            rows.lock_wallet(tx, tenant, agent)
        source, target = (Account.REMAINING, Account.USED) if undo else (Account.USED, Account.REMAINING)
        for use in uses:
            held, own = self._found_grant(tx, tenant, use.grant_id).aged(now), reference(ref, use.line_id)
            if undo and held.balance.remaining < use.amount:
                raise AlreadyExists(
                    "MT-412", f"credits that went back to {use.grant_id} are gone", got=str(held.balance.remaining),
                    expected=str(use.amount),
                )  # fmt: skip
            after = held.moved(now, source, target, use.amount, own).aged(now)
            rows.put_held(tx, tenant, after)
            act = "taken" if undo else "returned"
            self._tell_credits(tx, tenant, act, after, by, now, amount=use.amount, ref=own)

    def _found_grant(self, tx: ReadTx, tenant: TenantId, grant_id: GrantId) -> Held:
        found = rows.find_held(tx, tenant, grant_id)
        if found is None:
            raise NotFound("MT-404", f"grant {grant_id} does not exist")
        return found

    def _top_up(
        self, tx: Tx, tenant: TenantId, agent: AgentId, currency: str, by: AgentId, now: ConsensusTimestamp
    ) -> None:
        """Ask for what the rules of a wallet say is missing."""
        rules = rows.rules_of(tx, tenant, agent, currency)
        if not rules:
            return
        left = usable([one.aged(now) for one in rows.held_by(tx, tenant, agent, currency)], now)
        coming = rows.pending(tx, tenant, agent, currency)
        for rule, last_at in rules:
            amount = top_up_due(rule.top_up, left, coming, now, last_at)
            if not amount:
                continue
            asked = Purchase(
                purchase_id=PurchaseId(new_id(PURCHASE_ID)), rule_id=rule.rule_id, agent=agent, amount=amount, currency=currency,
                asked_at=now, priority=rule.priority, expires_after_days=rule.expires_after_days,
            )  # fmt: skip
            coming += amount
            if not rule.payment:
                asked = replace(asked, state=PurchaseState.PAID, grant_id=self._granted_for(tx, tenant, asked, by, now))
            self._ask_for(tx, tenant, asked, by, now)
            rows.put_rule(tx, tenant, rule, now, now)

    def _granted_for(self, tx: Tx, tenant: TenantId, asked: Purchase, by: AgentId, now: ConsensusTimestamp) -> GrantId:
        days = asked.expires_after_days
        wanted = NewGrant(
            agent=asked.agent, amount=asked.amount, currency=asked.currency, priority=asked.priority,
            expires_at=None if days is None else now + days * DAY, reason=f"{PURCHASE}{asked.purchase_id}",
        )  # fmt: skip
        return self._grant(tx, tenant, wanted, by, now).grant.grant_id

    # Records

    def _tell_credits(
        self, tx: Tx, tenant: TenantId, act: str, held: Held, by: AgentId, now: ConsensusTimestamp, *,
        amount: Decimal, ref: str = "", **more: object,
    ) -> None:  # fmt: skip
        grant = held.grant
        fields: dict[str, object] = {
            "grant": grant.grant_id, "amount": amount, "currency": grant.currency, "remaining": held.balance.remaining,
            "ref": ref or grant.reason, **more,
        }  # fmt: skip
        self._record(
            tx, tenant, f"credits.{act}", f"Credits{act.capitalize()}", by=by, subject=f"metering:wallet:{grant.owner}",
            now=now, fields=fields,
        )  # fmt: skip

    def _tell_burnt(
        self, tx: Tx, tenant: TenantId, agent: AgentId, currency: str, uses: Sequence[CreditUse], ref: str,
        by: AgentId, now: ConsensusTimestamp,
    ) -> None:  # fmt: skip
        """One entry for all grants that paid: a busy wallet writes one for each act."""
        if uses:
            paid: dict[str, Decimal] = {}
            for use in uses:
                paid[use.grant_id] = paid.get(use.grant_id, ZERO) + use.amount
            fields: dict[str, object] = {"currency": currency, "grants": paid, "ref": ref}
            self._record(
                tx, tenant, "credits.burnt", "CreditsBurnt", by=by, subject=f"metering:wallet:{agent}", now=now, fields=fields
            )  # fmt: skip

    def _tell_rule(
        self, tx: Tx, tenant: TenantId, act: str, rule_id: RuleId, by: AgentId, now: ConsensusTimestamp
    ) -> None:
        self._record(
            tx, tenant, f"top_up.{act}", f"TopUp{act.capitalize()}", by=by, subject=f"metering:top_up:{rule_id}", now=now,
            fields={},
        )  # fmt: skip


def still_used(postings: Sequence[Posting]) -> dict[tuple[GrantId, str], Decimal]:
    """What of each grant was burnt for each reference and has not gone back."""
    sums: dict[tuple[GrantId, str], Decimal] = {}
    for posting in postings:
        sign = (posting.target is Account.USED) - (posting.source is Account.USED)
        key = (posting.grant_id, posting.ref)
        sums[key] = sums.get(key, ZERO) + sign * posting.amount
    return {key: amount for key, amount in sums.items() if amount > 0}


def owner(held: Held) -> AgentId:
    """Every grant that is kept has one."""
    return AgentId(str(held.grant.owner))
