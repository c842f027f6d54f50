"""Signals between processes on one SQLite file: who sleeps is woken, where the system can; else they look by themselves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from creto.store import Store
from creto.store.engine import JOIN
from creto.store.opening import open_store
from creto.store.signals import Signals
from creto.store.sqlite import bell
from creto.store.sqlite import signals as watching
from creto.store.sqlite.bell import Bell
from creto.store.sqlite.connection import connect, wall_ms
from tests.contract.processes import line, python_module, say

WAIT_S = 10.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "creto.db"


@pytest.fixture(params=["woken", "looking"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "looking":
        monkeypatch.setattr(bell, "watched", lambda path: None)
    else:  # they do not look by themselves: what is heard was rung
        monkeypatch.setattr(watching, "STORE_SIGNAL_REST_S", 60.0)
        monkeypatch.setattr(watching, "STORE_SIGNAL_ALONE_S", 60.0)
    return request.param


def heard_by(store: Store) -> tuple[list[str], threading.Event]:
    heard: list[str] = []
    told = threading.Event()

    def hear(payload: str) -> None:
        heard.append(payload)
        told.set()

    store.on_signal("thing", hear)
    return heard, told


def opened(path: Path) -> Store:
    return open_store(f"sqlite:///{path}")


def two_that_know_of_each_other(path: Path) -> tuple[Store, Store]:
    one, two = opened(path), opened(path)
    _, told = heard_by(one)
    two.submit(lambda tx: tx.signal("thing", "hello")).result(WAIT_S)
    assert told.wait(WAIT_S)
    return one, two


def test_a_signal_arrives_each_time(path: Path, way: str) -> None:
    one, two = two_that_know_of_each_other(path)
    heard, told = heard_by(two)
    for number in range(20):
        told.clear()
        one.submit(lambda tx, number=number: tx.signal("thing", str(number))).result(WAIT_S)
        assert told.wait(WAIT_S)
    assert heard == [str(number) for number in range(20)]
    two.close()
    one.close()


def test_signals_arrive_after_all_had_left_and_the_log_is_made_anew(path: Path, way: str) -> None:
    for _ in range(2):
        test_a_signal_arrives_each_time(path, way)
        assert not path.with_name("creto.db-wal").exists()  # who leaves last removes it


def test_signals_arrive_while_the_log_is_copied_and_cut(path: Path, way: str) -> None:
    one, two = two_that_know_of_each_other(path)
    heard, told = heard_by(two)
    for number in range(3):
        told.clear()
        one.submit(lambda tx: tx.run("CREATE TABLE IF NOT EXISTS ballast (body BLOB)")).result(WAIT_S)
        one.submit(lambda tx: tx.run("INSERT INTO ballast VALUES (zeroblob(8000000))")).result(WAIT_S)
        one.submit(lambda tx, number=number: tx.signal("thing", str(number))).result(WAIT_S)
        assert told.wait(WAIT_S)
    assert heard == ["0", "1", "2"]
    two.close()
    one.close()


def test_another_process_is_heard_and_hears(path: Path, way: str) -> None:
    store = opened(path)
    heard, told = heard_by(store)
    with python_module("tests.contract.store_node", f"sqlite:///{path}") as other:
        assert line(other) == "ready"
        say(other, "from there")
        assert told.wait(WAIT_S)
        assert heard == ["from there"]
        assert {line(other).split()[0] for _ in range(2)} == {"heard", "sent"}
        store.submit(lambda tx: tx.signal("thing", "from-here")).result(WAIT_S)
        assert line(other).split()[:2] == ["heard", "from-here"]
    store.close()


def test_who_is_told_something_knows_that_somebody_is_there(path: Path) -> None:
    """Else an answer at once would ring for nobody."""
    other, mine = opened(path), Signals("me", lambda barrier: None)
    watcher = watching.SqliteWatcher(connect(str(path), readonly=True), Bell(str(path)), mine, "me", lambda done: None)
    other.submit(lambda tx: tx.run(JOIN, "me", "here", wall_ms())).result(WAIT_S)
    watcher._others = False  # as it was when it looked last
    knew: list[bool] = []
    mine.on("thing", lambda payload: knew.append(watcher._others))
    other.submit(lambda tx: tx.signal("thing", "hello")).result(WAIT_S)
    watcher._look()
    assert knew == [True]
    watcher._db.close()
    watcher._bell.close()
    other.close()


def test_a_bell_that_rang_before_anybody_slept_is_heard(path: Path) -> None:
    path.touch()
    one, two = Bell(str(path)), Bell(str(path))
    if not two.heard:
        pytest.skip("this system wakes nobody")
    one.ring()
    one.ring()
    assert two.wait(WAIT_S)
    assert not two.wait(0)
    one.close()
    two.close()


def test_where_no_more_can_be_watched_nothing_fails(path: Path) -> None:
    missing = Bell(str(path))  # nothing there to watch
    assert not missing.heard
    assert not missing.wait(0)
    missing.ring()
    missing.close()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not say what is open")
def test_nothing_stays_open(path: Path, way: str) -> None:
    opened(path).close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        opened(path).close()
    assert len(os.listdir("/proc/self/fd")) == before
