"""The gate: every operation is decided here, and recorded.

    operation = Operation(tenant=tenant, agent=agent, chain=chain, action="sandbox.spawn", resource="runtime:sandbox:sb-1", …)

    admission = gate.admit(operation)                          # decide: identity, chain, scopes, policy, quota; memory alone

    result = await gate.commit(operation, change)              # decide, then the change and its entry in one transaction

    async with gate.audited_operation(operation) as act:       # decide, intent before, outcome after: for effects outside
        act.note(await spawn(), SandboxSpawned(...))

    async with gate.performed(operation, Effect.RECORDED):     # decide, then a service that records its own success in its transaction
        await nhi.suspend(...)

Refusals carry the product's own code: policy says no, `RT-403`; a human has to decide, `RT-202`; quota is used up, `RT-429`.

INVARIANT: nothing happens before the decision and, where an effect is outside the database, before its intent is on disk.
INVARIANT: an operation that was refused has changed nothing but the ledger, where the refusal stands.
INVARIANT: an effect that happened is never answered with an error that invites to try again.
INVARIANT: quota that was reserved is settled or released, whichever way the operation ends.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from typing import TypeVar

import msgspec

from creto.common.codes import ExponentialBackoff
from creto.common.errors import AuditError, Detail, EnablementError, OversightRequired
from creto.common.ids import PolicyId
from creto.common.limits import OUTCOME_TRIES_MAX
from creto.common.retry import retry
from creto.common.telemetry import Metrics, Tally, fields, span, trace_id
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.operations import (
    Act,
    Admission,
    Effect,
    Event,
    Operation,
    check_scopes,
    demand,
    recorded_context,
    refusal,
    together,
)
from creto.platform.crypto import digest
from creto.platform.nhi import Nhi, ValidatedChain
from creto.security.authz import (
    Allow,
    Authz,
    Granted,
    OverrideToken,
    QuotaDenied,
    RequiresOversight,
    Reservation,
)
from creto.security.authz.attributes import with_gate_attributes
from creto.security.authz.types import JOINT
from creto.security.refusals import Refusals
from creto.store.entries import Acting, acting, entry
from creto.store.types import UNRECORDED, Entry, EntryId, Outcome, Store, Tx

__all__ = ["Act", "Admission", "Asker", "Effect", "Event", "Gate", "Operation"]

T = TypeVar("T")

log = logging.getLogger("creto.gate")

Asker = Callable[[Operation, OversightRequired], Awaitable[Mapping[str, Detail]]]

_running: ContextVar[Act | None] = ContextVar("creto_act", default=None)  # the operation whose body runs here


class Gate:
    def __init__(self, nhi: Nhi, authz: Authz, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._nhi = nhi
        self._authz = authz
        self._store = store
        self._clock = clock
        self.refusals = Refusals(store)
        self._asker: Asker | None = None
        self._asked, self._missed = Tally(), Tally()
        self._hits, self._counting = 0, threading.Lock()
        self._decisions = metrics.counter("platform_gate_decisions_total", "Decisions of the gate", "outcome", "action")

    def use_asker(self, asker: Asker) -> None:
        """Who makes a request to humans of what they have to agree to, and says in the refusal which request that is."""
        self._asker = asker

    @property
    def hits(self) -> int:
        """Decisions from memory, read by a scrape. A decision counts once it is made, so a reading is never too high and never falls."""
        with self._counting:
            self._hits = max(self._hits, self._asked.value - self._missed.value)
            return self._hits

    def admit(self, operation: Operation) -> Admission:
        """Decide from memory; raises the product's refusal. It records nothing: the callers below do. Then `settle` or `release`."""
        now = self._clock.now()
        check_scopes(operation)
        chain = self._chain(operation, now)
        try:
            decision = self._authz.tenant(operation.tenant).check(
                operation.agent,
                operation.action,
                operation.resource,
                with_gate_attributes(operation.context, chain.agents, operation.grade, now),
                chain,
                operation.amount,
                self._missed,
            )
        finally:
            self._asked.add()
        if not isinstance(decision, Allow):
            raise refusal(operation, decision)
        reservation = decision.reservation if isinstance(decision, Granted) else None
        return Admission(operation=operation, chain=chain, at=now, reservation=reservation)

    def settle(self, admission: Admission, amount: int | None = None) -> None:
        """It has happened: its quota is used up."""
        self._authz.settle(admission.reservation, amount)

    def release(self, admission: Admission) -> None:
        """It has not happened: its quota is free again."""
        self._authz.release(admission.reservation)

    async def covered(self, operation: Operation) -> None:
        """Whether the credential reaches as far as the operation; a refusal is recorded."""
        try:
            check_scopes(operation)
        except EnablementError as error:
            await self._refused(operation, error)
            raise

    async def authorized_operation(self, operation: Operation) -> Admission:
        """Decide, use the override token if there is one, and record a refusal. Then `settle` or `release`."""
        try:
            try:
                admission = self.admit(operation)
            except OversightRequired as refused:
                asked = await self._with_body(operation, refused)
                if operation.override_token is None:
                    await self._ask(operation, asked)
                    raise asked from None
                admission = await self._overridden(operation, asked)
        except EnablementError as error:
            await self._refused(operation, error)
            raise
        self._decisions.labels("allow", operation.action).add()
        return admission

    async def agreed(
        self,
        asked: OversightRequired,
        take: Callable[[frozenset[str]], Awaitable[T]],
        give_back: Callable[[T], Awaitable[None]],
    ) -> T:
        """What the body of an operation has found that a human must agree to, as where a quota asks about what is to be reserved.

        Without an approval of this operation it is asked about, as what the gate itself refuses is. With one `take` is done, and the approval
        used up: the one that let the operation begin, else the token that came with it. If that is not good, `give_back` undoes it.
        INVARIANT: an approval under other policies than those that ask is none; what it was under is asked again, with what asks now.
        """
        act = _running.get()
        if act is None:
            raise asked
        operation, before = act.admission.operation, act.admission.asked
        began = frozenset((act.admission.overridden or "").split(JOINT))
        if before is not None and not demand(asked).names <= began:
            asked = together(asked, before)
            await self._ask(operation, asked)
            raise asked
        if before is None and operation.override_token is None:
            await self._ask(operation, asked)
            raise asked
        taken = await take(demand(asked).names | began)
        if before is None:
            try:
                await self._use_override(operation, asked)
            except BaseException:
                await give_back(taken)
                raise
        return taken

    async def commit(
        self, operation: Operation, change: Callable[[Tx, Admission], T], event: msgspec.Struct | None = None
    ) -> T:
        """Decide, then run `change` and record its success in the same transaction."""
        async with self.performed(operation, Effect.RECORDED) as act:

            def together(tx: Tx) -> T:
                result = change(tx, act.admission)
                tx.record(self._entry(operation, Outcome.SUCCESS, event=Event.of(event)))
                return result

            return await self._store.write(together)

    def audited_operation(self, operation: Operation) -> AbstractAsyncContextManager[Act]:
        """Decide, record the intent, run the body, record how it ended."""
        return self.performed(operation, Effect.OUTSIDE)

    @asynccontextmanager
    async def performed(self, operation: Operation, effect: Effect) -> AsyncIterator[Act]:
        """Decide, run the body, record what is not recorded by the body itself, settle or release the quota."""
        admission = await self.authorized_operation(operation)
        act = Act(admission)
        try:
            with span(f"{operation.product}.{operation.action}"):
                if effect is Effect.OUTSIDE:
                    intent = self._entry(operation, Outcome.INTENT)
                    await self._store.write(lambda tx: tx.record(intent))
                    act.intent_id = intent.event_id
                token = _running.set(act)
                try:
                    with acting(self._acting(operation, act)):
                        yield act
                except BaseException as error:
                    if effect is not Effect.NONE:
                        await self._failed(operation, error, act)
                    raise
                finally:
                    _running.reset(token)
        except BaseException:
            self.release(admission)
            raise
        self.settle(admission, act.amount)
        if act.intent_id is not None:
            await self._succeeded(operation, act)

    async def _refused(self, operation: Operation, error: EnablementError) -> None:
        """A refusal is an answer, whether or not the log can take it down at once."""
        error.trace_id = error.trace_id or trace_id()
        outcome = Outcome.PENDING if isinstance(error, OversightRequired) else Outcome.DENIED
        self._decisions.labels(outcome.value, operation.action).add()
        try:
            await self.refusals.record(self._entry(operation, outcome, error=error))
        except EnablementError as fault:
            log.exception(
                "a refusal is not recorded: %s", fault, extra=fields(operation=operation.action, code=error.code)
            )
            error.with_context(f"recording the refusal ({fault.code})")

    def _acting(self, operation: Operation, act: Act) -> Acting:
        return Acting(
            agent=operation.agent,
            chain=act.admission.chain.agents,
            grade=operation.grade,
            action=operation.action,
            resource=operation.resource,
            context=recorded_context(operation),
            intent_id=act.intent_id,
        )

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

    async def _overridden(self, operation: Operation, asked: OversightRequired) -> Admission:
        """The token is spent, durably, before anything is done with it; quota first, which must not cost an approval."""
        now = self._clock.now()
        chain = self._chain(operation, now)
        held = self._held(operation, chain, asked)
        if isinstance(held, RequiresOversight):  # a quota has filled since it was asked
            asked = together(asked, held)
            held = self._held(operation, chain, asked)
        if held is not None and not isinstance(held, Reservation):
            raise refusal(operation, held)
        admission = Admission(
            operation=operation, chain=chain, at=now, overridden=PolicyId(asked.policy_id), asked=demand(asked),
            reservation=held,
        )  # fmt: skip
        try:
            with acting(self._acting(operation, Act(admission))):
                used = await self._use_override(operation, asked)
        except BaseException:
            self.release(admission)
            raise
        return msgspec.structs.replace(admission, overridden=used.policy_id)

    def _held(
        self, operation: Operation, chain: ValidatedChain, asked: OversightRequired
    ) -> Reservation | QuotaDenied | RequiresOversight | None:
        return self._authz.reserve_approved(
            operation.agent,
            operation.action,
            operation.resource,
            tenant=operation.tenant,
            chain=chain,
            amount=operation.amount,
            approved=demand(asked).names,
        )

    async def _with_body(self, operation: Operation, asked: OversightRequired) -> OversightRequired:
        """With what the body will ask, so that humans are asked once."""
        further = None if operation.asks_too is None else await operation.asks_too()
        return asked if further is None else together(asked, further)

    async def _use_override(self, operation: Operation, asked: OversightRequired) -> OverrideToken:
        assert operation.override_token is not None
        return await self._authz.consume_durable(
            operation.override_token,
            tenant=operation.tenant,
            agent=operation.agent,
            action=operation.action,
            resource=operation.resource,
            args_digest=digest(operation.arguments),
            policy_id=PolicyId(asked.policy_id),
            chain=operation.chain.agents if operation.chain is not None else (),
        )

    async def _ask(self, operation: Operation, asked: OversightRequired) -> None:
        """The refusal says which request it has become."""
        if self._asker is not None:
            asked.details.update(await self._asker(operation, asked))

    async def _succeeded(self, operation: Operation, act: Act) -> None:
        """The effect is there: its outcome is written, or the caller is told never to repeat it (PL-611)."""
        done = self._entry(operation, Outcome.SUCCESS, event=act.event, intent_id=act.intent_id)
        try:
            await self._recorded(done, OUTCOME_TRIES_MAX)
        except EnablementError as fault:
            log.exception("an outcome is not recorded: %s", fault, extra=fields(operation=operation.action))
            raise AuditError(
                "PL-611",
                f"{operation.action} on {operation.resource} is done, but its outcome is not recorded",
                caused_by=fault,
                details={"intent_id": str(act.intent_id)},
                trace_id=trace_id(),
            ) from fault

    async def _failed(self, operation: Operation, error: BaseException, act: Act) -> None:
        """Record how it failed. If even that fails the true error stays what it is, and says so."""
        known = error if isinstance(error, EnablementError) else None
        if known is not None:
            known.trace_id = known.trace_id or trace_id()
        outcome = Outcome.PENDING if isinstance(error, OversightRequired) else Outcome.FAILURE
        ended = self._entry(operation, outcome, error=known, event=act.event, intent_id=act.intent_id)
        try:
            await self._recorded(ended, 1 if act.intent_id is None else OUTCOME_TRIES_MAX)
        except EnablementError as fault:
            log.exception("a failure is not recorded: %s", fault, extra=fields(operation=operation.action))
            error.add_note(f"its failure is not recorded: {fault}")
            if known is not None:
                known.with_context(f"recording the failure ({fault.code})")

    async def _recorded(self, ended: Entry, tries: int) -> None:
        """Written, also when the caller is cancelled meanwhile, and tried again while the store is away for a moment."""
        write = retry(
            lambda: self._store.write(lambda tx: tx.record(ended)),
            strategy=ExponentialBackoff(max_delay_s=4.0, max_attempts=tries),
        )
        await asyncio.shield(asyncio.ensure_future(write))

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
        return entry(
            tenant=operation.tenant,
            product=operation.product,
            agent=operation.agent,
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
            under=None,
            degraded_clock=self._clock.degraded,
        )
