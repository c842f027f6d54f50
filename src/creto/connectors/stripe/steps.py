"""What is asked of Stripe for an invoice, a credit note and a quantity: one step after the other, each made once.

Whoever repeats a step finds what the one before it left: the rows of `objects` say how far it came.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

from creto.common.ids import AgentId, TenantId
from creto.common.logs import fields
from creto.common.settings import StripeConfig
from creto.common.timestamps import SECOND, Clock
from creto.connectors.stripe import invoices, meters
from creto.connectors.stripe import store as rows
from creto.connectors.stripe.errors import StripeRefused
from creto.connectors.stripe.objects import Look, Objects, identifier
from creto.connectors.stripe.sdk import StripeApi
from creto.connectors.stripe.types import Kind, Params, Payer, State, StripeId, Thing
from creto.metering import Invoice, InvoiceKind
from creto.metering.wallets import Purchase
from creto.store.types import Store, Tx

log = logging.getLogger("creto.stripe")

DRIFT_S = 300  # between its clock and ours
MINUTE_S = 60  # what its summaries of usage begin and end at
GONE, DOUBLE = "resource_missing", "duplicate_meter_event"


Paying = Callable[[TenantId, AgentId], Awaitable[Payer]]  # who pays for an agent


class Steps:
    def __init__(self, store: Store, clock: Clock, api: StripeApi, config: StripeConfig, paying: Paying) -> None:
        self._store = store
        self._clock = clock
        self._api = api
        self._config = config
        self._paying = paying
        self._objects = Objects(store, clock)

    async def close(self) -> None:
        await self._api.close()

    # Customers

    async def customer(self, tenant: TenantId, agent: AgentId, account: str | None) -> StripeId:
        payer = await self._paying(tenant, agent)
        if payer.stripe_id is not None:
            return payer.stripe_id
        params = invoices.customer_params(tenant, agent, payer)
        make = partial(self._api.create_customer, account=account)
        return await self._objects.ensure(
            tenant, Kind.CUSTOMER, agent, params, make, partial(self._find_customer, account)
        )

    async def update_customer(self, tenant: TenantId, agent: AgentId, account: str | None) -> None:
        """As its payer is now; a customer that was not made yet will be made so."""
        payer = await self._paying(tenant, agent)
        there = payer.stripe_id or await self._objects.id_of(tenant, Kind.CUSTOMER, agent)
        if there is not None:
            params = invoices.customer_params(tenant, agent, payer)
            await self._api.update_customer(there, params, account=account)

    async def _find_customer(self, account: str | None, one: Thing) -> StripeId | None:
        async for there in self._api.customers(since_s(one), account=account):
            if named(there, creto_tenant=one.tenant, creto_agent=one.our_id):
                return StripeId(there["id"])
        return None

    # Invoices

    async def collect(self, invoice: Invoice, agent: AgentId, account: str | None) -> None:
        if await self._objects.id_of(invoice.tenant, Kind.FINAL, invoice.invoice_id) is None:
            customer = await self.customer(invoice.tenant, agent, account)
            await self._made(invoices.sheet_of(invoice, customer, self._config), account)

    async def buy(self, tenant: TenantId, purchase: Purchase, account: str | None) -> None:
        if await self._objects.id_of(tenant, Kind.FINAL, purchase.purchase_id) is None:
            customer = await self.customer(tenant, purchase.agent, account)
            await self._made(invoices.sheet_of_purchase(tenant, purchase, customer, self._config), account)

    async def _made(self, sheet: invoices.Sheet, account: str | None) -> None:
        """Its head, its lines, the total compared, and then it is final there."""
        tenant, ours = sheet.tenant, sheet.our_id
        there = await self._objects.ensure(
            tenant, sheet.kind, ours, sheet.head,
            partial(self._api.create_invoice, account=account), partial(self._find_invoice, account),
        )  # fmt: skip
        for number, request in enumerate(sheet.lines):
            await self._objects.ensure(
                tenant, Kind.LINES, f"{ours}/{number}", request,
                partial(self._api.add_lines, there, account=account), partial(self._find_lines, there, account),
            )  # fmt: skip
        invoices.check_total(sheet, (await self._api.invoice(there, account=account))["total"])
        await self._objects.ensure(
            tenant, Kind.FINAL, ours, {"auto_advance": True},
            partial(self._api.finalize_invoice, there, account=account), partial(self._find_final, there, account),
        )  # fmt: skip

    async def _find_invoice(self, account: str | None, one: Thing) -> StripeId | None:
        customer = StripeId(one.params["customer"])
        async for there in self._api.invoices(customer, since_s(one), account=account):
            if named(there, creto_tenant=one.tenant, creto_invoice=one.our_id):
                return StripeId(there["id"])
        return None

    async def _find_lines(self, there: StripeId, account: str | None, one: Thing) -> StripeId | None:
        missing = invoices.places(one.params)
        async for line in self._api.lines(there, account=account):
            missing.discard(line["metadata"].get("creto_place", ""))
        return None if missing else there

    async def _find_final(self, there: StripeId, account: str | None, _: Thing) -> StripeId | None:
        return None if (await self._api.invoice(there, account=account))["status"] == "draft" else there

    async def void(self, invoice: Invoice, account: str | None) -> None:
        """What is open there becomes void, a draft goes, and what never came there is left alone."""
        if invoice.kind is InvoiceKind.CREDIT_NOTE:
            await self._void_note(invoice, account)
            return
        there = await self._there(invoice, Kind.INVOICE, partial(self._find_invoice, account))
        if there is None:
            return
        try:
            found = await self._api.invoice(there, account=account)
            if found["status"] == "draft":
                await self._api.delete_invoice(there, account=account)
                return
        except StripeRefused as error:
            if error.stripe_code != GONE:
                raise
            return  # the draft went with an earlier try
        await self._voided(invoice, there, credit_note=False, account=account)

    async def _void_note(self, note: Invoice, account: str | None) -> None:
        """A credit note of a void invoice is void with it."""
        there = await self._there(note, Kind.CREDIT_NOTE, partial(self._find_note, account))
        if there is None:
            return
        found = await self._api.credit_note(there, account=account)
        if (await self._api.invoice(StripeId(found["invoice"]), account=account))["status"] != "void":
            await self._voided(note, there, credit_note=True, account=account)

    async def _voided(self, invoice: Invoice, there: StripeId, *, credit_note: bool, account: str | None) -> None:
        act = self._api.void_credit_note if credit_note else self._api.void_invoice

        async def look(_: Thing) -> StripeId | None:
            read = self._api.credit_note if credit_note else self._api.invoice
            return there if (await read(there, account=account))["status"] == "void" else None

        make = partial(act, there, account=account)
        await self._objects.ensure(invoice.tenant, Kind.VOID, invoice.invoice_id, {}, make, look)

    async def _there(self, invoice: Invoice, kind: Kind, look: Look) -> StripeId | None:
        """What came of it there, also where its own message never came to its end."""
        one = await self._store.read(lambda tx: rows.find(tx, invoice.tenant, kind, invoice.invoice_id))
        if one is None or one.state is State.REFUSED:
            return None
        return one.stripe_id or await look(one)

    # Credit notes

    async def credit(self, note: Invoice, account: str | None) -> None:
        """Over the invoice that it corrects. What prepaid credits had paid, Stripe never had, and does not give back."""
        assert note.corrects is not None
        original = await self._store.read(lambda tx: rows.find(tx, note.tenant, Kind.INVOICE, note.corrects or ""))
        if original is None:
            return
        there = await self._objects.id_of(note.tenant, Kind.FINAL, note.corrects)
        if there is None:
            raise StripeRefused(
                "MT-424", f"{note.corrects} is not final at Stripe", hint="Replay its dead letter, then this one."
            )
        found = await self._api.invoice(there, account=account)
        params = invoices.credit_params(note, there, found)
        if params["amount"] <= 0:
            about = fields(operation="stripe", invoice_id=note.invoice_id)
            log.info("Stripe has nothing to give back for a credit note", extra=about)
            return
        make = partial(self._api.create_credit_note, account=account)
        await self._objects.ensure(
            note.tenant, Kind.CREDIT_NOTE, note.invoice_id, params, make, partial(self._find_note, account)
        )

    async def _find_note(self, account: str | None, one: Thing) -> StripeId | None:
        async for there in self._api.credit_notes(StripeId(one.params["invoice"]), account=account):
            if named(there, creto_tenant=one.tenant, creto_invoice=one.our_id):
                return StripeId(there["id"])
        return None

    # Usage

    async def report(self, invoice: Invoice, agent: AgentId, account: str | None) -> None:
        """What the quantities of its charges became since its meters were told the last time."""
        names = dict(pair.split("=", 1) for pair in self._config.meters)
        wanted = {c: meters.whole(q) for c, q in meters.quantities(invoice.lines, names).items()}
        customer = await self.customer(invoice.tenant, agent, account)
        for charge, quantity in wanted.items():
            meter = meters.name(invoice.subscription_id, charge, invoice.period)
            now = self._clock.now()
            at = meters.instant(invoice.period, now)
            change = partial(self._intend, invoice.tenant, meter, names[charge], quantity, at, customer)
            await self._store.write(change)
            for one in await self._unsent(invoice.tenant, meter):
                make = partial(self._send_usage, account)
                look = partial(self._find_usage, account)
                params = meters.in_time(one.params, now)
                await self._objects.ensure(one.tenant, Kind.METER_EVENT, one.our_id, params, make, look)

    def _intend(
        self, tenant: TenantId, meter: str, event_name: str, wanted: int, at: int, customer: StripeId, tx: Tx
    ) -> None:
        """From here on the meter will be told: the events are rows before the first of them is sent."""
        tx.lock(f"stripe.meter/{tenant}/{meter}")
        told, sent = rows.told(tx, tenant, meter)
        events = meters.difference(meter, event_name, wanted, told, sent, at)
        for event in events:
            params = meters.params(event, customer, identifier(tenant, Kind.METER_EVENT, event.our_id))
            rows.begin(tx, tenant, Kind.METER_EVENT, event.our_id, params, self._clock.now())
        if events:
            rows.put_told(tx, tenant, meter, wanted, sent + len(events))

    async def _unsent(self, tenant: TenantId, meter: str) -> list[Thing]:
        things = await self._store.read(lambda tx: rows.of_kind(tx, tenant, Kind.METER_EVENT, f"{meter}/"))
        return sorted(
            (one for one in things if one.state is not State.THERE), key=lambda one: (len(one.our_id), one.our_id)
        )

    async def _send_usage(self, account: str | None, params: Params, *, key: str) -> Params:
        try:
            await self._api.create_meter_event(params, key=key, account=account)
        except StripeRefused as error:
            if error.stripe_code != DOUBLE:
                raise
        return {"id": params["identifier"]}

    async def _find_usage(self, account: str | None, one: Thing) -> StripeId | None:
        """A meter event cannot be read; the sum of them can, and with it or without it there is one right sum."""
        customer, name = one.params["payload"]["stripe_customer_id"], one.params["event_name"]
        all_ = await self._store.read(lambda tx: rows.of_kind(tx, one.tenant, Kind.METER_EVENT))
        same = [
            t for t in all_ if (t.params["payload"]["stripe_customer_id"], t.params["event_name"]) == (customer, name)
        ]
        known = sum(int(t.params["payload"]["value"]) for t in same if t.state is State.THERE)
        stamps = [t.params["timestamp"] for t in same]
        start, end = min(stamps) // MINUTE_S * MINUTE_S, (max(stamps) // MINUTE_S + 1) * MINUTE_S
        meter = await self._api.meter_id(name, account=account)
        there = 0
        async for summary in self._api.meter_summaries(meter, customer, start, end, account=account):
            there += int(summary["aggregated_value"])
        own = int(one.params["payload"]["value"])
        if there not in (known, known + own):
            raise StripeRefused(
                "MT-424",
                f"whether Stripe has {one.our_id} cannot be told: its meter says {there}",
                got=there, expected=f"{known} or {known + own}",
                hint="Look there which events it has; then replay the dead letter.",
            )  # fmt: skip
        return StripeId(one.params["identifier"]) if there == known + own else None


def named(there: Params, **ours: str) -> bool:
    """Whether an object there is the one that we asked for."""
    metadata = there.get("metadata") or {}
    return all(metadata.get(name) == value for name, value in ours.items())


def since_s(one: Thing) -> int:
    """From when on, by Stripe's clock, it can have been made."""
    return max(0, one.asked_at // SECOND - DRIFT_S)
