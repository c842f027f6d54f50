"""Credits: money that was paid or given beforehand, and the books over it.

Each movement is a `Posting` from one account of a grant to another, as in any double-entry ledger.

INVARIANT: of every grant, at every instant: granted = remaining + used + expired + voided.
INVARIANT: credits burn by priority (the lowest number first), then the earliest expiry, then the oldest.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.ids import AgentId
from creto.metering.periods import Cycle, period_at
from creto.metering.prices import Checked
from creto.metering.rounding import ZERO, Rounding, precise, round_to
from creto.metering.types import CreditUse, GrantId

NEVER = 2**63 - 1


class Rollover(Checked, frozen=True):
    """What of a grant lives on when its balance is reset: at most, and (filled up) at least so much."""

    maximum: Decimal = ZERO
    minimum: Decimal = ZERO

    def kept(self, balance: Decimal) -> Decimal:
        return min(self.maximum, max(self.minimum, balance))


class Grant(Checked, frozen=True):
    """`only` names the charges or kinds of lines that it may pay for; none means all.

    With an `owner` it pays what that agent bears, without one whatever is owed. `reason` is where it came from.
    """

    grant_id: GrantId
    amount: Decimal
    currency: str
    owner: AgentId | None = None
    reason: str = ""
    priority: int = 50
    created_at: int = 0
    effective_at: int = 0
    expires_at: int | None = None
    voided_at: int | None = None
    renews: Cycle | None = None
    rollover: Rollover = Rollover()
    only: tuple[str, ...] = ()

    def ends_at(self) -> int:
        return min(NEVER if t is None else t for t in (self.expires_at, self.voided_at))

    def active(self, at: int) -> bool:
        return self.effective_at <= at < self.ends_at()


class BurnKey(StrEnum):
    PRIORITY = "priority"
    EXPIRY = "expiry"
    AGE = "age"


BURN_ORDER = (BurnKey.PRIORITY, BurnKey.EXPIRY, BurnKey.AGE)
Rank = tuple[int | str, ...]


def rank(grant: Grant, order: Sequence[BurnKey] = BURN_ORDER) -> Rank:
    """Where a grant stands in the queue; the id settles what nothing else does."""
    by = {
        BurnKey.PRIORITY: grant.priority,
        BurnKey.EXPIRY: NEVER if grant.expires_at is None else grant.expires_at,
        BurnKey.AGE: grant.created_at,
    }
    return (*(by[key] for key in order), grant.grant_id)


class Account(StrEnum):
    GRANTED = "granted"
    REMAINING = "remaining"
    USED = "used"
    EXPIRED = "expired"
    VOIDED = "voided"


class Posting(msgspec.Struct, frozen=True):
    """An amount that moved. `ref` says for what: an invoice, a line, a usage."""

    grant_id: GrantId
    at: int
    source: Account
    target: Account
    amount: Decimal
    ref: str = ""


class Balance(msgspec.Struct, frozen=True):
    granted: Decimal = ZERO
    remaining: Decimal = ZERO
    used: Decimal = ZERO
    expired: Decimal = ZERO
    voided: Decimal = ZERO


@precise
def balance(postings: Iterable[Posting]) -> Balance:
    """The accounts after these postings. `granted` is what came in: the source of all the others."""
    sums = dict.fromkeys(Account, ZERO)
    for posting in postings:
        sums[posting.source] -= posting.amount
        sums[posting.target] += posting.amount
    return Balance(
        -sums[Account.GRANTED],
        sums[Account.REMAINING],
        sums[Account.USED],
        sums[Account.EXPIRED],
        sums[Account.VOIDED],
    )


def check_books(postings: Sequence[Posting]) -> None:
    """Refuse books in which an account went below 0 or a posting moves nothing."""
    by_grant: dict[GrantId, list[Posting]] = {}
    for posting in postings:
        if posting.amount <= 0 or posting.source is posting.target:
            raise InvalidInput.of(
                "posting", got=str(posting.amount), expected="an amount above 0, moved", code="MT-400"
            )
        by_grant.setdefault(posting.grant_id, []).append(posting)
    for grant_id, own in by_grant.items():
        remaining = ZERO
        for posting in own:
            remaining += {posting.target: posting.amount}.get(Account.REMAINING, ZERO)
            remaining -= {posting.source: posting.amount}.get(Account.REMAINING, ZERO)
            if remaining < 0:
                raise InvalidInput.of(
                    "postings", got=f"{grant_id} at {remaining}", expected="no more used than granted", code="MT-400"
                )


class Purse:
    """Grants with what is left of them, the next to burn on top. A grant may be pushed again after it ran dry."""

    def __init__(self, order: Sequence[BurnKey] = BURN_ORDER) -> None:
        self.left: dict[GrantId, Decimal] = {}
        self._order = order
        self._queue: list[tuple[Rank, GrantId]] = []
        self._queued: set[GrantId] = set()

    def put(self, grant: Grant, amount: Decimal) -> None:
        """Set what is left of a grant."""
        self.left[grant.grant_id] = amount
        if amount > 0 and grant.grant_id not in self._queued:
            heapq.heappush(self._queue, (rank(grant, self._order), grant.grant_id))
            self._queued.add(grant.grant_id)

    def draw(self, amount: Decimal) -> list[tuple[GrantId, Decimal]]:
        """Take up to an amount; which grants gave how much."""
        taken = []
        while amount > 0 and self._queue:
            grant_id = self._queue[0][1]
            part = min(amount, self.left[grant_id])
            if part > 0:
                taken.append((grant_id, part))
                self.left[grant_id] -= part
                amount -= part
            if self.left[grant_id] <= 0:
                self._queued.discard(heapq.heappop(self._queue)[1])
        return taken


class Owed(msgspec.Struct, frozen=True):
    """A line that credits may pay, or what one agent bears of it: its id, the names a restriction may use, its amount with taxes."""

    line_id: str
    names: frozenset[str]
    amount: Decimal
    agent: AgentId | None = None


@precise
def cover(
    grants: Sequence[Grant],
    remaining: Mapping[GrantId, Decimal],
    owed: Sequence[Owed],
    currency: str,
    at: int,
    order: Sequence[BurnKey] = BURN_ORDER,
) -> tuple[CreditUse, ...]:
    """Pay lines from grants, in burn order, each grant for the lines that it may pay for."""
    unpaid = [max(line.amount, ZERO) for line in owed]
    uses: dict[tuple[GrantId, str], Decimal] = {}
    for grant in sorted(grants, key=lambda g: rank(g, order)):
        left = remaining.get(grant.grant_id, ZERO)
        if grant.currency != currency or not grant.active(at):
            continue
        for place, line in enumerate(owed):
            part = min(left, unpaid[place])
            if part > 0 and may_pay(grant, line):
                key = (grant.grant_id, line.line_id)
                uses[key] = uses.get(key, ZERO) + part
                unpaid[place] -= part
                left -= part
    return tuple(CreditUse(grant_id, part, line_id) for (grant_id, line_id), part in uses.items())


@precise
def in_units(uses: Sequence[CreditUse], digits: int) -> tuple[CreditUse, ...]:
    """Of each line whole units of the last digit are paid, as money is; what a grant has beyond that stays in it.

    Who pays last keeps the rest.
    """
    paid: dict[str | None, Decimal] = {}
    for use in uses:
        paid[use.line_id] = paid.get(use.line_id, ZERO) + use.amount
    rest = {line: amount - round_to(amount, digits, Rounding.FLOOR) for line, amount in paid.items()}
    kept = []
    for use in reversed(uses):
        back = min(use.amount, rest[use.line_id])
        rest[use.line_id] -= back
        kept.append(replace(use, amount=use.amount - back))
    return tuple(use for use in reversed(kept) if use.amount)


def may_pay(grant: Grant, line: Owed) -> bool:
    return grant.owner in (None, line.agent) and (not grant.only or bool(line.names.intersection(grant.only)))


class TopUp(Checked, frozen=True):
    """When to buy more: as often as the cycle says, or whenever the balance falls below a threshold."""

    amount: Decimal
    below: Decimal | None = None
    cycle: Cycle | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.below is None) == (self.cycle is None):
            raise InvalidInput.of("top_up", got="neither or both", expected="a threshold or a cycle", code="MT-400")


@precise
def top_up_due(rule: TopUp, remaining: Decimal, pending: Decimal, now: int, last_at: int | None) -> Decimal:
    """How much to buy now; 0 for nothing. What was asked for and has not come yet counts as there.

    A cycle buys once in each of its periods, however often it is asked; a threshold buys as many times its amount as
    brings the balance back to it.
    """
    if rule.cycle is not None:
        due = last_at is None or last_at < period_at(rule.cycle, now).start
        return rule.amount if due else ZERO
    gap = (rule.below or ZERO) - (remaining + pending)
    if gap <= 0 or not rule.amount:
        return ZERO
    return rule.amount * round_to(gap / rule.amount, 0, Rounding.CEIL)
