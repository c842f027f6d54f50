"""Recollection: the agent's reasoning that could not be fetched when it asked (OV-503) is fetched once memory is back.

    await oversight.recollect("acme", request_id)          # by the timer

What an approver sees changes by it, so it is a new round, as an edit is: a card without the reasons decides nothing any more. Once somebody has
voted in the round, the request stays as it was shown to them.

INVARIANT: a request that lacks its reasoning has a row that says when to ask again, until it has it, has a vote, or is over.
"""

from __future__ import annotations

from msgspec.structs import replace

from creto.common.ids import RequestId, TenantId
from creto.common.limits import OVERSIGHT_RECOLLECT_S
from creto.common.timestamps import SECOND
from creto.oversight import store as sql
from creto.oversight.delivery import Delivery
from creto.oversight.drafts import hashed
from creto.oversight.store import Record
from creto.oversight.types import NotificationKind
from creto.store.types import Tx


class Recollection(Delivery):
    async def recollect(self, tenant: TenantId, request_id: RequestId) -> bool:
        """Ask memory again; whether the request has its reasoning now."""
        record = await self.get(tenant, request_id)
        ask = record.ask
        reasoning, code = ((), None) if not record.progress.state.open else await self._reasoning(tenant, ask.agent, ask.action)  # fmt: skip
        if code is not None:
            at = self.clock.now() + int(OVERSIGHT_RECOLLECT_S * SECOND)
            await self.write(lambda tx: sql.put_missing(tx, tenant, request_id, at))
            return False
        return await self.write(lambda tx: self._recollected(tx, record, reasoning))

    def _recollected(self, tx: Tx, seen: Record, reasoning: tuple[str, ...]) -> bool:
        tenant, request_id, now = seen.ask.tenant, seen.ask.request_id, self.clock.now()
        sql.drop_missing(tx, tenant, request_id)
        record = self.locked(tx, tenant, request_id)
        votes = [one for one in sql.votes(tx, tenant, request_id) if one.signed.ballot.round == record.ask.round]
        if not record.progress.state.open or votes or record.ask.reasoning_code is None:
            return False
        ask = replace(record.ask, reasoning=reasoning, reasoning_code=None, round=record.ask.round + 1)
        told = hashed(ask, record.progress)
        sql.save_round(tx, told)
        directory = self.directory(tenant, ask.policy)
        self.note(
            tx, tenant, "oversight:recollect", f"oversight:request:{request_id}", "ReasoningFetched", self.service_id,
            {"request_id": request_id, "round": ask.round},
        )  # fmt: skip
        self.tell(tx, told, self._reachable(told, directory, now), NotificationKind.EDITED, now)
        self.moved(tx, ask)
        return True
