"""Proof files: two spellings, batches, and a verifier that knows nothing of us."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.errors import AuditError, EnablementError, InvalidInput
from creto.platform.audit import (
    Checkpoint,
    CosignerEd25519,
    CosignerMlDsa44,
    InclusionProof,
    Keys,
    Trust,
    Verdict,
    batch_event,
    parse_proof,
    prove_in_batch,
    register,
    verify_file,
)
from creto.platform.audit.keys import log_signers
from creto.platform.audit.verify_file import KINDS
from creto.platform.crypto import SigningKey, merkle
from creto.store import Entry
from tests.fuzz import examples
from tests.unit.platform.audit.logs import AGENT, KEY, ORIGIN, START, TENANT, entry

SCRIPT = Path(__file__).parents[4] / "examples" / "verify_audit_proof.py"
WITNESSES = (
    CosignerEd25519("witness.example/w1", SigningKey.generate()),
    CosignerMlDsa44("witness.example/w2", bytes(32)),
)
LOG_KEYS = tuple(signer.key for signer in log_signers(ORIGIN, KEY))
TRUST = Trust.of(*LOG_KEYS, witnesses=tuple(w.key for w in WITNESSES))
LEAVES = [f"usage event {n}".encode() for n in range(9)]
BATCH = batch_event("metering.events", LEAVES).entry(tenant=TENANT, agent=AGENT, timestamp=START)


def made(index: int = 3, size: int = 13, batch: int | None = None) -> InclusionProof:
    entries: list[Entry] = [entry(n) for n in range(size)]
    if batch is not None:
        entries[index] = BATCH
    hashes = [merkle.leaf_hash(e.body()) for e in entries]
    head = Checkpoint(ORIGIN, size, merkle.root(hashes))
    signed = head.signed(*(s.sign(head, START) for s in (*log_signers(ORIGIN, KEY), *WITNESSES)))
    found = None if batch is None else prove_in_batch(LEAVES, batch)
    return InclusionProof(entries[index].body(), index, tuple(merkle.inclusion_proof(hashes, index)), signed, found)


PROOF = made(batch=4)
JSON = PROOF.to_json()
TLOG = PROOF.to_tlog_proof()


def test_both_spellings_hold_the_whole_proof() -> None:
    assert parse_proof(JSON) == PROOF
    assert parse_proof(TLOG) == msgspec.structs.replace(PROOF, batch=None)
    bare = b"\n".join(line for line in TLOG.split(b"\n") if not line.startswith(b"extra "))
    assert parse_proof(bare, PROOF.body) == parse_proof(TLOG)
    for data in (JSON, TLOG):
        assert parse_proof(data).verify(TRUST) == {"w1", "w2"}
        verdict = verify_file(data, Keys(trust=TRUST))
        assert (verdict.kind, verdict.details["index"], verdict.details["event_id"]) == ("proof", 3, BATCH.event_id)


def test_a_batch_is_proved_event_by_event() -> None:
    for number, leaf in enumerate(LEAVES):
        proof = prove_in_batch(LEAVES, number)
        proof.verify(BATCH)
        for wrong in (
            msgspec.structs.replace(proof, leaf=leaf + b"!"),
            msgspec.structs.replace(proof, index=(number + 1) % 9),
            msgspec.structs.replace(proof, count=10),
            msgspec.structs.replace(proof, path=proof.path[1:]),
        ):
            with pytest.raises(AuditError, match="PL-608"):
                wrong.verify(BATCH)
    with pytest.raises(InvalidInput):
        batch_event("metering.events", [])
    with pytest.raises(InvalidInput):  # an entry that holds no batch
        prove_in_batch(LEAVES, 0).verify(entry(1))


@pytest.mark.parametrize("change", [{"index": 4}, {"index": 13}, {"body": BATCH.body() + b" "}, {"path": PROOF.path[:-1]}, {"path": (*PROOF.path, bytes(32))}, {"path": (bytes(32), *PROOF.path[1:])}])  # fmt: skip
def test_a_proof_of_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(AuditError, match="PL-608"):
        msgspec.structs.replace(PROOF, **change).verify(TRUST)


def test_a_checkpoint_that_contradicts_a_trusted_one_is_refused() -> None:
    other = msgspec.structs.replace(PROOF.checkpoint, root=bytes(32))
    with pytest.raises(AuditError, match="PL-605"):
        verify_file(JSON, Keys(trust=TRUST, trusted=(other,)))


@given(st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_mutated_proof_says_the_same_or_is_refused(data: st.DataObject) -> None:
    good = data.draw(st.sampled_from([JSON, TLOG]))
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    try:
        verify_file(bytes(bad), Keys(trust=TRUST))
    except EnablementError as error:
        assert error.code.startswith("PL-")
    else:
        assert parse_proof(bytes(bad)).body == PROOF.body


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: b"c2sp.org/tlog-proof@v1\n" + tail))
def test_any_bytes_are_a_documented_error(data: bytes) -> None:
    with pytest.raises(EnablementError):
        verify_file(data, Keys(trust=TRUST))


def test_other_parts_add_their_kinds() -> None:
    register("greeting", lambda data: data == b"hello", lambda data, keys: Verdict("greeting", ("it says hello",)))
    try:
        assert verify_file(b"hello", Keys()).kind == "greeting"
        with pytest.raises(InvalidInput, match="greeting"):
            verify_file(b"goodbye", Keys())
        with pytest.raises(InvalidInput, match="keys"):
            verify_file(JSON, Keys())
    finally:
        del KINDS["greeting"]


# The script that knows nothing of us


def script(tmp_path: Path, data: bytes, *args: str) -> tuple[int, str]:
    (tmp_path / "proof.json").write_bytes(data)
    command = [sys.executable, "-I", str(SCRIPT), str(tmp_path / "proof.json"), *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_the_script_is_short_and_imports_nothing_of_us() -> None:
    text = SCRIPT.read_text()
    assert len(text.splitlines()) <= 100
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"cryptography"}


def test_the_script_verifies_our_proofs(tmp_path: Path) -> None:
    vkeys = [key.vkey for key in LOG_KEYS]
    seen = [f"--witness={w.key.vkey}" for w in WITNESSES]
    for args in (vkeys[:1], vkeys, [*vkeys, *seen], [*vkeys, *seen, "--quorum", "1"]):
        code, text = script(tmp_path, JSON, *args)
        assert code == 0, text
        assert text.startswith(f"ok: entry 3 of 13 in {ORIGIN}\n")
        assert BATCH.body().decode() in text


def test_the_script_refuses_what_we_refuse(tmp_path: Path) -> None:
    vkeys = [key.vkey for key in LOG_KEYS]
    stranger = [s.key.vkey for s in log_signers(ORIGIN, SigningKey.generate())]
    unseen = CosignerMlDsa44("witness.example/w9", b"\1" * 32).key.vkey
    file = msgspec.json.decode(JSON)
    changes = {
        "entry": file | {"entry": file["entry"].replace("metering", "Metering")},
        "index": file | {"index": 4},
        "negative": file | {"index": -1},
        "short": file | {"path": file["path"][1:]},
        "size": file | {"checkpoint": file["checkpoint"].replace("\n13\n", "\n14\n")},
        "missing": {"entry": "x"},
    }
    for name, changed in changes.items():
        code, text = script(tmp_path, msgspec.json.encode(changed), *vkeys)
        assert (code, "NOT VERIFIED" in text) == (1, True), name
    for args in (stranger, [*vkeys, "--witness", unseen], ["nonsense"], [vkeys[0][:-8] + "AAAAAAA="]):
        code, text = script(tmp_path, JSON, *args)
        assert (code, "NOT VERIFIED" in text) == (1, True), args
