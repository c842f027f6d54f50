"""The tamper matrix: whatever is done to a log, `verify` says so. One test per way, over the database and over an export."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import LiteralString

import msgspec
import pytest

from creto.common.errors import AuditError, EnablementError, SignatureVerificationFailed
from creto.common.ids import new_id
from creto.platform.audit import (
    Audit,
    Checkpoint,
    Keys,
    Trust,
    export_log,
    folder_put,
    verify_database,
    verify_file,
    verify_folder,
)
from creto.platform.audit.export import packed, unpacked
from creto.platform.audit.keys import log_signers
from creto.platform.crypto import SigningKey
from creto.store import Store, open_store
from tests.contract.stores import MakeStore
from tests.unit.platform.audit.logs import KEY, ORIGIN, PARTS, THIEF, entry, fill, filled, log, witness

COUNT = 700  # three tiles, the last one partial
TRUST = Trust.of(*(signer.key for signer in log_signers(ORIGIN, KEY)))


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store(parts=PARTS)


async def refused(
    store: Store, *codes: str, trust: Trust = TRUST, trusted: tuple[Checkpoint, ...] = ()
) -> EnablementError:
    with pytest.raises(EnablementError) as found:
        await store.read(lambda tx: verify_database(tx, trust, trusted))
    assert found.value.code in codes, found.value
    return found.value


async def exported(audit: Audit, store: Store, folder: Path) -> Path:
    await export_log(audit, store, folder_put(folder))
    return folder


def sql(text: str, *params: object) -> Callable[..., object]:
    return lambda tx: tx.run(text, *params)


async def test_an_untouched_log_verifies(store: Store, tmp_path: Path) -> None:
    audit, _ = await filled(store, COUNT)
    old = await audit.checkpoint()
    await fill(store, (entry(i) for i in range(50)))
    await audit.sequence_once()
    await audit.checkpoint()
    verdict = await store.read(lambda tx: verify_database(tx, TRUST, [old]))
    assert verdict.details["size"] == COUNT + 50
    folder = await exported(audit, store, tmp_path / "log")
    assert verify_folder(folder, TRUST, [old]).details == verdict.details
    verify_file((folder / "checkpoint").read_bytes(), Keys(trust=TRUST))


async def test_edit(store: Store) -> None:
    _, entries = await filled(store, COUNT)
    forged = msgspec.structs.replace(entries[300], resource="runtime:sandbox:innocent").body()
    await store.write(sql("UPDATE store_ledger SET body = ? WHERE event_id = ?", forged, entries[300].event_id))
    error = await refused(store, "PL-602")
    assert "entry 300" in error.message


async def test_edit_with_the_hash_in_the_tree(store: Store) -> None:
    """Who edits an entry and its tile cannot make the root follow."""
    from creto.platform.crypto import merkle

    _, entries = await filled(store, COUNT)
    forged = msgspec.structs.replace(entries[300], resource="runtime:sandbox:innocent").body()

    def edit(tx: object) -> None:
        tx.run("UPDATE store_ledger SET body = ? WHERE event_id = ?", forged, entries[300].event_id)  # type: ignore[attr-defined]
        row = bytearray(tx.value("SELECT hashes FROM audit_tile WHERE level = 0 AND tile = 1"))  # type: ignore[attr-defined]
        row[(300 - 256) * 32 : (301 - 256) * 32] = merkle.leaf_hash(forged)
        tx.run("UPDATE audit_tile SET hashes = ? WHERE level = 0 AND tile = 1", bytes(row))  # type: ignore[attr-defined]

    await store.write(edit)
    await refused(store, "PL-604")


async def test_edit_of_the_index(store: Store) -> None:
    """An entry that is hidden from queries by its index row."""
    await filled(store, COUNT)
    await store.write(sql("UPDATE audit_leaf SET outcome = 'success', action = 'x' WHERE log_index = 5"))
    error = await refused(store, "PL-602")
    assert "entry 5" in error.message


async def test_edit_of_an_inner_tile(store: Store) -> None:
    await filled(store, COUNT)
    await store.write(sql("UPDATE audit_tile SET hashes = ? WHERE level = 1", bytes(64)))
    await refused(store, "PL-602")


@pytest.mark.parametrize("index", [0, 300])
async def test_delete(store: Store, index: int) -> None:
    _, entries = await filled(store, COUNT)
    await store.write(sql("DELETE FROM store_ledger WHERE event_id = ?", entries[index].event_id))
    error = await refused(store, "PL-602")
    assert f"entry {index} is missing" in error.message


async def test_insert(store: Store) -> None:
    """A row slipped into the ledger before the end of the tree would never be sequenced: the ledger says more than the log."""
    _, entries = await filled(store, COUNT)

    def insert(tx: object) -> None:
        row = tx.one("SELECT agent, tenant, body FROM store_ledger WHERE event_id = ?", entries[9].event_id)  # type: ignore[attr-defined]
        tx.run("DELETE FROM store_ledger WHERE event_id = ?", entries[9].event_id)  # type: ignore[attr-defined]
        tx.run(
            "INSERT INTO store_ledger (agent, tenant, event_id, body) VALUES (?, ?, ?, ?)", *row[:2], new_id(), row[2]
        )  # type: ignore[attr-defined]

    await store.write(insert)
    await refused(store, "PL-602", "PL-603")


async def test_reorder(store: Store) -> None:
    _, entries = await filled(store, COUNT)

    def swap(tx: object) -> None:
        for one, other in ((400, 401), (401, 400)):
            tx.run("UPDATE store_ledger SET body = ? WHERE event_id = ?", entries[one].body(), entries[other].event_id)  # type: ignore[attr-defined]

    await store.write(swap)
    error = await refused(store, "PL-602")
    assert "entry 400" in error.message


async def test_truncate_the_tail(store: Store) -> None:
    _, entries = await filled(store, COUNT)
    ids = [e.event_id for e in entries[650:]]
    await store.write(lambda tx: tx.many("DELETE FROM store_ledger WHERE event_id = ?", [(i,) for i in ids]))
    error = await refused(store, "PL-603")
    assert error.got == "650"


async def test_truncate_the_tail_and_its_checkpoints(store: Store) -> None:
    """The log as it was last week, genuine to the last bit: only an earlier checkpoint, or a witness, knows better."""
    audit, _ = await filled(store, 600)
    await fill(store, (entry(i) for i in range(100)))
    await audit.sequence_once()
    newest = await audit.checkpoint()

    def put_back(tx: object) -> None:
        for text in (
            "DELETE FROM audit_checkpoint WHERE size > 600",
            "DELETE FROM store_ledger WHERE seq > (SELECT seq FROM audit_leaf WHERE log_index = 599)",
            "DELETE FROM audit_leaf WHERE log_index >= 600",
            "UPDATE audit_log SET size = 600",
        ):
            tx.run(text)  # type: ignore[attr-defined]

    await store.write(put_back)
    await store.read(lambda tx: verify_database(tx, TRUST))
    error = await refused(store, "PL-603", trusted=(newest,))
    assert (error.got, error.expected) == ("600", "at least 700")


async def test_replace_the_whole_without_the_key(store: Store, make_store: MakeStore, tmp_path: Path) -> None:
    forger = SigningKey.generate()
    await filled(store, COUNT, key=forger)
    with pytest.raises(SignatureVerificationFailed, match="PL-606"):
        await store.read(lambda tx: verify_database(tx, TRUST))


async def test_replace_the_whole_with_the_key(store: Store, tmp_path: Path) -> None:
    audit, _ = await filled(store, COUNT)
    seen = await audit.checkpoint()
    other = open_store(f"sqlite:///{tmp_path}/other.db", parts=PARTS)
    try:
        await filled(other, COUNT + 10, key=THIEF)
        await other.read(lambda tx: verify_database(tx, TRUST))  # nothing to compare with
        await refused(other, "PL-604", trusted=(seen,))
    finally:
        other.close()


async def test_split_view(store: Store, tmp_path: Path) -> None:
    """Alice and Bob are shown two logs of one size; either's checkpoint convicts the other's log."""
    alice, _ = await filled(store, COUNT)
    other = open_store(f"sqlite:///{tmp_path}/bob.db", parts=PARTS)
    try:
        bob, _ = await filled(other, COUNT)
        hers, his = await alice.checkpoint(), await bob.checkpoint()
        await refused(store, "PL-605", trusted=(his,))
        await refused(other, "PL-605", trusted=(hers,))
        with pytest.raises(AuditError, match="PL-605"):
            verify_file(hers.encode(), Keys(trust=TRUST, trusted=(his,)))
    finally:
        other.close()


async def test_stolen_signer_key_with_a_witness(store: Store, tmp_path: Path) -> None:
    """A thief signs a fork with the log's own key. The witness does not cosign it, so no verifier that asks for one believes it."""
    watched = open_store(f"sqlite:///{tmp_path}/witness.db", parts=PARTS)
    fork = open_store(f"sqlite:///{tmp_path}/fork.db", parts=PARTS)
    try:
        _, client = witness(watched, TRUST)
        audit = log(store, witnesses=[client], witnesses_required=1)
        await fill(store, (entry(i) for i in range(COUNT)))
        await audit.sequence_once()
        await audit.checkpoint()
        await audit.witness_once()
        trust = Trust.of(*(s.key for s in log_signers(ORIGIN, KEY)), witnesses=(client.key,))
        await store.read(lambda tx: verify_database(tx, trust))

        _, thiefs_client = witness(watched, TRUST)
        thief, _ = await filled(fork, COUNT + 10, key=THIEF, witnesses=[thiefs_client], witnesses_required=1)
        with pytest.raises(AuditError, match="PL-605"):
            await thief.witness_once()
        await fork.read(lambda tx: verify_database(tx, TRUST))  # the signature alone is perfect
        await refused(fork, "PL-607", trust=trust)
    finally:
        fork.close()
        watched.close()


