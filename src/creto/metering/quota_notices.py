"""What quotas tell: at each mark once, and once in a window that there is no more room. Kept until it is old, for whoever asks.

    page = await notices.notices("acme", agent=bot)            # what the agent was told, the newest first
    notices.tell(marks)                                        # by the book, off the path of its checks

A mark (95 % and 100 %, if nothing else is said) leaves a notice, here and on the bus; the first act for which a counter has no room leaves the
client's `QuotaExceeded` in the ledger, with what the quota does then, once for a counter in its window, however many acts follow.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import LiteralString

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import EnablementError, NotFound
from creto.common.ids import AgentId, RequestId, ResourceId, TenantId, checked_tenant, new_id
from creto.common.limits import NOTICES_FORGOTTEN_AT_ONCE, NOTICES_KEPT_NS, PAGE_ITEMS_DEFAULT
from creto.common.money import from_micros
from creto.common.paging import cut, place_of
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.metering import quota_store as rows
from creto.metering.core import paged
from creto.metering.quota_marks import EXCEEDED, Crossed
from creto.metering.quota_types import QuotaNotice, Told
from creto.platform.audit.events import QuotaExceeded
from creto.security.authz.types import QuotaOutcome
from creto.store.types import Outcome, ReadTx, Row, Store, Tx

SUBJECT_NOTICE = "metering.quotas.notices"
REFUSED = {
    QuotaOutcome.DENY: Outcome.DENIED,
    QuotaOutcome.THROTTLE: Outcome.DENIED,
    QuotaOutcome.REQUIRE_APPROVAL: Outcome.PENDING,
}


class ToldPage(msgspec.Struct, frozen=True):
    items: tuple[Told, ...]
    cursor: str | None = None


class Notices:
    """`aside` is where the book's own notices are written: no request waits for them."""

    def __init__(self, store: Store, aside: Store, clock: Clock) -> None:
        self._store = store
        self._aside = aside
        self._clock = clock

    def tell(self, marks: list[Crossed]) -> None:
        """Not on the path of the check: the store does it when it comes to it, once for each mark."""
        now = self._clock.now()

        def tell(tx: Tx) -> None:
            for mark in marks:
                if rows.notice_first(tx, mark.counter.tenant, mark.counter.key, mark.mark, now, mark.counter.resets_at):
                    self.publish(tx, mark, now)

        def told(done: Future[None]) -> None:
            rows.unattended(done, "a notice of a quota")
            if done.exception():
                forget(marks)

        try:
            self._aside.submit(tell).add_done_callback(told)
        except EnablementError:
            forget(marks)

    def publish(self, tx: Tx, mark: Crossed, now: ConsensusTimestamp) -> None:
        counter, agent = mark.counter, mark.chain[-1]
        if mark.mark == EXCEEDED:
            exceeded = QuotaExceeded(
                agent_nhi=agent, event_type=mark.event_type, limit=from_micros(counter.limit * 1_000_000),
                overflow_action=counter.action,
            )  # fmt: skip
            tx.record(
                exceeded.entry(
                    tenant=counter.tenant, agent=agent, timestamp=now, delegation_chain=mark.chain,
                    resource=ResourceId("metering", "quota", counter.quota_id).to_uri(),
                    outcome=REFUSED.get(mark.outcome, Outcome.SUCCESS), degraded_clock=self._clock.degraded,
                )
            )  # fmt: skip
            return
        notice = notice_of(mark, now)
        event = "QuotaUsedUp" if notice.percent >= 100 else "QuotaNearlyUsed"
        rows.note(tx, self._clock, counter.tenant, "quota.mark", event, agent, counter.quota_id, notice)
        tx.publish(SUBJECT_NOTICE, wire.encode(notice), tenant=counter.tenant, agent=agent)
        keep(tx, notice)

    async def notices(
        self, tenant: TenantId, agent: AgentId | None = None, *, cursor: str | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> ToldPage:  # fmt: skip
        """The newest first; of acts of one agent."""
        before = place_of(cursor, str, "")
        sql: LiteralString = "SELECT request_id, answered_at, body FROM metering_notice WHERE tenant = ?"
        values: list[str] = [checked_tenant(tenant)]
        if agent is not None:
            sql += " AND agent = ?"
            values.append(agent)
        if before:
            sql += " AND notice_id < ?"
            values.append(before)
        sql += " ORDER BY notice_id DESC LIMIT ?"
        found = await self._store.read(lambda tx: tx.all(sql, *values, paged(limit) + 1))
        return ToldPage(*cut([told_row(row) for row in found], limit, lambda last: last.notice.notice_id))

    async def notice_of_request(self, tenant: TenantId, request_id: RequestId) -> Told:
        found = await self._store.read(lambda tx: find(tx, checked_tenant(tenant), request_id))
        if found is None:
            raise NotFound("MT-404", f"no notice of a quota is behind the request {request_id}")
        return found

    async def asks(self, tenant: TenantId, notice_id: str, request_id: RequestId) -> None:
        """Humans are asked about it: their decision is the quota's."""
        sql: LiteralString = "UPDATE metering_notice SET request_id = ? WHERE tenant = ? AND notice_id = ?"
        await self._store.write(lambda tx: tx.run(sql, request_id, checked_tenant(tenant), notice_id))

    async def forget_old(self) -> int:
        """Those that are old, with steps that were bought in windows as old; how many."""
        before = self._clock.now() - NOTICES_KEPT_NS
        sql: LiteralString = (
            "DELETE FROM metering_notice WHERE (tenant, notice_id) IN "
            "(SELECT tenant, notice_id FROM metering_notice WHERE told_at < ? LIMIT ?)"
        )
        steps: LiteralString = "DELETE FROM metering_quota_step WHERE ends_at < ?"

        def forget(tx: Tx) -> int:
            tx.run(steps, before)
            return tx.run(sql, before, NOTICES_FORGOTTEN_AT_ONCE)

        return await self._store.write(forget)


def forget(marks: Sequence[Crossed]) -> None:
    """They could not be told: the next draw tries again."""
    for mark in marks:
        if mark.mark == EXCEEDED:
            mark.counter.exceeded = False
        else:
            mark.counter.told = 0


def notice_of(mark: Crossed, now: ConsensusTimestamp) -> QuotaNotice:
    counter = mark.counter
    percent = 100 if counter.beyond or not counter.limit else mark.mark * 100 // counter.limit
    goes_on = counter.beyond or percent >= 100 or mark.outcome is QuotaOutcome.ALLOW_WITH_NOTIFICATION
    return QuotaNotice(
        notice_id=new_id(), tenant=counter.tenant, quota_id=counter.quota_id, agent=counter.owner, event_type=mark.event_type,
        outcome=mark.outcome if goes_on else QuotaOutcome.ALLOW, overflow_action=counter.action, percent=percent,
        used=mark.used, limit=counter.limit, window=counter.name, resets_at=ConsensusTimestamp(counter.resets_at), at=now,
        delegation_chain=mark.chain, beyond=counter.beyond,
        text=f"Beyond quota {counter.quota_id}: {mark.used} for this {counter.name}" if counter.beyond
        else f"You've used {percent}% of quota {counter.quota_id}: {mark.used} of {counter.limit} for this {counter.name}",
    )  # fmt: skip


def keep(tx: Tx, notice: QuotaNotice) -> None:
    agent = notice.delegation_chain[-1] if notice.delegation_chain else notice.agent or ""
    tx.run(
        "INSERT INTO metering_notice (tenant, notice_id, agent, told_at, request_id, answered_at, body) "
        "VALUES (?, ?, ?, ?, NULL, NULL, ?)",
        notice.tenant, notice.notice_id, agent, notice.at, wire.encode(notice),
    )  # fmt: skip


def find(tx: ReadTx, tenant: TenantId, request_id: RequestId) -> Told | None:
    sql = "SELECT request_id, answered_at, body FROM metering_notice WHERE tenant = ? AND request_id = ?"
    row = tx.one(sql, tenant, request_id)
    return None if row is None else told_row(row)


def answered(tx: Tx, tenant: TenantId, request_id: RequestId, now: int) -> Told | None:
    """The notice behind a request, if its answer comes for the first time."""
    done = tx.run(
        "UPDATE metering_notice SET answered_at = ? WHERE tenant = ? AND request_id = ? AND answered_at IS NULL",
        now, tenant, request_id,
    )  # fmt: skip
    return find(tx, tenant, request_id) if done else None


def told_row(row: Row) -> Told:
    request_id, answered_at, body = row
    notice = wire.decode(bytes(body), QuotaNotice, what="notice")
    return Told(notice=notice, request_id=request_id, answered_at=answered_at)


def said_to(agent: AgentId, notice: QuotaNotice, text: str, at: ConsensusTimestamp) -> QuotaNotice:
    """A notice that follows from another one, as what humans answered."""
    return replace(notice, notice_id=new_id(), delegation_chain=(agent,), text=text, at=at)
