"""How SQLite finds rows: by an index for what is asked, never by walking through all that a tenant has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from creto.common.ids import RequestId
from creto.oversight import store as sql
from creto.oversight import store_grants as grant_rows
from creto.oversight import store_messages as message_rows
from creto.oversight import store_people as people_rows
from creto.oversight.types import Channel
from tests.unit.oversight.world import TENANT, World, id_of, person

REQUEST = RequestId("req-1")
LOOKUPS: dict[str, Callable[[Any], Any]] = {
    "latest_of_key": lambda tx: sql.latest_of_key(tx, TENANT, "key"),
    "open_of_agent": lambda tx: sql.open_of_agent(tx, TENANT, id_of("bot-7"), 1_000),
    "open_requests": lambda tx: sql.open_requests(tx, TENANT, "", 100),
    "of_agent": lambda tx: sql.of_agent(tx, TENANT, id_of("bot-7"), "\x7f", 100),
    "last_approved": lambda tx: sql.last_approved(tx, TENANT, id_of("bot-7"), "funds.transfer"),
    "due": lambda tx: sql.due(tx, 1, 100),
    "votes": lambda tx: sql.votes(tx, TENANT, REQUEST),
    "notifications": lambda tx: message_rows.notifications(tx, TENANT, REQUEST),
    "due_notifications": lambda tx: message_rows.due_notifications(tx, Channel.SLACK, 1, 100),
    "by_reference": lambda tx: message_rows.by_reference(tx, TENANT, Channel.SLACK, "r"),
    "expired_grants": lambda tx: grant_rows.expired_grants(tx, 1, 100),
    "missing": lambda tx: sql.missing(tx, 1, 16),
    "beginning": lambda tx: people_rows.beginning(tx, 1, 100),
    "of_approver": lambda tx: sql.of_approver(tx, TENANT, person("alice"), "\x7f", 100),
}


class Explained:
    """A transaction that finds nothing, and keeps how it would have looked."""

    for_update = ""

    def __init__(self, tx: Any) -> None:
        self._tx = tx
        self.plans: list[str] = []

    def lock(self, name: str) -> None:
        """Nothing is changed."""

    def all(self, sql: str, *values: Any) -> list[Any]:
        self.plans += [row[-1] for row in self._tx.all(f"EXPLAIN QUERY PLAN {sql}", *values)]
        return []

    def one(self, sql: str, *values: Any) -> None:
        self.all(sql, *values)

    value = one


@pytest.mark.parametrize("name", LOOKUPS)
async def test_nothing_walks_through_a_tenant(name: str, world: World) -> None:
    def explained(tx: Any) -> list[str]:
        asked = Explained(tx)
        LOOKUPS[name](asked)
        return asked.plans

    plans = await world.store.read(explained)
    assert plans
    assert [
        plan for plan in plans if plan.startswith("SCAN oversight") or plan.endswith("PRIMARY KEY (tenant=?)")
    ] == []
