"""A dry run over what was recorded: the gate's decisions in the log, decided again under other policies.

Each entry of the gate names agent, action, resource and the context it decided on. Identities, roles and entities are taken as they are now:
so `now` may differ from what was recorded, and a change is always `now` against `then`, from the policies alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import msgspec
from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.ids import TenantId, checked_tenant
from creto.common.limits import AUTHZ_DRY_RUN_MAX, AUTHZ_REPLAY_ENTRIES_MAX, PAGE_ITEMS_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.audit import AuditQuery, LoggedEntry
from creto.security.authz.attributes import GATE_ATTRIBUTES, with_gate_attributes
from creto.security.authz.core import Holding
from creto.security.authz.policybook import PolicyBook, tried
from creto.security.authz.types import CheckRequest, Deny, Explanation, Replay, Replayed
from creto.store.types import Entry, Grade

Key = tuple[str, str, str, bytes]  # agent, action, resource, context


class Log(Protocol):
    """What can be asked for what happened: `Audit`."""

    def scan(self, query: AuditQuery) -> AsyncIterator[LoggedEntry]: ...


class Recorded:
    """The distinct requests among entries that come newest first."""

    def __init__(self) -> None:
        self.entries = self.requests = 0
        self.since: ConsensusTimestamp | None = None
        self.newest: dict[Key, Entry] = {}
        self.times: dict[Key, int] = {}

    def add(self, entry: Entry) -> None:
        self.entries, self.since = self.entries + 1, entry.timestamp
        if entry.grade is None or entry.intent_id is not None:
            return  # no operation, or the end of one
        self.requests += 1
        key = (entry.agent_nhi, *asked(entry), bytes(entry.context))
        self.newest.setdefault(key, entry)
        self.times[key] = self.times.get(key, 0) + 1


class Replays(PolicyBook):
    async def dry_run_recorded(
        self,
        log: Log,
        tenant: TenantId,
        text: str,
        *,
        limit: int = AUTHZ_DRY_RUN_MAX,
        since: int | None = None,
        schema: str = "",
        with_defaults: bool = True,
    ) -> Replay:
        """What the last `limit` recorded decisions, back to `since`, would be under these policies. Nothing changes."""
        tenant = checked_tenant(tenant)
        if not 1 <= limit <= AUTHZ_DRY_RUN_MAX:
            raise InvalidInput.of("limit", got=limit, expected=f"1 to {AUTHZ_DRY_RUN_MAX}")
        then = await asyncio.to_thread(tried, text, schema, with_defaults)
        found = Recorded()
        query = AuditQuery(tenant=tenant, since=since, newest_first=True, limit=PAGE_ITEMS_MAX)
        async for logged in log.scan(query):
            found.add(logged.entry)
            if found.requests >= limit or found.entries >= AUTHZ_REPLAY_ENTRIES_MAX:
                break
        return await asyncio.to_thread(self._replay, tenant, found, then)

    def _replay(self, tenant: TenantId, found: Recorded, then: Holding) -> Replay:
        now = self.holding(tenant)
        items = [self._decided_again(tenant, entry, now, then, found.times[key]) for key, entry in found.newest.items()]
        return Replay(
            items=tuple(item for item in items if item.changed or item.doubtful),
            entries=found.entries,
            requests=found.requests,
            changed=sum(item.times for item in items if item.changed),
            doubtful=sum(item.times for item in items if item.doubtful),
            since=found.since,
        )

    def _decided_again(self, tenant: TenantId, entry: Entry, now: Holding, then: Holding, times: int) -> Replayed:
        context: dict[str, Any] = msgspec.json.decode(bytes(entry.context) or b"{}", type=dict)
        request = CheckRequest(entry.agent_nhi, *asked(entry), context)
        chain, grade = entry.delegation_chain or (entry.agent_nhi,), entry.grade or Grade.COOPERATIVE
        own = {name: value for name, value in context.items() if name not in GATE_ATTRIBUTES}
        seen = replace(request, context=with_gate_attributes(own, chain, grade, entry.timestamp))
        told = [self._told(tenant, holding, seen) for holding in (now, then)]
        return Replayed(
            request=request,
            now=told[0].decision,
            then=told[1].decision,
            outcome=entry.outcome,
            at=entry.timestamp,
            times=times,
            code=entry.code,
            doubtful=not bytes(entry.context) and any(each.reads_context for each in told),
        )

    def _told(self, tenant: TenantId, holding: Holding, request: CheckRequest) -> Explanation:
        try:
            return self._explain(tenant, holding, request)
        except InvalidInput as error:  # refused before any policy was asked, and would be again
            return Explanation(Deny(error.message), holding.version)


def asked(entry: Entry) -> tuple[str, str]:
    """The action and the resource that the gate was asked about; a part's own entry names them beside its own words."""
    return entry.under or (entry.action, entry.resource)
