"""Shared limits as rows of the store, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain as chained
from typing import Final, LiteralString, TypeVar

from creto.common.errors import ConnectionFailed
from creto.common.ids import TenantId
from creto.common.limits import INTEGER_MAX, QUOTA_DRAW_S_MAX, QUOTA_PRUNED_MAX
from creto.common.timestamps import DAY
from creto.metering.leases import Counted, Drawn, Due, GivenBack, Lease, Wish, bounded, granted
from creto.metering.quota_due import take_due
from creto.store.types import EngineName, Isolation, Store, Tx

T = TypeVar("T")
CHUNK: Final = 100  # counters in one statement
KEPT_NS = DAY  # a counter stays a day beyond its window, for who asks what was used


class StoreLimits:
    """Rows are locked in the order of their names, so that no two transactions wait for each other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._joined: set[str] = set()

    def join(self, node: str) -> None:
        sql = "INSERT INTO metering_quota_node (node) VALUES (?) ON CONFLICT (node) DO NOTHING"
        self._done(lambda tx: tx.run(sql, node))
        self._joined.add(node)

    def leave(self, node: str) -> None:
        self._joined.discard(node)
        self._done(lambda tx: part(tx, node))

    def draw(self, node: str, wishes: Sequence[Wish]) -> list[Drawn]:
        joined = node in self._joined
        found = self._done(lambda tx: draw_all(tx, node, wishes) if not joined or here(tx, node) else None)
        if found is None:  # somebody took this node for dead: it is not
            self.join(node)
            return self._done(lambda tx: draw_all(tx, node, wishes))
        return found

    def give_back(self, node: str, parts: Sequence[GivenBack]) -> None:
        def back(tx: Tx) -> None:
            for part in sorted(parts):
                give_back_one(tx, node, part)

        self._done(back)

    def reclaim(self, node: str, unspent: Callable[[int, int], int]) -> int:
        def reclaimed(tx: Tx) -> int:
            part(tx, node)
            held = tx.all(
                "SELECT tenant, counter, slot, drawn FROM metering_quota_held WHERE node = ? ORDER BY tenant, counter",
                node,
            )
            slots = Tally(slot for _, _, slot, _ in held)
            parts = [
                GivenBack(
                    t, c, min(unspent(slot, drawn), drawn) if slots[slot] == 1 else 0, last=True
                )  # whose room is it?
                for t, c, slot, drawn in held
            ]
            for one in parts:
                give_back_one(tx, node, one)
            return sum(one.amount for one in parts)

        return self._done(reclaimed)

    def adjust(self, tenant: TenantId, counter: str, by: int) -> None:
        self._done(lambda tx: adjust_one(tx, tenant, counter, by))

    def book(self, dues: Sequence[Due]) -> Counted:
        return self._done(lambda tx: book_all(tx, dues))

    def forget(self, dues: Sequence[Due]) -> None:
        """That they were booked stands in their rows."""

    def leases(self, tenant: TenantId, counters: Sequence[str]) -> list[Lease]:
        sql: LiteralString = (
            "SELECT counter, node, slot, unspent FROM metering_quota_held WHERE tenant = ? AND counter = ?"
        )
        return self._store.read_now(lambda tx: [Lease(*row) for name in counters for row in tx.all(sql, tenant, name)])

    def taken(self, tenant: TenantId, counters: Sequence[str]) -> list[int]:
        return self._store.read_now(
            lambda tx: [
                int(tx.value("SELECT taken FROM metering_quota_counter WHERE tenant = ? AND counter = ?", tenant, name) or 0)
                for name in counters
            ]
        )  # fmt: skip

    def prune(self, now: int) -> int:
        def pruned(tx: Tx) -> int:
            before = now - KEPT_NS
            tx.run("DELETE FROM metering_quota_held WHERE ends_at < ?", before)
            tx.run("DELETE FROM metering_quota_notice WHERE ends_at < ?", before)
            return tx.run(
                "DELETE FROM metering_quota_counter WHERE (tenant, counter) IN "
                "(SELECT tenant, counter FROM metering_quota_counter WHERE ends_at < ? LIMIT ?)",
                before, QUOTA_PRUNED_MAX,
            )  # fmt: skip

        return self._done(pruned)

    def _done(self, fn: Callable[[Tx], T]) -> T:
        try:
            return self._store.submit(fn, isolation=Isolation.READ_COMMITTED).result(QUOTA_DRAW_S_MAX)
        except TimeoutError as error:
            raise ConnectionFailed("MT-503", "the shared limit does not answer", retry_after_s=1) from error


def here(tx: Tx, node: str) -> bool:
    """Whether nobody has reclaimed it, now and until this transaction ends."""
    share: LiteralString = " FOR SHARE" if tx.engine is EngineName.POSTGRES else ""
    sql: LiteralString = "SELECT 1 FROM metering_quota_node WHERE node = ?"
    return tx.value(sql + share, node) is not None


