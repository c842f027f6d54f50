"""Suites switched on live data: every part reads and verifies what is old, and nobody goes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from creto.app import LAYER_KEY, PLATFORM_TENANT, SUITES_OWNER, App, running
from creto.common.errors import CryptoError
from creto.common.ids import KeyId, PolicyId
from creto.edge.api.dispatch import Call, Dispatcher
from creto.edge.api.system import SUITES, GetSuites
from creto.platform.audit.verify import verify_database
from creto.platform.crypto import (
    AeadSuite,
    SecretKey,
    SignatureSuite,
    SignedSuiteList,
    VerifyKey,
    any_suite,
)
from tests.contract.buses import eventually
from tests.layers import settings

OLD = {"CRETO_CRYPTO__AEAD_SUITE": "aes-256-gcm", "CRETO_CRYPTO__SIGNATURE_SUITE": "ed25519"}
NEW = {"CRETO_CRYPTO__AEAD_SUITE": "chacha20-poly1305", "CRETO_CRYPTO__SIGNATURE_SUITE": "hybrid"}
SECRET = b"k" * 32


async def written(app: App, name: str) -> None:
    parts, tenant, agent = app.parts, app.tenant, app.operator
    await parts.keystore.put(tenant, f"secret-{name}", SecretKey(SECRET))
    await parts.memory.store_context(tenant, agent, "reasoning", f"thought {name}", action="think")
    await parts.memory.state.put(tenant, agent, name, b"value")
    await parts.storage.put(tenant, f"object-{name}", b"content " * 100_000, agent=agent)
    await parts.audit.sequence_once()
    await parts.audit.checkpoint()


async def checked(app: App, *names: str) -> None:
    parts, tenant, agent = app.parts, app.tenant, app.operator
    for name in names:
        key = await parts.keystore.secret_key(tenant, KeyId(f"secret-{name}"), 1)
        assert key.reveal() == SECRET
        found = await parts.memory.state.get(tenant, agent, name)
        assert found is not None
        assert bytes(found.value) == b"value"
        assert await parts.storage.get(tenant, f"object-{name}") == b"content " * 100_000
    thoughts = await parts.memory.fetch_reasoning_context(tenant, agent, "think", 10)
    assert {f"thought {name}".encode() for name in names} <= {found.content for found in thoughts}
    trust = await parts.audit.trust()
    await parts.store.read(lambda tx: verify_database(tx, trust, ()))


def first_bytes(app: App, column: str, table: str) -> set[str]:
    rows = app.parts.store.read_now(lambda tx: tx.all(f"SELECT {column} FROM {table}"))
    return {any_suite(bytes(row[0])[0]).name for row in rows}


async def test_suites_are_switched_on_live_data(tmp_path: Path) -> None:
    """given data and signatures in the old suites / when others are configured / then all is read and verified, and new bytes are in the new ones."""
    async with running(settings(tmp_path, **OLD)) as app:
        await written(app, "old")
        assert first_bytes(app, "sealed", "crypto_key") == {"AES_256_GCM"}
        token = await app.parts.nhi.issue_token(app.tenant, app.operator, scopes=("*",))
        override = await app.parts.authz.issue_override(
            tenant=app.tenant, agent=app.operator, action="a:b", resource="tenant:default", args_digest=b"d" * 33, policy_id=PolicyId("p"), actor=app.operator,
        )  # fmt: skip
        before = app.parts.keystore.suites.version
        assert (await app.parts.keystore.signing_key(PLATFORM_TENANT, LAYER_KEY)).suite is SignatureSuite.ED25519
        assert len((await app.parts.audit.trust()).logs) == 1
    async with running(settings(tmp_path, **NEW)) as app:
        suites = app.parts.keystore.suites
        assert (suites.aead, suites.signature) == (AeadSuite.CHACHA20_POLY1305, SignatureSuite.HYBRID)
        await checked(app, "old")
        assert app.parts.authz.validate_override_token(override, tenant=app.tenant).agent == app.operator
        await written(app, "new")
        await checked(app, "old", "new")
        assert app.parts.nhi.verify_token(token.token).agent == app.operator
        for column, table in (("sealed", "crypto_key"), ("content", "memory_state"), ("envelope", "storage_object")):
            assert first_bytes(app, column, table) == {"AES_256_GCM", "CHACHA20_POLY1305"}, table
        assert (await app.parts.keystore.signing_key(PLATFORM_TENANT, LAYER_KEY)).suite is SignatureSuite.HYBRID
        assert [len(log.vkeys) for log in (await app.parts.audit.trust()).logs] == [1, 2]
        suites.policy.accept(SignatureSuite.ED25519, made_at=0)
        with pytest.raises(CryptoError, match="PL-212"):
            suites.policy.accept(SignatureSuite.ED25519, made_at=app.parts.clock.now())
        assert before is not None
        with pytest.raises(CryptoError, match="PL-219"):  # an older list in the place of the newest
            suites.follow(before, former(app), SUITES_OWNER)
        published = await Dispatcher(app.parts)(
            SUITES, Call(app.parts.nhi.verify_token(token.token), app.tenant), GetSuites()
        )
        listed = SignedSuiteList.from_bytes(published.signed)
        key = VerifyKey.from_bytes(published.public_key)
        assert listed.verify(key, published.owner, seen=published.version).of(AeadSuite) == (
            AeadSuite.CHACHA20_POLY1305,
        )
        with pytest.raises(CryptoError, match="PL-219"):
            listed.verify(key, published.owner, seen=published.version + 1)


def former(app: App) -> VerifyKey:
    [key] = app.parts.authz.former
    return key


async def test_a_weaker_signature_suite_is_refused_at_start(tmp_path: Path) -> None:
    async with running(settings(tmp_path, **NEW), work=False):
        pass
    with pytest.raises(CryptoError, match="PL-219"):
        async with running(settings(tmp_path, **OLD), work=False):
            pass


async def test_another_process_follows_a_switch(tmp_path: Path) -> None:
    async with running(settings(tmp_path), work=False) as first:
        async with running(settings(tmp_path, CRETO_CRYPTO__AEAD_SUITE="aes-256-gcm-siv"), work=False):
            await eventually(lambda: first.parts.keystore.suites.aead is AeadSuite.AES_256_GCM_SIV)
        await written(first, "after")
        assert "AES_256_GCM_SIV" in first_bytes(first, "sealed", "crypto_key")
