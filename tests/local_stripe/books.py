"""The books of one account: customers, invoices, credit notes, meters, events, and what Stripe refuses to do with them."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

Object = dict[str, Any]

DAY_S = 86_400
LINES_MAX = 250
VALUE_DIGITS_MAX = 15
FIELDS = {
    "customer": {"name", "email", "metadata", "description"},
    "invoice": {
        "customer", "currency", "collection_method", "auto_advance", "pending_invoice_items_behavior", "number", "footer",
        "metadata", "days_until_due", "description",
    },
    "line": {"amount", "description", "discountable", "period", "metadata", "tax_amounts"},
    "credit_note": {"invoice", "amount", "memo", "metadata", "credit_amount", "refund_amount", "out_of_band_amount", "reason"},
    "meter": {"display_name", "event_name", "default_aggregation"},
    "meter_event": {"event_name", "identifier", "timestamp", "payload"},
}  # fmt: skip


class Refusal(Exception):
    """An error object. `begun`: the endpoint had begun, so the answer is kept under the idempotency key."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400, begun: bool = True,
        type: str = "invalid_request_error",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.status = status
        self.begun = begun
        said = {"type": type, "code": code, "param": param, "message": message}
        self.error = {name: value for name, value in said.items() if value is not None}


def invalid(message: str, param: str, code: str | None = None) -> Refusal:
    """Parameters that do not fit: nothing was begun."""
    return Refusal(message, param=param, code=code, begun=False)


def known_only(params: Object, kind: str, prefix: str = "") -> None:
    for name in params:
        if name not in FIELDS[kind]:
            raise invalid(f"Received unknown parameter: {prefix}{name}", f"{prefix}{name}", "parameter_unknown")


def whole(params: Object, name: str, default: int | None = None) -> int:
    if name not in params and default is not None:
        return default
    try:
        return int(params[name])
    except KeyError:
        raise invalid(f"Missing required param: {name}.", name, "parameter_missing") from None
    except ValueError:
        raise invalid(f"Invalid integer: {params[name]}", name, "parameter_invalid_integer") from None


def needed(params: Object, name: str) -> Any:
    if not params.get(name):
        raise invalid(f"Missing required param: {name}.", name, "parameter_missing")
    return params[name]


