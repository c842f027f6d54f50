"""kill -9 at any moment: what was acknowledged is there, and state, ledger and outbox agree.

A seed decides how many acknowledgements are awaited before the kill; the rest of the moment is chance. On PostgreSQL
every third seed kills the server as well, which then recovers while the client goes on.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections import defaultdict
from pathlib import Path

import psycopg
import pytest

from creto.store import Position, ReadTx, Store, open_store
from tests import engines
from tests.contract.processes import line, python_module
from tests.contract.store_examples import eventually

SEEDS, SEEDS_DEEP = 6, 200


@pytest.fixture(scope="module")
def seeds(deep: bool) -> range:
    return range(SEEDS_DEEP if deep else SEEDS)


class Acknowledged:
    """What the writer was told is durable, in the order of each agent."""

    def __init__(self) -> None:
        self.by_agent: dict[str, list[str]] = defaultdict(list)

    def hear(self, text: str) -> bool:
        number, _, id_ = text.partition(" ")
        if len(id_) != 36:  # the last line, cut off by the kill
            return False
        self.by_agent[f"agent:{number}"].append(id_)
        return True

    def take(self, writer: subprocess.Popen[str], count: int) -> None:
        for _ in range(count):
            if not self.hear(line(writer)):
                raise AssertionError(f"the writer ended with {writer.poll()}")

    def rest(self, writer: subprocess.Popen[str]) -> None:
        assert writer.stdout is not None
        for text in writer.stdout:
            self.hear(text.strip())


def everything(tx: ReadTx) -> tuple[list[str], list[str], list[str], dict[str, list[str]]]:
    ledger, outbox, by_agent = [], [], defaultdict(list)
    position = Position()
    while rows := tx.ledger_tail(position, 5_000):
        position = rows[-1].position
        ledger += [str(row.event_id) for row in rows]
        assert not any(b'"fail"' in row.body for row in rows), "a write that failed is in the ledger"
    position = Position()
    while messages := tx.outbox_tail(position, 5_000):
        position = messages[-1].position
        for message in messages:
            outbox.append(message.payload.decode())
            by_agent[message.agent].append(outbox[-1])
    state = [bytes(row[0]).decode() for row in tx.all("SELECT result FROM store_idempotency")]
    return ledger, outbox, state, by_agent


def check(url: str, acknowledged: Acknowledged) -> None:
    store: Store = open_store(url)
    try:
        ledger, outbox, state, by_agent = store.read_now(everything)
        assert len(set(ledger)) == len(ledger), "an entry is in the ledger twice"
        assert set(ledger) == set(outbox) == set(state)
        assert outbox == ledger
        for agent, ids in acknowledged.by_agent.items():
            present = set(by_agent[agent])
            assert [i for i in ids if i not in present] == [], f"acknowledged writes of {agent} are lost"
            told = set(ids)
            assert [i for i in by_agent[agent] if i in told] == ids, f"the order of {agent} is not kept"
    finally:
        store.close()


def test_sqlite_survives_the_death_of_its_writer(tmp_path: Path, seeds: range) -> None:
    for batch in range(0, len(seeds), 10):  # ten deaths of one file, then a new one
        url, acknowledged = f"sqlite:///{tmp_path}/{batch}.db", Acknowledged()
        for seed in seeds[batch : batch + 10]:
            with python_module("tests.crash.store_writer", url, str(seed)) as writer:
                assert line(writer) == "ready"
                acknowledged.take(writer, random.Random(seed).randint(1, 400))
                writer.kill()
                acknowledged.rest(writer)
            check(url, acknowledged)


def test_sqlite_survives_the_death_of_one_of_two_writers(tmp_path: Path, seeds: range) -> None:
    for seed in seeds[: max(2, len(seeds) // 10)]:
        url, acknowledged, others = f"sqlite:///{tmp_path}/two-{seed}.db", Acknowledged(), Acknowledged()
        with (
            python_module("tests.crash.store_writer", url, str(seed)) as one,
            python_module("tests.crash.store_writer", url, str(seed + 1)) as two,
        ):
            assert line(one) == line(two) == "ready"
            acknowledged.take(one, random.Random(seed).randint(1, 200))
            one.kill()
            others.take(two, 50)
            two.kill()
            acknowledged.rest(one)
            others.rest(two)
        store = open_store(url)
        try:
            ledger, outbox, state, _ = store.read_now(everything)
        finally:
            store.close()
        told = {i for a in (acknowledged, others) for ids in a.by_agent.values() for i in ids}
        assert told <= set(ledger)
        assert set(ledger) == set(outbox) == set(state)


class Server:
    """The PostgreSQL of the tests, which can be killed and started again."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as db:
            [(folder,)] = db.execute("SHOW data_directory").fetchall()
        self.url, self.pid_file = url, Path(folder) / "postmaster.pid"
        self.command = Path(f"/proc/{self.pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        self.started: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return int(self.pid_file.read_text().split()[0])

    def kill(self) -> None:
        pid = self.pid
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)  # while it is a zombie its successor takes it for alive

    def start(self) -> None:
        """Start it again; its orphans may hold the shared memory for a moment, so try until it serves."""
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []

        def serves() -> bool:
            if self.started is None or self.started.poll() is not None:
                self.started = subprocess.Popen([*as_user, *self.command], stderr=subprocess.DEVNULL, cwd="/")
            try:
                psycopg.connect(self.url, connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        eventually(serves, 60)

    def stop(self) -> None:
        if self.started is not None:
            engines.stop(self.started, signal.SIGINT)


def test_postgres_survives_the_death_of_its_client_and_of_itself(seeds: range) -> None:
    with engines.postgres() as url:
        server = Server(url)
        try:
            for number, seed in enumerate(seeds):
                if number % 10 == 0:  # ten deaths of one database, then a new one
                    database, acknowledged = fresh(url, f"from_{seed}"), Acknowledged()
                chance = random.Random(seed)
                with python_module("tests.crash.store_writer", database, str(seed)) as writer:
                    assert line(writer) == "ready"
                    acknowledged.take(writer, chance.randint(1, 200))
                    if seed % 3 == 2:
                        server.kill()
                        server.start()
                        acknowledged.take(writer, 100)  # some were in the pipe; the rest needs the server
                    writer.kill()
                    acknowledged.rest(writer)
                check_postgres(database, acknowledged)
        finally:
            server.stop()


def fresh(url: str, name: str) -> str:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(f"CREATE DATABASE {name}".encode())
    return url.rsplit("/", 1)[0] + f"/{name}"


def check_postgres(url: str, acknowledged: Acknowledged) -> None:
    """The killed client's last transactions may still be running on the server: wait until nobody else writes."""
    with psycopg.connect(url, autocommit=True) as db:
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'creto' AND backend_type = 'client backend'"
        )
        eventually(lambda: db.execute(others).fetchall() == [(0,)], 30)
    check(url, acknowledged)
