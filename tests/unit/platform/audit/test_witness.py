"""The witness: the C2SP protocol, its memory, and policies over what it signs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creto.common.breaker import CircuitState
from creto.common.errors import AuditError, ConnectionFailed, EnablementError, InvalidInput
from creto.platform.audit import Checkpoint, CosignerEd25519, CosignerMlDsa44, NoteKey, Trust, Witness, WitnessClient
from creto.platform.audit.keys import Ed25519Signer, log_signers
from creto.platform.audit.trust import Group, LogKeys
from creto.platform.audit.witness import AddCheckpoint, Refused, admit
from creto.platform.audit.witnessing import Witnessing
from creto.platform.crypto import SignatureSuite, SigningKey, merkle
from creto.store import Store, open_store
from tests.contract.stores import MakeStore
from tests.fuzz import examples
from tests.unit.platform.audit.logs import KEY, ORIGIN, PARTS, START, TENANT, entry, fill, filled, log, witness

LEAVES = [merkle.leaf_hash(bytes([n])) for n in range(64)]
FORK = [merkle.leaf_hash(bytes([n, n])) for n in range(64)]
ED = Ed25519Signer(ORIGIN, KEY)
TRUST = Trust.of(ED.key)


def head(size: int, leaves: Sequence[bytes] = LEAVES, signer: Ed25519Signer = ED) -> Checkpoint:
    unsigned = Checkpoint(signer.key.name, size, merkle.root(leaves[:size]))
    return unsigned.signed(signer.sign(unsigned, START))


def request(old: int, new: int, leaves: Sequence[bytes] = LEAVES, **fields: object) -> bytes:
    path = tuple(merkle.consistency_proof(leaves[:new], old)) if old <= new else ()
    made = AddCheckpoint(old, path, head(new, leaves))
    return msgspec.structs.replace(made, **fields).encode()


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store(parts=PARTS)


@pytest.fixture
def seen(store: Store) -> Witness:
    return witness(store, TRUST)[0]


async def test_a_growing_log_is_cosigned_at_each_step(seen: Witness) -> None:
    old = 0
    for new in (1, 1, 7, 8, 40):
        status, body = await seen.handle_add_checkpoint(request(old, new))
        assert status == 200, new
        cosigned = Checkpoint.parse(head(new).encode() + body)
        trust = Trust.of(ED.key, witnesses=(CosignerEd25519("witness.example/w1", SigningKey.from_seed(SignatureSuite.ED25519, b"\1" * 32)).key,))  # fmt: skip
        assert trust.check(cosigned) == {"w1"}
        old = new
    assert (await seen.seen(ORIGIN)) == head(40)


async def test_a_rollback_is_refused_also_after_a_restart(seen: Witness, store: Store) -> None:
    assert (await seen.handle_add_checkpoint(request(0, 20)))[0] == 200
    again = witness(store, TRUST)[0]
    assert await again.handle_add_checkpoint(request(0, 10)) == (409, b"20\n")
    assert await again.handle_add_checkpoint(request(10, 15)) == (409, b"20\n")
    assert await again.handle_add_checkpoint(request(20, 15, path=())) == (400, b"")


async def test_a_fork_is_refused(seen: Witness) -> None:
    assert (await seen.handle_add_checkpoint(request(0, 20)))[0] == 200
    assert await seen.handle_add_checkpoint(request(20, 30, FORK)) == (422, b"")
    assert await seen.handle_add_checkpoint(request(20, 20, FORK)) == (409, b"20\n")
    assert await seen.handle_add_checkpoint(request(20, 30, path=())) == (422, b"")
    assert (await seen.handle_add_checkpoint(request(20, 30)))[0] == 200


async def test_strangers_are_refused(seen: Witness) -> None:
    stranger = Ed25519Signer(ORIGIN, SigningKey.generate())
    elsewhere = Ed25519Signer("example.com/other", KEY)
    assert await seen.handle_add_checkpoint(AddCheckpoint(0, (), head(1, signer=stranger)).encode()) == (403, b"")
    assert await seen.handle_add_checkpoint(AddCheckpoint(0, (), head(1, signer=elsewhere)).encode()) == (404, b"")
    good = head(1)
    bad = msgspec.structs.replace(good, root=bytes(32))
    assert await seen.handle_add_checkpoint(AddCheckpoint(0, (), bad).encode()) == (403, b"")
    assert await seen.handle_add_checkpoint(b"old 0\n") == (400, b"")
    assert await seen.seen(ORIGIN) is None


async def test_of_two_at_once_one_is_cosigned(seen: Witness) -> None:
    await seen.handle_add_checkpoint(request(0, 10))
    answers = await asyncio.gather(*(seen.handle_add_checkpoint(request(10, new)) for new in (20, 15, 30, 12)))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=400))
def test_any_request_is_admitted_or_refused(data: bytes) -> None:
    with pytest.raises(Refused) as found:
        admit(data, TRUST)
    assert found.value.status in (400, 403, 404)


@given(st.data())
@settings(max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_mutated_request_is_never_admitted_as_another(data: st.DataObject) -> None:
    good = request(5, 9)
    bad = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        bad[data.draw(st.integers(0, len(bad) - 1))] = data.draw(st.integers(0, 255))
    try:
        admitted = admit(bytes(bad), TRUST)
    except Refused as refusal:
        assert refusal.status in (400, 403, 404)
    else:
        assert admitted.checkpoint == head(9)  # what is signed is untouched; path and old size are judged by their own


async def test_a_log_gathers_the_cosignatures_it_needs(store: Store, tmp_path: Path) -> None:
    stores = [open_store(f"sqlite:///{tmp_path}/w{n}.db", parts=PARTS) for n in range(3)]
    try:
        trust = Trust.of(*(s.key for s in log_signers(ORIGIN, KEY)))
        clients = [witness(s, trust, f"witness.example/w{n}", n + 1)[1] for n, s in enumerate(stores)]

        async def away(body: bytes) -> tuple[int, bytes]:
            raise ConnectionRefusedError

        reachable = clients[2]
        clients[2] = WitnessClient(reachable.key, away)
        audit = log(store, witnesses=clients, witnesses_required=2)
        entries = await fill(store, (entry(i) for i in range(300)))
        await audit.sequence_once()
        await audit.checkpoint()
        with pytest.raises(AuditError, match="PL-609"):  # signed, but not seen by enough
            await audit.prove(entries[0].event_id, tenant=TENANT)

        await audit.witness_once()

        proof = await audit.prove(entries[0].event_id, tenant=TENANT)
        assert proof.verify(await audit.trust()) == {"w1", "w2"}
        strict = Trust.of(*(s.key for s in log_signers(ORIGIN, KEY)), witnesses=tuple(c.key for c in clients))
        with pytest.raises(AuditError, match="PL-607"):
            proof.verify(strict)

        # A witness that has been away is behind: it says where, and is brought up from there.
        more = await fill(store, (entry(i) for i in range(10)))
        await audit.sequence_once()
        await audit.checkpoint()
        clients[2] = audit._witnesses[2]._transport = reachable._transport  # type: ignore[assignment,attr-defined]
        await audit.witness_once()
        proof = await audit.prove(more[0].event_id, tenant=TENANT)
        assert proof.verify(strict) == {"w1", "w2", "w3"}
        # And a log process that has forgotten how far its witnesses are asks them.
        again = log(store, witnesses=[witness(s, trust, f"witness.example/w{n}", n + 1)[1] for n, s in enumerate(stores)], witnesses_required=3)  # fmt: skip
        await fill(store, [entry(1)])
        await again.sequence_once()
        await again.checkpoint()
        await again.witness_once()
        assert (await again.checkpoints(after=310))[0].witnessed
    finally:
        for s in stores:
            s.close()


async def test_running_the_log_asks_its_witnesses_until_they_answer(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("creto.platform.audit.witnessing.WITNESS_RETRY_S_MIN", 0.01)
    other = open_store(f"sqlite:///{tmp_path}/w.db", parts=PARTS)
    try:
        seen, client = witness(other, Trust.of(*(s.key for s in log_signers(ORIGIN, KEY))))
        calls = 0
        cosigned = threading.Event()

        async def flaky(body: bytes) -> tuple[int, bytes]:
            nonlocal calls
            calls += 1
            if calls < 3:
                raise ConnectionResetError
            answer = await seen.handle_add_checkpoint(body)
            cosigned.set()
            return answer

        audit = log(store, witnesses=[WitnessClient(client.key, flaky)], witnesses_required=1)
        audit.start()
        receipt = await audit.append(entry(1))
        assert await asyncio.to_thread(cosigned.wait, 20)
        audit.stop()
        assert audit.status().failure is None
        proof = await audit.prove(receipt.event_id, tenant=TENANT)
        assert proof.verify(await audit.trust()) == {"w1"}
    finally:
        other.close()


async def test_without_enough_witnesses_the_log_says_so(store: Store) -> None:
    async def away(body: bytes) -> tuple[int, bytes]:
        raise TimeoutError

    client = WitnessClient(CosignerMlDsa44("w", bytes(32)).key, away)
    audit = log(store, witnesses=[client], witnesses_required=1)
    await fill(store, [entry(1)])
    await audit.sequence_once()
    await audit.checkpoint()
    with pytest.raises(ConnectionFailed, match="PL-503"):
        await audit.witness_once()


@pytest.mark.parametrize("answer", [(200, b""), (200, b"\xff"), (200, "— other AAAAAAAA\n".encode()), (409, b""), (409, b"x"), (409, b"99\n"), (404, b""), (500, b"x" * 100_000)])  # fmt: skip
async def test_a_witness_that_answers_nonsense_is_not_believed(answer: tuple[int, bytes]) -> None:
    async def transport(body: bytes) -> tuple[int, bytes]:
        return answer

    async def path(old: int) -> tuple[bytes, ...]:
        return ()

    client = WitnessClient(CosignerMlDsa44("w", bytes(32)).key, transport)
    with pytest.raises(EnablementError) as found:
        await client.cosign(head(5), path)
    assert found.value.code in ("PL-605", "PL-607", "PL-610")


# Policies


def keys(count: int) -> list[NoteKey]:
    return [CosignerMlDsa44(f"w{n}.example", bytes([n]) * 32).key for n in range(count)]


def test_groups_of_witnesses() -> None:
    signers = [CosignerMlDsa44(f"w{n}.example", bytes([n]) * 32) for n in range(4)]
    vkeys = [s.key.vkey for s in signers]
    policy = f"""
        # two of the three, and the fourth
        log {ED.key.vkey} https://log.example/
        witness A1 {vkeys[0]}
        witness A2 {vkeys[1]} https://a2.example/
        witness A3 {vkeys[2]}
        witness B {vkeys[3]}
        group A 2 A1 A2 A3
        group both all A B
        quorum both
    """
    trust = Trust.parse(policy.encode())
    assert Trust.parse(trust.encode()) == trust
    base = head(3)
    for chosen, enough in (((0, 1, 3), True), ((0, 1, 2), False), ((0, 3), False), ((1, 2, 3), True), ((), False)):
        checkpoint = base.signed(*(signers[n].sign(base, START) for n in chosen))
        if enough:
            assert len(trust.check(checkpoint)) == len(chosen)
        else:
            with pytest.raises(AuditError, match="PL-607"):
                trust.check(checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {"logs": ()},
        {"logs": (LogKeys(()),)},
        {"logs": (LogKeys((keys(1)[0].vkey,)),)},
        {"witnesses": {"w1": ED.key.vkey}},
        {"witnesses": {"w1": keys(1)[0].vkey, "w2": keys(1)[0].vkey}},
        {"groups": {"g": Group(1, ("unknown",))}},
        {"groups": {"g": Group(0, ("a",))}, "witnesses": {"a": keys(1)[0].vkey}},
        {"groups": {"g": Group(2, ("a",))}, "witnesses": {"a": keys(1)[0].vkey}},
        {"groups": {"g": Group(1, ("a", "a"))}, "witnesses": {"a": keys(1)[0].vkey}},
        {"groups": {"g": Group(1, ("g",))}},
        {"quorum": "unknown"},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match="PL-610"):
        msgspec.structs.replace(TRUST, **change).checked()


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='{}":,[]log witnesquorup123 \n', max_size=200).map(str.encode))
def test_any_bytes_are_a_policy_or_a_documented_error(data: bytes) -> None:
    with pytest.raises(EnablementError) as found:
        Trust.parse(data)
    assert found.value.code in ("PL-610", "PL-216")


def test_a_hybrid_log_is_believed_with_both_signatures_only() -> None:
    signers = log_signers(ORIGIN, KEY)
    trust = Trust.of(*(s.key for s in signers))
    base = Checkpoint(ORIGIN, 3, merkle.root(LEAVES[:3]))
    both = [s.sign(base, START) for s in signers]
    trust.check(base.signed(*both))
    for one in both:
        with pytest.raises(EnablementError, match="PL-606"):
            trust.check(base.signed(one))


def test_no_fault_of_a_witness_ends_the_witnessing() -> None:
    asked = [threading.Event(), threading.Event()]

    async def attempt() -> None:
        waiting = next(event for event in asked if not event.is_set())
        waiting.set()
        raise ValueError("no address")

    witnessing = Witnessing(attempt)
    witnessing.start()
    assert asked[0].wait(10)
    witnessing.notice()
    assert asked[1].wait(10)
    witnessing.stop()
    assert witnessing.failure is not None
    assert witnessing.failure.code == "PL-500"


async def test_a_witness_that_keeps_failing_is_spared(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """given a witness that is away / when it has failed five times / then it is not asked again at once, and the log says so."""
    asked = 0

    async def away(body: bytes) -> tuple[int, bytes]:
        nonlocal asked
        asked += 1
        raise ConnectionFailed("PL-503", "nobody there")

    client = WitnessClient(CosignerEd25519("w.example/1", SigningKey.generate()).key, away)
    audit, _ = await filled(store, 1, witnesses=[client], witnesses_required=1)
    for _ in range(8):
        with pytest.raises(ConnectionFailed, match="PL-503"):
            await audit.witness_once()
    assert asked == 5
    assert (client.breaker.state, client.breaker.refusals) == (CircuitState.OPEN, 3)
    assert "The circuit of witness w.example/1 is open" in caplog.text


async def test_entries_wait_while_nobody_sequences(store: Store) -> None:
    """given a log whose sequencer stands still / when entries are committed / then they wait, are counted, and none is lost."""
    audit, _ = await filled(store, 3)
    await fill(store, [entry(number) for number in range(3, 8)])
    standing = await audit.standing()
    assert (standing.size, standing.signed_size, standing.waiting) == (3, 3, 5)
    await audit.sequence_once()
    await audit.checkpoint()
    standing = await audit.standing()
    assert (standing.size, standing.signed_size, standing.waiting) == (8, 8, 0)
