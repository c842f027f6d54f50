"""Burn-down: grants against usage over time.

    book = burn_down(grants, used_by(events), start, end)
    book.left["g1"], book.overage, book.postings

Time is cut where a grant begins, renews, ends or is reset. At a cut grants change first; then, from the cut to the next one, usage
burns them. What nothing covers is overage, which the next credit pays; so neither late credit nor late usage changes the end.

INVARIANT: granted = remaining + used + expired + voided, of every grant, after every cut (see `credits`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal

import msgspec

from creto.metering.credits import BURN_ORDER, NEVER, Account, BurnKey, Grant, Posting, Purse
from creto.metering.periods import Period, period_at, periods
from creto.metering.rounding import ZERO, precise
from creto.metering.types import GrantId

Used = Callable[[int, int], Decimal]  # the usage from an instant up to, but not including, another


class Book(msgspec.Struct, frozen=True):
    """Where it ended. `cuts` are the beginnings of the segments."""

    left: dict[GrantId, Decimal]
    overage: Decimal
    postings: tuple[Posting, ...]
    cuts: tuple[int, ...]

    @property
    def balance(self) -> Decimal:
        return sum(self.left.values(), ZERO)


class Clerk:
    """Keeps the books while time goes by."""

    def __init__(self, order: Sequence[BurnKey]) -> None:
        self.purse = Purse(order)
        self.postings: list[Posting] = []
        self.overage = ZERO

    def move(self, grant: Grant, at: int, source: Account, target: Account, amount: Decimal, ref: str = "") -> None:
        if amount > 0:
            self.postings.append(Posting(grant.grant_id, at, source, target, amount, ref))

    def level(self, grant: Grant, at: int, amount: Decimal, loss: Account = Account.EXPIRED) -> None:
        """Bring a grant to an amount: what is missing is granted, what is too much is lost."""
        left = self.purse.left.get(grant.grant_id, ZERO)
        self.move(grant, at, Account.GRANTED, Account.REMAINING, amount - left)
        self.move(grant, at, Account.REMAINING, loss, left - amount)
        self.purse.put(grant, amount)

    def renew(self, grant: Grant, at: int) -> None:
        """The rest of the last round rolls over as far as it may; a new round comes on top."""
        kept = grant.rollover.kept(self.purse.left.get(grant.grant_id, ZERO))
        self.level(grant, at, kept)
        self.level(grant, at, kept + grant.amount)

    def end(self, grant: Grant, at: int) -> None:
        voided = grant.voided_at is not None and grant.voided_at == grant.ends_at()
        self.level(grant, at, ZERO, Account.VOIDED if voided else Account.EXPIRED)

    def burn(self, by_id: Mapping[GrantId, Grant], at: int, used: Decimal, ref: str = "") -> None:
        """Usage of a segment, and what was left open before it. A correction below zero first makes the overage less."""
        open_amount = self.overage + used
        for grant_id, amount in self.purse.draw(open_amount):
            self.move(by_id[grant_id], at, Account.REMAINING, Account.USED, amount, ref)
            open_amount -= amount
        self.overage = open_amount


@precise
def burn_down(
    grants: Sequence[Grant],
    used: Used,
    start: int,
    end: int,
    *,
    opening: Mapping[GrantId, Decimal] | None = None,
    resets: Sequence[int] = (),
    keep_overage: bool = True,
    order: Sequence[BurnKey] = BURN_ORDER,
) -> Book:
    """`opening`: what was left at `start` of grants that began before. A reset without `keep_overage` forgives it."""
    clerk = Clerk(order)
    by_id = {grant.grant_id: grant for grant in grants}
    for grant in grants:
        if grant.effective_at < start and grant.active(start):
            clerk.level(grant, start, (opening or {}).get(grant.grant_id, grant.amount))
    changes = changes_of(grants, start, end)
    cuts = sorted({start, *changes, *(r for r in resets if start <= r < end)})
    for cut, until in zip(cuts, [*cuts[1:], end], strict=True):
        for change, grant in changes.get(cut, ()):
            change(clerk, grant, cut)
        if cut in resets:
            reset(clerk, by_id, cut, keep_overage)
        clerk.burn(by_id, cut, ZERO)
        clerk.burn(by_id, cut, used(cut, until))
    left = {grant.grant_id: clerk.purse.left.get(grant.grant_id, ZERO) for grant in grants}
    return Book(left, clerk.overage, tuple(clerk.postings), tuple(cuts))


Change = Callable[[Clerk, Grant, int], None]


def begin(clerk: Clerk, grant: Grant, at: int) -> None:
    clerk.level(grant, at, grant.amount)


def changes_of(grants: Iterable[Grant], start: int, end: int) -> dict[int, list[tuple[Change, Grant]]]:
    """What happens to grants at which instant. Ends come before beginnings: who hands over leaves no double credit."""
    found: dict[int, list[tuple[int, Change, Grant]]] = {}

    def add(at: int, turn: int, change: Change, grant: Grant) -> None:
        if start <= at < end:
            found.setdefault(at, []).append((turn, change, grant))

    for grant in grants:
        if grant.ends_at() <= max(start, grant.effective_at):
            continue
        add(grant.ends_at(), 0, Clerk.end, grant)
        add(grant.effective_at, 1, begin, grant)
        if grant.renews is not None:
            for period in periods(grant.renews, Period(max(start, grant.effective_at), max(end, start + 1))):
                if grant.effective_at < period.start < grant.ends_at():
                    add(period.start, 2, Clerk.renew, grant)
    return {
        at: [(change, grant) for _, change, grant in sorted(todo, key=lambda t: (t[0], t[2].grant_id))]
        for at, todo in found.items()
    }


@precise
def aged(grant: Grant, left: Decimal, since: int, now: int) -> list[Posting]:
    """What time alone did to a grant after an instant: its renewals, then its end."""
    clerk = Clerk(BURN_ORDER)
    clerk.purse.put(grant, left)
    for at in renewals(grant, since, now):
        clerk.renew(grant, at)
    if grant.ends_at() <= now:
        clerk.end(grant, max(grant.ends_at(), since))
    return clerk.postings


def renewals(grant: Grant, since: int, now: int) -> list[int]:
    """When it was renewed in (since, now]. The first round is the grant itself."""
    if grant.renews is None:
        return []
    starts = [period.start for period in periods(grant.renews, Period(since, now + 1))]
    return [at for at in starts if max(since, grant.effective_at) < at < grant.ends_at()]


def ages_at(grant: Grant, left: Decimal, now: int) -> int:
    """When time alone changes it next."""
    if grant.ends_at() <= now:
        return NEVER
    ends = grant.ends_at() if left > 0 or grant.renews is not None else NEVER
    if grant.renews is None:
        return ends
    return min(ends, period_at(grant.renews, max(now, grant.effective_at)).end)


def reset(clerk: Clerk, by_id: Mapping[GrantId, Grant], at: int, keep_overage: bool) -> None:
    """A new round for all: each active grant keeps what its rollover allows."""
    for grant in by_id.values():
        if grant.active(at):
            clerk.level(grant, at, grant.rollover.kept(clerk.purse.left.get(grant.grant_id, ZERO)))
    if not keep_overage:
        clerk.overage = ZERO


def used_by(usage: Iterable[tuple[int, Decimal]]) -> Used:
    """Usage that sums: each amount at its instant."""
    entries = sorted(usage)

    def used(start: int, end: int) -> Decimal:
        return sum((amount for _, amount in within(entries, start, end)), ZERO)

    return used


def used_latest(usage: Iterable[tuple[int, Decimal]]) -> Used:
    """Usage of which the last value of a segment counts."""
    entries = sorted(usage)

    def used(start: int, end: int) -> Decimal:
        return next((amount for _, amount in reversed(within(entries, start, end))), ZERO)

    return used


def within(entries: Sequence[tuple[int, Decimal]], start: int, end: int) -> Sequence[tuple[int, Decimal]]:
    return entries[bisect_left(entries, start, key=at_of) : bisect_left(entries, end, key=at_of)]


def at_of(entry: tuple[int, Decimal]) -> int:
    return entry[0]
