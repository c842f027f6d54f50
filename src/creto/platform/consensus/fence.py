"""Fencing: what stops a holder that does not know yet that it is none any more.

A token is checked inside the transaction that writes. For leases kept in the same database that is the lease's own row, which a takeover
must change; for leases kept elsewhere it is the highest token that ever came by.

INVARIANT: a transaction that passed `check_fence` commits before any takeover.
INVARIANT: after `advance_fence` with a token has committed, no transaction with a lower one commits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from creto.common.errors import Unauthorized
from creto.common.ids import DEFAULT_TENANT, TenantId
from creto.platform.consensus import store as rows
from creto.store.types import Tx

T = TypeVar("T")


class FenceGuard(msgspec.Struct, frozen=True):
    """What a stale holder cannot get past. Small enough to travel with the work."""

    tenant: TenantId
    name: str
    token: int

    def check(self, tx: Tx) -> None:
        check_fence(tx, self.name, self.token, tenant=self.tenant)

    def around(self, fn: Callable[[Tx], T]) -> Callable[[Tx], T]:
        def guarded(tx: Tx) -> T:
            self.check(tx)
            return fn(tx)

        return guarded


def check_fence(tx: Tx, name: str, token: int, *, tenant: TenantId = DEFAULT_TENANT) -> None:
    """Refuse (PL-304) unless `token` is the last one given. Locks the lease's row: no takeover until this transaction ends."""
    current = rows.locked_token(tx, tenant, name)
    if token != current:
        raise stale(name, token, current)


def advance_fence(tx: Tx, name: str, token: int, *, tenant: TenantId = DEFAULT_TENANT) -> None:
    """For leases kept outside this database: refuse (PL-304) a token below the highest that came by, else remember it."""
    tx.lock(f"consensus.fence/{tenant}/{name}")
    seen = rows.seen_token(tx, tenant, name)
    if seen is not None and token < seen:
        raise stale(name, token, seen)
    if seen is None or token > seen:
        rows.put_seen_token(tx, tenant, name, token)


def stale(name: str, token: int, current: int | None) -> Unauthorized:
    return Unauthorized("PL-304", field=f"lease {name}", got=f"token {token}", expected=f"token {current}")
