"""The keystore over every engine."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from creto.common.errors import AlreadyExists, CryptoError, InvalidInput, NotFound, SignatureVerificationFailed
from creto.common.ids import AgentIdentity, TenantId
from creto.platform.crypto import (
    CryptoClient,
    Kek,
    KemPrivateKey,
    KemSuite,
    KeyKind,
    Keystore,
    SecretKey,
    SignatureSuite,
    SigningKey,
    SignRequest,
    VerifyRequest,
)
from creto.store.types import Store, Tx
from tests.contract.stores import MakeStore

PARTS = ("creto.store", "creto.platform.crypto")
KEK = Kek(bytes(range(32)))
ED = SignatureSuite.ED25519


class Now:
    """A clock that stands still."""

    degraded = False

    def now(self) -> int:
        return 1_000


@pytest.fixture
def store(make_store: MakeStore) -> Store:
    return make_store(parts=PARTS)


@pytest.fixture
def keystore(store: Store) -> Keystore:
    return Keystore(store, KEK, Now())  # type: ignore[arg-type]


def again(store: Store) -> Keystore:
    """A keystore that has nothing in memory."""
    return Keystore(store, KEK)


async def test_every_kind_round_trips(store: Store, keystore: Keystore) -> None:
    signing, kem, secret = SigningKey.generate(), KemPrivateKey.generate(), SecretKey.generate()
    record = await keystore.put("t1", "sign", signing)
    await keystore.put("t1", "kem", kem)
    await keystore.put("t1", "secret", secret)

    assert (record.version, record.kind, record.suite) == (1, KeyKind.SIGNING, SignatureSuite.HYBRID)
    assert record.public == signing.public.to_bytes()
    assert (record.created_at, record.kek_id) == (1_000, KEK.id)
    for reader in (keystore, again(store)):
        assert (await reader.signing_key("t1", "sign")).public == signing.public
        assert (await reader.kem_key("t1", "kem")).public == kem.public
        assert (await reader.secret_key("t1", "secret")).reveal() == secret.reveal()
        assert reader.get_now("t1", "sign") is await reader.get("t1", "sign")
    assert await keystore.record("t1", "sign") == record
    await keystore.check()


async def test_the_kind_asked_for_is_the_kind_given(keystore: Keystore) -> None:
    await keystore.put("t1", "secret", SecretKey.generate())
    with pytest.raises(InvalidInput) as caught:
        await keystore.signing_key("t1", "secret")
    assert caught.value.code == "PL-216"


async def test_whoever_needs_a_key_first_makes_it(store: Store) -> None:
    stores = [again(store) for _ in range(4)]
    found = await asyncio.gather(*(one.ensure("t1", "sign", SigningKey) for one in stores))
    assert len({key.public.to_bytes() for key in found}) == 1
    small = await stores[0].ensure("t1", "small", SigningKey, lambda: SigningKey.generate(ED))
    assert small.public.suite is ED
    with pytest.raises(InvalidInput, match="PL-216"):
        await stores[0].ensure("t1", "sign", SecretKey)


async def test_put_replaces_nothing(keystore: Keystore) -> None:
    first = SigningKey.generate(ED)
    await keystore.put("t1", "k", first)
    with pytest.raises(AlreadyExists):
        await keystore.put("t1", "k", SigningKey.generate(ED))
    assert (await keystore.signing_key("t1", "k")).public == first.public


async def test_rotation_keeps_the_old_version(store: Store, keystore: Keystore) -> None:
    old = SigningKey.generate(ED)
    await keystore.put("t1", "k", old)
    assert (await keystore.signing_key("t1", "k")).public == old.public
    fresh = await keystore.rotate("t1", "k")
    assert (fresh.version, fresh.suite) == (2, ED)
    for reader in (keystore, again(store)):
        assert (await reader.signing_key("t1", "k")).public.to_bytes() == fresh.public
        assert (await reader.signing_key("t1", "k", version=1)).public == old.public


async def test_rotation_to_a_stronger_suite_and_not_back(keystore: Keystore) -> None:
    await keystore.put("t1", "k", SigningKey.generate(ED))
    record = await keystore.rotate("t1", "k", SigningKey.generate())
    assert record.suite == SignatureSuite.HYBRID
    with pytest.raises(CryptoError) as caught:
        await keystore.rotate("t1", "k", SigningKey.generate(ED))
    assert caught.value.code == "PL-219"
    with pytest.raises(InvalidInput):
        await keystore.rotate("t1", "k", SecretKey.generate())
    assert (await keystore.record("t1", "k")).version == 2


async def test_rotations_at_once_make_different_versions(keystore: Keystore) -> None:
    await keystore.put("t1", "k", KemPrivateKey.generate(KemSuite.X25519))
    records = await asyncio.gather(*(keystore.rotate("t1", "k") for _ in range(8)))
    assert sorted(record.version for record in records) == list(range(2, 10))


async def test_list_by_pages(keystore: Keystore) -> None:
    for name in ("b", "a", "c"):
        await keystore.put("t1", name, SecretKey.generate())
    await keystore.rotate("t1", "b")
    await keystore.put("t2", "other", SecretKey.generate())
    seen, after = [], None
    while page := await keystore.list("t1", after=after, limit=2):
        seen += [(record.key_id, record.version) for record in page]
        after = page[-1]
    assert seen == [("a", 1), ("b", 1), ("b", 2), ("c", 1)]
    with pytest.raises(InvalidInput):
        await keystore.list("t1", limit=0)


async def test_remove(store: Store, keystore: Keystore) -> None:
    await keystore.put("t1", "k", SecretKey.generate())
    await keystore.rotate("t1", "k")
    assert await keystore.remove("t1", "k", version=1) == 1
    assert (await keystore.record("t1", "k")).version == 2
    await keystore.get("t1", "k")
    assert await keystore.remove("t1", "k") == 1
    for reader in (keystore, again(store)):
        with pytest.raises(NotFound) as caught:
            await reader.get("t1", "k")
        assert caught.value.code == "PL-214"
    for act in (keystore.remove("t1", "k"), keystore.rotate("t1", "k"), keystore.record("t1", "k")):
        with pytest.raises(NotFound):
            await act


async def test_tenants_do_not_meet(keystore: Keystore) -> None:
    await keystore.put("t1", "k", SecretKey.generate())
    with pytest.raises(NotFound):
        await keystore.get("t2", "k")
    with pytest.raises(InvalidInput):
        await keystore.get("", "k")
    with pytest.raises(InvalidInput):
        await keystore.put("t1", " ", SecretKey.generate())


async def test_another_process_hears_of_a_rotation(make_store: MakeStore) -> None:
    first = make_store(parts=PARTS)
    one, two = Keystore(first, KEK), Keystore(make_store(parts=PARTS), KEK)
    await one.put("t1", "k", SecretKey.generate())
    old = await two.secret_key("t1", "k")
    await one.rotate("t1", "k")
    assert await first.settled(timeout_s=30)
    assert (await two.secret_key("t1", "k")).reveal() != old.reveal()


async def test_the_wrong_kek(store: Store, keystore: Keystore) -> None:
    await keystore.put("t1", "k", SecretKey.generate())
    stranger = Keystore(store, Kek.generate())
    for act in (stranger.get("t1", "k"), stranger.check(), stranger.rewrap()):
        with pytest.raises(CryptoError) as caught:
            await act
        assert caught.value.code == "PL-215"


async def test_rewrap(store: Store, keystore: Keystore) -> None:
    keys = {f"k{i:03}": SecretKey.generate() for i in range(450)}
    for name, key in keys.items():
        await keystore.put(f"t{name[-1]}", name, key)
    new = Kek.generate()

    both = Keystore(store, new, previous=[KEK])
    await both.check()
    assert (await both.secret_key("t7", "k007")).reveal() == keys["k007"].reveal()
    assert await both.rewrap() == 450
    assert await both.rewrap() == 0

    only_new = Keystore(store, new)
    await only_new.check()
    for name, key in keys.items():
        assert (await only_new.secret_key(f"t{name[-1]}", name)).reveal() == key.reveal()
    with pytest.raises(CryptoError) as caught:
        await again(store).get("t7", "k007")
    assert caught.value.code == "PL-215"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE crypto_key SET tenant = 't2' WHERE key_id = 'k'",
        "UPDATE crypto_key SET key_id = 'j' WHERE key_id = 'k'",
        "UPDATE crypto_key SET version = 7 WHERE key_id = 'k'",
        "UPDATE crypto_key SET suite = 66 WHERE key_id = 'k'",
        "UPDATE crypto_key SET public = sealed WHERE key_id = 'k'",
        "UPDATE crypto_key SET sealed = public WHERE key_id = 'k'",
        "UPDATE crypto_key SET sealed = (SELECT sealed FROM crypto_key WHERE key_id = 'other') WHERE key_id = 'k'",
    ],
)
async def test_a_row_that_was_moved_or_altered_does_not_open(store: Store, keystore: Keystore, change: str) -> None:
    await keystore.put("t1", "k", SigningKey.generate(ED))
    await keystore.put("t1", "other", SigningKey.generate(ED))

    def tamper(tx: Tx) -> None:
        tx.run(change)  # type: ignore[arg-type]

    await store.write(tamper)
    tenant, key_id = ("t2" if "tenant" in change else "t1"), ("j" if "'j'" in change else "k")
    with pytest.raises(CryptoError) as caught:
        await again(store).get(tenant, key_id)
    assert caught.value.code == "PL-215"


def content_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_private_bytes_reach_no_file_log_or_error(
    store: Store, keystore: Keystore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key, secret = SigningKey.generate(), SecretKey.generate()
    await keystore.put("t1", "sign", key)
    await keystore.put("t1", "secret", secret)
    with pytest.raises(CryptoError) as caught:
        await Keystore(store, Kek.generate()).get("t1", "sign")
    rows = await store.read(lambda tx: tx.all("SELECT * FROM crypto_key"))
    files = content_of(tmp_path)
    shown = caught.value.rendered() + str(caught.value.body()) + caplog.text + repr(keystore) + repr(secret) + repr(key)
    for value in (key.private_bytes()[1:], secret.reveal(), bytes(range(32))):
        assert value not in files
        assert all(value not in bytes(cell) for row in rows for cell in row if isinstance(cell, bytes | memoryview))
        assert value.hex() not in shown
        assert repr(value) not in shown


async def test_the_client_signs_and_verifies(keystore: Keystore) -> None:
    key = SigningKey.generate()
    agent = AgentIdentity.of(key.public.ed25519, key.public.ml_dsa)
    tenant = TenantId("t1")
    await keystore.put(tenant, agent.nhi, key)
    crypto = CryptoClient(keystore)
    for algorithm in SignatureSuite:
        signature = await crypto.sign(SignRequest(tenant, agent, b"data", algorithm, b"ctx"))
        assert await crypto.verify(VerifyRequest(agent, b"data", signature, algorithm, b"ctx"))
        with pytest.raises(SignatureVerificationFailed):
            await crypto.verify(VerifyRequest(agent, b"other", signature, algorithm, b"ctx"))
    classical = crypto.sign_ed25519(key, b"data")
    with pytest.raises(SignatureVerificationFailed):
        await crypto.verify(VerifyRequest(agent, b"data", classical))
    with pytest.raises(SignatureVerificationFailed, match="post-quantum"):
        await crypto.verify(VerifyRequest(AgentIdentity.parse(agent.nhi), b"data", crypto.sign_hybrid(key, b"data")))
    assert crypto.sign_ml_dsa(key, b"data")[0] == SignatureSuite.ML_DSA_65
    with pytest.raises(NotFound):
        await crypto.sign(SignRequest(TenantId("t2"), agent, b"data"))
