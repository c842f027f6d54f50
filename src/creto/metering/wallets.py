"""Wallets: an agent's grants in one currency, each with its books.

    held = [one.aged(now) for one in held]                       # what time did to them
    held, uses, short = burnt(held, asked, now)                  # what somebody used

Whoever holds a grant in his hand posts to it; what was posted is written beside the new balance, in one transaction.

INVARIANT: of every grant, after every posting: granted = remaining + used + expired + voided. No part of it is ever below 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NewType

import msgspec
from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, checked_name
from creto.common.limits import WALLET_NAMES_MAX
from creto.common.money import to_micros
from creto.metering.burndown import aged, ages_at
from creto.metering.credits import (
    BURN_ORDER,
    Account,
    Balance,
    BurnKey,
    Grant,
    Owed,
    Posting,
    Rollover,
    TopUp,
    balance,
    cover,
)
from creto.metering.currencies import iso
from creto.metering.periods import Cycle
from creto.metering.prices import Checked
from creto.metering.rounding import ZERO, precise
from creto.metering.types import CreditUse, GrantId, InvoiceId

INVOICE, PURCHASE = "invoice/", "purchase/"  # how references to them begin
RuleId = NewType("RuleId", str)
PurchaseId = NewType("PurchaseId", str)
PURCHASE_ID = "buy-"  # what such an id begins with


class NewGrant(Checked, frozen=True):
    """What is granted to whom. Without `effective_at` it may be used at once, without `expires_at` for ever."""

    agent: AgentId
    amount: Decimal
    currency: str
    priority: int = 50
    effective_at: int | None = None
    expires_at: int | None = None
    renews: Cycle | None = None
    rollover: Rollover = Rollover()
    only: tuple[str, ...] = ()
    reason: str = ""

    def made(self, grant_id: GrantId, now: int) -> Grant:
        iso(self.currency)
        start = now if self.effective_at is None else self.effective_at
        if not self.amount:
            raise InvalidInput.of("amount", got="0", expected="an amount above 0", code="MT-400")
        to_micros(self.amount)
        if self.expires_at is not None and self.expires_at <= max(now, start):
            raise InvalidInput.of(
                "expires_at", got=self.expires_at, expected="after it begins, and after now", code="MT-400"
            )
        if len(self.only) > WALLET_NAMES_MAX:
            raise InvalidInput.of("only", got=len(self.only), expected=f"at most {WALLET_NAMES_MAX}", code="MT-400")
        return Grant(
            grant_id=grant_id,
            amount=self.amount,
            currency=self.currency,
            owner=self.agent,
            reason=self.reason,
            priority=self.priority,
            created_at=now,
            effective_at=start,
            expires_at=self.expires_at,
            renews=self.renews,
            rollover=self.rollover,
            only=self.only,
        )


class GrantBook(msgspec.Struct, frozen=True):
    """A grant and where its amount is now."""

    grant: Grant
    balance: Balance


class Wallet(msgspec.Struct, frozen=True, kw_only=True):
    """All that an agent has in one currency. `usable` is what may be used now; of `remaining` some may begin later."""

    agent: AgentId
    currency: str
    usable: Decimal
    balance: Balance
    grants: tuple[GrantBook, ...]


class BurnCredits(Checked, frozen=True):
    """What was used, of which kind (`names`, for grants that pay for some things alone), and what for.

    With `whole` nothing is taken unless all of it can be.
    """

    agent: AgentId
    amount: Decimal
    currency: str
    ref: str
    names: tuple[str, ...] = ()
    whole: bool = False


class Burnt(msgspec.Struct, frozen=True):
    """Which grants paid how much, what nobody paid, and what is left to use."""

    uses: tuple[CreditUse, ...]
    short: Decimal
    usable: Decimal


class TopUpRule(Checked, frozen=True):
    """When to buy more for an agent. With `payment` it is asked for and granted once it is paid, else granted at once."""

    rule_id: RuleId
    agent: AgentId
    currency: str
    top_up: TopUp
    priority: int = 50
    expires_after_days: int | None = None
    payment: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        to_micros(self.top_up.amount, "top_up.amount")
        checked_days(self.expires_after_days)


class NewPurchase(Checked, frozen=True):
    """Credits that an agent is to get once they are paid for; what is left of them so many days after that is lost."""

    agent: AgentId
    amount: Decimal
    currency: str
    priority: int = 50
    expires_after_days: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        iso(self.currency)
        checked_days(self.expires_after_days)
        if not to_micros(self.amount):
            raise InvalidInput.of("amount", got=str(self.amount), expected="an amount above 0", code="MT-400")


def checked_days(days: int | None) -> None:
    if days is not None and days < 1:
        raise InvalidInput.of("expires_after_days", got=days, expected="1 or above, or none", code="MT-400")


class PurchaseState(StrEnum):
    PENDING = "pending"
    PAID = "paid"
    FAILED = "failed"


class Purchase(msgspec.Struct, frozen=True, kw_only=True):
    """Credits that a rule asked for, or somebody (then `rule_id` is empty). Once they are paid, `grant_id` says where they are."""

    purchase_id: PurchaseId
    rule_id: RuleId = RuleId("")
    agent: AgentId
    amount: Decimal
    currency: str
    asked_at: int
    state: PurchaseState = PurchaseState.PENDING
    grant_id: GrantId | None = None
    priority: int = 50
    expires_after_days: int | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A grant in hand. `fresh` is what was posted since it was read; `written` is how many postings are in its rows."""

    grant: Grant
    balance: Balance
    written: int = 0
    seen_at: int
    fresh: tuple[Posting, ...] = ()

    @property
    def book(self) -> GrantBook:
        return GrantBook(self.grant, self.balance)

    def ages_at(self) -> int:
        return ages_at(self.grant, self.balance.remaining, self.seen_at)

    def posted(self, postings: Iterable[Posting]) -> Held:
        more = tuple(postings)
        now = added(self.balance, balance(more))
        if min(now.remaining, now.used, now.expired, now.voided) < 0:
            raise InvalidInput.of(
                "postings", got=f"{self.grant.grant_id} at {now.remaining}", expected="no more than there is", code="MT-400"
            )  # fmt: skip
        return replace(self, balance=now, fresh=(*self.fresh, *more))

    def aged(self, now: int) -> Held:
        """After what time alone did to it."""
        if now < self.seen_at:
            return self
        return replace(self.posted(aged(self.grant, self.balance.remaining, self.seen_at, now)), seen_at=now)

    def moved(self, at: int, source: Account, target: Account, amount: Decimal, ref: str) -> Held:
        return self.posted([Posting(self.grant.grant_id, at, source, target, amount, ref)]) if amount else self

    def lasting(self, until: int | None, now: int) -> Held:
        """What is left of it may be used until another instant, or for ever; when it burns follows from that."""
        begins = self.grant.effective_at
        if until is not None and until <= max(now, begins):
            raise InvalidInput.of("expires_at", got=until, expected="after it begins, and after now", code="MT-400")
        return replace(self, grant=replace(self.grant, expires_at=until))

    def voided(self, now: int) -> Held:
        """What is left of it can be used by nobody any more."""
        return replace(self, grant=replace(self.grant, voided_at=now)).aged(now)


