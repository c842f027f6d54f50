"""The counters of one process: what it may still spend of each, in cells that may outlive it.

INVARIANT: cells change under the lock alone, except that giving a fresh counter its first slot needs none.
INVARIANT: a slot is given to another counter only after the epoch has moved on, and a plan of an older epoch takes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Protocol

from creto.common.errors import ConnectionFailed
from creto.common.ids import AgentId, TenantId
from creto.common.limits import INTEGER_MAX
from creto.metering.leases import bounded
from creto.metering.quota_rules import Counted
from creto.metering.quota_types import OverflowAction, TopUpLimit

RETIRED = -1


class Cells(Protocol):
    @property
    def cells(self) -> memoryview: ...

    @property
    def drawn(self) -> memoryview: ...

    def close(self, *, keep: bool = False) -> None: ...


class Counter:
    """What this process knows of one limit of one subject in one window. Its room is in the cell of its slot."""

    __slots__ = (
        "beyond", "counted", "exceeded", "filled", "full_need", "full_until", "idle_room", "key", "limit", "marks", "name",
        "overflow", "owner", "paid", "quota_id", "resets_at", "slot", "starts_at", "taken", "tenant", "told", "unpaid_until",
    )  # fmt: skip

    counted: Counted
    limit: int
    marks: tuple[int, ...]
    overflow: OverflowAction
    owner: AgentId | None

    def __init__(self, tenant: TenantId, slot: int, counted: Counted) -> None:
        self.tenant = tenant
        self.key = counted.key
        self.slot = slot
        self.starts_at, self.resets_at = counted.period.start, counted.period.end
        self.quota_id, self.owner, self.name = counted.quota_id, counted.owner, counted.window.name
        self.beyond = counted.beyond
        self.taken = 0  # of all nodes, as the last draw saw it
        self.full_until = (
            0  # the shared limit had no more than less than `full_need`: it is not asked for that much before
        )
        self.full_need = 0
        self.idle_room = 0  # what the last look found unspent
        self.filled = False  # events have: nobody here takes what comes back
        self.told = 0  # the greatest mark that this process has told of
        self.exceeded = False  # that an act found no room in it was told
        self.refresh(counted)

    @property
    def action(self) -> str:
        """What its quota does beyond the limit, by the name that quotas are written with."""
        return str(type(self.overflow).__struct_config__.tag)

    def refresh(self, counted: Counted) -> None:
        """The quota was changed."""
        self.counted = counted
        self.limit, self.marks, self.overflow = counted.limit, counted.marks, counted.overflow
        terms = counted.overflow
        bought = counted.beyond and isinstance(terms, TopUpLimit) and terms.price is not None
        self.paid = 0 if bought else counted.limit  # how far it may be drawn, as this process knows
        self.unpaid_until = 0  # the wallet could not pay for more: it is not asked before
        self.full_until = 0


class Plan:
    """All counters that one kind of act of one chain touches, flat."""

    __slots__ = ("chain", "costs", "counters", "epoch", "event_type", "rate", "returns", "slots", "until", "weights")

    def __init__(
        self, pairs: list[tuple[Counted, Counter]], chain: tuple[AgentId, ...], event_type: str, epoch: int, until: int
    ) -> None:
        pairs = sorted(pairs, key=lambda pair: pair[0].weight != 1)  # stable: acts first, then what counts money
        self.counters = tuple(counter for _, counter in pairs)
        self.weights = shared(tuple(counted.weight for counted, _ in pairs))
        self.slots = tuple(c.slot for c, w in zip(self.counters, self.weights, strict=True) if w == 1)
        self.costs = tuple(c.slot for c, w in zip(self.counters, self.weights, strict=True) if w != 1)
        self.rate = max(self.weights, default=1)
        self.returns = any(counted.returns for counted, _ in pairs)
        self.chain, self.event_type = chain, event_type
        self.epoch = epoch
        self.until = until


@lru_cache(maxsize=1_024)
def shared(weights: tuple[int, ...]) -> tuple[int, ...]:
    """The same object for the same weights: a million plans have a few kinds."""
    return weights


class Counters:
    def __init__(self, memory: Cells) -> None:
        self._memory = memory
        self.cells = memory.cells
        self._drawn = memory.drawn  # and not given back
        self.lock = threading.Lock()
        self.epoch = 0
        self._known: dict[TenantId, dict[str, Counter]] = {}
        self._ending: dict[int, list[Counter]] = {}  # by the end of their window: many end together
        self._fresh = 0  # slots from here on were never used
        self._free: list[int] = []
        self._freed: list[int] = []  # free from the next epoch on

    def __len__(self) -> int:
        return sum(len(known) for known in self._known.values())

    def get(self, tenant: TenantId, counted: Counted) -> Counter:
        with self.lock:
            known = self._known.setdefault(tenant, {})
            found = known.get(counted.key)
            if found is None:
                slot = self._slot()
                self.cells[slot] = self._drawn[slot] = 0
                found = known[counted.key] = Counter(tenant, slot, counted)
                if found.resets_at < INTEGER_MAX:
                    self._ending.setdefault(found.resets_at, []).append(found)
            elif (found.limit, found.marks, found.overflow) != (counted.limit, counted.marks, counted.overflow):
                found.refresh(counted)
            return found

    def _slot(self) -> int:
        if not self._free and self._fresh == len(self.cells):
            self._free, self._freed = self._freed, []
            self.epoch += 1
        if self._free:
            return self._free.pop()
        if self._fresh == len(self.cells):
            why = "more counters than a process can keep" if len(self.cells) else "quotas are closed"
            raise ConnectionFailed("MT-503", why, retry_after_s=1)
        self._fresh += 1
        return self._fresh - 1

    def of(self, tenant: TenantId) -> list[Counter]:
        with self.lock:
            return list(self._known.get(tenant, {}).values())

    def every(self) -> Iterator[Counter]:
        with self.lock:
            tenants = list(self._known)
        for tenant in tenants:
            yield from self.of(tenant)

    def ended(self, now: int) -> list[Counter]:
        """Those whose windows are over; they are named once."""
        with self.lock:
            return [counter for end in [end for end in self._ending if end <= now] for counter in self._ending.pop(end)]

    def find(self, tenant: TenantId, key: str) -> Counter | None:
        return self._known.get(tenant, {}).get(key)

    def came(self, counter: Counter, amount: int) -> bool:
        """What was drawn for it, into its cell, under the lock; False if it was retired meanwhile."""
        if counter.slot == RETIRED:
            return False
        self._drawn[counter.slot] += amount
        self.cells[counter.slot] += amount
        return True

    def take_back(self, counter: Counter) -> int:
        """What it has not spent, out of its cell."""
        with self.lock:
            room = int(self.cells[counter.slot]) if counter.slot != RETIRED else 0
            if room > 0:
                self.cells[counter.slot] = 0
                self._drawn[counter.slot] -= room
            return max(room, 0)

    def retire(self, counters: Iterable[Counter]) -> list[tuple[Counter, int]]:
        """Forget them; what each had left, below nothing where it spent more."""
        left = []
        with self.lock:
            for counter in counters:
                if counter.slot == RETIRED:
                    continue
                room = int(self.cells[counter.slot])
                left.append((counter, room))
                if room < 0:  # if the process dies in between, it counts as used
                    self._drawn[counter.slot] -= room
                self.cells[counter.slot] = 0  # plans that still know it find no room
                if room > 0:
                    self._drawn[counter.slot] -= room
                self._freed.append(counter.slot)
                counter.slot = RETIRED
                self._known[counter.tenant].pop(counter.key, None)
        return left

    def book(self, counters: Iterable[Counter], weights: Iterable[int], amount: int) -> list[tuple[Counter, int]]:
        """Add to what may be spent, or take from it; for those that are retired say what is left to be booked."""
        late = []
        with self.lock:
            for counter, weight in zip(counters, weights, strict=True):
                if counter.slot == RETIRED:
                    late.append((counter, amount * weight))
                else:
                    self.cells[counter.slot] = bounded(self.cells[counter.slot] + amount * weight)
        return late

    def close(self, *, keep: bool = False) -> None:
        with self.lock:
            self.cells = self._drawn = memoryview(b"").cast("q")
            self.epoch += 1
            self._known, self._fresh, self._free, self._freed = {}, 0, [], []
        self._memory.close(keep=keep)
