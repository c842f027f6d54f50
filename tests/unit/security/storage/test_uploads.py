"""Multipart uploads: in any order, again after a failure, all or nothing."""

from __future__ import annotations

import pytest

from creto.common.errors import EnablementError
from creto.common.limits import CHUNK_BYTES, UPLOAD_TTL_S
from creto.common.timestamps import SECOND
from tests.unit.security.storage.conftest import AGENT, OTHER, TENANT, World
from tests.unit.security.storage.test_service import refused


async def test_parts_in_any_order_become_one_object(world: World) -> None:
    uploads = world.storage.uploads
    upload = await uploads.create(TENANT, "o", agent=AGENT, content_type="text/plain", metadata={"a": "b"})
    await uploads.put_part(TENANT, upload.upload, 7, b"c" * 10)
    await uploads.put_part(TENANT, upload.upload, 2, b"a" * (CHUNK_BYTES + 1))
    await uploads.put_part(TENANT, upload.upload, 3, b"")
    stat = await uploads.complete(TENANT, upload.upload, agent=AGENT)

    assert await world.storage.get(TENANT, "o") == b"a" * (CHUNK_BYTES + 1) + b"c" * 10
    assert (stat.version, stat.content_type, stat.metadata) == (upload.upload, "text/plain", {"a": "b"})
    assert await world.storage.get_range(TENANT, "o", CHUNK_BYTES, 3) == b"acc"
    assert stat == await world.storage.stat(TENANT, "o")


async def test_nothing_is_visible_before_it_completes(world: World) -> None:
    upload = await world.storage.uploads.create(TENANT, "o", agent=AGENT)
    await world.storage.uploads.put_part(TENANT, upload.upload, 1, b"half")

    await refused("PL-404", world.storage.get(TENANT, "o"))
    assert (await world.storage.list(TENANT)).items == ()


async def test_another_process_resumes_and_a_part_sent_again_replaces(world: World) -> None:
    upload = await world.storage.uploads.create(TENANT, "o", agent=AGENT)
    await world.storage.uploads.put_part(TENANT, upload.upload, 1, b"wrong")
    other = world.twin()
    assert [u.upload for u in (await other.uploads.list(TENANT)).items] == [upload.upload]
    part = await other.uploads.put_part(TENANT, upload.upload, 1, b"right")
    await other.uploads.put_part(TENANT, upload.upload, 2, b"!")

    parts = await other.uploads.parts(TENANT, upload.upload)
    assert parts[0] == part
    await other.uploads.complete(TENANT, upload.upload, agent=AGENT, parts=parts)
    assert await world.storage.get(TENANT, "o") == b"right!"


async def test_completing_again_gives_the_same_object(world: World) -> None:
    upload = await world.storage.uploads.create(TENANT, "o", agent=AGENT)
    await world.storage.uploads.put_part(TENANT, upload.upload, 1, b"x")
    first = await world.storage.uploads.complete(TENANT, upload.upload, agent=AGENT)

    assert await world.storage.uploads.complete(TENANT, upload.upload, agent=AGENT) == first
    await refused("PL-804", world.storage.uploads.put_part(TENANT, upload.upload, 2, b"y"))


async def test_what_does_not_fit_is_refused(world: World) -> None:
    uploads = world.storage.uploads
    upload = await uploads.create(TENANT, "o", agent=AGENT)
    await refused("PL-400", uploads.complete(TENANT, upload.upload, agent=AGENT))
    part = await uploads.put_part(TENANT, upload.upload, 1, b"x")
    await refused("PL-400", uploads.put_part(TENANT, upload.upload, 0, b"x"))
    await refused("PL-400", uploads.put_part(TENANT, upload.upload, 10_001, b"x"))
    await refused("PL-400", uploads.complete(TENANT, upload.upload, agent=AGENT, parts=(part, part)))
    for act in (uploads.parts, uploads.complete, uploads.abort):
        with pytest.raises(EnablementError) as caught:
            await act(OTHER, upload.upload, **({} if act == uploads.parts else {"agent": AGENT}))  # type: ignore[operator]
        assert caught.value.code == "PL-804"


async def test_conditions_and_protection_are_judged_at_completion(world: World) -> None:
    uploads = world.storage.uploads
    fresh = await uploads.create(TENANT, "o", agent=AGENT, if_absent=True)
    await uploads.put_part(TENANT, fresh.upload, 1, b"new")
    old = await world.storage.put(TENANT, "o", b"old", agent=AGENT)
    await refused("PL-409", uploads.complete(TENANT, fresh.upload, agent=AGENT))
    bound = await uploads.create(TENANT, "o", agent=AGENT, if_match=old.version)
    await uploads.put_part(TENANT, bound.upload, 1, b"new")
    await world.storage.hold(TENANT, "o", True, agent=AGENT, reason="r")
    await refused("PL-803", uploads.complete(TENANT, bound.upload, agent=AGENT))
    await world.storage.hold(TENANT, "o", False, agent=AGENT, reason="r")
    await uploads.complete(TENANT, bound.upload, agent=AGENT)

    assert await world.storage.get(TENANT, "o") == b"new"


async def test_aborting_and_forgetting_leave_nothing(world: World) -> None:
    uploads = world.storage.uploads
    for name in ("a", "b"):
        upload = await uploads.create(TENANT, name, agent=AGENT)
        await uploads.put_part(TENANT, upload.upload, 1, b"x")
    first = (await uploads.list(TENANT, limit=1)).items[0]
    await uploads.abort(TENANT, first.upload, agent=AGENT)
    assert len(await world.blobs()) == 1

    world.clock.advance((UPLOAD_TTL_S + 1) * SECOND)
    assert (await world.storage.sweep(agent=AGENT)).uploads == 1
    assert await world.blobs() == []
    assert (await uploads.list(TENANT)).items == ()


async def test_parts_swapped_within_an_object_are_refused(world: World) -> None:
    upload = await world.storage.uploads.create(TENANT, "o", agent=AGENT)
    for number in (1, 2):
        await world.storage.uploads.put_part(TENANT, upload.upload, number, b"part %d" % number)
    stat = await world.storage.uploads.complete(TENANT, upload.upload, agent=AGENT)
    names = [segment.blob for segment in stat.segments]
    contents = [(await world.backend.read(name, [(0, 1000)]))[0] for name in names]
    for name, data in zip(names, reversed(contents), strict=True):
        await world.backend.delete(name)
        await world.backend.put(name, data)

    await refused("PL-801", world.storage.get(TENANT, "o"))


async def test_a_tenant_has_so_many_uploads_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """given a tenant at its limit / when it opens another / then it is told to finish one; other tenants are not concerned."""
    monkeypatch.setattr("creto.security.storage.uploads.UPLOADS_OPEN_MAX", 2)
    uploads = world.storage.uploads
    first, _ = await uploads.create(TENANT, "a", agent=AGENT), await uploads.create(TENANT, "b", agent=AGENT)
    await refused("PL-429", uploads.create(TENANT, "c", agent=AGENT))
    await uploads.create(OTHER, "c", agent=AGENT)
    await uploads.abort(TENANT, first.upload, agent=AGENT)
    await uploads.create(TENANT, "c", agent=AGENT)
