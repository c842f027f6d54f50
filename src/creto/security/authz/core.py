"""What the use cases share: the store, the clock, policies and facts in memory, and how a change is recorded, announced and heard."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId, TenantId, checked_tenant
from creto.common.limits import AUTHZ_TENANTS_MAX
from creto.common.metrics import Tally
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.platform.crypto import SigningKey
from creto.platform.nhi import Nhi
from creto.platform.nhi import store as identities
from creto.platform.nhi.registry import CHANGED as NHI_CHANGED
from creto.platform.nhi.registry import Change as NhiChange
from creto.security.authz import store as sql
from creto.security.authz import texts
from creto.security.authz.cedar.policies import Policies, compile_policies
from creto.security.authz.cedar.values import Entity, Uid
from creto.security.authz.checks import QuotaTenantAuthz, TenantAuthz
from creto.security.authz.facts import Facts
from creto.security.authz.hits import Hits, Shelf, Ticks
from creto.security.authz.sweeper import Sweeper
from creto.security.authz.types import PolicyVersion, QuotaHook
from creto.store.entries import told
from creto.store.types import Outcome, ReadTx, Store, Tx

CHANGED = "authz.changed"
OPERATOR_ROLE = "operator"  # may do everything, also give roles: a tenant always keeps one who can act
RECENT_MAX = 16  # compiled texts kept for a rollback


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The signal: what to look up again. `roles_of` is the origin of `line`, `entity` a stored entity."""

    tenant: TenantId
    policies: bool = False
    roles_of: str = ""
    line: tuple[str, ...] = ()
    entity: tuple[str, str] | None = None


class Holding(msgspec.Struct, frozen=True):
    """The policies that hold for a tenant, and the groups of its actions."""

    version: int
    digest: bytes
    policies: Policies
    actions: Mapping[Uid, Entity]


@cache
def shipped() -> Holding:
    schema = texts.parsed_schema()
    return Holding(0, b"", compile_policies(texts.shipped_policies()), texts.action_entities(schema))