def part(tx: Tx, node: str) -> None:
    """Waits for what it still has under way, and lets in nothing after."""
    tx.run("DELETE FROM metering_quota_node WHERE node = ?", node)


def draw_all(tx: Tx, node: str, wishes: Sequence[Wish]) -> list[Drawn]:
    found = {i: draw_one(tx, node, wishes[i]) for i in sorted(range(len(wishes)), key=lambda i: wishes[i][:2])}
    return [found[i] for i in range(len(wishes))]


def draw_one(tx: Tx, node: str, wish: Wish) -> Drawn:
    tx.run(
        "INSERT INTO metering_quota_counter (tenant, counter, ends_at, taken) VALUES (?, ?, ?, 0) "
        "ON CONFLICT (tenant, counter) DO NOTHING",
        wish.tenant, wish.counter, wish.ends_at,
    )  # fmt: skip
    sql = "SELECT taken FROM metering_quota_counter WHERE tenant = ? AND counter = ?"
    before = int(tx.value(sql + tx.for_update, wish.tenant, wish.counter))
    amount = granted(wish, before)
    if amount:
        adjust_one(tx, wish.tenant, wish.counter, amount)
        tx.run(
            "INSERT INTO metering_quota_held (node, tenant, counter, slot, drawn, ends_at, unspent) VALUES (?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (node, tenant, counter) DO UPDATE SET drawn = metering_quota_held.drawn + excluded.drawn, "
            "slot = excluded.slot, unspent = excluded.unspent",
            node, wish.tenant, wish.counter, wish.slot, amount, wish.ends_at, amount - wish.need,
        )  # fmt: skip
    return Drawn(amount, before, before + amount)


def give_back_one(tx: Tx, node: str, part: GivenBack) -> None:
    """Once at most: what is given back is subtracted from what the node has drawn. Below nothing: it spent more than it had drawn."""
    whose = (node, part.tenant, part.counter)
    if part.amount and tx.run(
        "UPDATE metering_quota_held SET drawn = drawn - ?, unspent = CASE WHEN unspent > ? THEN unspent - ? ELSE 0 END WHERE node = ? AND tenant = ? AND counter = ? AND drawn >= ?",
        part.amount, part.amount, part.amount, *whose, part.amount,
    ):  # fmt: skip
        adjust_one(tx, part.tenant, part.counter, -part.amount)
    if part.last:
        tx.run("DELETE FROM metering_quota_held WHERE node = ? AND tenant = ? AND counter = ?", *whose)


def adjust_one(tx: Tx, tenant: TenantId, counter: str, by: int) -> None:
    by = bounded(by)  # PostgreSQL fails where a number does not fit, SQLite makes a fraction of it
    tx.run(
        f"UPDATE metering_quota_counter SET taken = {MORE} WHERE tenant = ? AND counter = ?", by, by, by, tenant, counter
    )  # fmt: skip


def book_all(tx: Tx, dues: Sequence[Due]) -> Counted:
    """The rows of dues and of counters are both taken in their order."""
    sums: dict[tuple[TenantId, str], tuple[int, int]] = {}
    for due in sorted(dues, key=lambda due: due[:2]):
        first = take_due(tx, due.tenant, due.name)
        for part in due.parts:
            key = (due.tenant, part.counter)
            _, known = sums.get(key, (0, 0))
            sums[key] = part.ends_at, bounded(known + part.amount) if first else known
    found: Counted = {}
    ordered = sorted(sums)
    for start in range(0, len(ordered), CHUNK):
        chunk = ordered[start : start + CHUNK]
        rows = chained.from_iterable((*key, *sums[key]) for key in chunk)
        found.update({(TenantId(t), counter): taken for t, counter, taken in tx.all(_add(len(chunk)), *rows)})
    return found


MORE: LiteralString = (
    f"CASE WHEN ? > 0 AND taken > {INTEGER_MAX} - CAST(? AS BIGINT) THEN {INTEGER_MAX} ELSE taken + ? END"
)


@lru_cache(maxsize=CHUNK)
def _add(count: int) -> LiteralString:
    """What no longer fits into a number stays at the greatest there is."""
    return (
        "INSERT INTO metering_quota_counter (tenant, counter, ends_at, taken) VALUES "
        + ", ".join(["(?, ?, ?, ?)"] * count)
        + " ON CONFLICT (tenant, counter) DO UPDATE SET taken = CASE"
        f" WHEN excluded.taken > 0 AND metering_quota_counter.taken > {INTEGER_MAX} - excluded.taken THEN {INTEGER_MAX}"
        " ELSE metering_quota_counter.taken + excluded.taken END RETURNING tenant, counter, taken"
    )
