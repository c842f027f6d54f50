"""What the store's suites write."""

from __future__ import annotations

import time
from collections.abc import Callable

from creto.common.errors import ProductId
from creto.common.ids import DEFAULT_TENANT, AgentId, new_id
from creto.common.timestamps import ConsensusTimestamp
from creto.store import Entry, EntryId, Outcome


def entry(agent: str = "agent:a", action: str = "act", event_id: str | None = None) -> Entry:
    return Entry(
        event_id=EntryId(event_id or new_id()),
        tenant=DEFAULT_TENANT,
        product=ProductId.PLATFORM,
        agent_nhi=AgentId(agent),
        action=action,
        resource="custom:thing",
        outcome=Outcome.SUCCESS,
        timestamp=ConsensusTimestamp(1),
    )


def eventually(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """What another process or thread does in its own time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)
