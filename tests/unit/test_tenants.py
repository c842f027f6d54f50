"""A tenant's operator: found along rotations, never the last one lost, recovered by whoever owns the machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from creto.app import App, running
from creto.common.errors import InvalidInput, Unauthorized
from creto.common.ids import AgentId
from creto.platform.crypto import SigningKey
from creto.platform.nhi import IdentityState, PrincipalKind, nhi_of, registration_proof, rotation_proofs
from creto.sdk import AsyncCreto
from creto.tenants import OPERATOR_KEY, found
from tests.layers import settings


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running(settings(tmp_path), work=False) as started:
        yield started


async def again(app: App) -> AgentId:
    """Who the next process takes for the operator."""
    return await app.tenants.ensure(app.tenant)


async def humans(app: App) -> list[AgentId]:
    return [i.nhi for i in (await app.parts.nhi.list(app.tenant, kind=PrincipalKind.HUMAN)).items]


async def rotated(app: App, key: SigningKey, new: SigningKey) -> AgentId:
    old_proof, new_proof = rotation_proofs(key, new, tenant=app.tenant)
    proofs = {"old_proof": old_proof, "new_proof": new_proof}
    return (await app.parts.nhi.rotate(app.tenant, nhi_of(key.public), new.public, **proofs)).nhi


async def operator_too(app: App) -> AgentId:
    """Ada, a second operator."""
    key = SigningKey.generate()
    proof = registration_proof(key, tenant=app.tenant, kind=PrincipalKind.HUMAN, name="Ada")
    ada = await app.parts.nhi.register(app.tenant, PrincipalKind.HUMAN, key.public, "Ada", proof=proof)
    await app.parts.authz.assign_role(app.tenant, ada.nhi, "operator", actor=app.operator)
    return ada.nhi


async def test_the_operator_is_followed_along_rotations(app: App) -> None:
    """given an operator whose key is rotated, twice / when a process starts / then it works as the newest, with the role, and nobody new is made."""
    key = await app.parts.keystore.signing_key(app.tenant, OPERATOR_KEY)
    second, third = SigningKey.generate(), SigningKey.generate()
    await rotated(app, key, second)
    newest = await rotated(app, second, third)
    assert await again(app) == newest
    assert await app.parts.authz.roles(app.tenant, newest) == ("operator",)
    assert len(await humans(app)) == 3
    await app.parts.keystore.rotate(app.tenant, OPERATOR_KEY, second)
    assert await again(app) == newest


async def test_the_last_operator_cannot_be_lost(app: App) -> None:
    """given one operator / when it is revoked, suspended or stripped of its role / then PL-137, and nothing has changed."""
    nhi, authz = app.parts.nhi, app.parts.authz
    for act in (
        lambda: nhi.revoke(app.tenant, app.operator),
        lambda: nhi.suspend(app.tenant, app.operator),
        lambda: authz.unassign_role(app.tenant, app.operator, "operator", actor=app.operator),
    ):
        with pytest.raises(InvalidInput, match="PL-137"):
            await act()
    assert (await nhi.get(app.tenant, app.operator)).state is IdentityState.ACTIVE
    assert await authz.roles(app.tenant, app.operator) == ("operator",)


async def test_one_of_two_can_go_and_then_is_the_last_kept(app: App) -> None:
    """given two operators / when one is suspended / then the other cannot be ended; a start gives nothing back that was taken away."""
    ada = await operator_too(app)
    await app.parts.authz.unassign_role(app.tenant, app.operator, "operator", actor=ada)
    assert await again(app) == app.operator
    assert await app.parts.authz.roles(app.tenant, app.operator) == ()
    with pytest.raises(InvalidInput, match="PL-137"):
        await app.parts.nhi.revoke(app.tenant, ada)
    await app.parts.nhi.revoke(app.tenant, app.operator)  # holds no role any more


async def test_who_owns_the_machine_recovers_the_operator(tmp_path: Path) -> None:
    """given the installation's operator was ended by another / when its owner recovers it / then there is a new one, in the log, and the way was shown."""
    config = settings(tmp_path)
    async with running(config, work=False) as app:
        with pytest.raises(InvalidInput, match="PL-132"):
            await app.tenants.recover(app.tenant)
        await operator_too(app)
        await app.parts.nhi.revoke(app.tenant, app.operator)
    async with AsyncCreto.local(config=config) as creto:
        with pytest.raises(Unauthorized, match="PL-103") as caught:
            await creto.agents.list()
    assert "creto init --recover-operator" in str(caught.value.hint)
    async with running(config, work=False) as app:
        recovered = await app.tenants.recover(app.tenant)
        assert recovered != app.operator
        assert await app.parts.store.read(lambda tx: found(tx, app.tenant)) == (True, 2)
    async with AsyncCreto.local(config=config) as creto:
        assert (await creto.auth.whoami()).agent == recovered
        async with asyncio.timeout(10):  # the log follows the ledger
            while not (entries := (await creto.audit.query(agent=recovered, event="RoleAssigned")).items):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert [entry.resource for entry in entries] == [recovered]
