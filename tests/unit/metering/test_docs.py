from __future__ import annotations

import ast
import inspect
import textwrap
from decimal import Decimal
from pathlib import Path

from creto import metering
from creto.common.ids import EventId, SubscriptionId, TenantId
from creto.metering import BillableEvent, Period, Subscription
from creto.platform.consensus.testing import ManualClock
from creto.store import open_store
from creto.store.types import ReadTx
from tests.unit.metering.examples import AGENT, HUMAN, D, event


class TwoMillionTokens:
    def events(
        self, tx: ReadTx, subscription: Subscription, period: Period, known_at: int | None = None
    ) -> list[BillableEvent]:
        return [event(subscription.started_at, type="inference", input_tokens=2_000_000)]

    def changed(self, tx: ReadTx, subscription: Subscription, period: Period, since: int) -> bool:
        return False

    def find(self, tx: ReadTx, tenant: TenantId, event_id: EventId) -> tuple[SubscriptionId | None, BillableEvent]:
        return None, event(0)


async def test_the_example_of_the_part_runs_as_printed(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/creto.db", parts=("creto.store", "creto.metering"))
    try:
        example = (metering.__doc__ or "").partition("\n\n")[2].partition("\nA final")[0]
        names = {**vars(metering), "Decimal": Decimal, "store": store, "clock": ManualClock()}
        names |= {"source": TwoMillionTokens(), "human": HUMAN, "agent": AGENT}
        made = eval(compile(textwrap.dedent(example), "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        assert inspect.isawaitable(made)
        await made
        assert names["draft"].total == D(6)
    finally:
        store.close()
