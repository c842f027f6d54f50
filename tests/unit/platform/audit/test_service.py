"""The log over both engines: append, sequence, ask, prove, sign, rotate."""

from __future__ import annotations

import asyncio
import threading

import msgspec
import pytest

from creto.common.errors import AuditError, EnablementError, InvalidInput, NotFound, ProductId
from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.audit import (
    AuditQuery,
    Checkpoint,
    LogStatus,
    Trust,
    batch_event,
    event_of,
    open_log,
    parse_proof,
    rotate_log_key,
    verify_database,
)
from creto.platform.audit.keys import log_signers
from creto.platform.audit.tiles import WIDTH, TileTree, tile_path, tiles_of
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore, SigningKey, merkle
from creto.store import EngineName, Outcome, Store
from tests.contract.store_examples import eventually
from tests.contract.stores import MakeStore
from tests.unit.platform.audit.logs import AGENT, KEY, ORIGIN, PARTS, START, TENANT, entry, fill, filled, log


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store(parts=PARTS)


async def indexes(audit: object, **query: object) -> list[int]:
    found = []
    async for item in audit.scan(AuditQuery(tenant=TENANT, **query)):  # type: ignore[attr-defined,arg-type]
        found.append(item.index)
    return found


async def test_an_appended_entry_is_proved_with_public_keys_alone(store: Store) -> None:
    audit = log(store)
    receipt = await audit.append(entry(1))
    with pytest.raises(AuditError, match="PL-609"):
        await audit.prove(receipt.event_id, tenant=TENANT)

    proof = await audit.prove(receipt.event_id, tenant=TENANT, fresh=True)

    trust = Trust.parse((await audit.trust()).encode())
    proof.verify(trust)
    assert proof.merkle_proof.leaf == receipt.leaf
    event = proof.event()
    assert (event.event_id, event.agent_nhi, event.outcome) == (receipt.event_id, AGENT, Outcome.SUCCESS)
    event.merkle_proof.verify()
    assert proof.record().what == "runtime:spawn"


