"""Rows of who decides, and by which rules: policies, groups, addresses, delegations, passkeys."""

from __future__ import annotations

from typing import LiteralString

from creto.common import wire
from creto.common.ids import AgentId, PolicyId, TenantId
from creto.common.limits import OVERSIGHT_GROUPS_MAX, OVERSIGHT_PASSKEYS_MAX
from creto.oversight.decisions import EnrolledPasskey
from creto.oversight.store import decoded
from creto.oversight.types import ApproverGroup, Channel, Contact, Delegation, OversightPolicy
from creto.platform.consensus import PersonId
from creto.store.types import ReadTx, Tx


def put_passkey(
    tx: Tx, tenant: TenantId, enrolled: EnrolledPasskey, user_handle: bytes, scopes: tuple[str, ...]
) -> bool:
    """False if the passkey is enrolled already, for anybody."""
    return (
        tx.run(
            "INSERT INTO oversight_passkey (tenant, credential_id, person, body, user_handle, scopes) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (tenant, credential_id) DO NOTHING",
            tenant, enrolled.passkey.credential_id, enrolled.person, wire.encode(enrolled), user_handle,
            wire.encode(scopes).decode(),
        )
        == 1
    )  # fmt: skip


def drop_passkey(tx: Tx, tenant: TenantId, person: PersonId, credential_id: bytes) -> bool:
    sql: LiteralString = "DELETE FROM oversight_passkey WHERE tenant = ? AND person = ? AND credential_id = ?"
    return tx.run(sql, tenant, person, credential_id) > 0


def passkey_of(
    tx: ReadTx, user_handle: bytes, credential_id: bytes
) -> tuple[TenantId, EnrolledPasskey, tuple[str, ...]] | None:
    """The one of whom the handle stands for, in whatever tenant; and what the session reached that enrolled it."""
    row = tx.one(
        "SELECT tenant, body, scopes FROM oversight_passkey WHERE user_handle = ? AND credential_id = ?",
        user_handle, credential_id,
    )  # fmt: skip
    return (TenantId(row[0]), decoded(row[1], EnrolledPasskey), wire.decode(row[2], tuple[str, ...])) if row else None


def passkeys(tx: ReadTx, tenant: TenantId, person: PersonId) -> list[EnrolledPasskey]:
    rows = tx.all(
        "SELECT body FROM oversight_passkey WHERE tenant = ? AND person = ? ORDER BY credential_id LIMIT ?",
        tenant, person, OVERSIGHT_PASSKEYS_MAX,
    )  # fmt: skip
    return [decoded(row[0], EnrolledPasskey) for row in rows]


def add_policy(tx: Tx, tenant: TenantId, policy: OversightPolicy, by: AgentId, now: int) -> None:
    tx.run(
        "INSERT INTO oversight_policy (tenant, policy_id, version, body, uploaded_by, uploaded_at) VALUES (?, ?, ?, ?, ?, ?)",
        tenant, policy.policy_id, policy.version, wire.encode(policy), by, now,
    )  # fmt: skip


def policy(tx: ReadTx, tenant: TenantId, policy_id: PolicyId) -> OversightPolicy | None:
    row = tx.one(
        "SELECT body FROM oversight_policy WHERE tenant = ? AND policy_id = ? ORDER BY version DESC LIMIT 1",
        tenant,
        policy_id,
    )
    return decoded(row[0], OversightPolicy) if row else None


def policies(tx: ReadTx, tenant: TenantId) -> dict[PolicyId, OversightPolicy]:
    """Each as it holds now: of its versions the highest."""
    rows = tx.all(
        "SELECT body FROM oversight_policy AS held WHERE tenant = ? AND version = (SELECT MAX(version) FROM oversight_policy AS every"
        " WHERE every.tenant = held.tenant AND every.policy_id = held.policy_id) ORDER BY policy_id LIMIT ?",
        tenant, OVERSIGHT_GROUPS_MAX,
    )  # fmt: skip
    return {one.policy_id: one for one in (decoded(row[0], OversightPolicy) for row in rows)}


