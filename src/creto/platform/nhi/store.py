"""The SQL of identities. Every function takes a transaction and a tenant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from creto.common.errors import AlreadyExists, NotFound
from creto.common.ids import AgentId, SandboxId, TenantId, agent_key
from creto.common.limits import CHAIN_LINKS_MAX
from creto.platform.nhi.types import Binding, Identity, IdentityState, PrincipalKind
from creto.store.types import ReadTx, Row, Tx

COLUMNS: LiteralString = (
    "tenant, agent, kind, name, ml_dsa, owner, origin, state, registered_at, changed_at, retires_at, "
    "predecessor, successor, reason, version"
)
SELECT: LiteralString = "SELECT " + COLUMNS + " FROM nhi_identity WHERE tenant = ?"
SLOTS = CHAIN_LINKS_MAX + 1  # identities of the longest chain: one statement serves every chain
SELECT_SOME: LiteralString = SELECT + " AND agent IN (" + "?, " * 16 + "?)"
SELECT_LINKS: LiteralString = "SELECT link FROM nhi_revoked_link WHERE tenant = ? AND link IN (" + "?, " * 15 + "?)"


def from_row(row: Row) -> Identity:
    return Identity(
        tenant=row[0],
        nhi=row[1],
        kind=PrincipalKind(row[2]),
        name=row[3],
        public_key_ml_dsa=row[4],
        owner=row[5],
        origin=row[6],
        state=IdentityState(row[7]),
        registered_at=row[8],
        changed_at=row[9],
        retires_at=row[10],
        predecessor=row[11],
        successor=row[12],
        reason=row[13],
        version=row[14],
    )


def insert(tx: Tx, identity: Identity) -> None:
    """A new identity; PL-105 if the tenant has it already."""
    i = identity
    added = tx.run(
        "INSERT INTO nhi_identity (" + COLUMNS + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, agent) DO NOTHING",
        i.tenant, i.nhi, i.kind.value, i.name, i.public_key_ml_dsa, i.owner, i.origin, i.state.value, i.registered_at,
        i.changed_at, i.retires_at, i.predecessor, i.successor, i.reason, i.version,
    )  # fmt: skip
    if not added:
        raise AlreadyExists("PL-105", field="agent_nhi", got=identity.nhi, expected="a key that is not registered")
    note_state(tx, identity)


def update(tx: Tx, identity: Identity) -> None:
    tx.run(
        "UPDATE nhi_identity SET state = ?, changed_at = ?, retires_at = ?, successor = ?, reason = ?, version = ? "
        "WHERE tenant = ? AND agent = ?",
        identity.state.value, identity.changed_at, identity.retires_at, identity.successor, identity.reason,
        identity.version, identity.tenant, identity.nhi,
    )  # fmt: skip
    note_state(tx, identity)


def note_state(tx: Tx, i: Identity) -> None:
    """From now on this is its state."""
    tx.run(
        "INSERT INTO nhi_state (tenant, agent, version, since, state) VALUES (?, ?, ?, ?, ?)",
        i.tenant, i.nhi, i.version, i.changed_at, i.state.value,
    )  # fmt: skip


def state_at(tx: ReadTx, tenant: TenantId, agent: AgentId, at: int) -> IdentityState | None:
    """What it was in then; None before it was registered, or before states were kept."""
    found: str | None = tx.value(
        "SELECT state FROM nhi_state WHERE tenant = ? AND agent = ? AND since <= ? ORDER BY version DESC LIMIT 1",
        tenant, agent, at,
    )  # fmt: skip
    return IdentityState(found) if found is not None else None


def find(tx: ReadTx, tenant: TenantId, agents: Sequence[AgentId]) -> dict[AgentId, Identity]:
    """Those of at most SLOTS identities that the tenant has."""
    slots = [*agents, *([agents[0]] * (SLOTS - len(agents)))]
    return {row[1]: from_row(row) for row in tx.all(SELECT_SOME, tenant, *slots)}


def get(tx: ReadTx, tenant: TenantId, agent: AgentId, *, lock: bool = False) -> Identity:
    where = SELECT + " AND agent = ?"
    row = tx.one(where + tx.for_update if lock else where, tenant, agent)
    if row is None:
        raise not_registered(agent)
    return from_row(row)


def line(tx: ReadTx, tenant: TenantId, origin: AgentId) -> list[Identity]:
    """Every key of one line of rotations, oldest first."""
    sql = SELECT + " AND origin = ? ORDER BY registered_at" + tx.for_update
    return [from_row(row) for row in tx.all(sql, tenant, origin)]


def speaks(tx: ReadTx, tenant: TenantId, origin: AgentId) -> bool:
    """Whether a line can act on its own account: its newest key is active, and no agent's."""
    found = tx.value(
        "SELECT 1 FROM nhi_identity WHERE tenant = ? AND origin = ? AND successor IS NULL AND state = ? AND kind <> ?",
        tenant, origin, IdentityState.ACTIVE.value, PrincipalKind.AGENT.value,
    )  # fmt: skip
    return found is not None


def line_length(tx: ReadTx, tenant: TenantId, origin: AgentId) -> int:
    return int(tx.value("SELECT COUNT(*) FROM nhi_identity WHERE tenant = ? AND origin = ?", tenant, origin))


