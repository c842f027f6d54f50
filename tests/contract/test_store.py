"""What every engine of the store must do."""

from __future__ import annotations

import asyncio

import pytest

from creto.common.errors import AlreadyExists, ProductId
from creto.common.ids import DEFAULT_TENANT, AgentId, new_id
from creto.common.timestamps import ConsensusTimestamp
from creto.store import Entry, EntryId, Outcome, Position, Store, Tx
from tests.contract.stores import MakeStore


def entry(agent: str = "agent:a", action: str = "act") -> Entry:
    return Entry(
        event_id=EntryId(new_id()),
        tenant=DEFAULT_TENANT,
        product=ProductId.PLATFORM,
        agent_nhi=AgentId(agent),
        action=action,
        resource="custom:thing",
        outcome=Outcome.SUCCESS,
        timestamp=ConsensusTimestamp(1),
    )


async def test_recorded_entries_come_out_of_the_tail_in_order(store: Store) -> None:
    entries = [entry() for _ in range(5)]
    for e in entries:
        await store.write(lambda tx, e=e: tx.record(e))
    rows = await store.read(lambda tx: tx.ledger_tail(Position(), 10))
    assert [row.event_id for row in rows] == [e.event_id for e in entries]
    assert [row.body for row in rows] == [e.body() for e in entries]


async def test_a_failing_function_undoes_only_itself(store: Store) -> None:
    def good(tx: Tx) -> str:
        return tx.record(entry(action="good"))

    def bad(tx: Tx) -> str:
        tx.record(entry(action="bad"))
        raise ValueError("no")

    results = await asyncio.gather(*(store.write(fn) for fn in [good, bad] * 20), return_exceptions=True)
    assert [isinstance(r, ValueError) for r in results] == [False, True] * 20
    rows = await store.read(lambda tx: tx.ledger_tail(Position(), 100))
    assert sorted(r.event_id for r in rows) == sorted(r for r in results if isinstance(r, str))


async def test_a_signal_has_been_handled_when_write_returns(store: Store) -> None:
    heard: list[str] = []
    store.on_signal("thing", heard.append)
    await store.write(lambda tx: tx.signal("thing", "x"))
    assert heard == ["x"]


async def test_a_signal_reaches_the_other_node_and_settles(make_store: MakeStore) -> None:
    one, two = make_store(node="one"), make_store(node="two")
    heard: list[str] = []
    two.on_signal("thing", heard.append)
    await one.write(lambda tx: tx.signal("thing", "x"))
    assert await one.settled(1.0)
    assert heard == ["x"]


async def test_a_double_is_an_already_exists(store: Store) -> None:
    insert = "INSERT INTO store_node (instance, node, heartbeat_ms) VALUES (?, ?, ?)"
    await store.write(lambda tx: tx.run(insert, "i", "n", 1))
    with pytest.raises(AlreadyExists):
        await store.write(lambda tx: tx.run(insert, "i", "n", 1))
