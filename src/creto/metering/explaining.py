"""Explaining and proving invoices: the use cases.

Whatever is said of a final invoice is counted again from the events as they were known when it became final. Late events since then
belong to the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from creto.common.errors import AlreadyExists, InvalidInput, NotFound
from creto.common.ids import EventId, TenantId, checked_tenant
from creto.common.limits import INVOICE_FILE_EVENTS_MAX, PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX
from creto.metering import store as rows
from creto.metering.attribution import chain_of
from creto.metering.billing import Basis, bases
from creto.metering.core import known, paged
from creto.metering.corrections import subject
from creto.metering.counting import heading_like
from creto.metering.events import events_root
from creto.metering.explained import (
    EventChange,
    EventExplanation,
    EventPart,
    LineExplanation,
    LinePart,
    changes,
    parts,
    priced,
)
from creto.metering.invoice_file import LineEvent, encoded, event_proofs
from creto.metering.invoice_pdf import to_pdf
from creto.metering.invoices import Terms, draft, invoice_digest
from creto.metering.invoicing import Invoicing
from creto.metering.reasons import Reason, reason_of
from creto.metering.rounding import ZERO
from creto.metering.types import Invoice, InvoiceId, InvoiceKind, InvoiceStatus, Line, Subscription
from creto.platform.audit.proof import InclusionProof
from creto.store.types import EntryId, ReadTx


class Prover(Protocol):
    """The log, which proves its entries: `creto.platform.audit.Audit`."""

    async def prove(self, event_id: EntryId, *, tenant: TenantId, fresh: bool = False) -> InclusionProof: ...


class Reproduced(msgspec.Struct, frozen=True):
    """An invoice that was counted again: the digest then and now, and the lines that came out otherwise."""

    invoice_id: InvoiceId
    digest: str
    again: str
    other_lines: tuple[str, ...]

    @property
    def same(self) -> bool:
        return self.digest == self.again


class Explaining(Invoicing):
    async def explain_line(
        self, tenant: TenantId, invoice_id: InvoiceId, line_id: str, *, after: int = 0, limit: int = PAGE_ITEMS_DEFAULT
    ) -> LineExplanation:
        """What is behind a line, with a page of its events; `after` is how many of them are known."""
        paged(limit)
        if after < 0:
            raise InvalidInput.of("after", got=after, expected="0 or above", code="MT-400")

        def look(tx: ReadTx) -> LineExplanation:
            invoice, terms = self._found(tx, checked_tenant(tenant), invoice_id)
            line = line_of(invoice, line_id)
            basis = self._evidence(tx, invoice, terms, [line]).get(line_id)
            found = self._event_parts(tx, invoice, line, basis)
            return LineExplanation(
                invoice_id=invoice_id,
                number=invoice.number,
                status=invoice.status,
                plan=invoice.plan,
                currency=invoice.currency,
                line=line,
                priced=None if basis is None else priced(basis),
                events=tuple(found[after : after + limit]),
                events_total=len(found),
                root_holds=None if line.events_root is None else holds(line, basis),
                credits=tuple(use for use in invoice.credits if use.line_id == line_id),
                reason=self._reason(tx, invoice, terms, line),
                token_prices=invoice.token_prices,
                corrects=None if line.corrects is None else self._found(tx, tenant, line.corrects)[0].number,
            )

        return await self._store.read(look)

    async def explain_event(self, tenant: TenantId, event_id: EventId) -> EventExplanation:
        """In which lines of which invoices an event was counted; where there is none yet, in those of a preview."""

        def look(tx: ReadTx) -> EventExplanation:
            subscription_id, event = self._source.find(tx, checked_tenant(tenant), event_id)
            history = self._source.history(tx, tenant, event_id)
            book = [
                (invoice, terms)
                for agent in chain_of(event)
                for subscription in rows.subscriptions_of(tx, tenant, agent, "", PAGE_ITEMS_MAX)
                for invoice, terms in rows.invoices_of(tx, tenant, subscription.subscription_id)
                if invoice.status is not InvoiceStatus.VOID
            ]
            own = {i.invoice_id for i, _ in book if any(at in i.period for at in history.times)}
            concerned = [
                (i, t) for i, t in book if i.invoice_id in own or any(line.corrects in own for line in i.lines)
            ]
            if not concerned and subscription_id is not None:
                subscription = known(rows.find_subscription(tx, tenant, subscription_id), subscription_id)
                concerned = [self._previewed(tx, subscription, event.timestamp)]
            lines = (part for invoice, terms in concerned for part in self._parts_of(tx, invoice, terms, event_id))
            return EventExplanation(event, subscription_id, tuple(lines), history.state.name.lower(), history.acts)

        return await self._store.read(look)

    async def reproduce_invoice(self, tenant: TenantId, invoice_id: InvoiceId) -> Reproduced:
        """Count a final invoice again, from the events and by the terms of then."""

        def look(tx: ReadTx) -> Reproduced:
            invoice, terms = self._found(tx, checked_tenant(tenant), invoice_id)
            if invoice.kind is InvoiceKind.CREDIT_NOTE:
                raise InvalidInput.of("invoice_id", got="a credit note", expected="an invoice", code="MT-400")
            subscription = self._billed(tx, invoice)
            known_at = invoice.finalized_at or self._clock.now()
            own = self._counted(tx, subscription, invoice.period, terms, known_at, known_at).lines()
            corrections = [line for line in invoice.lines if line.corrects is not None]
            made = draft(heading_like(invoice, invoice_id), [*own, *corrections], terms)
            again = msgspec.structs.replace(
                made, credits=invoice.credits, due=invoice.due, shown=invoice.shown, number=invoice.number,
                status=invoice.status, token_prices=invoice.token_prices, finalized_at=invoice.finalized_at,
                unread=invoice.unread, unread_count=invoice.unread_count,
            )  # fmt: skip
            lines = {line.line_id: line for line in again.lines}
            ids = dict.fromkeys([*(line.line_id for line in invoice.lines), *lines])
            was = {line.line_id: line for line in invoice.lines}
            other = tuple(id for id in ids if was.get(id) != lines.get(id))
            return Reproduced(invoice_id, invoice_digest(invoice), invoice_digest(again), other)

        return await self._store.read(look)

    async def invoice_file(
        self,
        tenant: TenantId,
        invoice_id: InvoiceId,
        prover: Prover | None = None,
        *,
        events: Sequence[EventId] | None = None,
    ) -> bytes:
        """The invoice as `creto verify` reads it: with its events, or those that are named, and with the log's proof.

        Of an invoice with more events than a file may hold, name those that are to be proved. Without a prover the file has no
        proof of the log, and nobody has to believe it. What is not final yet has no file: it proves nothing.
        """

        def look(tx: ReadTx) -> tuple[Invoice, list[LineEvent], EntryId | None]:
            invoice, terms = self._found(tx, checked_tenant(tenant), invoice_id)
            if invoice.finalized_at is None:
                raise AlreadyExists(
                    "MT-412", f"{invoice_id} is {invoice.status}", got=invoice.status, expected="a final invoice",
                    hint="Only what is final can be proved. Finalise it, or look at it as JSON or CSV.",
                )  # fmt: skip
            wanted = None if events is None else frozenset(events)
            lines = [line for line in invoice.lines if line.events_root is not None]
            total = sum(line.events for line in lines) if wanted is None else 0
            if total > INVOICE_FILE_EVENTS_MAX:
                raise InvalidInput.of(
                    "events", got=f"{total} events", expected=f"at most {INVOICE_FILE_EVENTS_MAX}, named one by one", code="MT-400"
                )  # fmt: skip
            found = self._evidence(tx, invoice, terms, lines) if lines and wanted != frozenset() else {}
            proofs = [
                proof
                for line in lines
                if holds(line, found.get(line.line_id))
                for proof in event_proofs(line.line_id, list(found[line.line_id].events), wanted)
            ]
            check_found(wanted or frozenset(), found.values(), invoice)
            return invoice, proofs, rows.find_entry(tx, tenant, invoice_id)

        invoice, proofs, entry_id = await self._store.read(look)
        if prover is None or entry_id is None:
            return encoded(invoice, proofs)
        proof = await prover.prove(entry_id, tenant=tenant, fresh=True)
        return encoded(invoice, proofs, proof.to_tlog_proof())

    async def invoice_pdf(self, tenant: TenantId, invoice_id: InvoiceId, notes: Sequence[str] = ()) -> bytes:
        """The invoice on paper, with the parties that were named for it."""
        invoice = await self.invoice(tenant, invoice_id)
        head = msgspec.structs.replace(await self.letterhead(tenant, invoice.subscription_id), notes=tuple(notes))
        others = {i.invoice_id: i.number for i in await self.invoices(tenant, invoice.subscription_id) if i.number}
        return await asyncio.to_thread(to_pdf, invoice, head, others)

    # What lines rest on

    def _billed(self, tx: ReadTx, invoice: Invoice) -> Subscription:
        """The subscription as it was known when its invoice became final; of one that is open, as it is."""
        tenant, id, at = invoice.tenant, invoice.subscription_id, invoice.finalized_at
        found = rows.find_subscription(tx, tenant, id) if at is None else rows.subscription_at(tx, tenant, id, at)
        return known(found, id)

    def _evidence(self, tx: ReadTx, invoice: Invoice, terms: Terms, lines: Sequence[Line]) -> dict[str, Basis]:
        """Of each line that counts events, by its id, what it rests on; of corrections the recount that they came from."""
        subscription, at = self._billed(tx, invoice), invoice.finalized_at
        found: dict[str, Basis] = {}
        if any(line.corrects is None for line in lines):
            found |= self._bases(tx, subscription, invoice, terms, at)
        for original in {line.corrects for line in lines if line.corrects is not None}:
            corrected, then = self._found(tx, invoice.tenant, original)
            # A credit note gives back what was billed, a correction what the recount came to.
            seen_at = corrected.finalized_at if invoice.kind is InvoiceKind.CREDIT_NOTE else at
            recount = self._bases(tx, subscription, corrected, then, seen_at)
            for line in lines:
                if line.corrects == original and subject(line) in recount:
                    found[line.line_id] = recount[subject(line)]
        return found

    def _bases(
        self, tx: ReadTx, subscription: Subscription, invoice: Invoice, terms: Terms, known_at: int | None
    ) -> dict[str, Basis]:
        now = self._clock.now() if known_at is None else known_at
        counted = self._counted(tx, subscription, invoice.period, terms, now, known_at)
        return bases(counted.asked, counted.events)

    def _reason(self, tx: ReadTx, invoice: Invoice, terms: Terms, line: Line) -> Reason | None:
        """Of a fee, a minimum or a commitment; credit notes and corrections have that of the line they are about."""
        if line.corrects is not None or line.events_root is not None:
            return None
        subscription = self._billed(tx, invoice)
        now = invoice.finalized_at or self._clock.now()
        counted = self._counted(tx, subscription, invoice.period, terms, now, invoice.finalized_at)
        return reason_of(counted.asked, line, invoice.lines)

    def _previewed(self, tx: ReadTx, subscription: Subscription, at: int) -> tuple[Invoice, Terms]:
        heading = self._heading(tx, subscription, at)
        made, terms = self._drafted(tx, subscription, heading, Terms(), self._clock.now())
        return msgspec.structs.replace(made, status=InvoiceStatus.PREVIEW), terms

    def _event_parts(self, tx: ReadTx, invoice: Invoice, line: Line, basis: Basis | None) -> list[EventPart]:
        """What of a line falls on its events; of a correction what of the change, against what was billed last."""
        if line.corrects is None or invoice.kind is InvoiceKind.CREDIT_NOTE:
            return [] if basis is None else parts(basis, line.amount, invoice.currency)
        corrected, then = self._found(tx, invoice.tenant, line.corrects)
        at, name = invoice.finalized_at, subject(line)
        counted = self._counted(tx, self._billed(tx, invoice), corrected.period, then, at or self._clock.now(), at)
        amount = sum((own.amount for own in counted.lines() if own.line_id == name), ZERO)
        last = self._booked_last(tx, invoice, line)
        before = self._bases(tx, self._billed(tx, last), corrected, then, last.finalized_at).get(name)
        return changes(
            [] if before is None else parts(before, amount - line.amount, invoice.currency),
            [] if basis is None else parts(basis, amount, invoice.currency),
        )

    def _booked_last(self, tx: ReadTx, invoice: Invoice, line: Line) -> Invoice:
        """The invoice that booked what a correction corrects: the one that it names, or a correction of it since."""
        found = [
            other
            for other, _ in rows.invoices_of(tx, invoice.tenant, invoice.subscription_id)
            if other.status is InvoiceStatus.FINAL
            and other.kind is InvoiceKind.INVOICE
            and (invoice.finalized_at is None or (other.finalized_at or 0) < invoice.finalized_at)
            and (other.invoice_id == line.corrects or any(own.line_id == line.line_id for own in other.lines))
        ]
        return max(found, key=lambda other: other.finalized_at or 0)

    def _parts_of(self, tx: ReadTx, invoice: Invoice, terms: Terms, event_id: EventId) -> list[LinePart]:
        lines = [line for line in invoice.lines if line.events_root is not None or line.corrects is not None]
        evidence = self._evidence(tx, invoice, terms, lines)
        return [
            LinePart(
                invoice_id=invoice.invoice_id, number=invoice.number, status=invoice.status, line_id=line.line_id,
                kind=line.kind, description=line.description, counted=part.counted, part=part.part, amount=line.amount,
                currency=invoice.currency, before=part.before, change=part.change,
            )
            for line in lines
            for part in self._event_parts(tx, invoice, line, evidence.get(line.line_id))
            if part.event_id == event_id and (part.part or part.change is not EventChange.SAME)
        ]  # fmt: skip


def line_of(invoice: Invoice, line_id: str) -> Line:
    for line in invoice.lines:
        if line.line_id == line_id:
            return line
    raise NotFound(
        "MT-404", f"{invoice.number or invoice.invoice_id} has no line {line_id}",
        hint=f"It has {', '.join(line.line_id for line in invoice.lines[:20])}.",
    )  # fmt: skip


def check_found(wanted: frozenset[EventId], found: Iterable[Basis], invoice: Invoice) -> None:
    strange = wanted - {event.event_id for basis in found for event in basis.events}
    if strange:
        expected = f"events behind lines of {invoice.number}"
        raise InvalidInput.of("events", got=sorted(strange)[:20], expected=expected, code="MT-400")


def holds(line: Line, basis: Basis | None) -> bool:
    """Whether these events are those that the line was made of."""
    return basis is not None and bool(basis.events) and events_root(basis.events) == line.events_root
