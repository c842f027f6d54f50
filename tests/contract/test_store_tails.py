"""Tails: nothing ever appears before a position that was read, however many write."""

from __future__ import annotations

import random
import threading
from functools import partial

import pytest

from creto.common.ids import DEFAULT_TENANT
from creto.store import Entry, EntryId, Isolation, LedgerRow, Position, ReadTx, Store, Tail, Tx
from tests.contract.store_examples import entry, eventually
from tests.contract.stores import MakeStore


def page(after: Position, tx: ReadTx) -> list[LedgerRow]:
    return tx.ledger_tail(after, 7)


def follow(store: Store, stop: threading.Event, seen: list[LedgerRow]) -> None:
    """Read the ledger as a sequencer does: always on from the last position."""
    while not stop.is_set():
        after = seen[-1].position if seen else Position()
        rows = store.read_now(partial(page, after))
        assert [row.position for row in rows] == sorted(row.position for row in rows)
        seen += rows


def write(store: Store, agent: str, isolation: Isolation, acknowledged: list[str]) -> None:
    chance = random.Random(agent)
    for _ in range(40):
        entries = [entry(agent) for _ in range(chance.randint(1, 3))]

        def change(tx: Tx, entries: list[Entry] = entries) -> list[EntryId]:
            return [tx.record(e) for e in entries]

        acknowledged += store.submit(change, isolation=isolation).result(60)


@pytest.mark.parametrize("isolation", list(Isolation))
def test_a_follower_misses_nothing_while_others_write(make_store: MakeStore, isolation: Isolation) -> None:
    stores = [make_store(), make_store()]
    acknowledged: dict[str, list[str]] = {f"agent:{i}": [] for i in range(6)}
    threads = [
        threading.Thread(target=write, args=(stores[i % 2], agent, isolation, mine))
        for i, (agent, mine) in enumerate(acknowledged.items())
    ]
    stop, seen = threading.Event(), list[LedgerRow]()
    follower = threading.Thread(target=follow, args=(stores[0], stop, seen))
    for thread in [*threads, follower]:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(seen) == sum(map(len, acknowledged.values())))
    stop.set()
    follower.join()
    followed: list[str] = [row.event_id for row in seen]
    assert followed == [row.event_id for row in stores[1].read_now(lambda tx: tx.ledger_tail(Position(), 10_000))]
    for agent, event_ids in acknowledged.items():
        mine = set(event_ids)
        assert [e for e in followed if e in mine] == event_ids, f"the order of {agent} is not kept"


async def test_the_outbox_keeps_rows_until_they_are_forgotten(store: Store) -> None:
    for i in range(6):
        await store.write(lambda tx, i=i: tx.publish("s", b"%d" % i, tenant=DEFAULT_TENANT, agent=f"agent:{i % 2}"))

    def tail() -> list[bytes]:
        return [row.payload for row in store.read_now(lambda tx: tx.outbox_tail(Position(), 10))]

    eventually(lambda: len(tail()) == 6)
    rows = store.read_now(lambda tx: tx.outbox_tail(Position(), 10))
    await store.write(lambda tx: tx.outbox_forget([rows[1].position, rows[4].position]))
    assert tail() == [b"0", b"2", b"3", b"5"]
    assert await store.write(lambda tx: tx.outbox_forget_upto(rows[3].position)) == 3
    assert tail() == [b"5"]
    await store.write(lambda tx: tx.outbox_forget([]))
    await store.write(lambda tx: tx.outbox_forget_upto(rows[5].position))
    await store.write(lambda tx: tx.publish("s", b"new", tenant=DEFAULT_TENANT, agent="agent:0"))
    eventually(lambda: store.read_now(lambda tx: tx.outbox_tail(rows[5].position, 10)))
    assert tail() == [b"new"], "a position is never given twice, also when the outbox was empty"


async def test_a_tail_is_read_in_pages(store: Store) -> None:
    for _ in range(10):
        await store.write(lambda tx: tx.record(entry()))
    eventually(lambda: len(store.read_now(lambda tx: tx.ledger_tail(Position(), 100))) == 10)
    everything = store.read_now(lambda tx: tx.ledger_tail(Position(), 100))
    page = store.read_now(lambda tx: tx.ledger_tail(everything[3].position, 3))
    assert page == everything[4:7]


async def test_whoever_follows_a_tail_hears_of_each_commit_that_made_it_longer(store: Store) -> None:
    heard: list[Tail] = []
    store.on_appended(Tail.LEDGER, lambda: 1 // 0)  # it is told in the log and harms nobody
    for tail in Tail:
        store.on_appended(tail, partial(heard.append, tail))
    await store.write(lambda tx: tx.record(entry()))
    assert heard == [Tail.LEDGER], "told before `write` returns"
    await store.write(lambda tx: tx.publish("s", b"", tenant=DEFAULT_TENANT, agent="agent:1"))
    assert heard == [Tail.LEDGER, Tail.OUTBOX]
    await store.write(lambda tx: tx.signal("channel", "nothing that stays"))
    with pytest.raises(ZeroDivisionError):
        await store.write(lambda tx: (tx.record(entry()), 1 // 0))
    assert heard == [Tail.LEDGER, Tail.OUTBOX], "nothing was appended"