class Core:
    def __init__(
        self, store: Store, clock: Clock, nhi: Nhi, signer: SigningKey | None, quota: QuotaHook | None, ticks: Ticks
    ) -> None:
        self._store = store
        self._clock = clock
        self._nhi = nhi
        self._signer = signer
        self._quota = quota
        self._ticks = ticks
        self._hits = Hits(ticks=ticks)
        self._sweeper = Sweeper(self._hits)
        self._views: dict[str, TenantAuthz] = {}
        self._shelves: dict[str, Shelf] = {}  # of tenants whose hits take no quota
        self._facts: dict[str, Facts] = {}
        self._holdings: dict[str, Holding] = {}
        self._recent: dict[bytes, Holding] = {}
        self._missed = Tally()
        self._changes = 0
        self._lock = threading.Lock()
        nhi.on_revoked(self._hits.drop)
        nhi.protect(self._keep_an_operator_of)
        store.on_signal(NHI_CHANGED, self._on_identity)
        store.on_signal(CHANGED, self._on_change)
        store.on_signal_lost(self.forget_all)

    def _open(self, tenant: str) -> TenantAuthz:
        known = checked_tenant(tenant)
        with self._lock:
            if known not in self._views:
                shelf = self._hits.shelf(known)
                view = TenantAuthz if self._quota is None else QuotaTenantAuthz
                self._views[known] = view(self, known, shelf)
                if self._quota is None:
                    self._shelves[known] = shelf
            return self._views[known]

    @property
    def misses(self) -> int:
        """Decisions that were evaluated, read by a scrape."""
        return self._missed.value

    def use_quota(self, quota: QuotaHook | None) -> None:
        """From when this returns every allowed check takes quota there, also through `TenantAuthz` and bound methods that are held already."""
        with self._lock:
            self._quota = quota
            self._views, self._shelves = {}, {}
            self._hits.retire()  # a view that is held without quota finds nothing any more, and what it decides anew is counted

    def holding(self, tenant: TenantId) -> Holding:
        """The policies that hold now."""
        found = self._holdings.get(tenant)
        if found is not None and self._store.signals_alive:
            return found
        changes = self._changes
        active = self._store.read_now(lambda tx: sql.active(tx, tenant))
        if active is None:
            found = shipped()
        elif found is None or (found.version, found.digest) != (active.version, active.digest):
            found = self._compiled(active)
        with self._lock:
            if changes == self._changes:
                if len(self._holdings) >= AUTHZ_TENANTS_MAX:
                    self._holdings.clear()
                self._holdings[tenant] = found
        return found

    def _compiled(self, version: PolicyVersion, policies: Policies | None = None) -> Holding:
        """A version as it is evaluated; the last few are kept, for rollbacks and for tenants with the same text."""
        known = self._recent.get(version.digest)
        if known is None:
            policies = policies or compile_policies(texts.whole_text(version.text, version.with_defaults))
            actions = texts.action_entities(texts.parsed_schema(version.schema))
            known = Holding(version.version, version.digest, policies, actions)
            if len(self._recent) >= RECENT_MAX:
                self._recent.clear()
            self._recent[version.digest] = known
        return replace(known, version=version.version)

    def facts(self, tenant: TenantId) -> Facts:
        found = self._facts.get(tenant)
        if found is None:
            with self._lock:
                if len(self._facts) >= AUTHZ_TENANTS_MAX:
                    self._facts.clear()
                found = self._facts.setdefault(tenant, Facts(self._store, tenant))
        found.load()
        return found

    async def prefetch(self, tenant: TenantId, agent: AgentId) -> None:
        """Read on another thread what a check of this agent asks for: the check on the loop then reads nothing. What fails is told there."""
        facts = self._facts.get(tenant)
        if self._store.signals_alive and tenant in self._holdings and facts is not None and facts.holds(agent):
            return
        with suppress(EnablementError):
            await asyncio.to_thread(self._read_ahead, tenant, agent)

    def _read_ahead(self, tenant: TenantId, agent: AgentId) -> None:
        self.holding(tenant)
        self.facts(tenant).roles(agent)

    def _on_change(self, payload: str) -> None:
        try:
            change = wire.decode(payload, Change, what=CHANGED)
        except InvalidInput:  # from another release: all it says is that something changed
            return self.forget_all()
        facts = self._facts.get(change.tenant)
        if change.policies:
            with self._lock:
                self._changes += 1
                self._holdings.pop(change.tenant, None)
            self._policies_changed(change.tenant)
        if facts is not None and change.entity is not None:
            facts.changed(Uid(*change.entity))
        if facts is not None and change.roles_of:
            facts.changed(change.roles_of)
        if change.roles_of and not change.policies and change.entity is None:
            for agent in change.line:
                self._hits.drop(change.tenant, agent)
        else:
            self._hits.swap(change.tenant)

    def _keep_an_operator_of(self, tx: Tx, tenant: TenantId, origin: AgentId) -> None:
        if OPERATOR_ROLE in sql.roles(tx, tenant, origin):
            self._keep_an_operator(tx, tenant, origin)

    def _keep_an_operator(self, tx: Tx, tenant: TenantId, lost: AgentId) -> None:
        """PL-137 if nobody is left who could give the role back."""
        if not operators(tx, tenant):
            raise InvalidInput(
                "PL-137", field="agent", got=f"{lost}, the last operator", expected="another active operator"
            )

    def _policies_changed(self, tenant: TenantId) -> None:
        """Other policies hold for this tenant now."""

    def _on_identity(self, payload: str) -> None:
        """`nhi.on_revoked` tells of those who may do less; this also of those who may do more, or are called otherwise."""
        try:
            change = wire.decode(payload, NhiChange, what=NHI_CHANGED)
        except InvalidInput:
            return self._hits.empty()
        for agent in change.agents:
            self._hits.drop(change.tenant, agent)

    def forget_all(self) -> None:
        """Trust nothing in memory any more."""
        with self._lock:
            self._changes += 1
            self._holdings.clear()
            facts = list(self._facts.values())
        for held in facts:
            held.forget()
        self._hits.empty()

    def _record(
        self, tx: Tx, tenant: TenantId, act: str, event: str, *, actor: str, subject: str, now: ConsensusTimestamp,
        fields: dict[str, object], outcome: Outcome = Outcome.SUCCESS,
    ) -> None:  # fmt: skip
        """One entry in the ledger, and the same facts on the bus as `authz.<act>`."""
        told(
            tx, f"authz.{act}", event, tenant=tenant, actor=AgentId(actor), subject=subject, now=now, fields=fields,
            outcome=outcome, degraded_clock=self._clock.degraded,
        )  # fmt: skip


def operators(tx: ReadTx, tenant: TenantId) -> int:
    """How many lines hold the role operator and can act on their own account."""
    return sum(identities.speaks(tx, tenant, origin) for origin in sql.holders(tx, tenant, OPERATOR_ROLE))


def announce(tx: Tx, change: Change) -> None:
    tx.signal(CHANGED, wire.encode(change).decode())