# The same to an export


def bundle(folder: Path, tile: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    file = folder / "tile" / "entries" / tile
    file.write_bytes(packed(change(unpacked(file.read_bytes())))[1])


async def test_an_export_shows_what_was_done_to_it(store: Store, tmp_path: Path) -> None:
    audit, _ = await filled(store, COUNT)
    whole = await exported(audit, store, tmp_path / "whole")
    verify_folder(whole, TRUST)

    def edit(folder: Path) -> None:
        bundle(folder, "000", lambda b: [*b[:7], b[7].replace(b"sb-7", b"sb-8"), *b[8:]])

    def delete(folder: Path) -> None:
        bundle(folder, "001", lambda b: [*b[:7], *b[8:]])

    def reorder(folder: Path) -> None:
        bundle(folder, "001", lambda b: [b[1], b[0], *b[2:]])

    def truncate(folder: Path) -> None:
        bundle(folder, "002.p/188", lambda b: b[:-1])

    def truncate_bundle(folder: Path) -> None:
        (folder / "tile/entries/002.p/188").unlink()

    def cut_checkpoint(folder: Path) -> None:
        (folder / "checkpoint").unlink()

    def inner(folder: Path) -> None:
        (folder / "tile/1/000.p/2").write_bytes(bytes(64))

    def no_tile(folder: Path) -> None:
        (folder / "tile/0/001").unlink()

    cases = [(edit, "PL-602"), (delete, "PL-602"), (reorder, "PL-602"), (truncate, "PL-603"), (truncate_bundle, "PL-603"), (cut_checkpoint, "PL-603"), (inner, "PL-602"), (no_tile, "PL-602")]  # fmt: skip
    for number, (change, code) in enumerate(cases):
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        change(folder)
        with pytest.raises(AuditError) as found:
            verify_folder(folder, TRUST)
        assert found.value.code == code, change.__name__


async def test_every_flipped_byte_of_an_export_is_noticed(store: Store, tmp_path: Path, deep: bool) -> None:
    """All files of a small log but the keys, which a verifier brings along."""
    audit, _ = await filled(store, 5)
    folder = await exported(audit, store, tmp_path / "log")
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and f.name != "trust.json"):
        good = file.read_bytes()
        for place in range(0, len(good), 1 if deep else 101):
            bad = bytearray(good)
            bad[place] ^= 0x20
            file.write_bytes(bytes(bad))
            with pytest.raises(EnablementError):
                verify_folder(folder, TRUST)
        file.write_bytes(good)
    verify_folder(folder, TRUST)


