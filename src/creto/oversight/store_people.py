"""Rows of who decides, and by which rules: policies, groups, addresses, delegations, passkeys.

INVARIANT: no more of a kind are kept than are read, so none is there without effect.
"""

from __future__ import annotations

from typing import LiteralString

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.ids import AgentId, PolicyId, TenantId
from creto.common.limits import OVERSIGHT_GROUPS_MAX, OVERSIGHT_PASSKEYS_MAX
from creto.oversight.decisions import EnrolledPasskey
from creto.oversight.policies import refusal
from creto.oversight.store import decoded
from creto.oversight.types import ApproverGroup, Channel, Contact, Delegation, OversightPolicy
from creto.platform.consensus import PersonId
from creto.store.types import ReadTx, Tx

# How many there are, or none where this one is among them: it takes nobody's place.
POLICIES: LiteralString = (
    "SELECT COUNT(DISTINCT policy_id) FROM oversight_policy WHERE tenant = ?"
    " AND NOT EXISTS (SELECT 1 FROM oversight_policy WHERE tenant = ? AND policy_id = ?)"
)
GROUPS: LiteralString = (
    "SELECT COUNT(*) FROM oversight_group WHERE tenant = ?"
    " AND NOT EXISTS (SELECT 1 FROM oversight_group WHERE tenant = ? AND name = ?)"
)
CONTACTS: LiteralString = (
    "SELECT COUNT(*) FROM oversight_contact WHERE tenant = ?"
    " AND NOT EXISTS (SELECT 1 FROM oversight_contact WHERE tenant = ? AND channel = ? AND address = ?)"
)
DELEGATIONS: LiteralString = "SELECT COUNT(*) FROM oversight_delegation WHERE tenant = ? AND ends_at > ?"


def check_room(tx: Tx, tenant: TenantId, field: str, hint: str, count: LiteralString, *params: object) -> None:
    """OV-400 where there is no place for another. Whoever looks holds the lock: of two that come at once one finds the last place."""
    tx.lock(f"oversight.room/{tenant}/{field}")
    if tx.value(count, tenant, *params) >= OVERSIGHT_GROUPS_MAX:
        raise full(field, hint)


def full(field: str, hint: str) -> InvalidInput:
    error = refusal(field, f"number {OVERSIGHT_GROUPS_MAX + 1}", f"{OVERSIGHT_GROUPS_MAX} at most of one tenant")
    error.hint = hint
    return error


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
    hint = "Give one that is not needed any more this meaning: `creto approvals policies list` shows them."
    check_room(tx, tenant, "policy", hint, POLICIES, tenant, policy.policy_id)
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
    hint = "Give one that is not needed any more these members: `creto approvals groups list` shows them."
    check_room(tx, tenant, "group", hint, GROUPS, tenant, group.name)
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
    hint = "`creto approvals contacts unlink` takes one away that is not needed any more."
    check_room(tx, tenant, "contact", hint, CONTACTS, tenant, str(contact.channel), contact.address)
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


def add_delegation(tx: Tx, tenant: TenantId, delegation: Delegation, since: int) -> None:
    """One more, beside those that end after `since`; it is to be looked at when it begins: who sits in the seats is told what waits there."""
    check_room(
        tx, tenant, "delegation", "Each that has ended makes room for another a month later.", DELEGATIONS, since
    )
    put_delegation(tx, tenant, delegation, begins_at=delegation.starts_at)


def put_delegation(tx: Tx, tenant: TenantId, delegation: Delegation, begins_at: int | None = None) -> None:
    """With `begins_at` it is to be looked at then."""
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