class Books:
    """Not safe for threads: the server takes one request at a time."""

    def __init__(self, now_s: Callable[[], int], livemode: bool) -> None:
        self._now_s = now_s
        self._livemode = livemode
        self._numbers = itertools.count(1)
        self.customers: dict[str, Object] = {}
        self.invoices: dict[str, Object] = {}
        self.lines: dict[str, list[Object]] = {}
        self.credit_notes: dict[str, Object] = {}
        self.meters: dict[str, Object] = {}
        self.meter_events: dict[str, Object] = {}
        self.events: list[Object] = []

    def _new(self, prefix: str, object: str, **fields: Any) -> Object:
        return {
            "id": f"{prefix}_{next(self._numbers):024d}",
            "object": object,
            "created": self._now_s(),
            "livemode": self._livemode,
            **fields,
        }

    def tell(self, type: str, one: Object) -> Object:
        """An event, with the object as it is in this moment."""
        event = self._new("evt", "event", type=type, api_version="2026-10-28.endive", pending_webhooks=1)
        event["data"] = {"object": copy.deepcopy(one)}
        self.events.append(event)
        return event

    # Customers

    def create_customer(self, params: Object) -> Object:
        known_only(params, "customer")
        one = self._new("cus", "customer", name=None, email=None, description=None, balance=0, metadata={})
        self.customers[one["id"]] = one | params
        self.tell("customer.created", self.customers[one["id"]])
        return self.customers[one["id"]]

    def update_customer(self, id: str, params: Object) -> Object:
        known_only(params, "customer")
        one = self.customer(id)
        one["metadata"] |= params.pop("metadata", {})
        one |= params
        self.tell("customer.updated", one)
        return one

    def customer(self, id: str) -> Object:
        return found(self.customers, id, "customer")

    # Invoices

    def create_invoice(self, params: Object) -> Object:
        known_only(params, "invoice")
        customer = found(self.customers, needed(params, "customer"), "customer", param="customer")
        sends = params.get("collection_method", "charge_automatically") == "send_invoice"
        if sends and "days_until_due" not in params:
            raise invalid("days_until_due is required when collection_method is send_invoice.", "days_until_due")
        if not sends and "days_until_due" in params:
            raise invalid("days_until_due is only for send_invoice.", "days_until_due")
        if sends and not customer["email"]:
            raise Refusal("Missing email. Invoices are sent to customers with a valid email.", param="customer")
        number = params.get("number")
        if number is not None and any(other["number"] == number for other in self.invoices.values()):
            raise Refusal(f"The invoice number {number} is used already.", param="number")
        one = self._new(
            "in", "invoice", customer=customer["id"], currency=params.get("currency", "usd"), status="draft",
            number=number, total=0, amount_due=0, amount_paid=0, amount_remaining=0, metadata=params.get("metadata", {}),
            pre_payment_credit_notes_amount=0, post_payment_credit_notes_amount=0, auto_advance=params.get("auto_advance"),
            collection_method=params.get("collection_method"), footer=params.get("footer"), hosted_invoice_url=None,
            last_finalization_error=None,
        )  # fmt: skip
        self.invoices[one["id"]] = one
        self.lines[one["id"]] = []
        self.tell("invoice.created", one)
        return self.shown(one)

    def invoice(self, id: str) -> Object:
        return found(self.invoices, id, "invoice")

    def shown(self, one: Object) -> Object:
        """With the first ten of its lines."""
        lines = self.lines[one["id"]]
        page = {
            "object": "list",
            "data": lines[:10],
            "has_more": len(lines) > 10,
            "url": f"/v1/invoices/{one['id']}/lines",
        }
        return one | {"lines": page}

    def add_lines(self, id: str, params: Object) -> Object:
        one = self._draft(id)
        wanted = needed(params, "lines")
        if len(self.lines[id]) + len(wanted) > LINES_MAX:
            raise Refusal(f"Invoices have at most {LINES_MAX} items.", param="lines")
        made = [self._line(id, line, place) for place, line in enumerate(wanted)]
        self.lines[id] += made
        one["total"] = sum(line["amount"] + sum(t["amount"] for t in line["taxes"]) for line in self.lines[id])
        one["amount_due"] = one["amount_remaining"] = max(one["total"], 0)
        self.tell("invoice.updated", one)
        return self.shown(one)

    def _line(self, invoice: str, params: Object, place: int) -> Object:
        known_only(params, "line", f"lines[{place}]")
        taxes = [self._tax(tax, place) for tax in params.get("tax_amounts", [])]
        if len(taxes) > 20:
            raise invalid("At most 20 tax amounts.", f"lines[{place}][tax_amounts]")
        period = params.get("period", {"start": self._now_s(), "end": self._now_s()})
        if whole(period, "end") < whole(period, "start"):
            raise invalid("The end of the period is before its start.", f"lines[{place}][period][end]")
        return self._new(
            "il", "line_item", invoice=invoice, amount=whole(params, "amount"), description=params.get("description"),
            period={"start": whole(period, "start"), "end": whole(period, "end")}, metadata=params.get("metadata", {}),
            taxes=taxes,
        )  # fmt: skip

    def _tax(self, params: Object, place: int) -> Object:
        for name in ("amount", "taxable_amount"):
            if whole(params, name) < 0:
                raise invalid("Tax amounts are not negative.", f"lines[{place}][tax_amounts]")
        rate = needed(params, "tax_rate_data")
        needed(rate, "display_name")
        return {
            "amount": whole(params, "amount"),
            "taxable_amount": whole(params, "taxable_amount"),
            "percentage": rate["percentage"],
        }

    def _draft(self, id: str) -> Object:
        one = self.invoice(id)
        if one["status"] != "draft":
            raise Refusal("This invoice is finalized and can no longer be edited.", code="invoice_not_editable")
        return one

    def finalize_invoice(self, id: str, params: Object) -> Object:
        one = self._draft(id)
        one["status"] = "open"
        one["number"] = one["number"] or f"{id[-4:]}-0001"
        one["hosted_invoice_url"] = f"https://invoice.stripe.test/{id}"
        self.tell("invoice.finalized", one)
        if one["amount_due"] == 0:
            customer = self.customers[one["customer"]]
            customer["balance"] += min(one["total"], 0)
            self.pay(id)
        return self.shown(one)

    def pay(self, id: str) -> Object:
        """The customer pays what is left."""
        one = self.invoice(id)
        if one["status"] not in ("open", "uncollectible"):
            raise Refusal(f"An invoice that is {one['status']} cannot be paid.")
        one |= {"status": "paid", "amount_paid": one["amount_remaining"], "amount_remaining": 0}
        self.tell("invoice.paid", one)
        return self.shown(one)

    def payment_failed(self, id: str) -> Object:
        return self.tell("invoice.payment_failed", self.invoice(id))

    def mark_uncollectible(self, id: str) -> Object:
        one = self.invoice(id)
        if one["status"] != "open":
            raise Refusal(f"An invoice that is {one['status']} cannot be marked uncollectible.")
        one["status"] = "uncollectible"
        self.tell("invoice.marked_uncollectible", one)
        return self.shown(one)

    def void_invoice(self, id: str, params: Object) -> Object:
        one = self.invoice(id)
        if one["status"] not in ("open", "uncollectible"):
            raise Refusal(f"An invoice that is {one['status']} cannot be voided.")
        one["status"] = "void"
        self.tell("invoice.voided", one)
        return self.shown(one)

    def delete_invoice(self, id: str) -> Object:
        self._draft(id)
        del self.invoices[id]
        return {"id": id, "object": "invoice", "deleted": True}

    # Credit notes

    def create_credit_note(self, params: Object) -> Object:
        known_only(params, "credit_note")
        invoice = found(self.invoices, needed(params, "invoice"), "invoice", param="invoice")
        if invoice["status"] not in ("open", "paid"):
            raise Refusal(f"An invoice that is {invoice['status']} takes no credit note.", param="invoice")
        amount = whole(params, "amount")
        given = invoice["pre_payment_credit_notes_amount"] + invoice["post_payment_credit_notes_amount"]
        if not 0 < amount <= invoice["total"] - given:
            raise Refusal("The amount is more than what can be credited.", param="amount")
        after = sum(whole(params, name, 0) for name in ("credit_amount", "refund_amount", "out_of_band_amount"))
        if amount - after > invoice["amount_remaining"] or after > amount:
            raise Refusal("The sum of credit, refund and out of band amounts does not fit.", param="credit_amount")
        one = self._new(
            "cn", "credit_note", invoice=invoice["id"], customer=invoice["customer"], amount=amount, status="issued",
            memo=params.get("memo"), metadata=params.get("metadata", {}), pre_payment_amount=amount - after,
            post_payment_amount=after,
        )  # fmt: skip
        self.credit_notes[one["id"]] = one
        invoice["pre_payment_credit_notes_amount"] += amount - after
        invoice["post_payment_credit_notes_amount"] += after
        invoice["amount_remaining"] -= amount - after
        self.customers[invoice["customer"]]["balance"] -= whole(params, "credit_amount", 0)
        self.tell("credit_note.created", one)
        if invoice["status"] == "open" and not invoice["amount_remaining"]:
            self.pay(invoice["id"])
        return one

    def credit_note(self, id: str) -> Object:
        return found(self.credit_notes, id, "credit_note")

    def void_credit_note(self, id: str, params: Object) -> Object:
        one = self.credit_note(id)
        invoice = self.invoices[one["invoice"]]
        if one["status"] == "void" or invoice["status"] != "open":
            raise Refusal("Only a credit note of an open invoice can be voided.")
        one["status"] = "void"
        invoice["pre_payment_credit_notes_amount"] -= one["pre_payment_amount"]
        invoice["amount_remaining"] += one["pre_payment_amount"]
        self.tell("credit_note.voided", one)
        return one

    # Meters

    def create_meter(self, params: Object) -> Object:
        known_only(params, "meter")
        name = needed(params, "event_name")
        if any(meter["event_name"] == name for meter in self.meters.values()):
            raise Refusal(f"A meter for {name} exists.", param="event_name")
        one = self._new(
            "mtr", "billing.meter", event_name=name, display_name=params.get("display_name"), status="active"
        )
        self.meters[one["id"]] = one
        return one

    def create_meter_event(self, params: Object) -> Object:
        known_only(params, "meter_event")
        name, payload = needed(params, "event_name"), needed(params, "payload")
        if not any(meter["event_name"] == name for meter in self.meters.values()):
            raise Refusal(f"No active meter for the event name {name}.", param="event_name", code="no_meter_found")
        found(self.customers, needed(payload, "stripe_customer_id"), "customer", param="payload[stripe_customer_id]")
        value = needed(payload, "value")
        if not value.removeprefix("-").isdecimal() or len(value.removeprefix("-")) > VALUE_DIGITS_MAX:
            raise invalid(f"The value must be a whole number of at most {VALUE_DIGITS_MAX} digits.", "payload[value]")
        now_s = self._now_s()
        at = whole(params, "timestamp", now_s)
        if not now_s - 35 * DAY_S <= at <= now_s + 300:
            raise invalid("The timestamp must be within the past 35 days or 5 minutes ahead.", "timestamp")
        id = params.get("identifier") or f"idmp_{next(self._numbers)}"
        before = self.meter_events.get(id)
        if before is not None and before["created"] > now_s - DAY_S:
            raise Refusal(
                f"An event with the identifier {id} exists.", param="identifier", code="duplicate_meter_event"
            )
        one = {
            "object": "billing.meter_event", "event_name": name, "identifier": id, "timestamp": at, "payload": payload,
            "created": now_s, "livemode": self._livemode,
        }  # fmt: skip
        self.meter_events[id if before is None else f"{id}#{next(self._numbers)}"] = one
        return one

    def summaries(self, meter: str, params: Object) -> list[Object]:
        start, end = whole(params, "start_time"), whole(params, "end_time")
        if start % 60 or end % 60 or end <= start:
            raise invalid("Times must be aligned with minutes.", "start_time")
        name = found(self.meters, meter, "meter")["event_name"]
        total = sum(
            int(event["payload"]["value"])
            for event in self.meter_events.values()
            if event["event_name"] == name
            and event["payload"]["stripe_customer_id"] == needed(params, "customer")
            and start <= event["timestamp"] < end
        )
        one = {"object": "billing.meter_event_summary", "aggregated_value": total, "start_time": start, "end_time": end}
        return [one | {"id": f"mtrusg_{meter}", "meter": meter, "livemode": self._livemode}]


def found(objects: dict[str, Object], id: str, kind: str, *, param: str = "id") -> Object:
    if id not in objects:
        status = 404 if param == "id" else 400
        raise Refusal(f"No such {kind}: '{id}'", param=param, code="resource_missing", status=status, begun=False)
    return objects[id]