async def test_an_export_goes_on_where_the_last_one_ended(store: Store, tmp_path: Path) -> None:
    audit, _ = await filled(store, 300)
    folder = await exported(audit, store, tmp_path / "log")
    await fill(store, [entry(i, metadata={"blob": "é" * 32_700}) for i in range(2)])  # longer than a C2SP bundle takes
    await fill(store, (entry(i) for i in range(300)))
    await audit.sequence_once()
    await audit.checkpoint()
    first = {f: f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file()}
    done = await export_log(audit, store, folder_put(folder), since=300)
    assert done.size == 602
    assert verify_folder(folder, TRUST).details["size"] == 602
    assert (folder / "tile/0/000").stat().st_mtime_ns == first[folder / "tile/0/000"]
    assert (folder / "tile/entries32/001").is_file()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE store_ledger SET body = CAST(body AS TEXT) WHERE seq = 300",
        "UPDATE store_ledger SET event_id = CAST(event_id AS BLOB) WHERE seq = 300",
        "UPDATE audit_tile SET hashes = CAST(hex(hashes) AS TEXT) WHERE level = 0 AND tile = 1",
        "UPDATE audit_tile SET hashes = 7 WHERE level = 0 AND tile = 1",
        "UPDATE audit_leaf SET resource = CAST(resource AS BLOB) WHERE log_index = 300",
        "UPDATE audit_leaf SET seq = 'x' WHERE log_index = 300",
        "UPDATE audit_checkpoint SET note = CAST(note AS TEXT)",
    ],
)
async def test_a_value_of_another_type(change: LiteralString, tmp_path: Path) -> None:
    """SQLite takes any value in any column."""
    store = open_store(f"sqlite:///{tmp_path}/log.db", parts=PARTS)
    try:
        await filled(store, COUNT)
        assert await store.write(lambda tx: tx.run(change)) >= 1
        await refused(store, "PL-602")
    finally:
        store.close()