def page(
    tx: ReadTx,
    tenant: TenantId,
    after: tuple[int, str],
    limit: int,
    kind: PrincipalKind | None,
    state: IdentityState | None,
    owner: AgentId | None,
) -> list[Identity]:
    """In order of registration, from behind a position."""
    sql = SELECT + " AND (registered_at, agent) > (?, ?)"
    params: list[Any] = [tenant, *after]
    if kind is not None:
        sql += " AND kind = ?"
        params.append(kind.value)
    if state is not None:
        sql += " AND state = ?"
        params.append(state.value)
    if owner is not None:
        sql += " AND owner = ?"
        params.append(owner)
    return [from_row(row) for row in tx.all(sql + " ORDER BY registered_at, agent LIMIT ?", *params, limit)]


def revoked_links(tx: ReadTx, tenant: TenantId, links: Sequence[bytes]) -> set[bytes]:
    slots = [*links, *([links[0]] * (CHAIN_LINKS_MAX - len(links)))]
    return {bytes(row[0]) for row in tx.all(SELECT_LINKS, tenant, *slots)}


def revoke_link(tx: Tx, tenant: TenantId, link: bytes, parent: AgentId, child: AgentId, now: int) -> bool:
    """Whether it was not revoked before."""
    added = tx.run(
        "INSERT INTO nhi_revoked_link (tenant, link, parent, child, revoked_at) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (tenant, link) DO NOTHING",
        tenant, link, parent, child, now,
    )  # fmt: skip
    return added > 0


def bind(tx: Tx, binding: Binding) -> bool:
    """Whether the sandbox was free; asking again for the same agent is no change."""
    added = tx.run(
        "INSERT INTO nhi_binding (tenant, sandbox, agent, bound_at) VALUES (?, ?, ?, ?) ON CONFLICT (tenant, sandbox) DO NOTHING",
        binding.tenant, binding.sandbox, binding.agent, binding.bound_at,
    )  # fmt: skip
    if added:
        return True
    bound = tx.value("SELECT agent FROM nhi_binding WHERE tenant = ? AND sandbox = ?", binding.tenant, binding.sandbox)
    if bound != binding.agent:
        raise AlreadyExists("PL-409", "the sandbox is bound to another agent", field="sandbox_id", got=bound)
    return False


def unbind(tx: Tx, tenant: TenantId, sandbox: SandboxId, agent: AgentId) -> bool:
    """Whether this sandbox ran this agent."""
    sql: LiteralString = "DELETE FROM nhi_binding WHERE tenant = ? AND sandbox = ? AND agent = ?"
    return tx.run(sql, tenant, sandbox, agent) > 0


def binding(tx: ReadTx, tenant: TenantId, sandbox: SandboxId) -> Binding | None:
    row = tx.one("SELECT agent, bound_at FROM nhi_binding WHERE tenant = ? AND sandbox = ?", tenant, sandbox)
    return Binding(tenant, sandbox, row[0], row[1]) if row else None


def use_once(tx: Tx, tenant: TenantId, nonce: bytes, expires_at: int, now: int) -> bool:
    """Mark a challenge as used; False if it was. What has expired is forgotten on the way."""
    tx.run("DELETE FROM nhi_used_challenge WHERE expires_at <= ?", now)
    return (
        tx.run(
            "INSERT INTO nhi_used_challenge (tenant, nonce, expires_at) VALUES (?, ?, ?) ON CONFLICT (tenant, nonce) DO NOTHING",
            tenant, nonce, expires_at,
        )
        > 0
    )  # fmt: skip


def revoke_token(tx: Tx, tenant: TenantId, token: str, expires_at: int, now: int) -> bool:
    """Whether it was not revoked before. What has expired is forgotten on the way."""
    tx.run("DELETE FROM nhi_revoked_token WHERE expires_at <= ?", now)
    added = tx.run(
        "INSERT INTO nhi_revoked_token (tenant, token, expires_at) VALUES (?, ?, ?) ON CONFLICT (tenant, token) DO NOTHING",
        tenant, token, expires_at,
    )  # fmt: skip
    return added > 0


def token_revoked(tx: ReadTx, tenant: TenantId, token: str) -> bool:
    return tx.one("SELECT 1 FROM nhi_revoked_token WHERE tenant = ? AND token = ?", tenant, token) is not None


def add_login(
    tx: Tx, tenant: TenantId, secret_digest: bytes, agent: AgentId, scopes: str, ttl_s: int, expires_at: int
) -> None:
    tx.run(
        "INSERT INTO nhi_login (tenant, secret, agent, scopes, ttl_s, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        tenant, secret_digest, agent, scopes, ttl_s, expires_at,
    )  # fmt: skip


def take_login(tx: Tx, secret_digest: bytes, now: int) -> tuple[TenantId, AgentId, str, int] | None:
    """The login behind a secret, once."""
    tx.run("DELETE FROM nhi_login WHERE expires_at <= ?", now)
    row = tx.one("DELETE FROM nhi_login WHERE secret = ? RETURNING tenant, agent, scopes, ttl_s", secret_digest)
    return (row[0], row[1], row[2], row[3]) if row else None


def not_registered(agent: str) -> NotFound:
    """PL-102; for what is no agent id at all, PL-101 is raised instead: the caller made a mistake, nobody is missing."""
    agent_key(agent)
    return NotFound("PL-102", field="agent_nhi", got=agent, expected="a registered identity")
