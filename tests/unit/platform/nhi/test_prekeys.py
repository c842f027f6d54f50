from __future__ import annotations

import pytest
from msgspec.structs import replace

from creto.common.errors import EnablementError
from creto.common.ids import TenantId
from creto.common.limits import ONE_TIME_PREKEYS_MAX
from creto.platform.crypto import KemPrivateKey, KemSuite
from creto.platform.nhi import BundleUpload, KeyBundle, Prekey, PrekeyCounts, PrekeyKind, seal_bundle
from tests.unit.platform.nhi.town import TENANT, Person, Town, key


def first_keys() -> list[Prekey]:
    """The keys of every lasting kind."""
    kinds = (PrekeyKind.IDENTITY_DH, PrekeyKind.SIGNED_DH, PrekeyKind.LAST_RESORT_KEM)
    return [Prekey(kind, 1, public_of(kind)) for kind in kinds]


def public_of(kind: PrekeyKind) -> bytes:
    kem = kind in (PrekeyKind.LAST_RESORT_KEM, PrekeyKind.ONE_TIME_KEM)
    return KemPrivateKey.generate(KemSuite.ML_KEM_768 if kem else KemSuite.X25519).public.to_bytes()


def one_time(count: int, start: int = 1) -> list[Prekey]:
    kinds = (PrekeyKind.ONE_TIME_DH, PrekeyKind.ONE_TIME_KEM)
    return [Prekey(kind, i, public_of(kind)) for kind in kinds for i in range(start, start + count)]


async def published(town: Town, count: int = 2) -> tuple[Person, BundleUpload]:
    agent = await town.agent()
    upload = seal_bundle(agent.key, [*first_keys(), *one_time(count)], tenant=TENANT, batch=1)
    assert await town.nhi.publish_bundle(TENANT, agent.nhi, upload) == PrekeyCounts(count, count)
    return agent, upload


async def test_one_time_keys_are_handed_out_once_and_then_the_last_resort(town: Town) -> None:
    agent, _ = await published(town)
    bundles = [await town.nhi.get_key_bundle(TENANT, agent.nhi) for _ in range(3)]
    for bundle in bundles:
        bundle.verify()
    assert [b.one_time_dh and b.one_time_dh.key.id for b in bundles] == [1, 2, None]
    assert [(b.kem.key.kind, b.kem.key.id) for b in bundles] == [
        (PrekeyKind.ONE_TIME_KEM, 1),
        (PrekeyKind.ONE_TIME_KEM, 2),
        (PrekeyKind.LAST_RESORT_KEM, 1),
    ]
    assert await town.nhi.prekey_counts(TENANT, agent.nhi) == PrekeyCounts(0, 0)


async def test_replenishing_adds_one_time_keys_and_rotates_lasting_ones(town: Town) -> None:
    agent, _ = await published(town, 1)
    fresh = Prekey(PrekeyKind.SIGNED_DH, 2, public_of(PrekeyKind.SIGNED_DH))
    more = seal_bundle(agent.key, [fresh, *one_time(3, start=10)], tenant=TENANT, batch=2)
    assert await town.nhi.publish_bundle(TENANT, agent.nhi, more) == PrekeyCounts(4, 4)
    bundle = await town.nhi.get_key_bundle(TENANT, agent.nhi)
    bundle.verify()
    assert bundle.signed_dh.key == fresh
    assert bundle.identity_dh.batch == 1


async def test_a_replayed_upload_brings_no_used_key_back(town: Town) -> None:
    agent, upload = await published(town)
    await town.nhi.get_key_bundle(TENANT, agent.nhi)
    with pytest.raises(EnablementError, match="PL-412"):
        await town.nhi.publish_bundle(TENANT, agent.nhi, upload)
    assert await town.nhi.prekey_counts(TENANT, agent.nhi) == PrekeyCounts(1, 1)


async def test_an_upload_by_another_key_or_for_another_tenant_is_refused(town: Town) -> None:
    agent = await town.agent()
    by_other = seal_bundle(key(9_999), first_keys(), tenant=TENANT, batch=1)
    elsewhere = seal_bundle(agent.key, first_keys(), tenant=TenantId("other"), batch=1)
    good = seal_bundle(agent.key, first_keys(), tenant=TENANT, batch=1)
    renumbered = replace(good, batch=2)
    rekinded = replace(good, keys=(replace(good.keys[0], kind=PrekeyKind.SIGNED_DH), *good.keys[1:2], good.keys[2]))
    for upload in (by_other, elsewhere, renumbered):
        with pytest.raises(EnablementError, match="PL-210"):
            await town.nhi.publish_bundle(TENANT, agent.nhi, upload)
    with pytest.raises(EnablementError):
        await town.nhi.publish_bundle(TENANT, agent.nhi, rekinded)


async def test_the_first_upload_brings_every_lasting_kind(town: Town) -> None:
    agent = await town.agent()
    upload = seal_bundle(agent.key, first_keys()[:2], tenant=TENANT, batch=1)
    with pytest.raises(EnablementError, match="LAST_RESORT_KEM"):
        await town.nhi.publish_bundle(TENANT, agent.nhi, upload)
    with pytest.raises(EnablementError, match="PL-130"):
        await town.nhi.get_key_bundle(TENANT, agent.nhi)


async def test_bounds_of_an_upload(town: Town) -> None:
    agent, _ = await published(town, 1)
    too_many = [Prekey(PrekeyKind.ONE_TIME_DH, i, b"x" * 33) for i in range(10, 10 + ONE_TIME_PREKEYS_MAX)]
    twice = [Prekey(PrekeyKind.ONE_TIME_DH, 5, b"x"), Prekey(PrekeyKind.ONE_TIME_DH, 5, b"y")]
    for keys in (
        too_many,
        twice,
        [],
        [Prekey(PrekeyKind.ONE_TIME_DH, -1, b"x")],
        [Prekey(PrekeyKind.ONE_TIME_DH, 1, b"")],
    ):
        upload = seal_bundle(agent.key, keys, tenant=TENANT, batch=2) if keys else BundleUpload(2, (), b"")
        with pytest.raises(EnablementError, match="PL-400"):
            await town.nhi.publish_bundle(TENANT, agent.nhi, upload)
    assert await town.nhi.prekey_counts(TENANT, agent.nhi) == PrekeyCounts(1, 1)


async def test_a_bundle_with_keys_in_the_wrong_places_does_not_verify(town: Town) -> None:
    agent, _ = await published(town)
    bundle = await town.nhi.get_key_bundle(TENANT, agent.nhi)
    assert bundle.one_time_dh is not None
    confused: list[KeyBundle] = [
        replace(bundle, signed_dh=bundle.one_time_dh),
        replace(bundle, kem=bundle.signed_dh),
        replace(bundle, one_time_dh=bundle.signed_dh),
        replace(bundle, tenant=TenantId("other")),
        replace(bundle, agent=replace(bundle.agent, public_key_ml_dsa=key(7).public.ml_dsa)),
        replace(bundle, kem=replace(bundle.kem, key=replace(bundle.kem.key, kind=PrekeyKind.LAST_RESORT_KEM))),
    ]
    for other in confused:
        with pytest.raises(EnablementError):
            other.verify()


async def test_a_revoked_agent_has_no_bundle(town: Town) -> None:
    agent, _ = await published(town)
    await town.nhi.revoke(TENANT, agent.nhi)
    with pytest.raises(EnablementError, match="PL-103"):
        await town.nhi.get_key_bundle(TENANT, agent.nhi)