async def test_every_entry_is_provable_at_every_checkpoint_that_covers_it(store: Store) -> None:
    audit = log(store)
    entries = []
    for size in (1, 2, 255, 3, 300):
        entries += await fill(store, (entry(len(entries) + i) for i in range(size)))
        await audit.sequence_once()
        await audit.checkpoint()
    trust = await audit.trust()
    history = await audit.checkpoints()
    assert [row.checkpoint.size for row in history] == [1, 3, 258, 261, 561]
    for row in history:
        size = row.checkpoint.size
        for index in {0, 1, size // 2, size - 1} & set(range(size)):
            proof = await audit.prove(entries[index].event_id, tenant=TENANT, size=size)
            assert proof.index == index
            proof.verify(trust)
        for other in history:
            if other.checkpoint.size <= size:
                consistency = await audit.consistency(other.checkpoint.size, size)
                consistency.verify()
                assert (consistency.old_root, consistency.new_root) == (other.checkpoint.root, row.checkpoint.root)


async def test_a_quiet_log_signs_nothing(store: Store) -> None:
    audit, _ = await filled(store, 3)
    first = await audit.checkpoint()
    assert await audit.checkpoint() is first
    assert len(await audit.checkpoints()) == 1
    with pytest.raises(NotFound, match="PL-601"):
        await log_over_nothing_checkpoint(store)


async def log_over_nothing_checkpoint(store: Store) -> None:
    await store.write(lambda tx: [tx.run(f"DELETE FROM {t}") for t in ("audit_log", "audit_checkpoint", "audit_tile")])
    await log(store).checkpoint()


async def test_two_processes_sequence_each_entry_once(make_store: MakeStore) -> None:
    stores = [make_store(parts=PARTS) for _ in range(2)]
    audits = [log(s) for s in stores]
    await fill(stores[0], (entry(i) for i in range(600)))
    done = [0, 0]

    def work(number: int) -> None:
        for _ in range(200):
            done[number] += audits[number].sequencer.step(5)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    await audits[0].sequence_once()
    checkpoint = await audits[0].checkpoint()
    assert checkpoint.size == 600
    trust = await audits[0].trust()
    await stores[0].read(lambda tx: verify_database(tx, trust))


async def test_the_thread_sequences_and_signs_what_is_committed(store: Store) -> None:
    audit = log(store)
    signed = threading.Event()
    audit.sequencer.on_checkpoint(lambda checkpoint: signed.set())
    audit.start()
    try:
        receipt = await audit.append(entry(1))
        assert await asyncio.to_thread(signed.wait, 10)
        (await audit.prove(receipt.event_id, tenant=TENANT)).verify(await audit.trust())
        await fill(store, [entry(2)])  # within a product's own transaction, without telling us
    finally:
        audit.stop()
    assert (await audit.checkpoints())[-1].checkpoint.size == 2


async def test_small_batches_leave_no_trail_of_segments_in_the_index_of_words(store: Store) -> None:
    audit = log(store)
    for number in range(150):
        await fill(store, [entry(number, metadata={"said": f"word{number} often"})])
        await asyncio.to_thread(eventually, audit.sequencer.drain)
    if store.engine is EngineName.SQLITE:
        segments = store.read_now(lambda tx: tx.value("SELECT COUNT(DISTINCT segid) FROM audit_text_idx"))
        assert segments < 20, "each batch is a segment at first; who searches reads all of them"
    assert await indexes(audit, text="word17") == [17]
    assert len(await indexes(audit, text="often")) == 150


async def test_tenants_do_not_see_one_another(store: Store) -> None:
    audit = log(store)
    other = TenantId("other")
    mine, theirs = await fill(store, [entry(1), entry(1, tenant=other, metadata={"word": "secret"})])
    await audit.sequence_once()
    await audit.checkpoint()
    assert await indexes(audit) == [0]
    assert await indexes(audit, text="secret") == []
    assert await indexes(audit, agent=AGENT, action="runtime:spawn", resource_prefix="runtime:") == [0]
    for call in (audit.get, audit.prove):
        with pytest.raises(NotFound, match="PL-601"):
            await call(theirs.event_id, tenant=TENANT)
    with pytest.raises(InvalidInput, match="tenant"):
        await audit.query(AuditQuery(tenant=TenantId("")))
    assert (await audit.get(mine.event_id, tenant=TENANT)).entry == mine


async def test_queries_by_each_condition_and_all_together(store: Store) -> None:
    audit = log(store)
    agents = [AgentId(AGENT), AgentId("agent:nhi:ed25519:22222222222222222222222222222222222222222222")]
    entries = await fill(
        store,
        (
            entry(
                i,
                agent_nhi=agents[i % 2],
                action=["runtime:spawn", "runtime:egress", "oversight:request"][i % 3],
                product=[ProductId.RUNTIME, ProductId.RUNTIME, ProductId.OVERSIGHT][i % 3],
                resource=f"runtime:sandbox:sb-{i // 10}" if i % 3 < 2 else f"oversight:request:r{i}",
                outcome=Outcome.DENIED if i % 7 == 0 else Outcome.SUCCESS,
                event=f"Type{i % 4}",
                metadata={"destination": f"API{i % 5}.example.com", "nested": [{"note": "a\tb ünïcode"}], "i": i},
                why="blocked by policy" if i % 7 == 0 else None,
            )
            for i in range(120)
        ),
    )
    await audit.sequence_once()

    async def check(expected: object, **query: object) -> None:
        wanted = [i for i, e in enumerate(entries) if expected(i, e)]  # type: ignore[operator]
        assert await indexes(audit, **query) == wanted, query
        assert await indexes(audit, **query, newest_first=True, limit=7) == wanted[::-1], query

    await check(lambda i, e: e.agent_nhi == agents[1], agent=agents[1])
    await check(lambda i, e: e.action == "runtime:egress", action="runtime:egress")
    await check(lambda i, e: e.product == ProductId.OVERSIGHT, product=ProductId.OVERSIGHT)
    await check(lambda i, e: e.outcome == Outcome.DENIED, outcome=Outcome.DENIED)
    await check(lambda i, e: e.event == "Type2", event="Type2")
    await check(lambda i, e: e.resource == "runtime:sandbox:sb-3", resource="runtime:sandbox:sb-3")
    for prefix in ("runtime:", "runtime:sandbox:", "runtime:sandbox:sb-1", "ru", "oversight:request:r1", "nothing"):
        await check(lambda i, e, p=prefix: e.resource.startswith(p), resource_prefix=prefix)
    await check(lambda i, e: i % 5 == 3, text="api3")
    await check(lambda i, e: i % 5 == 3 and i % 7 == 0, text="POLICY api3")
    await check(lambda i, e: True, text="exam* ünïcode b")
    await check(lambda i, e: False, text="destination")  # the name of a field is no word
    await check(lambda i, e: False, text="ztenantx")
    low, high = entries[30].timestamp, entries[60].timestamp
    await check(lambda i, e: 30 <= i < 60, since=low, until=high)
    await check(
        lambda i, e: 30 <= i < 60 and i % 2 == 0 and e.action == "runtime:spawn" and i % 5 == 2,
        since=low, until=high, agent=agents[0], action="runtime:spawn", text="api2", resource_prefix="runtime:sandbox:sb",
    )  # fmt: skip
    await check(lambda i, e: i > 100, after=100)


async def test_pages_neither_skip_nor_repeat_while_the_log_grows(store: Store) -> None:
    audit, _ = await filled(store, 25)
    for newest_first in (False, True):
        query = AuditQuery(tenant=TENANT, limit=10, newest_first=newest_first)
        seen = []
        before = (await audit.query(AuditQuery(tenant=TENANT, newest_first=True, limit=1))).items[0].index + 1
        while True:
            page = await audit.query(query)
            seen += [item.index for item in page.items]
            await fill(store, [entry(99)])
            await audit.sequence_once()
            if page.cursor is None or len(seen) > 60:
                break
            query = msgspec.structs.replace(query, cursor=page.cursor)
        assert sorted(seen) == list(range(len(seen)))
        assert len(seen) >= before
        assert seen == sorted(seen, reverse=newest_first)


async def test_times_out_of_order_are_found_all_the_same(store: Store) -> None:
    audit = log(store)
    times = [(i * 7919) % 1000 for i in range(700)]
    await fill(store, (entry(i, timestamp=ConsensusTimestamp(START + t * SECOND)) for i, t in enumerate(times)))
    await audit.sequence_once()
    for low, high in ((0, 10), (500, 501), (990, 2000), (1001, 1002)):
        found = await indexes(audit, since=START + low * SECOND, until=START + high * SECOND)
        assert found == [i for i, t in enumerate(times) if low <= t < high]


@pytest.mark.parametrize("change", [{"limit": 0}, {"limit": 1001}, {"cursor": "x"}, {"cursor": "é"}, {"cursor": "W10"}, {"text": "..."}, {"text": "a " * 17}, {"resource": "a", "resource_prefix": "b"}, {"resource_prefix": ""}])  # fmt: skip
async def test_a_query_that_makes_no_sense_is_refused(store: Store, change: dict[str, object]) -> None:
    audit, _ = await filled(store, 3)
    with pytest.raises(InvalidInput):
        await audit.query(AuditQuery(tenant=TENANT, **change))  # type: ignore[arg-type]


async def test_a_cursor_serves_its_own_query_only(store: Store) -> None:
    audit, _ = await filled(store, 5)
    cursor = (await audit.query(AuditQuery(tenant=TENANT, limit=2))).cursor
    assert cursor is not None
    again = await audit.query(AuditQuery(tenant=TENANT, limit=1, cursor=cursor))
    assert again.items[0].index == 2
    with pytest.raises(InvalidInput, match="cursor"):
        await audit.query(AuditQuery(tenant=TENANT, action="x", cursor=cursor))


async def test_hostile_names_are_found_and_break_nothing(store: Store) -> None:
    audit = log(store)
    names = ['a"b', "a' OR 1=1 --", "a\nb", "a* OR x", "a=b c=d", "\\", "a\u2028b", "ünï", "A", "a", "(", "NEAR/2"]
    await fill(store, (entry(i, action=name, resource=f"x:{name}:y") for i, name in enumerate(names)))
    await audit.sequence_once()
    for i, name in enumerate(names):
        assert await indexes(audit, action=name) == [i], name
        assert await indexes(audit, resource=f"x:{name}:y") == [i], name
        assert await indexes(audit, resource_prefix=f"x:{name}:") == [i], name
        try:
            await indexes(audit, text=name)
        except InvalidInput as error:
            assert error.field == "text"


async def test_rotating_the_key_keeps_old_checkpoints_verifiable(store: Store) -> None:
    audit, entries = await filled(store, 3)
    old = (await audit.checkpoints())[-1].checkpoint
    proof = await audit.prove(entries[0].event_id, tenant=TENANT)

    rotated = log(store, SigningKey.generate())
    await rotated.sequence_once()
    new = await rotated.checkpoint()

    trust = await rotated.trust()
    trust.check(old)
    trust.check(new)
    proof.verify(trust)
    assert new.size == 4
    notice = (await rotated.query(AuditQuery(tenant=TenantId("platform")))).items[0]
    assert event_of(notice.entry).new_vkeys == trust.logs[1].vkeys  # type: ignore[attr-defined]
    # The key that was rotated away signs nothing beyond what it had signed.
    late = msgspec.structs.replace(new, signatures=tuple(s.sign(new, START) for s in log_signers(ORIGIN, KEY)))
    with pytest.raises(EnablementError, match="PL-606"):
        trust.check(late)


async def test_the_key_lives_in_the_keystore_and_is_rotated_there(make_store: MakeStore) -> None:
    store = make_store(parts=("creto.store", "creto.platform.crypto", "creto.platform.audit"))
    keystore = Keystore(store, Kek.generate())
    audit = await open_log(store, ManualClock(START), keystore, ORIGIN)
    [first] = await fill(store, [entry(1)])
    await audit.sequence_once()
    proof = await audit.prove(first.event_id, tenant=TENANT, fresh=True)

    await rotate_log_key(audit, keystore)
    [second] = await fill(store, [entry(2)])
    later = await audit.prove(second.event_id, tenant=TENANT, fresh=True)

    again = await open_log(store, ManualClock(START), keystore, ORIGIN)
    await again.sequence_once()
    trust = await again.trust()
    assert len(trust.logs) == 2
    proof.verify(trust)
    later.verify(trust)
    assert (again.status().size, again.status().failure) == (3, None)


async def test_a_failure_is_told_and_overcome(store: Store) -> None:
    audit, _ = await filled(store, 3)
    await store.write(lambda tx: tx.run("UPDATE audit_log SET size = 2"))
    await fill(store, [entry(4)])
    audit.sequencer._attempt()  # finds that its place is taken, …
    audit.sequencer._attempt()  # … and by whom
    assert "PL-604" in (audit.status().failure or "")
    await store.write(lambda tx: tx.run("UPDATE audit_log SET size = 3"))
    audit.sequencer._attempt(final=True)
    assert audit.status() == LogStatus(size=4, signed_size=4)


async def test_a_database_that_was_put_back_is_not_signed(store: Store) -> None:
    audit, _ = await filled(store, 10)

    def put_back(tx: object) -> None:
        tx.run("UPDATE audit_log SET size = 5")  # type: ignore[attr-defined]

    await store.write(put_back)
    await fill(store, [entry(11)])
    with pytest.raises(AuditError, match="PL-604"):
        await audit.sequence_once()
    with pytest.raises(AuditError, match="PL-604"):
        await log(store).sequence_once()


async def test_a_changed_tree_is_not_signed(store: Store) -> None:
    await filled(store, 10)
    forged = merkle.leaf_hash(b"forged")
    await store.write(lambda tx: tx.run("UPDATE audit_tile SET hashes = ? WHERE level = 0", forged * 10))
    await fill(store, [entry(11)])
    with pytest.raises(AuditError, match="PL-604"):
        await log(store).sequence_once()


async def test_another_log_does_not_take_over_the_database(store: Store) -> None:
    await filled(store, 1)
    with pytest.raises(AuditError, match="PL-604"):
        await log(store, origin="example.com/other").sequence_once()


async def test_entries_larger_than_a_page_of_text_are_logged_and_found(store: Store) -> None:
    audit = log(store)
    words = [f"word{i}" for i in range(5_000)]
    huge, _ = await fill(store, [entry(0, metadata={"words": words}), entry(1, metadata={"blob": "x" * 60_000})])
    await audit.sequence_once()
    proof = await audit.prove(huge.event_id, tenant=TENANT, fresh=True)
    proof.verify(await audit.trust())
    assert await indexes(audit, text="word5") == [0]
    assert await indexes(audit, text="x" * 64) == [1]


async def test_no_entry_stops_the_log(store: Store) -> None:
    """Whatever bytes the ledger took, they are in the tree; and the log goes on."""
    deep_json = b"[" * 5_000 + b"]" * 5_000
    odd = [
        entry(0, metadata={}, resource="r" * 100_000),
        entry(1, action="a\0b", event="\0", resource="x:\0:y"),
        msgspec.structs.replace(entry(2), metadata=msgspec.Raw(b"{not json")),
        msgspec.structs.replace(entry(3), metadata=msgspec.Raw(deep_json)),
        msgspec.structs.replace(entry(4), metadata=msgspec.Raw(b"[" + b"9" * 4_000 + b", 1e400, null, true]")),
        msgspec.structs.replace(entry(5), timestamp=ConsensusTimestamp(2**70)),
        entry(6, metadata={"words": "'a':1A & b | \\ \"quoted\" <-> \u2028 \U0001f600 e\u0301"}),
        entry(7),
    ]
    audit = log(store)
    await fill(store, odd)
    assert await audit.sequence_once() == len(odd)
    checkpoint = await audit.checkpoint()
    trust = await audit.trust()
    await store.read(lambda tx: verify_database(tx, trust))
    proof = await audit.prove(odd[-1].event_id, tenant=TENANT)
    proof.verify(trust)
    assert checkpoint.size == len(odd)
    assert {0, 1, 6, 7} <= set(await indexes(audit))


async def test_checkpoints_follow_the_cadence(store: Store) -> None:
    clock = ManualClock(START)
    audit = log(store)
    audit.sequencer._clock = clock
    await fill(store, [entry(1)])
    audit.sequencer.drain()
    assert audit.sequencer.due()
    await audit.checkpoint()
    await fill(store, [entry(2)])
    audit.sequencer.drain()
    assert not audit.sequencer.due()
    clock.advance(SECOND)
    assert audit.sequencer.due()


async def test_a_rotation_in_one_process_is_followed_by_the_others(make_store: MakeStore) -> None:
    """given two processes with the log open / when one rotates its key / then the other signs with the new one, never with the old."""
    parts = (*PARTS, "creto.platform.crypto")
    stores = [make_store(parts=parts), make_store(parts=parts)]
    keystores = [Keystore(store, Kek(bytes(32))) for store in stores]
    here, there = [
        await open_log(store, ManualClock(START), keystore, ORIGIN)
        for store, keystore in zip(stores, keystores, strict=True)
    ]
    await fill(stores[0], [entry(1)])
    for audit in (here, there):
        await audit.sequence_once()
    old = await there.checkpoint()

    await rotate_log_key(here, keystores[0])
    await fill(stores[0], [entry(2)])
    await there.sequence_once()
    new = await there.checkpoint()

    trust = Trust.parse((await there.trust()).encode())
    assert len(trust.logs) == 2
    for checkpoint in (old, new):
        trust.check(checkpoint)
    assert {s.key_id for s in new.signatures}.isdisjoint(s.key_id for s in old.signatures)
    alone = Trust(trust.logs[:1])
    with pytest.raises(EnablementError):
        alone.check(new)
    rotations = (await there.query(AuditQuery(tenant=TenantId("platform"), event="LogKeyRotated"))).items
    assert len(rotations) == 1
    verify_database_holds = await stores[1].read(lambda tx: verify_database(tx, trust, [old]))
    assert verify_database_holds.shows


async def test_a_rotation_that_was_cut_off_is_finished_by_whoever_opens_the_log(make_store: MakeStore) -> None:
    """given a crash between the new key in the keystore and its first use / then the old one signs on until the next start."""
    store = make_store(parts=(*PARTS, "creto.platform.crypto"))
    keystore = Keystore(store, Kek(bytes(32)))
    running = await open_log(store, ManualClock(START), keystore, ORIGIN)
    await fill(store, [entry(1)])
    await running.sequence_once()
    await running.checkpoint()
    await keystore.rotate("platform", f"audit/{ORIGIN}")
    await fill(store, [entry(2)])
    await running.sequence_once()
    between = await running.checkpoint()
    assert len((await running.trust()).logs) == 1

    restarted = await open_log(store, ManualClock(START), keystore, ORIGIN)
    await fill(store, [entry(3)])
    await restarted.sequence_once()
    after = await restarted.checkpoint()
    trust = await restarted.trust()
    assert len(trust.logs) == 2
    for checkpoint in (between, after):
        trust.check(checkpoint)

    await fill(store, [entry(4)])  # the one that still runs finds the new key at its next signature
    await running.sequence_once()
    (await running.trust()).check(await running.checkpoint())


async def test_a_key_that_was_rotated_away_signs_nothing(make_store: MakeStore) -> None:
    """A process that cannot learn of the new key stops signing; nothing is lost, and its status says why."""
    store = make_store(parts=PARTS)
    stale = log(store)
    await fill(store, [entry(1)])
    await stale.sequence_once()
    await stale.checkpoint()
    newer = log(store, SigningKey.generate())
    await newer.sequence_once()
    await fill(store, [entry(2)])
    await stale.sequence_once()
    with pytest.raises(AuditError, match="rotated"):
        await stale.checkpoint()
    with pytest.raises(AuditError, match="rotated"):
        await log(store).sequence_once()
    (await newer.trust()).check(await newer.checkpoint())


async def test_a_monitor_rebuilds_the_tree_from_the_files(store: Store) -> None:
    """given a log of more than one full tile / when a monitor fetches checkpoint and tiles by their paths / then they have one root."""
    audit = log(store)
    await fill(store, (entry(i) for i in range(WIDTH + 9)))
    await audit.sequence_once()
    await audit.checkpoint()
    head = Checkpoint.parse(await audit.file("checkpoint"))
    tiles = {
        (level, index): await audit.file(tile_path(level, index, width)) for level, index, width in tiles_of(head.size)
    }
    assert TileTree(lambda level, index: tiles[level, index], head.size).root() == head.root
    assert await audit.file(f"checkpoints/{head.size}") == head.encode()
    await fill(store, [entry(1_000)])
    await audit.sequence_once()  # in the tree, under no checkpoint yet
    absent = ("tile/0/001.p/10", "tile/0/001", "tile/1/000", "tile/9/000", "tile/entries/000", "checkpoints/7", "x", "")
    for path in absent:
        with pytest.raises(NotFound, match="PL-404"):
            await audit.file(path)
    for path in ("tile/0/1", "tile/0/000.p/0", "tile/0/../0", "checkpoints/07"):
        with pytest.raises(InvalidInput):
            await audit.file(path)


async def test_an_event_is_proved_in_its_batch_and_the_batch_in_the_log(store: Store) -> None:
    audit, leaves = log(store), [f"event {n}".encode() for n in range(5)]
    batch, plain = await fill(
        store, [batch_event("metering.events", leaves).entry(tenant=TENANT, agent=AGENT, timestamp=START), entry(1)]
    )
    proof = await audit.prove_in_batch(batch.event_id, leaves, 3, tenant=TENANT, fresh=True)
    parse_proof(proof.to_json()).verify(await audit.trust())
    assert proof.batch is not None
    assert proof.batch.leaf == b"event 3"
    with pytest.raises(AuditError, match="PL-608"):
        await audit.prove_in_batch(batch.event_id, leaves[:4], 3, tenant=TENANT)
    for event, index in ((batch, 5), (plain, 0)):
        with pytest.raises(InvalidInput):
            await audit.prove_in_batch(event.event_id, leaves, index, tenant=TENANT)
