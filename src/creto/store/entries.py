"""Entries as parts write them: who acted, through which chain, how strongly that was enforced, in which trace.

    with acting(Acting(agent=bot, chain=(ada, bot), grade=Grade.GATEWAY, action="agents:write", resource=bot)):
        tx.record(entry(tenant=tenant, agent=bot, action="nhi.suspend", resource=bot, timestamp=clock.now()))

The gate says who acts; the store carries it into its transactions.
INVARIANT: the chain, the grade and the permission of an entry are those of the one it names, never of another who acts at the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import msgspec

from creto.common import tracing, wire
from creto.common.errors import ProductId
from creto.common.ids import AgentId, TenantId, new_id
from creto.common.timestamps import ConsensusTimestamp
from creto.store.types import UNRECORDED, Entry, EntryId, Grade, Outcome, Tx


class Acting(msgspec.Struct, frozen=True, kw_only=True):
    """Whom the gate let act, and what it decided about. With an intent, the gate itself records how it ended."""

    agent: AgentId
    chain: tuple[AgentId, ...]
    grade: Grade
    action: str
    resource: str
    context: msgspec.Raw = UNRECORDED
    intent_id: EntryId | None = None

    @property
    def permission(self) -> dict[str, Any]:
        """What an entry written meanwhile says of the gate's decision: its intent's id, or the decision itself."""
        if self.intent_id is not None:
            return {"intent_id": self.intent_id}
        return {"under": (self.action, self.resource), "context": self.context}


_acting: ContextVar[Acting | None] = ContextVar("creto_acting", default=None)


@contextmanager
def acting(who: Acting) -> Iterator[None]:
    token = _acting.set(who)
    try:
        yield
    finally:
        _acting.reset(token)


def entry(
    *,
    tenant: TenantId,
    agent: AgentId,
    action: str,
    resource: str,
    timestamp: ConsensusTimestamp,
    product: ProductId = ProductId.PLATFORM,
    outcome: Outcome = Outcome.SUCCESS,
    trace_id: str | None = None,
    facts: object = None,
    **rest: Any,
) -> Entry:
    """An entry of whoever acts. `facts` become its metadata; `rest` are the other fields of an Entry, which win over what the gate said."""
    who = _acting.get()
    known: dict[str, Any] = {"event_id": EntryId(new_id()), "delegation_chain": (agent,)}
    if facts is not None:
        known["metadata"] = msgspec.Raw(wire.encode(facts))
    if who is not None and who.agent == agent:
        known |= {"delegation_chain": who.chain, "grade": who.grade, **who.permission}
    return Entry(
        tenant=tenant,
        product=product,
        agent_nhi=agent,
        action=action,
        resource=resource,
        outcome=outcome,
        timestamp=timestamp,
        trace_id=trace_id or tracing.trace_id(),
        **known | rest,
    )


def told(
    tx: Tx, act: str, event: str, *, tenant: TenantId, actor: AgentId, subject: str, now: ConsensusTimestamp,
    fields: Mapping[str, object], **rest: Any,
) -> EntryId:  # fmt: skip
    """One entry in the ledger, and the same facts on the bus as `act`; `rest` as of `entry`."""
    entry_id = tx.record(
        entry(
            tenant=tenant, agent=actor, action=act, resource=subject, timestamp=now, event=event, facts=fields, **rest
        )
    )
    body = wire.encode({"subject": subject, "actor": actor, "at": now, **fields})
    tx.publish(act, body, tenant=tenant, agent=subject)
    return entry_id