def put_group(tx: Tx, tenant: TenantId, group: ApproverGroup) -> None:
    tx.run(
        "INSERT INTO oversight_group (tenant, name, body) VALUES (?, ?, ?)"
        " ON CONFLICT (tenant, name) DO UPDATE SET body = excluded.body",
        tenant, group.name, wire.encode(group),
    )  # fmt: skip


def groups(tx: ReadTx, tenant: TenantId) -> list[ApproverGroup]:
    rows = tx.all(
        "SELECT body FROM oversight_group WHERE tenant = ? ORDER BY name LIMIT ?", tenant, OVERSIGHT_GROUPS_MAX
    )
    return [decoded(row[0], ApproverGroup) for row in rows]


def put_contact(tx: Tx, tenant: TenantId, contact: Contact) -> None:
    tx.run(
        "INSERT INTO oversight_contact (tenant, channel, address, person) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (tenant, channel, address) DO UPDATE SET person = excluded.person",
        tenant, str(contact.channel), contact.address, contact.person,
    )  # fmt: skip


def drop_contact(tx: Tx, tenant: TenantId, channel: Channel, address: str) -> bool:
    sql: LiteralString = "DELETE FROM oversight_contact WHERE tenant = ? AND channel = ? AND address = ?"
    return tx.run(sql, tenant, str(channel), address) > 0


def contacts(tx: ReadTx, tenant: TenantId) -> list[Contact]:
    rows = tx.all(
        "SELECT channel, address, person FROM oversight_contact WHERE tenant = ? ORDER BY channel, address LIMIT ?",
        tenant, OVERSIGHT_GROUPS_MAX,
    )  # fmt: skip
    return [Contact(channel=Channel(c), address=address, person=AgentId(person)) for c, address, person in rows]


def put_delegation(tx: Tx, tenant: TenantId, delegation: Delegation, begins_at: int | None = None) -> None:
    """With `begins_at` it is to be looked at then: who sits in the seats is told what waits there."""
    tx.run(
        "INSERT INTO oversight_delegation (tenant, delegation_id, ends_at, begins_at, body) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (tenant, delegation_id) DO UPDATE SET ends_at = excluded.ends_at, begins_at = excluded.begins_at,"
        " body = excluded.body",
        tenant, delegation.delegation_id, delegation.ends_at, begins_at, wire.encode(delegation),
    )  # fmt: skip


def beginning(tx: ReadTx, now: int, limit: int) -> list[tuple[TenantId, Delegation]]:
    """The delegations of all tenants that have begun, and of which nobody was told yet."""
    rows = tx.all(
        "SELECT tenant, body FROM oversight_delegation WHERE begins_at IS NOT NULL AND begins_at <= ?"
        " ORDER BY begins_at LIMIT ?",
        now, limit,
    )  # fmt: skip
    return [(TenantId(tenant), decoded(body, Delegation)) for tenant, body in rows]


def begun(tx: Tx, tenant: TenantId, delegation_id: str) -> None:
    tx.run(
        "UPDATE oversight_delegation SET begins_at = NULL WHERE tenant = ? AND delegation_id = ?", tenant, delegation_id
    )


def delegation(tx: ReadTx, tenant: TenantId, delegation_id: str) -> Delegation | None:
    row = tx.one("SELECT body FROM oversight_delegation WHERE tenant = ? AND delegation_id = ?", tenant, delegation_id)
    return decoded(row[0], Delegation) if row else None


def delegations(tx: ReadTx, tenant: TenantId, since: int) -> tuple[Delegation, ...]:
    """Those that end after `since`."""
    rows = tx.all(
        "SELECT body FROM oversight_delegation WHERE tenant = ? AND ends_at > ? ORDER BY delegation_id LIMIT ?",
        tenant, since, OVERSIGHT_GROUPS_MAX,
    )  # fmt: skip
    return tuple(decoded(row[0], Delegation) for row in rows)


def tenants(tx: ReadTx) -> list[TenantId]:
    """Whoever has a policy."""
    return [TenantId(row[0]) for row in tx.all("SELECT DISTINCT tenant FROM oversight_policy ORDER BY tenant")]
