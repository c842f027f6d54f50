"""kill -9 of publishers, consumers and the broker, at random moments: everything acknowledged by `publish` is delivered, in order."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from creto.store import open_store
from tests.contract.buses import Broker, broker

__all__ = ["broker"]  # a fixture

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
SEEDS, SEEDS_DEEP, PARTS = 4, 200, 4  # in parts, so that as many processes can share them


class Processes:
    """The nodes of one run."""

    def __init__(self, store_url: str, broker_url: str, folder: Path) -> None:
        self.store_url = store_url
        self.broker_url = broker_url
        self.folder = folder
        self.name = folder.name  # so that runs on one database tell their messages apart
        self.running: list[subprocess.Popen[bytes]] = []
        self.sent = folder / "sent"
        self.got = folder / "got"
        self.round = 0

    def start(self, role: str) -> subprocess.Popen[bytes]:
        self.round += 1
        file = self.sent if role == "publish" else self.got
        command = [sys.executable, "-m", "tests.crash.bus_node", role, self.store_url, self.broker_url, str(file)]
        with (self.folder / "errors").open("ab") as errors:
            process = subprocess.Popen(
                [*command, f"{self.name}.{self.round}"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
                stderr=errors,
            )
        self.running.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.running.remove(process)

    def stop(self) -> None:
        for process in list(self.running):
            self.kill(process)

    def wait(self, condition: object, what: str) -> None:
        assert callable(condition)
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            dead = [p.args for p in self.running if p.poll() is not None]
            errors = (self.folder / "errors").read_text()[-2000:]
            assert not dead, errors
            assert time.monotonic() < deadline, f"{what}; {errors}"
            time.sleep(0.02)


def lines(file: Path) -> list[tuple[str, str]]:
    """Whole lines only: a kill may cut one, wherever another goes on after it."""
    if not file.exists():
        return []
    whole = [line.removesuffix(";") for line in file.read_text().splitlines() if line.endswith(";")]
    return [(agent, payload) for agent, _, payload in (line.partition(" ") for line in whole) if payload]


def crash_run(nodes: Processes, rng: random.Random, broker: Broker | None) -> None:
    publisher, consumers = nodes.start("publish"), [nodes.start("consume"), nodes.start("consume")]
    nodes.wait(lambda: lines(nodes.sent) and lines(nodes.got), "nothing moves")
    for _ in range(4):
        time.sleep(rng.uniform(0.0, 0.25))
        victim = rng.choice(["publisher", "consumer", "broker" if broker else "consumer"])
        if victim == "publisher":
            nodes.kill(publisher)
            publisher = nodes.start("publish")
        elif victim == "consumer":
            nodes.kill(consumers.pop(rng.randrange(2)))
            consumers.append(nodes.start("consume"))
        elif broker is not None:
            broker.kill()
            time.sleep(rng.uniform(0.0, 0.2))
            broker.start()
    time.sleep(0.2)
    nodes.kill(publisher)
    sent = lines(nodes.sent)
    nodes.wait(lambda: set(sent) <= set(lines(nodes.got)), "not everything was delivered")
    order: dict[str, list[int]] = {}
    for agent, payload in dict.fromkeys(lines(nodes.got)):
        if not agent.startswith(f"{nodes.name}."):
            continue
        order.setdefault(agent, []).append(int(payload.split("-")[1]))
    for agent, numbers in order.items():
        assert numbers == list(range(len(numbers))), f"{agent}: {numbers[:50]}"


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[Processes]]:
    made: list[Processes] = []
    yield made
    for nodes in made:
        nodes.stop()


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", ["sqlite", "postgres", "nats"])
def test_nothing_acknowledged_is_lost(
    kind: str, part: int, deep: bool, tmp_path: Path, request: pytest.FixtureRequest, processes: list[Processes]
) -> None:
    used: Broker | None = request.getfixturevalue("broker") if kind == "nats" else None
    for seed in range(part, SEEDS_DEEP if deep else SEEDS, PARTS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        url = f"sqlite:///{folder}/creto.db" if kind != "postgres" else request.getfixturevalue("postgres_url")
        open_store(url, parts=("creto.bus",)).close()  # migrated by one before many come
        nodes = Processes(url, used.url if used else "-", folder)
        processes.append(nodes)
        if used is not None and seed > part:
            used.stop()
            used.lose_everything()
            used.start()
        crash_run(nodes, random.Random(seed), used)
        nodes.stop()
