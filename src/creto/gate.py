"""The gate: every operation is decided here, and recorded.

    operation = Operation(tenant=tenant, agent=agent, chain=chain, action="sandbox.spawn", resource="runtime:sandbox:sb-1", …)

    admission = gate.admit(operation)                          # decide: identity, chain, policy, quota; memory alone

    result = await gate.commit(operation, change)              # decide, then the change and its entry in one transaction

    async with gate.audited_operation(operation) as act:       # decide, intent before, outcome after: for effects outside
        act.note(await spawn(), SandboxSpawned(...))

Refusals carry the product's own code: policy says no, `RT-403`; a human has to decide, `RT-202`; quota is used up, `RT-429`.

INVARIANT: nothing happens before the decision and, where an effect is outside the database, before its intent is on disk.
INVARIANT: an operation that was refused has changed nothing but the ledger, where the refusal stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, OversightRequired, ProductId, QuotaExceeded, Unauthorized
from creto.common.ids import AgentId, PolicyId, TenantId, new_id
from creto.common.limits import GATE_CONTEXT_BYTES_MAX
from creto.common.telemetry import Metrics, span, trace_id
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.platform.crypto import digest
from creto.platform.nhi import DelegationChain, Nhi, ValidatedChain
from creto.security.authz import Allow, Authz, Deny, QuotaDenied, RequiresOversight, TenantAuthz
from creto.store.types import UNRECORDED, Entry, EntryId, Grade, Outcome, Store, Tx

T = TypeVar("T")

PREFIX = {
    ProductId.RUNTIME: "RT",
    ProductId.METERING: "MT",
    ProductId.OVERSIGHT: "OV",
    ProductId.MESSAGING: "MS",
    ProductId.PLATFORM: "PL",
}


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """Who does what to which resource.

    `chain` is empty only for humans and services, who act for themselves. `arguments` are what an approval is bound to: the exact bytes.
    """

    tenant: TenantId
    agent: AgentId
    action: str
    resource: str
    product: ProductId
    chain: DelegationChain | None = None
    context: Mapping[str, Any] | None = None
    arguments: bytes = b""
    grade: Grade = Grade.COOPERATIVE
    override_token: str | None = None


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """The gate's yes, and on what it rests."""

    operation: Operation
    chain: ValidatedChain
    at: ConsensusTimestamp
    overridden: PolicyId | None = None  # a human said yes to what this policy asks about


class Event(msgspec.Struct, frozen=True):
    """The name and the fields that the ledger keeps of what happened."""

    name: str = ""
    fields: msgspec.Raw = msgspec.Raw(b"{}")

    @staticmethod
    def of(value: msgspec.Struct | None) -> Event:
        return Event(type(value).__name__, msgspec.Raw(wire.encode(value))) if value is not None else Event()


class Act:
    """An operation while it runs."""

    def __init__(self, admission: Admission, intent_id: EntryId) -> None:
        self.admission = admission
        self.intent_id = intent_id
        self.event = Event()

    def note(self, event: msgspec.Struct) -> None:
        """What its outcome entry will say."""
        self.event = Event.of(event)


