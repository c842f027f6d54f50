"""Objects: what callers see, over every engine and every backend."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from creto.common import wire
from creto.common.errors import (
    AlreadyExists,
    ConnectionFailed,
    CryptoError,
    EnablementError,
    InvalidInput,
    NotFound,
    Timeout,
    Unauthorized,
)
from creto.common.ids import TenantId
from creto.common.limits import BLOB_GRACE_S, BLOB_ORPHAN_S, CHUNK_BYTES, PUT_S_MAX, STORAGE_PART_BYTES
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.security.storage.seal import HEADER_BYTES, SEALED_CHUNK_BYTES
from creto.security.storage.segments import folder_of, tenant_of
from creto.store.types import Entry, Position
from tests.unit.security.storage.conftest import AGENT, OTHER, TENANT, World

LONG = random.Random(5).randbytes(STORAGE_PART_BYTES + 3 * CHUNK_BYTES + 11)


async def pieces(data: bytes, size: int = 100_001) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


async def entries(world: World) -> list[Entry]:
    rows = await world.store.read(lambda tx: tx.ledger_tail(Position(), 1000))
    return [wire.decode(row.body, Entry) for row in rows]


async def refused(code: str, act: object) -> EnablementError:
    with pytest.raises(EnablementError) as caught:
        await act  # type: ignore[misc]
    assert caught.value.code == code, caught.value
    return caught.value


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(LONG)])
async def test_an_object_comes_back(world: World, size: int) -> None:
    stat = await world.storage.put(TENANT, "a/b", LONG[:size], agent=AGENT, metadata={"case": "17"})

    assert await world.storage.get(TENANT, "a/b") == LONG[:size]
    assert stat == await world.storage.stat(TENANT, "a/b")
    assert (stat.size, stat.metadata, stat.created_by) == (size, {"case": "17"}, AGENT)


async def test_a_stream_in_and_a_stream_out(world: World) -> None:
    await world.storage.put(TENANT, "long", pieces(LONG), agent=AGENT)

    assert b"".join([piece async for piece in world.storage.stream(TENANT, "long")]) == LONG
    assert b"".join([p async for p in world.storage.stream(TENANT, "long", len(LONG) - 5)]) == LONG[-5:]


async def test_the_backend_never_sees_plaintext_or_names(world: World) -> None:
    await world.storage.put(TENANT, "secret-name", b"secret-content" * 10, agent=AGENT, metadata={"k": "secret-meta"})
    blobs = await world.blobs()
    data = (await world.backend.read(blobs[0].name, [(0, blobs[0].size)]))[0]

    assert len(blobs) == 1
    assert b"secret" not in data
    assert "secret" not in blobs[0].name
    rows = await world.store.read(lambda tx: tx.one("SELECT envelope FROM storage_object"))
    assert rows is not None
    assert b"secret" not in bytes(rows[0])


@pytest.mark.parametrize("start", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, 5 * CHUNK_BYTES + 77, STORAGE_PART_BYTES - 3])
async def test_a_range_reads_the_header_and_at_most_two_chunks(world: World, start: int) -> None:
    await world.storage.put(TENANT, "long", LONG, agent=AGENT)
    world.backend.reads.clear()

    assert await world.storage.get_range(TENANT, "long", start, CHUNK_BYTES) == LONG[start : start + CHUNK_BYTES]
    assert sum(end - begin for begin, end in world.backend.reads) <= HEADER_BYTES + 2 * SEALED_CHUNK_BYTES + 1


async def test_ranges_end_with_the_object(world: World) -> None:
    await world.storage.put(TENANT, "o", b"0123456789", agent=AGENT)

    assert await world.storage.get_range(TENANT, "o", 8, 100) == b"89"
    await refused("PL-805", world.storage.get_range(TENANT, "o", 10, 1))
    await refused("PL-805", world.storage.get_range(TENANT, "o", -1, 1))
    await refused("PL-805", world.storage.get_range(TENANT, "o", 0, 0))


async def test_tenants_do_not_see_each_other(world: World) -> None:
    await world.storage.put(TENANT, "same", b"ours", agent=AGENT)
    await world.storage.put(OTHER, "same", b"theirs", agent=AGENT)
    await world.storage.delete(OTHER, "same", agent=AGENT)

    assert await world.storage.get(TENANT, "same") == b"ours"
    await refused("PL-404", world.storage.get(OTHER, "same"))
    assert (await world.storage.list(OTHER)).items == ()
    await refused("PL-400", world.storage.get(TenantId(""), "same"))


@pytest.mark.parametrize("tenant", ["../x", "a/b", "a=2Fb", "ä", "A", "a", ".", "..", "a b"])
def test_every_tenant_has_a_folder_of_its_own(tenant: str) -> None:
    folder = folder_of(TenantId(tenant))

    assert set(folder) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=")
    assert tenant_of(folder) == tenant


async def test_keys_are_names_and_not_paths(world: World) -> None:
    for key in ("../../etc/passwd", "/abs", "a//b", ".", "ключ/鍵", "%2e%2e/x", "a\\b"):
        await world.storage.put(TENANT, key, key.encode(), agent=AGENT)
        assert await world.storage.get(TENANT, key) == key.encode()
    for key in ("", "a\nb", " a", "x" * 1025):
        await refused("PL-400", world.storage.put(TENANT, key, b"", agent=AGENT))


async def test_pages_are_in_byte_order_and_complete(world: World) -> None:
    keys = ["a", "a/1", "a/2", "a0", "B", "b", "z/é", "z/\U0001f600", "Z", "a-b", "a_b", "a/10"]
    for key in keys:
        await world.storage.put(TENANT, key, b"x", agent=AGENT)
    seen: list[str] = []
    cursor = None
    while True:
        page = await world.storage.list(TENANT, cursor=cursor, limit=5)
        seen += [item.key for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break

    assert seen == sorted(keys, key=str.encode)
    assert [i.key for i in (await world.storage.list(TENANT, "a/")).items] == ["a/1", "a/10", "a/2"]
    await refused("PL-400", world.storage.list(TENANT, cursor="§"))
    await refused("PL-400", world.storage.list(TENANT, limit=0))


async def test_conditional_puts(world: World) -> None:
    first = await world.storage.put_if_absent(TENANT, "o", b"1", agent=AGENT)
    await refused("PL-409", world.storage.put_if_absent(TENANT, "o", b"x", agent=AGENT))
    second = await world.storage.put(TENANT, "o", b"2", agent=AGENT, if_match=first.version)
    await refused("PL-412", world.storage.put(TENANT, "o", b"x", agent=AGENT, if_match=first.version))
    await world.storage.put(TENANT, "o", b"3", agent=AGENT, if_match=second.etag)
    await refused("PL-412", world.storage.put(TENANT, "none", b"x", agent=AGENT, if_match=first.version))
    await refused("PL-412", world.storage.delete(TENANT, "o", agent=AGENT, if_match=first.version))

    assert await world.storage.get(TENANT, "o") == b"3"


async def test_of_many_creators_one_wins_and_the_losers_leave_nothing(world: World) -> None:
    results = await asyncio.gather(
        *(world.storage.put_if_absent(TENANT, "o", b"%d" % n, agent=AGENT) for n in range(8)), return_exceptions=True
    )

    winners = [n for n, result in enumerate(results) if not isinstance(result, BaseException)]
    assert len(winners) == 1
    assert all(isinstance(r, AlreadyExists) for n, r in enumerate(results) if n not in winners)
    assert await world.storage.get(TENANT, "o") == b"%d" % winners[0]
    assert len(await world.blobs()) == 1


async def test_retention_holds_until_its_time_and_can_only_grow(world: World) -> None:
    until = ConsensusTimestamp(world.clock.now() + 100 * SECOND)
    await world.storage.put(TENANT, "o", b"1", agent=AGENT, retain_until=until)

    await refused("PL-802", world.storage.delete(TENANT, "o", agent=AGENT))
    await refused("PL-802", world.storage.put(TENANT, "o", b"2", agent=AGENT))
    await refused("PL-802", world.storage.retain(TENANT, "o", ConsensusTimestamp(until - SECOND), agent=AGENT))
    await world.storage.retain(TENANT, "o", ConsensusTimestamp(until + 50 * SECOND), agent=AGENT)
    world.clock.advance(101 * SECOND)
    await refused("PL-802", world.storage.delete(TENANT, "o", agent=AGENT))
    world.clock.advance(50 * SECOND)
    await world.storage.delete(TENANT, "o", agent=AGENT)
    await refused("PL-400", world.storage.put(TENANT, "p", b"", agent=AGENT, retain_until=ConsensusTimestamp(1)))


async def test_a_legal_hold_holds_until_it_is_lifted(world: World) -> None:
    await world.storage.put(TENANT, "o", b"1", agent=AGENT)
    held = await world.storage.hold(TENANT, "o", True, agent=AGENT, reason="case 17")

    assert held.legal_hold
    await refused("PL-803", world.storage.delete(TENANT, "o", agent=AGENT))
    await refused("PL-803", world.storage.put(TENANT, "o", b"2", agent=AGENT))
    await world.storage.hold(TENANT, "o", False, agent=AGENT, reason="case closed")
    await world.storage.delete(TENANT, "o", agent=AGENT)
    await refused("PL-404", world.storage.hold(TENANT, "o", True, agent=AGENT, reason=""))


async def test_every_change_is_in_the_ledger_and_no_content_is(world: World) -> None:
    stat = await world.storage.put(TENANT, "o", b"very secret", agent=AGENT, metadata={"m": "very secret"})
    await world.storage.hold(TENANT, "o", True, agent=AGENT, reason="case 17")
    await world.storage.hold(TENANT, "o", False, agent=AGENT, reason="closed")
    await world.storage.retain(TENANT, "o", ConsensusTimestamp(world.clock.now() + SECOND), agent=AGENT)
    world.clock.advance(2 * SECOND)
    await world.storage.delete(TENANT, "o", agent=AGENT, trace_id="t-1")
    with pytest.raises(NotFound):
        await world.storage.delete(TENANT, "o", agent=AGENT)

    found = await entries(world)
    assert [entry.event for entry in found] == [
        "ObjectStored", "ObjectHeld", "ObjectReleased", "ObjectRetained", "ObjectDeleted",
    ]  # fmt: skip
    assert all(entry.resource == "storage:object:o" and entry.agent_nhi == AGENT for entry in found)
    assert stat.digest.hex() in bytes(found[0].metadata).decode()
    assert b"very secret" not in b"".join(entry.body() for entry in found)


async def test_replaced_and_deleted_blobs_go(world: World) -> None:
    await world.storage.put(TENANT, "o", b"1", agent=AGENT)
    await world.storage.put(TENANT, "o", b"2", agent=AGENT)
    assert len(await world.blobs()) == 2  # someone may still read the first

    assert (await world.storage.sweep(agent=AGENT)).blobs == 0
    world.clock.advance((BLOB_GRACE_S + 1) * SECOND)
    assert (await world.storage.sweep(agent=AGENT)).blobs == 1
    await world.storage.delete(TENANT, "o", agent=AGENT)
    assert await world.blobs() == []


async def test_a_blob_that_could_not_be_removed_goes_with_the_sweep(world: World) -> None:
    await world.storage.put(TENANT, "o", b"1", agent=AGENT)
    with world.backend.failing(ConnectionFailed("PL-503")):
        await world.storage.delete(TENANT, "o", agent=AGENT)

    await refused("PL-404", world.storage.get(TENANT, "o"))
    assert len(await world.blobs()) == 1
    assert (await world.storage.sweep(agent=AGENT)).blobs == 1
    assert await world.blobs() == []


async def test_orphans_are_removed_when_no_put_can_still_want_them(world: World) -> None:
    await world.storage.put(TENANT, "o", b"1", agent=AGENT)
    orphan = (await world.blobs())[0].name[:-4] + "ffff"
    await world.backend.put(orphan, b"left by a crash")
    await world.backend.put("not-ours/file", b"somebody else's")
    world.clock.set(max(blob.modified_at for blob in await world.blobs()))

    assert (await world.storage.sweep(agent=AGENT)).blobs == 0
    world.clock.advance((BLOB_ORPHAN_S + 1) * SECOND)
    assert (await world.storage.sweep(agent=AGENT)).blobs == 1
    assert {blob.name for blob in await world.blobs()} & {orphan, "not-ours/file"} == {"not-ours/file"}
    assert await world.storage.get(TENANT, "o") == b"1"


async def test_a_put_slower_than_the_limit_does_not_commit(world: World) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"1"
        world.clock.advance((PUT_S_MAX + 1) * SECOND)
        yield b"2"

    with pytest.raises(Timeout):
        await world.storage.put(TENANT, "o", slow(), agent=AGENT)
    await refused("PL-404", world.storage.get(TENANT, "o"))


async def test_a_content_that_fails_leaves_the_old_object(world: World) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield LONG
        raise InvalidInput("PL-400", "the sender went away")

    await world.storage.put(TENANT, "o", b"old", agent=AGENT)
    await refused("PL-400", world.storage.put(TENANT, "o", broken(), agent=AGENT))

    assert await world.storage.get(TENANT, "o") == b"old"
    assert len(await world.blobs()) == 1


async def test_rotation_wraps_anew_and_touches_no_blob(world: World) -> None:
    for n in range(5):
        await world.storage.put(TENANT, f"o{n}", b"%d" % n, agent=AGENT)
    upload = await world.storage.uploads.create(TENANT, "u", agent=AGENT)
    await world.storage.uploads.put_part(TENANT, upload.upload, 1, b"part")
    before = await world.blobs()

    assert await world.storage.rotate_key(TENANT, agent=AGENT) == 6
    assert await world.storage.rewrap(TENANT, agent=AGENT) == 0
    assert sorted(b.name for b in await world.blobs()) == sorted(b.name for b in before)
    await world.keys._keystore.remove(TENANT, "storage", 1)
    for n in range(5):
        assert await world.storage.get(TENANT, f"o{n}") == b"%d" % n
    await world.storage.uploads.complete(TENANT, upload.upload, agent=AGENT)
    assert await world.storage.get(TENANT, "u") == b"part"


async def damaged(world: World, key: str) -> None:
    error = await refused("PL-801", world.storage.get(TENANT, key))
    assert isinstance(error, CryptoError)


async def overwrite(world: World, name: str, data: bytes) -> None:
    await world.backend.delete(name)
    await world.backend.put(name, data)


@pytest.mark.parametrize("size", [10, CHUNK_BYTES, CHUNK_BYTES + 10])
async def test_altered_cut_and_longer_blobs_are_refused(world: World, size: int) -> None:
    await world.storage.put(TENANT, "o", LONG[:size], agent=AGENT)
    blob = (await world.blobs())[0]
    data = (await world.backend.read(blob.name, [(0, blob.size)]))[0]
    for altered in (data[:-1], data + b"\0", data[:HEADER_BYTES], b"", data[:10], data[:70] + b"\xff" + data[71:]):
        if altered != data:
            await overwrite(world, blob.name, altered)
            await damaged(world, "o")
    await world.backend.delete(blob.name)
    await damaged(world, "o")


async def test_blobs_swapped_between_objects_are_refused(world: World) -> None:
    await world.storage.put(TENANT, "a", b"same size 1", agent=AGENT)
    await world.storage.put(TENANT, "b", b"same size 2", agent=AGENT)
    one, two = await world.blobs()
    contents = [(await world.backend.read(blob.name, [(0, blob.size)]))[0] for blob in (one, two)]
    await overwrite(world, one.name, contents[1])
    await overwrite(world, two.name, contents[0])

    await damaged(world, "a")
    await damaged(world, "b")


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE storage_object SET size = size + 1 WHERE object_key = 'a'",
        "UPDATE storage_object SET version = 'x' WHERE object_key = 'a'",
        "UPDATE storage_object SET object_key = 'a', tenant = 't2' WHERE object_key = 'b'",
        "UPDATE storage_object SET segments = (SELECT segments FROM storage_object o WHERE o.object_key = 'b')",
        "UPDATE storage_object SET envelope = (SELECT envelope FROM storage_object o WHERE o.object_key = 'b')",
    ],
)
async def test_a_row_that_was_edited_does_not_open(world: World, change: str) -> None:
    await world.storage.put(TENANT, "a", b"1", agent=AGENT)
    await world.storage.put(TENANT, "b", b"2", agent=AGENT)
    await world.storage.put(TenantId("t2"), "warm", b"", agent=AGENT)
    await world.store.write(lambda tx: tx.run(change))  # type: ignore[arg-type]

    await refused("PL-801", world.storage.get(TenantId("t2") if "t2" in change else TENANT, "a"))


async def test_reading_goes_on_when_the_object_is_replaced_in_between(world: World) -> None:
    await world.storage.put(TENANT, "o", LONG, agent=AGENT)
    stream = world.storage.stream(TENANT, "o")
    first = await anext(stream)
    await world.storage.put(TENANT, "o", b"new", agent=AGENT)

    assert first + b"".join([piece async for piece in stream]) == LONG


async def test_a_protected_object_cannot_be_replaced_by_a_race(world: World) -> None:
    await world.storage.put(TENANT, "o", b"1", agent=AGENT)

    async def slow() -> AsyncIterator[bytes]:
        yield b"2"
        await world.storage.hold(TENANT, "o", True, agent=AGENT, reason="now")

    with pytest.raises(Unauthorized):
        await world.storage.put(TENANT, "o", slow(), agent=AGENT)
    assert await world.storage.get(TENANT, "o") == b"1"
