"""Signals over PostgreSQL: who is alone sends none, and whoever joins misses none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from creto.common.errors import Timeout
from creto.store import Isolation, Store, Tx, open_store
from creto.store.postgres.tx import CHANNEL
from tests.contract.store_examples import eventually

WAITING = "SELECT COUNT(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def store(postgres_url: str) -> Iterator[Store]:
    with closing(open_store(postgres_url)) as opened:
        yield opened


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


def held(store: Store, isolation: Isolation, signal_first: bool) -> tuple[Future[None], threading.Event]:
    """A transaction that has begun, and has signalled or will; it goes on when the event is set."""
    begun, go_on = threading.Event(), threading.Event()

    def change(tx: Tx) -> None:
        if signal_first:
            tx.signal("thing", "x")
        tx.value("SELECT COUNT(*) FROM store_node")
        begun.set()
        assert go_on.wait(30)
        if not signal_first:
            tx.signal("thing", "x")

    future = store.submit(change, isolation=isolation)
    assert begun.wait(30)
    return future, go_on


def hears(store: Store) -> list[str]:
    heard: list[str] = []
    store.on_signal("thing", heard.append)
    return heard


def test_who_is_alone_sends_nothing(store: Store, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute(f"LISTEN {CHANNEL}".encode())
        store.submit(lambda tx: tx.signal("thing", "x")).result(30)
        other.execute(f"NOTIFY {CHANNEL}, 'ours'".encode())
        assert [notice.payload for notice in other.notifies(timeout=30, stop_after=1)] == ["ours"]


@pytest.mark.parametrize("isolation", Isolation)
def test_a_transaction_from_before_tells_who_has_joined_since(
    store: Store, postgres_url: str, isolation: Isolation
) -> None:
    """Whatever it sees of the tables: under serializable it does not see who has joined."""
    future, go_on = held(store, isolation, signal_first=False)
    with closing(open_store(postgres_url)) as joined:
        heard = hears(joined)
        go_on.set()
        future.result(30)
        eventually(lambda: heard == ["x"])


@pytest.mark.parametrize("isolation", Isolation)
def test_who_joins_waits_for_those_that_looked_before(
    store: Store, postgres_url: str, isolation: Isolation, pool: ThreadPoolExecutor
) -> None:
    future, go_on = held(store, isolation, signal_first=True)
    joining = pool.submit(open_store, postgres_url)
    with psycopg.connect(postgres_url, autocommit=True) as other:
        eventually(lambda: other.execute(WAITING).fetchall() == [(1,)])
    assert not joining.done()
    go_on.set()
    future.result(30)
    with closing(joining.result(30)) as joined:
        heard = hears(joined)
        store.submit(lambda tx: tx.signal("thing", "y")).result(30)
        eventually(lambda: heard == ["y"])


def test_who_was_taken_for_dead_joins_anew(store: Store, postgres_url: str) -> None:
    with closing(open_store(postgres_url, node="slept")) as slept:
        heard, lost = hears(slept), threading.Event()
        slept.on_signal_lost(lost.set)
        with psycopg.connect(postgres_url, autocommit=True) as other:
            other.execute("DELETE FROM store_node WHERE node = 'slept'")
            assert lost.wait(30)
            eventually(lambda: other.execute("SELECT last_value FROM store_joined").fetchall() == [(2,)])
        eventually(lambda: slept.signals_alive)
        store.submit(lambda tx: tx.signal("thing", "z")).result(30)
        eventually(lambda: heard == ["z"])


def test_who_cannot_join_in_time_is_told_to_try_again(
    store: Store, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("creto.store.postgres.signals.WAITS_MAX", 1)
    future, go_on = held(store, Isolation.READ_COMMITTED, signal_first=True)
    with pytest.raises(Timeout, match="PL-504") as refused:
        open_store(postgres_url)
    assert refused.value.retryable
    go_on.set()
    future.result(30)
    open_store(postgres_url).close()
