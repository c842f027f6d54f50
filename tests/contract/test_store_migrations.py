"""Migrations: applied once, never changed, never ahead of the program."""

from __future__ import annotations

import importlib
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from creto.common.errors import InternalError
from creto.store import MigrationState, Store, migration_status, open_store, pending_migrations
from tests.contract.stores import MakeStore

FIRST = """
CREATE TABLE part_thing (
  name TEXT NOT NULL PRIMARY KEY,
--sqlite engine TEXT NOT NULL DEFAULT 'sqlite'
--postgres engine TEXT NOT NULL DEFAULT 'postgres'
)
--sqlite WITHOUT ROWID
;
CREATE INDEX part_thing_engine ON part_thing (engine);
"""
SECOND = "ALTER TABLE part_thing ADD COLUMN size BIGINT;\n"

Part = tuple[str, Path]

pytestmark = pytest.mark.migrates


@pytest.fixture
def part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Part:
    """A part of its own, with one migration."""
    name = f"part_{uuid.uuid4().hex}"
    folder = tmp_path / name / "migrations"
    folder.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    (folder / "0001_thing.sql").write_text(FIRST)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, name, raising=False)
    return name, folder


def states(url: str, name: str) -> list[MigrationState]:
    return [row.state for row in migration_status(url, parts=(name,)) if row.part == name]


def refused(open_it: Callable[[], Store]) -> str:
    with pytest.raises(InternalError) as raised:
        open_it()
    return raised.value.code


def test_what_is_pending_is_shown_then_applied_then_done(store_url: str, make_store: MakeStore, part: Part) -> None:
    name, folder = part
    assert states(store_url, name) == [MigrationState.PENDING]
    assert [m.name for m in pending_migrations(store_url, parts=(name,)) if m.part == name] == ["thing"]
    assert refused(lambda: make_store(parts=(name,), migrate=False)) == "PL-842"
    store = make_store(parts=(name,))
    store.submit(lambda tx: tx.run("INSERT INTO part_thing (name) VALUES (?)", "x")).result(10)
    assert store.read_now(lambda tx: tx.value("SELECT engine FROM part_thing")) == store.engine
    assert states(store_url, name) == [MigrationState.APPLIED]
    (folder / "0002_size.sql").write_text(SECOND)
    assert states(store_url, name) == [MigrationState.APPLIED, MigrationState.PENDING]
    make_store(parts=(name,))
    assert pending_migrations(store_url, parts=(name,)) == []
    make_store(parts=(name,), migrate=False)


def test_a_changed_migration_is_refused(store_url: str, make_store: MakeStore, part: Part) -> None:
    name, folder = part
    make_store(parts=(name,))
    (folder / "0001_thing.sql").write_text(FIRST + "-- edited\n")
    assert states(store_url, name) == [MigrationState.CHANGED]
    assert refused(lambda: make_store(parts=(name,))) == "PL-840"
    make_store()  # who does not use the part is not concerned


def test_a_newer_database_is_refused(store_url: str, make_store: MakeStore, part: Part) -> None:
    name, folder = part
    (folder / "0002_size.sql").write_text(SECOND)
    make_store(parts=(name,))
    (folder / "0002_size.sql").unlink()
    assert states(store_url, name) == [MigrationState.APPLIED, MigrationState.NEWER]
    assert refused(lambda: make_store(parts=(name,))) == "PL-841"


def test_a_failing_migration_leaves_nothing_behind(store_url: str, make_store: MakeStore, part: Part) -> None:
    name, folder = part
    (folder / "0002_size.sql").write_text("CREATE TABLE part_more (x BIGINT); INSERT INTO part_nowhere VALUES (1);")
    assert refused(lambda: make_store(parts=(name,))) == "PL-500"
    assert states(store_url, name) == [MigrationState.PENDING, MigrationState.PENDING]
    (folder / "0002_size.sql").write_text("CREATE TABLE part_more (x BIGINT);")
    make_store(parts=(name,))


def test_processes_that_open_together_apply_once(store_url: str, part: Part) -> None:
    name, _ = part
    opened: list[Store | Exception] = []

    def open_it() -> None:
        try:
            opened.append(open_store(store_url, parts=(name,)))
        except Exception as error:  # noqa: BLE001 - counted below
            opened.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    failed = [store for store in opened if isinstance(store, Exception)]
    for store in opened:
        if not isinstance(store, Exception):
            store.close()
    assert failed == []
    assert states(store_url, name) == [MigrationState.APPLIED]


@pytest.mark.parametrize("file", ["0003_gap.sql", "2_short.sql", "0001_double.sql"])
def test_a_misnumbered_file_is_a_mistake(store_url: str, part: Part, file: str) -> None:
    name, folder = part
    (folder / file).write_text("SELECT 1;")
    assert refused(lambda: open_store(store_url, parts=(name,))) == "PL-500"
