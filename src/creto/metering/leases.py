"""Leases: parts of a shared limit that a node may spend from its own memory.

A counter is one limit of one subject in one window. What is taken of it is one number that all nodes share; a node draws an amount from it,
spends that by itself, and gives back what it did not spend. How much is drawn is a rule (`granted`), the same for every engine.

INVARIANT: what nodes spend is never more than what they have drawn, and what is drawn is never more than the limit, but for what
was spent already (`force`): acts that took more than was reserved for them.
INVARIANT: of a node that is gone, what it had not spent is free again, whatever was under way when it died; where nobody can know, it
counts as used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from creto.common.ids import TenantId
from creto.common.limits import INTEGER_MAX, QUOTA_LEASE_ACTS_MAX

SHARE = (
    16  # of what is left a node draws a sixteenth beyond its need, so that little lies idle when a limit nears its end
)


class Wish(NamedTuple):
    """A node's wish for `need` of a counter. `marks` are amounts at which somebody is told; `slot` is where the node keeps it."""

    tenant: TenantId
    counter: str
    slot: int
    need: int
    limit: int
    ends_at: int
    marks: tuple[int, ...] = ()
    force: bool = False


class Drawn(NamedTuple):
    granted: int
    before: int  # what was taken of the counter, by all nodes
    after: int


class GivenBack(NamedTuple):
    """`last`: the node is done with this counter."""

    tenant: TenantId
    counter: str
    amount: int
    last: bool = False


class Lease(NamedTuple):
    """What a node had unspent of a counter after it last drew, and where it keeps that."""

    counter: str
    node: str
    slot: int
    unspent: int


class Part(NamedTuple):
    """What has happened, on one counter: below nothing where it was taken back."""

    counter: str
    amount: int
    ends_at: int


class Due(NamedTuple):
    """What is to be booked together, once under its name."""

    tenant: TenantId
    name: str
    parts: Sequence[Part]


Counted = dict[tuple[TenantId, str], int]  # what is taken of counters


class SharedLimits(Protocol):
    """Where limits are shared. All calls wait for the engine, and are atomic for each counter."""

    def join(self, node: str) -> None:
        """A node that others may reclaim: once it is reclaimed or has left, nothing that it asked for before is done any more."""
        ...

    def leave(self, node: str) -> None:
        """It has given everything back."""
        ...

    def draw(self, node: str, wishes: Sequence[Wish]) -> list[Drawn]: ...

    def give_back(self, node: str, parts: Sequence[GivenBack]) -> None: ...

    def reclaim(self, node: str, unspent: Callable[[int, int], int]) -> int:
        """A node is gone: what it had not spent, by slot and by what it has drawn, is free again; all the rest is used. How much came back."""
        ...

    def adjust(self, tenant: TenantId, counter: str, by: int) -> None:
        """Book what a reservation took beside what was drawn for it. A counter whose window is over is left alone; what does not fit
        into a number any more stays at the greatest there is."""
        ...

    def book(self, dues: Sequence[Due]) -> Counted:
        """Add what has happened, past any limit; each due once, however often it is asked for and whoever dies over it, until
        it is forgotten. What is taken of their counters then."""
        ...

    def forget(self, dues: Sequence[Due]) -> None:
        """Nobody asks for these again: their rows are gone."""
        ...

    def leases(self, tenant: TenantId, counters: Sequence[str]) -> list[Lease]:
        """Who holds some of these."""
        ...

    def taken(self, tenant: TenantId, counters: Sequence[str]) -> list[int]: ...

    def prune(self, now: int) -> int:
        """Forget counters whose windows are long over; how many."""
        ...


def bounded(amount: int) -> int:
    """As an engine's numbers hold it."""
    return max(-INTEGER_MAX, min(amount, INTEGER_MAX))


def granted(wish: Wish, taken: int) -> int:
    """What a node gets: its need, and as many more of the same as a sixteenth of the rest holds, short of the next mark."""
    if wish.need <= 0 or wish.force:
        return min(max(wish.need, 0), INTEGER_MAX - taken)
    left = wish.limit - taken
    if left < wish.need:
        return 0
    reached = taken + wish.need
    spare = (left - wish.need) // SHARE
    for mark in wish.marks:
        if mark > reached:
            spare = min(spare, mark - 1 - reached)
    return wish.need * (1 + min(spare // wish.need, QUOTA_LEASE_ACTS_MAX))