@precise
def added(a: Balance, b: Balance) -> Balance:
    return Balance(
        a.granted + b.granted, a.remaining + b.remaining, a.used + b.used, a.expired + b.expired, a.voided + b.voided
    )


def opened(grant: Grant, now: int, ref: str = "") -> Held:
    """A new grant, with its first posting."""
    bare = Held(grant=grant, balance=Balance(), seen_at=now)
    return bare.moved(now, Account.GRANTED, Account.REMAINING, grant.amount, ref)


@precise
def burnt(
    held: Sequence[Held], asked: BurnCredits, now: int, order: Sequence[BurnKey] = BURN_ORDER
) -> tuple[list[Held], tuple[CreditUse, ...], Decimal]:
    """The grants after it, what each paid, and what nobody paid."""
    owed = [Owed(asked.ref, frozenset(asked.names), asked.amount)]
    uses = cover(payable(held, asked.agent), remaining(held), owed, asked.currency, now, order)
    return spent(held, uses, now), uses, asked.amount - sum((use.amount for use in uses), ZERO)


def payable(held: Iterable[Held], payer: AgentId) -> list[Grant]:
    """What a payer's wallet holds pays for anything that is asked of it; others' wallets for what their agents bear."""
    return [replace(one.grant, owner=None) if one.grant.owner == payer else one.grant for one in held]


def remaining(held: Iterable[Held]) -> dict[GrantId, Decimal]:
    return {one.grant.grant_id: one.balance.remaining for one in held}


def spent(held: Iterable[Held], uses: Iterable[CreditUse], now: int, ref: str = "") -> list[Held]:
    """With the uses posted; each says what for: the reference, and the line under it."""
    by_grant: dict[GrantId, list[CreditUse]] = {}
    for use in uses:
        by_grant.setdefault(use.grant_id, []).append(use)
    after = []
    for one in held:
        for use in by_grant.get(one.grant.grant_id, ()):
            one = one.moved(now, Account.REMAINING, Account.USED, use.amount, reference(ref, use.line_id))
        after.append(one)
    return after


def invoice_ref(invoice_id: InvoiceId) -> str:
    return f"{INVOICE}{invoice_id}"


def checked_ref(ref: str, field: str) -> str:
    """A caller's own name for what it was; those of invoices and purchases are the layer's."""
    checked_name(ref, field)
    if "#" in ref or ref.startswith((INVOICE, PURCHASE)):
        raise InvalidInput.of(
            field, got=ref, expected=f"a name without #, and not one of {INVOICE} or {PURCHASE}", code="MT-400"
        )
    return ref


def reference(subject: str, line_id: str | None) -> str:
    """What a posting was for: an invoice and one of its lines, or whatever the caller named."""
    return f"{subject}#{line_id}" if subject and line_id else subject or line_id or ""


def wallet(agent: AgentId, currency: str, held: Sequence[Held], now: int) -> Wallet:
    total = Balance()
    for one in held:
        total = added(total, one.balance)
    return Wallet(
        agent=agent,
        currency=currency,
        usable=usable(held, now),
        balance=total,
        grants=tuple(one.book for one in held),
    )


@precise
def usable(held: Iterable[Held], now: int) -> Decimal:
    return sum((one.balance.remaining for one in held if one.grant.active(now)), ZERO)
