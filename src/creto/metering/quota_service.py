"""Quotas as a service: define them, ask, reserve for later, see what was used.

quotas = Quotas(store, clock, folder=Path("data/quotas"))
quotas.start()
authz.use_quota(quotas.book)                                         # every allowed check takes quota from here on
await quotas.put_quota("acme", Quota(quota_id="spend", limits=(Limit(1_000_000, Window(WindowUnit.DAY)),)), by=human)
hold = await quotas.reserve("acme", agent, "inference.call", 300_000)   # any node may settle it
await quotas.settle("acme", hold.reservation_id, 250_000)

`limits` is where the limit is shared: the store, unless it is given (`RedisLimits(url)`). In `folder` each process keeps what it has not
spent, so that a kill -9 costs nothing; without one, what a killed process held counts as used.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, NotFound, OversightRequired, QuotaExceeded
from creto.common.ids import AgentId, RequestId, TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import QUOTA_AMOUNT_MAX, QUOTA_BATCH, QUOTA_RESERVATION_S, QUOTAS_MAX
from creto.common.telemetry import Metrics
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp
from creto.metering import quota_rules
from creto.metering import quota_store as rows
from creto.metering.event_quotas import EventQuotas, Teller
from creto.metering.leases import SharedLimits
from creto.metering.leases_journal import AnonymousCells, Journal, reclaim
from creto.metering.leases_store import StoreLimits
from creto.metering.quota import QuotaBook, Taken
from creto.metering.quota_answers import Answered, QuotaAnswer, changed, limit_of, sentence
from creto.metering.quota_charges import Charges
from creto.metering.quota_counters import RETIRED, Counter, Counters
from creto.metering.quota_holds import Closed, HoldRow
from creto.metering.quota_marks import Crossed, marks_reached
from creto.metering.quota_notices import Notices, answered, keep, said_to
from creto.metering.quota_pace import Pace
from creto.metering.quota_rules import Definitions
from creto.metering.quota_standing import Standing, standing, usage_of
from creto.metering.quota_steps import Steps
from creto.metering.quota_store import note
from creto.metering.quota_types import Hold, Quota, QuotaUsage, Rate, Settled, Window, in_zone
from creto.metering.quota_upkeep import Upkeep
from creto.metering.zones import Zones, settings
from creto.platform.nhi import ValidatedChain, scope
from creto.security.authz.types import QuotaDecision, QuotaDenied, RequiresOversight
from creto.store.types import Isolation, Store, Tx

CHANGED = "metering.quota.changed"
WANTED = "metering.quota.wanted"  # a node lacks what others may hold unspent
NO_DEFINITIONS = Definitions()


class Quotas:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        limits: SharedLimits | None = None,
        folder: Path | None = None,
        lease_s: Callable[[], int] = lambda: 60,
        now: Callable[[], int] | None = None,
        metrics: Metrics | None = None,
        aside: Store | None = None,
        zones: Zones | None = None,
    ) -> None:
        """`aside` is where what quotas do beside an act is written, if its own transactions are of one request each."""
        self.zones = zones or Zones(store, clock)
        self._store = store
        self._aside = aside or store
        self._clock = clock
        self._limits = limits or StoreLimits(self._aside)
        self._folder = folder
        node = new_id(f"{store.node}-".replace("/", "-"))
        if folder is not None and folder.is_dir():
            reclaim(folder, self._limits)
        memory = AnonymousCells() if folder is None else Journal(folder, node)
        if folder is not None:
            self._limits.join(node)
        self.notices = Notices(store, self._aside, clock)
        self.charges = Charges(self._aside)
        self.steps = Steps(self._aside, clock)
        self._known: dict[TenantId, Definitions] = {}
        self._reading = threading.Lock()
        self.book = QuotaBook(
            node,
            now or Pace(clock).now,
            self._limits,
            Counters(memory),
            self._definitions,
            crossed=self.notices.tell,
            lacking=self._ask_others,
            hurry=lambda: self.upkeep.wake(),
            charges=self.charges,
            steps=self.steps,
            metrics=metrics,
        )
        if metrics is not None:
            book = self.book
            metrics.read(
                "metering_quota_overrun_units_total", "Units above what was reserved", lambda: book.overrun_units
            )
            metrics.read("metering_quota_draws_total", "Draws from the shared limit", lambda: book.room.draws)
            metrics.read("metering_quota_overruns_total", "Acts that took more than reserved", lambda: book.overruns)
            metrics.read("metering_quota_open_count", "Reservations not settled yet", lambda: book.open_reservations)
        self.upkeep = Upkeep(self.book, clock, lease_s, folder, self._further)
        self.events = EventQuotas(
            store, clock, self._limits, self.book, lambda tenant: self._definitions(tenant)[0],
            Teller(self.notices.publish, self._want_back), self.upkeep.give_back,
        )  # fmt: skip
        store.on_signal(CHANGED, self._on_changed)
        store.on_signal(WANTED, self._on_wanted)
        store.on_signal_lost(self._on_lost)

    def start(self) -> None:
        """From here on leases are given back as time goes."""
        self.upkeep.start()

    def close(self) -> None:
        """Give back what is not spent. What cannot be given back stays in the journal for who comes next."""
        self.upkeep.stop()
        kept = True
        with suppress(EnablementError):
            self.upkeep.close()
            if self._folder is not None:
                self._limits.leave(self.book.node)
            kept = False
        self.book.counters.close(keep=kept)

    # Definitions

    async def put_quota(self, tenant: TenantId, asked: Quota, *, by: AgentId) -> Quota:
        """New, or in the place of the one with its name: what was used counts on. It holds here at once, elsewhere within 50 ms.
        Windows without a zone get the tenant's."""
        scope.checked_patterns(asked.counts, "counts", code="MT-400")

        def put(tx: Tx) -> Quota:
            quota = in_zone(asked, settings(tx, checked_tenant(tenant)).zone)
            known = rows.quotas(tx, tenant)
            if len(known) >= QUOTAS_MAX and quota.quota_id not in {q.quota_id for q in known}:
                raise InvalidInput.of(
                    "quota_id", got=quota.quota_id, expected=f"at most {QUOTAS_MAX} quotas", code="MT-400"
                )
            rows.put_quota(tx, tenant, quota, self._clock.now())
            note(tx, self._clock, tenant, "quota.set", "QuotaSet", by, quota.quota_id, quota)
            tx.signal(CHANGED, tenant)
            return quota

        return await self._store.write(put)

    async def set_limit(self, tenant: TenantId, quota_id: str, window: Window, amount: int, *, by: AgentId) -> Quota:
        """One limit of a quota."""
        return await self.answer(tenant, quota_id, window.name, QuotaAnswer.INCREASE, amount, by=by)

    async def answer(
        self, tenant: TenantId, quota_id: str, window: str, answer: QuotaAnswer, new_limit: int, *, by: AgentId,
        request_id: RequestId | None = None,
    ) -> Quota:  # fmt: skip
        """What a human says of a quota that is used up; with `request_id` as the decision of what was asked: once, however often it comes.

        INVARIANT: an increase that was asked for lowers no limit that somebody has raised higher while humans were deciding.
        """

        def change(tx: Tx) -> Quota:
            quota = rows.find_quota(tx, checked_tenant(tenant), quota_id)
            if quota is None:
                raise NotFound("MT-404", f"quota {quota_id} does not exist")
            now = self._clock.now()
            told = None if request_id is None else answered(tx, tenant, request_id, now)
            if request_id is not None and told is None:
                return quota
            before = limit_of(quota, window)
            higher = told is not None and answer is QuotaAnswer.INCREASE and before > new_limit
            after = changed(quota, window, answer, before if higher else new_limit)
            rows.put_quota(tx, tenant, after, now)
            done = Answered(
                quota_id=quota_id, window=window, answer=answer, before=before, after=limit_of(after, window),
                request_id=request_id, exceeded=new_limit if higher else None,
            )  # fmt: skip
            note(tx, self._clock, tenant, "quota.answered", "QuotaAnswered", by, quota_id, done)
            if told is not None and told.notice.delegation_chain:
                keep(tx, said_to(told.notice.delegation_chain[-1], told.notice, sentence(done), now))
            tx.signal(CHANGED, tenant)
            return after

        return await self._store.write(change)

    async def delete_quota(self, tenant: TenantId, quota_id: str, *, by: AgentId) -> None:
        def delete(tx: Tx) -> None:
            if not rows.delete_quota(tx, checked_tenant(tenant), quota_id):
                raise NotFound("MT-404", f"quota {quota_id} does not exist")
            note(tx, self._clock, tenant, "quota.deleted", "QuotaDeleted", by, quota_id, None)
            tx.signal(CHANGED, tenant)

        await self._store.write(delete)

    async def quota(self, tenant: TenantId, quota_id: str) -> Quota:
        found = await self._store.read(lambda tx: rows.find_quota(tx, checked_tenant(tenant), quota_id))
        if found is None:
            raise NotFound("MT-404", f"quota {quota_id} does not exist")
        return found

    async def quotas(self, tenant: TenantId) -> list[Quota]:
        return await self._store.read(lambda tx: rows.quotas(tx, checked_tenant(tenant)))

    async def put_rate(self, tenant: TenantId, rate: Rate, *, by: AgentId) -> Rate:
        scope.checked_patterns((rate.counts,), "counts", code="MT-400")

        def put(tx: Tx) -> None:
            rows.put_rate(tx, checked_tenant(tenant), rate)
            note(tx, self._clock, tenant, "rate.set", "QuotaRateSet", by, rate.counts, rate)
            tx.signal(CHANGED, tenant)

        await self._store.write(put)
        return rate

    async def delete_rate(self, tenant: TenantId, counts: str, *, by: AgentId) -> None:
        def delete(tx: Tx) -> None:
            if not rows.delete_rate(tx, checked_tenant(tenant), counts):
                raise NotFound("MT-404", f"there is no rate for {counts}")
            note(tx, self._clock, tenant, "rate.deleted", "QuotaRateDeleted", by, counts, None)
            tx.signal(CHANGED, tenant)

        await self._store.write(delete)

    async def rates(self, tenant: TenantId) -> list[Rate]:
        return await self._store.read(lambda tx: rows.rates(tx, checked_tenant(tenant)))

    # Asking and holding

    async def check_quota(
        self, tenant: TenantId, agent: AgentId, event_type: str, *, chain: ValidatedChain | None = None, amount: int = 1
    ) -> QuotaDecision:
        """Whether an act would be let through now. Nothing is taken."""
        checked_act(tenant, event_type)
        return await asyncio.to_thread(self.book.check, tenant, agent, event_type, chain, amount)

    async def asks(
        self, tenant: TenantId, agent: AgentId, event_type: str, amount: int = 1, *, chain: ValidatedChain | None = None
    ) -> RequiresOversight | None:
        """Whether humans would be asked about an act. Nothing is taken."""
        checked_act(tenant, event_type)
        return await asyncio.to_thread(self.book.asks, tenant, agent, chain, event_type, amount)

    async def reserve(
        self,
        tenant: TenantId,
        agent: AgentId,
        event_type: str,
        amount: int = 1,
        *,
        chain: ValidatedChain | None = None,
        ttl_s: int = QUOTA_RESERVATION_S,
        approved: frozenset[str] = frozenset(),
        by: AgentId | None = None,
    ) -> Hold:
        """Hold quota until it is settled or released, on whatever node, or expires. QuotaExceeded (MT-429) or OversightRequired (MT-202)."""
        checked_act(tenant, event_type)
        if not 1 <= ttl_s <= QUOTA_RESERVATION_S:
            raise InvalidInput.of("ttl_s", got=ttl_s, expected=f"1 to {QUOTA_RESERVATION_S}", code="MT-400")
        held = await asyncio.to_thread(
            self.book.reserve, tenant, agent, chain, event_type, event_type, amount, approved=approved
        )
        if not isinstance(held, Taken):
            raise refused(held, event_type)
        row = HoldRow.of(held, by)
        expires_at = ConsensusTimestamp(self._clock.now() + ttl_s * SECOND)
        name = new_id("hold-")
        writing = asyncio.ensure_future(
            self._store.write(lambda tx: rows.add_hold(tx, tenant, name, expires_at, wire.encode(row)))
        )
        try:
            await asyncio.shield(writing)
        except BaseException:
            writing.add_done_callback(lambda written: self._take_back(tenant, name, held, written))
            raise
        self.book.handed_over(held)  # from here on the row stands for it
        return Hold(reservation_id=name, amount=amount, outcome=held.outcome, expires_at=expires_at)

    async def holders(self, tenant: TenantId, reservation_id: str) -> tuple[AgentId, ...]:
        """Whose matter a reservation is: who made it, those above whom it is for, and that agent, the last. Nobody, if there is none."""
        body = await self._store.read(lambda tx: rows.find_hold(tx, checked_tenant(tenant), reservation_id))
        if body is None:
            return ()
        row = wire.decode(body, HoldRow, what="reservation")
        return (*([row.by] if row.by else []), *row.chain)

    def _take_back(self, tenant: TenantId, name: str, held: Taken, written: asyncio.Future[None]) -> None:
        """Whoever reserved has gone, or was told no. INVARIANT: what was held is given back by one: by whoever takes the row, if there is one."""
        self.book.handed_over(held)
        failed = written.cancelled() or written.exception() is not None

        def taken(done: Future[HoldRow | None]) -> None:
            rows.unattended(done, "that a reservation is given back")
            if done.exception() is None and (failed or done.result() is not None):
                self.book.give_back(held)

        with suppress(EnablementError):  # then the row ends when its time is over; without one it counts as used
            take = partial(self._take_hold, tenant=tenant, reservation_id=name, amount=0)
            self._aside.submit(take, isolation=Isolation.READ_COMMITTED).add_done_callback(taken)

    async def settle(self, tenant: TenantId, reservation_id: str, amount: int | None = None) -> Settled:
        """It took what was reserved, or this much, also if that is more: what was used was used. The answer says by how much, and how far
        beyond a limit that is; who is to be told is told. A second time, or too late, it is not there any more (MT-404)."""
        if amount is not None and not 0 <= amount <= QUOTA_AMOUNT_MAX:
            raise InvalidInput.of("amount", got=amount, expected=f"0 to {QUOTA_AMOUNT_MAX}", code="MT-400")
        return await self._close_hold(tenant, reservation_id, amount)

    async def release(self, tenant: TenantId, reservation_id: str) -> Settled:
        return await self._close_hold(tenant, reservation_id, 0)

    async def _close_hold(self, tenant: TenantId, reservation_id: str, amount: int | None) -> Settled:
        async def close() -> Settled | None:
            closed = await self._store.write(
                lambda tx: self._end_hold(tx, checked_tenant(tenant), reservation_id, amount),
                isolation=Isolation.READ_COMMITTED,
            )
            return None if closed is None else await asyncio.to_thread(self._book_hold, tenant, reservation_id, closed)

        # Whoever has taken the row books it, also if nobody waits for the answer any more.
        settled = await asyncio.shield(asyncio.ensure_future(close()))
        if settled is None:
            raise NotFound("MT-404", f"reservation {reservation_id} is closed, has expired or never was")
        return settled

    def _take_hold(self, tx: Tx, tenant: TenantId, reservation_id: str, amount: int | None) -> HoldRow | None:
        """Whoever gets it closes it; what it took beyond a quota at a price is billed with that."""
        body = rows.take_hold(tx, tenant, reservation_id)
        if body is None:
            return None
        row = wire.decode(body, HoldRow, what="reservation")
        if row.beyond is not None:
            self.charges.ended(tx, row.beyond, row.amount if amount is None else amount)
        return row

    def _end_hold(self, tx: Tx, tenant: TenantId, reservation_id: str, amount: int | None) -> Closed | None:
        """INVARIANT: what a reservation took beside what was held is due from the moment on in which its row goes, whoever dies then."""
        row = self._take_hold(tx, tenant, reservation_id, amount)
        if row is None:
            return None
        took = row.amount if amount is None else amount
        return Closed(row, took, self.events.owe(tx, tenant, row.bookings(took, self._clock.now())))

    def _book_hold(self, tenant: TenantId, reservation_id: str, closed: Closed) -> Settled:
        row, took = closed.row, closed.took
        self.events.book_now(closed.owed)
        excess, over = max(0, took - row.amount), 0
        if excess:
            self.book.overruns += 1
            self.book.overrun_units += excess
            with suppress(EnablementError):  # the shared limit is away: it is counted, and told, later
                over = self._tell_excess(tenant, row)
        return Settled(reservation_id=reservation_id, reserved=row.amount, amount=took, excess=excess, over=over)

    def _tell_excess(self, tenant: TenantId, row: HoldRow) -> int:
        """Of marks that were reached by more than was reserved; how far beyond its limit the fullest counter is."""
        keys = [key for key, _ in row.counters if key not in row.returning]
        quotas = {quota.quota_id: quota for quota in self._definitions(tenant)[0].quotas}
        over, marks = 0, list[Crossed]()
        for key, used in zip(keys, self._limits.taken(tenant, keys), strict=True):
            counted = quota_rules.named(quotas, key)
            if counted is not None:
                over = max(over, used - counted.limit)
                counter = self.book.counters.find(tenant, key) or Counter(tenant, RETIRED, counted)
                marks += marks_reached(counter, used, row.event_type, row.chain)
        if marks and row.chain:
            self.notices.tell(marks)
        return over

    def _further(self, now: int) -> None:
        """On the thread of the upkeep."""
        self._expire_holds(now)
        self.events.book_left(now)
        self.charges.book_left(now)

    def _expire_holds(self, now: int) -> None:
        """On the thread of the upkeep."""
        for tenant, name in self._store.read_now(lambda tx: rows.expired_holds(tx, now, QUOTA_BATCH)):
            take = partial(self._end_hold, tenant=tenant, reservation_id=name, amount=0)
            closed = self._aside.submit(take, isolation=Isolation.READ_COMMITTED).result()
            if closed is not None:
                self._book_hold(tenant, name, closed)

    async def usage(self, tenant: TenantId, agents: Sequence[AgentId]) -> list[QuotaUsage]:
        """What the counters of these agents stand at, over all nodes; of quotas for all together too. The last one is who acts."""
        now = self._clock.now()
        known = await self._store.read(lambda tx: rows.quotas(tx, checked_tenant(tenant)))
        found = [
            quota_rules.of_limit(quota, limit, owner, 1, now)
            for quota in known
            for owner in quota_rules.subjects(quota, agents)
            for limit in quota.limits
        ]
        lanes = [quota_rules.lane(counted, now) for counted in found]
        keys = [counted.key for counted in found] + [lane.key for lane in lanes if lane is not None]
        stands = await asyncio.to_thread(self._standing, tenant, keys)
        return [usage_of(counted, lane, stands) for counted, lane in zip(found, lanes, strict=True)]

    def _standing(self, tenant: TenantId, keys: Sequence[str]) -> dict[str, Standing]:
        return standing(tenant, keys, self._limits, self.book, self._folder)

    # Between nodes

    def _definitions(self, tenant: TenantId) -> tuple[Definitions, bool]:
        found = self._known.get(tenant)
        if found is None:
            with self._reading:  # a change that comes meanwhile drops what is kept here after
                lasting = self._store.signals_alive
                found = self._store.read_now(lambda tx: rows.definitions(tx, tenant))
                if lasting:
                    self._known[tenant] = found
                return found, lasting
        return found, True

    def _on_changed(self, tenant: str) -> None:
        with self._reading:
            self._known.pop(TenantId(tenant), None)
        self.book.changed(TenantId(tenant))
        self.upkeep.wake()

    def _on_lost(self) -> None:
        with self._reading:
            self._known.clear()
        self.book.changed()

    def _on_wanted(self, payload: str) -> None:
        node, tenant, counter = wire.decode(payload, tuple[str, TenantId, str], what="signal")
        found = None if node == self.book.node else self.book.counters.find(tenant, counter)
        if found is not None:
            if found.counted.returns:  # events have filled it: what still runs here goes back when it is settled
                found.filled = True
            self.book.surplus.add(found)
            self.upkeep.wake()

    def _ask_others(self, lacking: list[Counter]) -> None:
        """Whoever holds some of it unspent gives it back; the next try finds it."""
        with suppress(EnablementError):  # a full queue: the next refusal asks again
            self._aside.submit(lambda tx: self._want_back(tx, lacking))

    def _want_back(self, tx: Tx, counters: Sequence[Counter]) -> None:
        for counter in counters:
            tx.signal(WANTED, wire.encode((self.book.node, counter.tenant, counter.key)).decode())


def checked_act(tenant: TenantId, event_type: str) -> None:
    checked_tenant(tenant)
    checked_name(event_type, "event_type")


def refused(answer: object, event_type: str) -> EnablementError:
    """A reservation's no, as an error."""
    if isinstance(answer, RequiresOversight):
        return OversightRequired(
            "MT-202", f"{event_type} beyond its quota needs approval under policy {answer.under}",
            policy_id=answer.under, decision=answer, details={"event_type": event_type},
        )  # fmt: skip
    assert isinstance(answer, QuotaDenied)
    return QuotaExceeded(
        "MT-429", answer.reason, limit=answer.limit, used=answer.used, retry_after_s=answer.retry_after_s
    )
