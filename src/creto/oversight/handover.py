"""Handing over: who begins to sit in somebody's seats is told what waits there.

    await oversight.hand_over("acme", delegation)       # when it begins: by who makes it, or by the timer

INVARIANT: a delegation that begins is looked at once; each open request in a seat that it fills has told its new human, unless it had before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from creto.common.ids import AgentId, PolicyId, TenantId
from creto.common.limits import OVERSIGHT_TIMER_BATCH
from creto.common.timestamps import ConsensusTimestamp
from creto.oversight import eligibility
from creto.oversight import store as sql
from creto.oversight import store_messages as message_rows
from creto.oversight import store_people as people_rows
from creto.oversight.core import Mark
from creto.oversight.requests import Requests
from creto.oversight.store import Record
from creto.oversight.types import Delegation, NotificationKind
from creto.platform.consensus import PersonId
from creto.store.types import Tx


class Handover(Requests):
    async def delegate(
        self,
        tenant: TenantId,
        *,
        of: AgentId,
        to: AgentId,
        starts_at: ConsensusTimestamp,
        ends_at: ConsensusTimestamp,
        policies: Iterable[PolicyId] = (),
        by: AgentId,
        mark: Mark | None = None,
    ) -> Delegation:
        """As `People.delegate`; what waits goes with it at once, where it has begun."""
        delegation = await super().delegate(
            tenant, of=of, to=to, starts_at=starts_at, ends_at=ends_at, policies=policies, by=by, mark=mark
        )
        if starts_at <= self.clock.now():
            await self.hand_over(tenant, delegation)
        return delegation

    async def hand_over(self, tenant: TenantId, delegation: Delegation) -> int:
        """Tell whoever sits in the seats now of the requests that wait there; how many were told of."""
        told = sum([await self._hand_to(tenant, one) for one in self._sitting(tenant, delegation.to)])
        await self.write(lambda tx: people_rows.begun(tx, tenant, delegation.delegation_id))
        return told

    def _sitting(self, tenant: TenantId, to: PersonId) -> list[PersonId]:
        """Who may sit there: the delegate, or whoever sits in that one's seats meanwhile."""
        found, now = [to], self.clock.now()
        for person in found:
            known = (one.to for one in self.delegations(tenant) if one.of == person and one.starts_at <= now)
            found += [one for one in dict.fromkeys(known) if one not in found]
        return found

    async def _hand_to(self, tenant: TenantId, to: PersonId) -> int:
        told, after = 0, ""
        while waiting := await self.inbox(tenant, AgentId(to), after=after, limit=OVERSIGHT_TIMER_BATCH):
            told += await self.write(partial(self._pass_on, waiting, to))
            after = waiting[-1].ask.request_id
        return told

    def _pass_on(self, waiting: Sequence[Record], to: PersonId, tx: Tx) -> int:
        return sum(self._told_of(tx, one, to) for one in waiting)

    def _told_of(self, tx: Tx, seen: Record, to: PersonId) -> bool:
        ask, now = seen.ask, self.clock.now()
        record = self.locked(tx, ask.tenant, ask.request_id)
        known = {one.person for one in message_rows.notifications(tx, ask.tenant, ask.request_id)}
        directory = self.directory(ask.tenant, ask.policy)
        holders = directory.seats(eligibility.reached(ask.policy, record.progress.tier))
        sits = any(directory.substitute(one, record.ask, now) == to for one in holders if one != to)
        if not record.progress.state.open or not sits or to in known:
            return False
        self.tell(tx, record, {to: self.contacts(ask.tenant).get(to, [])}, NotificationKind.ASKED, now)
        sql.touch(tx, ask.tenant, ask.request_id)
        return True
