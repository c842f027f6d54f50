"""Acts beyond a quota at a price, from when they are let through until they are billed.

    charges.begin(beyond)            # on disk, before the act goes on
    charges.end(beyond, 950)         # an event of 950 units; of none, nothing

INVARIANT: an act that was let through at a price is billed once for what it took; not at all if it took nothing or was released.
INVARIANT: what a process had let through when it died is billed as it was reserved, as its quota counts it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from creto.common import wire
from creto.common.errors import ConnectionFailed, EnablementError
from creto.common.ids import TenantId
from creto.common.limits import QUOTA_BATCH, QUOTA_DRAW_S_MAX, QUOTA_RESERVATION_S
from creto.common.timestamps import SECOND
from creto.contracts import BillableEvent
from creto.metering import quota_store as rows
from creto.metering.beyond import Beyond
from creto.store.types import Isolation, Store, Tx

T = TypeVar("T")
Enter = Callable[[Tx, BillableEvent], None]
STALE_NS = 2 * QUOTA_RESERVATION_S * SECOND  # every reservation has ended by then, if its process lives

log = logging.getLogger("creto.metering")


class Charges:
    """Where nobody is to bill (`bill_by`), acts go beyond as if they cost nothing more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._enter: Enter | None = None

    def bill_by(self, enter: Enter) -> None:
        """Who takes the events, in the transaction that ends an act."""
        self._enter = enter

    def begin(self, beyond: Beyond) -> None:
        if self._enter is None:
            return
        done = self._submit(partial(add, beyond=beyond))
        try:
            done.result(QUOTA_DRAW_S_MAX)
        except TimeoutError as error:
            done.add_done_callback(lambda late: None if late.exception() else self.end(beyond, 0))  # the act is refused
            raise ConnectionFailed("MT-503", "what goes beyond a quota cannot be written", retry_after_s=1) from error

    def end(self, beyond: Beyond, units: int) -> None:
        """Not on the path of the act: if it cannot be written now, what was reserved is billed later."""
        try:
            done = self._submit(lambda tx: self.ended(tx, beyond, units))
            done.add_done_callback(partial(rows.unattended, what="what went beyond a quota"))
        except EnablementError as error:
            log.error("what went beyond a quota waits: %s", error)  # noqa: TRY400 - said in one line

    def ended(self, tx: Tx, beyond: Beyond, units: int) -> None:
        if self._enter is None:
            return
        tx.run("DELETE FROM metering_beyond WHERE tenant = ? AND charge_id = ?", beyond.tenant, beyond.booking_id)
        if units > 0:
            self._enter(tx, beyond.event(units))

    def book_left(self, now: int) -> None:
        """On the thread of the upkeep: what dead processes had let through."""
        sql = "SELECT tenant, body FROM metering_beyond WHERE stale_at <= ? ORDER BY stale_at LIMIT ?"
        for _, body in self._store.read_now(lambda tx: tx.all(sql, now, QUOTA_BATCH)):
            left = wire.decode(bytes(body), Beyond, what="charge")
            self._submit(partial(self._end_left, beyond=left)).result()

    def _end_left(self, tx: Tx, beyond: Beyond) -> None:
        sql = "SELECT 1 FROM metering_beyond WHERE tenant = ? AND charge_id = ?"
        if tx.value(sql + tx.for_update, beyond.tenant, beyond.booking_id) is not None:
            self.ended(tx, beyond, beyond.amount)

    def _submit(self, fn: Callable[[Tx], T]) -> Future[T]:
        return self._store.submit(fn, isolation=Isolation.READ_COMMITTED)


def add(tx: Tx, beyond: Beyond) -> None:
    tx.run(
        "INSERT INTO metering_beyond (tenant, charge_id, stale_at, body) VALUES (?, ?, ?, ?)",
        TenantId(beyond.tenant), beyond.booking_id, beyond.at + STALE_NS, wire.encode(beyond),
    )  # fmt: skip
