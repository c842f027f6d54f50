"""Tenants and their operators: the human that every tenant begins with, whose key lies in the keystore.

    operator = await Tenants(keystore, nhi, authz).ensure(tenant)

The operator is whoever speaks now for the newest version of the key `operator`: its identity, followed along rotations.

INVARIANT: a tenant never loses its last active operator unnoticed: authz refuses to end it, and only `recover`, which needs the database and
the key-encryption key, makes another.
"""

from __future__ import annotations

from typing import Final

from creto.common.errors import EnablementError, InvalidInput, NotFound
from creto.common.ids import AgentId, KeyId, TenantId
from creto.platform.crypto import Keystore, SigningKey
from creto.platform.crypto import store as keys
from creto.platform.nhi import Identity, Nhi, PrincipalKind, Standing, nhi_of, registration_proof
from creto.security.authz import OPERATOR_ROLE, Authz, operators
from creto.store.types import ReadTx

OPERATOR_KEY: Final = KeyId("operator")
OPERATOR_NAME: Final = "operator"
RECOVER_HINT: Final = (
    "If nobody can lift it, `creto init --recover-operator` makes a new operator, where the installation is."
)


class Tenants:
    def __init__(self, keystore: Keystore, nhi: Nhi, authz: Authz) -> None:
        self._keystore = keystore
        self._nhi = nhi
        self._authz = authz

    async def ensure(self, tenant: TenantId) -> AgentId:
        """The tenant's operator; the first time, a new one. What a crash left half done is completed, what was taken away stays so."""
        key = await self._keystore.ensure(tenant, OPERATOR_KEY, SigningKey)
        return await self._installed(tenant, key)

    async def operator(self, tenant: TenantId) -> AgentId:
        """The operator of a tenant that exists; PL-404 if it does not."""
        if not await exists(self._keystore, tenant):
            raise no_tenant(tenant)
        return await self.ensure(tenant)

    async def recover(self, tenant: TenantId) -> AgentId:
        """A new operator in place of one who can act no more. The old one stays what it is. PL-132 if there is nothing to recover."""
        present = await self.ensure(tenant)
        holds = OPERATOR_ROLE in await self._authz.roles(tenant, present)
        if holds and self._nhi.standing(present, tenant=tenant) is Standing.IN_FORCE:
            raise InvalidInput(
                "PL-132", f"the operator {present} is in force", field="operator", got="in force", expected="one that is lost"
            )  # fmt: skip
        key = SigningKey.generate()
        await self._keystore.rotate(tenant, OPERATOR_KEY, key)
        agent = await self._installed(tenant, key)
        await self._authz.assign_role(tenant, agent, OPERATOR_ROLE, actor=agent)
        return agent

    async def _installed(self, tenant: TenantId, key: SigningKey) -> AgentId:
        agent = nhi_of(key.public)
        if not self._nhi.is_registered(agent, tenant=tenant):
            proof = registration_proof(key, tenant=tenant, kind=PrincipalKind.HUMAN, name=OPERATOR_NAME)
            await self._nhi.register(tenant, PrincipalKind.HUMAN, key.public, OPERATOR_NAME, proof=proof)
        agent = newest(self._nhi, tenant, agent).nhi
        in_force = self._nhi.standing(agent, tenant=tenant) is Standing.IN_FORCE
        if in_force and not await self._authz.operators(tenant):
            await self._authz.assign_role(tenant, agent, OPERATOR_ROLE, actor=agent)
        return agent


def newest(nhi: Nhi, tenant: TenantId, agent: AgentId) -> Identity:
    """Who speaks for a line now."""
    found = nhi.get_now(tenant, agent)
    while found.successor is not None:
        found = nhi.get_now(tenant, found.successor)
    return found


def found(tx: ReadTx, tenant: TenantId) -> tuple[bool, int]:
    """Whether the tenant has been made, and how many operators can act in it: for `creto doctor`, which has no keys."""
    return keys.latest(tx, tenant, OPERATOR_KEY) is not None, operators(tx, tenant)


async def exists(keystore: Keystore, tenant: TenantId) -> bool:
    try:
        await keystore.record(tenant, OPERATOR_KEY)
    except NotFound:
        return False
    return True


def no_tenant(tenant: TenantId) -> NotFound:
    return NotFound(
        "PL-404",
        f"there is no tenant {tenant}",
        field="tenant",
        got=tenant,
        hint=f"Is it spelt right? `creto tenants create {tenant}` makes it.",
    )


def with_way_out(error: EnablementError) -> EnablementError:
    """What the operator is told who was ended or stopped: nobody but the machine's owner can help."""
    if error.code in ("PL-103", "PL-104", "PL-133"):
        error.hint = RECOVER_HINT
    return error