class Gate:
    def __init__(self, nhi: Nhi, authz: Authz, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._nhi = nhi
        self._authz = authz
        self._store = store
        self._clock = clock
        self.hits = 0  # decisions from memory, read by a scrape
        self._tenants: dict[TenantId, TenantAuthz] = {}
        self._decisions = metrics.counter("platform_gate_decisions_total", "Decisions of the gate", "outcome", "action")

    def admit(self, operation: Operation) -> Admission:
        """Decide from memory; raises the product's refusal. It records nothing: the callers below do."""
        now = self._clock.now()
        chain = self._chain(operation, now)
        tenant = self._tenants.get(operation.tenant) or self._checks_of(operation.tenant)
        misses = self._authz.misses
        decision = tenant.check(operation.agent, operation.action, operation.resource, operation.context)
        self.hits += self._authz.misses == misses
        if not isinstance(decision, Allow):
            raise self._refusal(operation, decision)
        return Admission(operation=operation, chain=chain, at=now)

    def _checks_of(self, tenant: TenantId) -> TenantAuthz:
        """Kept for good: what holds for the tenant is looked up anew in each check."""
        return self._tenants.setdefault(tenant, self._authz.tenant(tenant))

    async def authorized_operation(self, operation: Operation) -> Admission:
        """Decide, use the override token if there is one, and record a refusal."""
        try:
            try:
                admission = self.admit(operation)
            except OversightRequired as asked:
                if operation.override_token is None:
                    raise
                admission = await self._overridden(operation, asked)
        except EnablementError as error:
            error.trace_id = error.trace_id or trace_id()
            outcome = Outcome.PENDING if isinstance(error, OversightRequired) else Outcome.DENIED
            self._decisions.labels(outcome.value, operation.action).add()
            refused = self._entry(operation, outcome, error=error)
            await self._store.write(lambda tx: tx.record(refused))
            raise
        self._decisions.labels("allow", operation.action).add()
        return admission

    async def commit(
        self, operation: Operation, change: Callable[[Tx, Admission], T], event: msgspec.Struct | None = None
    ) -> T:
        """Decide, then run `change` and record its success in the same transaction."""
        admission = await self.authorized_operation(operation)

        def together(tx: Tx) -> T:
            result = change(tx, admission)
            tx.record(self._entry(operation, Outcome.SUCCESS, event=Event.of(event)))
            return result

        with span(f"{operation.product}.{operation.action}"):
            try:
                return await self._store.write(together)
            except EnablementError as error:
                await self._failed(operation, error, None)
                raise
            except Exception:
                await self._failed(operation, None, None)
                raise

    @asynccontextmanager
    async def audited_operation(self, operation: Operation) -> AsyncIterator[Act]:
        """Decide, record the intent, run the body, record how it ended."""
        admission = await self.authorized_operation(operation)
        intent = self._entry(operation, Outcome.INTENT)
        with span(f"{operation.product}.{operation.action}"):
            await self._store.write(lambda tx: tx.record(intent))
            act = Act(admission, intent.event_id)
            try:
                yield act
            except EnablementError as error:
                await self._failed(operation, error, act)
                raise
            except BaseException:
                await self._failed(operation, None, act)
                raise
            done = self._entry(operation, Outcome.SUCCESS, event=act.event, intent_id=act.intent_id)
            await self._store.write(lambda tx: tx.record(done))

    def _chain(self, operation: Operation, now: ConsensusTimestamp) -> ValidatedChain:
        if operation.chain is None:
            return self._nhi.rooted(operation.agent, tenant=operation.tenant, now=now)
        return self._nhi.validate(
            operation.chain,
            tenant=operation.tenant,
            agent=operation.agent,
            now=now,
            action=operation.action,
            resource=operation.resource,
        )

    def _refusal(self, operation: Operation, decision: Deny | RequiresOversight | QuotaDenied) -> EnablementError:
        prefix = PREFIX[operation.product]
        what = f"{operation.action} on {operation.resource}"
        if isinstance(decision, RequiresOversight):
            return OversightRequired(
                f"{prefix}-202",
                f"{what} needs approval under policy {decision.policy_id}",
                policy_id=decision.policy_id,
                requirement=decision.requirement,
            )
        if isinstance(decision, QuotaDenied):
            return QuotaExceeded(f"{prefix}-429", f"{what}: {decision.reason}", retry_after_s=decision.retry_after_s)
        return Unauthorized(f"{prefix}-403", f"{what} is not permitted: {decision.reason}")

    async def _overridden(self, operation: Operation, asked: OversightRequired) -> Admission:
        """The token is spent, durably, before anything is done with it; quota first, which must not cost an approval."""
        assert operation.override_token is not None
        now = self._clock.now()
        chain = self._chain(operation, now)
        full = self._authz.quota(operation.agent, operation.action, operation.resource, tenant=operation.tenant)
        if full is not None:
            raise self._refusal(operation, full)
        await self._authz.consume_durable(
            operation.override_token,
            tenant=operation.tenant,
            agent=operation.agent,
            action=operation.action,
            resource=operation.resource,
            args_digest=digest(operation.arguments),
        )
        return Admission(operation=operation, chain=chain, at=now, overridden=PolicyId(asked.policy_id))

    async def _failed(self, operation: Operation, error: EnablementError | None, act: Act | None) -> None:
        if error is not None:
            error.trace_id = error.trace_id or trace_id()
        entry = self._entry(
            operation,
            Outcome.FAILURE,
            error=error,
            event=act.event if act else Event(),
            intent_id=act.intent_id if act else None,
        )
        await asyncio.shield(self._store.write(lambda tx: tx.record(entry)))  # also when the caller is cancelled

    def _entry(
        self,
        operation: Operation,
        outcome: Outcome,
        *,
        error: EnablementError | None = None,
        event: Event | None = None,
        intent_id: EntryId | None = None,
    ) -> Entry:
        event = event or Event()
        return Entry(
            event_id=EntryId(new_id()),
            tenant=operation.tenant,
            product=operation.product,
            agent_nhi=operation.agent,
            action=operation.action,
            resource=operation.resource,
            outcome=outcome,
            timestamp=self._clock.now(),
            event=event.name,
            metadata=event.fields,
            delegation_chain=operation.chain.agents if operation.chain else (operation.agent,),
            why=error.message if error else None,
            code=error.code if error else None,
            grade=operation.grade,
            context=recorded_context(operation) if intent_id is None else UNRECORDED,
            intent_id=intent_id,
            trace_id=trace_id(),
            degraded_clock=self._clock.degraded,
        )


def recorded_context(operation: Operation) -> msgspec.Raw:
    """What a policy could read of the operation, so that the decision can be tried again; nothing if it is too much, or no JSON."""
    try:
        encoded = wire.encode(operation.context or {})
    except (TypeError, ValueError, OverflowError, RecursionError):
        return UNRECORDED  # the check refused it
    return msgspec.Raw(encoded) if len(encoded) <= GATE_CONTEXT_BYTES_MAX else UNRECORDED
