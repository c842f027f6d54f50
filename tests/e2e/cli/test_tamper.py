"""The tamper matrix, as whoever holds a copy of the log sees it: `creto verify` as a process, with the keys from elsewhere.

A log is exported, something is done to it, and the command has to say so: by its exit code, and with the code of what is wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

import creto
from creto.cli.exits import Exit
from creto.platform.audit import Audit, Checkpoint, Trust, export_log, folder_put
from creto.platform.audit.export import packed, unpacked
from creto.platform.audit.keys import log_signers
from creto.platform.crypto import SigningKey
from creto.store import Store, open_store
from tests.unit.platform.audit.logs import KEY, ORIGIN, PARTS, THIEF, entry, fill, filled, log, witness

COUNT = 700  # three bundles, the last one partial
LOG_KEYS = tuple(signer.key for signer in log_signers(ORIGIN, KEY))
TRUST = Trust.of(*LOG_KEYS)
Change = Callable[[list[bytes]], list[bytes]]


class Desk:
    """An auditor's folder: a copy of the log, the keys, the checkpoints that were kept, and other stores to forge logs in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stores: list[Store] = []
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("CRETO_")}
        self.file("trust.json", TRUST.encode())

    def store(self, name: str) -> Store:
        self.stores.append(open_store(f"sqlite:///{self.folder}/{name}.db", parts=PARTS))
        return self.stores[-1]

    def file(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return name

    def keep(self, checkpoint: Checkpoint, name: str = "kept.txt") -> str:
        return self.file(name, checkpoint.encode())

    async def exported(self, audit: Audit, store: Store) -> None:
        shutil.rmtree(self.folder / "log", ignore_errors=True)
        await export_log(audit, store, folder_put(self.folder / "log"))

    def bundle(self, tile: str, change: Change) -> None:
        file = self.folder / "log" / "tile" / "entries" / tile
        file.write_bytes(packed(change(unpacked(file.read_bytes())))[1])

    def creto(self, *arguments: str) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "creto", *arguments],
            cwd=self.folder,
            env={**self.environment, "PYTHONPATH": str(Path(creto.__file__).parents[1]), "HOME": str(self.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout

    def verify(self, *options: str) -> tuple[int, str]:
        """The exit code, and the code of the refusal."""
        status, said = self.creto("verify", *(options or ("--keys", "trust.json")), "log", "--json")
        verdict = json.loads(said)
        assert verdict["holds"] == (status == 0), said
        return status, verdict.get("error", {}).get("code", "")

    def refused(self, code: str, *options: str) -> None:
        assert self.verify(*options) == (Exit.VERIFICATION_FAILED, code)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """With a whole log on it."""
    made = Desk(tmp_path)
    store = made.store("log")
    audit, _ = await filled(store, COUNT)
    made.keep(await audit.checkpoint())
    await made.exported(audit, store)
    assert made.verify("--keys", "trust.json", "--seen", "kept.txt") == (0, "")
    yield made
    for store in made.stores:
        store.close()


def test_edit(desk: Desk) -> None:
    desk.bundle("000", lambda b: [*b[:7], b[7].replace(b"sb-7", b"sb-8"), *b[8:]])
    desk.refused("PL-602")


def test_delete(desk: Desk) -> None:
    desk.bundle("001", lambda b: [*b[:7], *b[8:]])
    desk.refused("PL-602")


def test_reorder(desk: Desk) -> None:
    desk.bundle("001", lambda b: [b[1], b[0], *b[2:]])
    desk.refused("PL-602")


def test_truncate_the_tail(desk: Desk) -> None:
    desk.bundle("002.p/188", lambda b: b[:-1])
    desk.refused("PL-603")


async def test_truncate_the_tail_and_its_checkpoints(desk: Desk) -> None:
    """A shorter log, genuine to the last bit: only who kept a checkpoint knows better."""
    shorter = desk.store("shorter")
    audit, _ = await filled(shorter, COUNT - 100)
    await desk.exported(audit, shorter)
    assert desk.verify() == (0, "")
    desk.refused("PL-603", "--keys", "trust.json", "--seen", "kept.txt")


async def test_replace_the_whole_without_the_key(desk: Desk) -> None:
    other = desk.store("other")
    audit, _ = await filled(other, COUNT, key=SigningKey.generate())
    await desk.exported(audit, other)
    desk.refused("PL-606")


async def test_replace_the_whole_with_the_key(desk: Desk) -> None:
    other = desk.store("other")
    audit, _ = await filled(other, COUNT + 10, key=THIEF)
    await desk.exported(audit, other)
    assert desk.verify() == (0, "")
    desk.refused("PL-604", "--keys", "trust.json", "--seen", "kept.txt")


async def test_split_view(desk: Desk) -> None:
    """Bob is shown another log of the same size: the checkpoint that Alice kept convicts it."""
    bobs = desk.store("bob")
    audit, _ = await filled(bobs, COUNT)
    await desk.exported(audit, bobs)
    desk.refused("PL-605", "--keys", "trust.json", "--seen", "kept.txt")


async def test_stolen_signer_key_with_a_witness(desk: Desk) -> None:
    """The thief's fork is signed perfectly; the witness has seen the true log, and does not cosign it."""
    watched, true, fork = desk.store("witness"), desk.store("true"), desk.store("fork")
    _, client = witness(watched, TRUST)
    audit = log(true, witnesses=[client], witnesses_required=1)
    await fill(true, (entry(number) for number in range(COUNT)))
    await audit.sequence_once()
    await audit.checkpoint()
    await audit.witness_once()
    desk.file("witnessed.json", Trust.of(*LOG_KEYS, witnesses=(client.key,)).encode())
    await desk.exported(audit, true)
    assert desk.verify("--keys", "witnessed.json") == (0, "")

    thief, _ = await filled(fork, COUNT + 10, key=THIEF)
    await desk.exported(thief, fork)
    assert desk.verify() == (0, "")
    desk.refused("PL-607", "--keys", "witnessed.json")


def test_edit_in_the_database_of_an_installation(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    for command in (("init",), ("agents", "register", "--name", "planner"), ("audit", "verify")):
        status, said = desk.creto(*command)
        assert status == 0, said
    with closing(sqlite3.connect(tmp_path / "data" / "creto.db")) as database, database:
        found = database.execute("SELECT seq, body FROM store_ledger").fetchall()
        [(seq, body)] = [(seq, body) for seq, body in found if b"planner" in body]
        database.execute("UPDATE store_ledger SET body = ? WHERE seq = ?", (body.replace(b"planner", b"plumber"), seq))
    status, said = desk.creto("audit", "verify")
    assert status == Exit.VERIFICATION_FAILED, said
    assert said.startswith("PL-602"), said
