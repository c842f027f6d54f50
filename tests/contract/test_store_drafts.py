"""Transactions worked out before they begin."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from creto.common.errors import InvalidInput
from creto.common.ids import DEFAULT_TENANT
from creto.store import Isolation, Position, Store, Tail, Tx
from creto.store.draft import AsSeen, drafted
from tests.contract.store_examples import entry, eventually
from tests.contract.stores import MakeStore

SAVE = "UPDATE store_node SET node = ? WHERE instance = 'test-1'"
FAR = 4_000_000_000_000
WHO = "SELECT node FROM store_node WHERE instance = 'test-1'"


async def begin(store: Store) -> None:
    await store.write(
        lambda tx: tx.run("INSERT INTO store_node (instance, node, heartbeat_ms) VALUES ('test-1', 'n', ?)", FAR)
    )


async def write(store: Store, work: Callable[[Tx], str], holds: bool = True) -> str:
    """Its draft, if `n` is still there, else the word "afresh"."""

    def afresh(tx: Tx) -> str:
        return "afresh"

    draft = drafted(work, AsSeen(SAVE, " AND node = ?", "n"), afresh, lambda: holds)
    return await store.write(draft, isolation=Isolation.READ_COMMITTED)


def change(tx: Tx) -> str:
    tx.record(entry())
    tx.publish("thing.done", b"{}", tenant=DEFAULT_TENANT, agent="a")
    tx.push(SAVE, "n!")
    tx.signal("thing", "x")
    return "drafted"


async def test_a_draft_does_all_that_a_transaction_does(store: Store) -> None:
    await begin(store)
    heard: list[str] = []
    store.on_signal("thing", heard.append)
    store.on_appended(Tail.OUTBOX, lambda: heard.append("outbox"))
    assert await write(store, change) == "drafted"
    assert heard == ["x", "outbox"]
    assert store.read_now(lambda tx: tx.value(WHO)) == "n!"
    eventually(lambda: len(store.read_now(lambda tx: tx.ledger_tail(Position(), 9))) == 1)
    eventually(lambda: len(store.read_now(lambda tx: tx.outbox_tail(Position(), 9))) == 1)


async def test_a_draft_of_what_has_changed_writes_nothing(store: Store) -> None:
    await begin(store)
    await store.write(lambda tx: tx.run(SAVE, "other"))
    assert await write(store, change) == "afresh"
    assert store.read_now(lambda tx: tx.value(WHO)) == "other"
    assert store.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM store_ledger")) == 0


def asks(tx: Tx) -> str:
    tx.push(SAVE, "n!")
    return str(tx.value(WHO))


def counts(tx: Tx) -> str:
    return str(tx.run(SAVE, "n!"))


def locks(tx: Tx) -> str:
    tx.push(SAVE, "n!")
    tx.lock("thing")
    return "locked"


def fails(tx: Tx) -> str:
    tx.push(SAVE, "n!")
    raise InvalidInput.of("thing", got=1, expected="2")


def changes_nothing(tx: Tx) -> str:
    return "nothing"


@pytest.mark.parametrize("work", [asks, counts, locks, fails, changes_nothing])
async def test_what_cannot_be_drafted_runs_in_the_transaction(store: Store, work: Callable[[Tx], str]) -> None:
    await begin(store)
    assert await write(store, work) == "afresh"
    assert store.read_now(lambda tx: tx.value(WHO)) == "n"


async def test_a_draft_that_holds_no_more_is_thrown_away(store: Store) -> None:
    await begin(store)
    assert await write(store, change, holds=False) == "afresh"
    assert store.read_now(lambda tx: tx.value(WHO)) == "n"


async def test_of_drafts_at_once_one_is_written(make_store: MakeStore) -> None:
    stores = [make_store(), make_store()]
    await begin(stores[0])
    results = await asyncio.gather(*(write(stores[n % 2], change) for n in range(20)))
    assert sorted(results) == ["afresh"] * 19 + ["drafted"]
    eventually(lambda: len(stores[0].read_now(lambda tx: tx.ledger_tail(Position(), 99))) == 1)
