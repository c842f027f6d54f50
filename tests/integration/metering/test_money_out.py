"""Money out of a running layer, as an operator sees it through the command line: collected at a Stripe on this machine, told to a customer."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

import creto
from creto.connectors.webhook import verify
from creto.edge.accounting import accounted
from creto.metered import STRIPE_WEBHOOK
from creto.sdk import Creto
from tests.contract.store_examples import eventually
from tests.layers import Layer, layer
from tests.local_stripe import LocalStripe
from tests.receivers import Receiver

WAIT_S = 30.0
PLAN = """
plan_id = "team"
name = "Team"
currency = "EUR"
cycle = "month"
fees = [{charge_id = "seat", amount = "20", name = "Seat"}]
"""


@pytest.fixture
def there() -> Iterator[LocalStripe]:
    with LocalStripe(lambda: int(time.time())) as found:
        yield found


@pytest.fixture
def served(tmp_path: Path, there: LocalStripe) -> Iterator[Layer]:
    env = {
        "CRETO_STRIPE__API_KEY": there.key,
        "CRETO_STRIPE__WEBHOOK_SECRET": there.webhook_secret,
        "CRETO_STRIPE__URL": there.url,
        "CRETO_WEBHOOKS__ALLOWED_NETWORKS": '["127.0.0.0/8"]',
    }
    with layer(tmp_path, env) as found:
        yield found


class Operator:
    """The command line, asked over HTTP with the operator's token."""

    def __init__(self, served: Layer, folder: Path) -> None:
        source = str(Path(creto.__file__).parents[1])
        self._env = {name: value for name, value in os.environ.items() if not name.startswith("CRETO_")}
        self._env |= {"CRETO_URL": served.rest, "CRETO_TOKEN": served.token, "PYTHONPATH": source}
        self._folder = folder

    def says(self, *words: str, fails: bool = False) -> str:
        command = [sys.executable, "-m", "creto", *words]
        done = subprocess.run(
            command, env=self._env, cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def knows(self, *words: str) -> Any:
        return json.loads(self.says("--json", *words))

    def until(self, fits: Callable[[Any], bool], *words: str) -> Any:
        deadline = time.monotonic() + WAIT_S
        while not fits(found := self.knows(*words)):
            assert time.monotonic() < deadline, found
        return found


@pytest.fixture
def operator(served: Layer, tmp_path: Path) -> Operator:
    return Operator(served, tmp_path)


def billed(operator: Operator, folder: Path, served: Layer) -> tuple[str, str]:
    """An agent, and the invoice of the month before, in draft."""
    plan = folder / "plan.toml"
    plan.write_text(PLAN)
    operator.says("plans", "create", str(plan))
    agent = served.app.operator
    started = time.strftime("%Y-%m-%d", time.gmtime(time.time() - 40 * 86_400))
    subscription = operator.says("subscriptions", "create", agent, "team", "--starts", started, "--key", "k").strip()
    return agent, operator.says("invoices", "draft", subscription, "--at", started).strip()


def told(served: Layer, there: LocalStripe) -> None:
    """Stripe posts what it has to say; all of it, whatever it posted before."""
    for event in list(there.books.events):
        headers, body = there.webhook(event)
        assert httpx2.post(served.rest + STRIPE_WEBHOOK, content=body, headers=headers).status_code == 200


def test_from_a_final_invoice_to_paid(served: Layer, there: LocalStripe, operator: Operator, tmp_path: Path) -> None:
    """given a layer with Stripe / when an invoice becomes final and its customer pays / then the operator reads each step."""
    assert "configured" in operator.says("stripe", "status")
    agent, invoice = billed(operator, tmp_path, served)
    assert operator.says("stripe", "payers", "set", agent, "--name", "Ada", "--email", "ada@example.com").startswith(
        "Ada pays"
    )
    assert "not sent to Stripe" in operator.says("stripe", "payment", invoice)
    assert "MT-412" in operator.says("stripe", "collect", invoice, fails=True)

    operator.says("invoices", "finalize", invoice)
    states = operator.until(
        lambda found: {one["kind"]: one["state"] for one in found["requests"]}.get("final") == "there", "stripe", "payment", invoice
    )  # fmt: skip
    assert {one["kind"] for one in states["requests"]} == {"invoice", "lines", "final"}
    (theirs,) = there.books.invoices.values()
    assert (theirs["status"], theirs["total"]) == ("open", 2_000)
    told(served, there)
    assert operator.knows("stripe", "payment", invoice)["payment"]["status"] == "open"

    there.books.pay(theirs["id"])
    told(served, there)
    shown = operator.says("stripe", "payment", invoice)
    assert "paid       20.00 EUR" in shown
    assert theirs["id"] in shown
    assert invoice in operator.says("stripe", "payments", "--status", "paid")
    assert operator.knows("stripe", "status")["payments"] == {"paid": 1}
    assert "cus_" in operator.says("stripe", "payers", "show", agent)


def test_what_stripe_refused_is_put_right_and_collected(
    served: Layer, there: LocalStripe, operator: Operator, tmp_path: Path
) -> None:
    """given a payer without a mail address / when Stripe refuses the invoice / then the operator reads why, puts it right and asks again."""
    agent, invoice = billed(operator, tmp_path, served)
    operator.says("invoices", "finalize", invoice)
    operator.until(lambda found: found["requests"].get("refused") == 1, "stripe", "status")
    assert "invoice" in operator.says("stripe", "unfinished")
    assert "Missing email" in operator.says("stripe", "collect", invoice, fails=True)
    operator.says("stripe", "payers", "set", agent, "--email", "ada@example.com")
    operator.until(lambda _: all(one["email"] for one in there.books.customers.values()), "stripe", "status")
    assert operator.knows("stripe", "collect", invoice)["requests"][-1]["state"] == "there"
    (theirs,) = there.books.invoices.values()
    assert theirs["status"] == "open"


async def test_a_customer_hears_of_the_invoice(served: Layer, operator: Operator, tmp_path: Path) -> None:
    """given an endpoint that wants invoices / when one becomes final / then it is told once, signed, and the operator sees that."""
    says = partial(asyncio.to_thread, operator.says)
    async with Receiver.open() as receiver:
        endpoint, secret = (
            await says("webhooks", "add", receiver.url(), "--event", "metering.invoice.finalized")
        ).split()
        assert "delivered" in await says("webhooks", "test", endpoint)
        _, invoice = await asyncio.to_thread(billed, operator, tmp_path, served)
        await says("invoices", "finalize", invoice)
        await receiver.until(2)
        came = receiver.taken[1]
        message = verify(came.headers, came.body, now=time.time_ns(), secrets=(secret,))
        assert invoice in json.loads(came.body)["data"]["subject"]
        await asyncio.to_thread(operator.until, lambda found: found["delivered"] == 1, "webhooks", "show", endpoint)
        assert message in await says("webhooks", "deliveries", endpoint, "--state", "delivered")
        assert json.loads(await says("webhooks", "payload", endpoint, message)) == json.loads(came.body)

        assert "is queued" in await says("webhooks", "again", endpoint, message)
        await receiver.until(3)
        assert receiver.taken[2].headers["webhook-id"] == message
        assert "PL-400" in await says("webhooks", "events", endpoint, "oversight.>", fails=True)


def test_a_round_forgets_what_is_old_and_nothing_else(served: Layer) -> None:
    from creto.connectors.metering_webhooks import Delivery, DeliveryState
    from creto.connectors.metering_webhooks import store as deliveries
    from creto.connectors.stripe import store as receipts
    from creto.store.types import Tx

    parts, tenant = served.app.parts, served.app.tenant
    now = parts.clock.now()

    def kept(tx: Tx) -> None:
        for name, at in (("old", 1), ("new", now)):
            one = Delivery(
                tenant=tenant, endpoint_id="whe-1", message_id=name, event_type="metering.invoice.finalized", payload=b"{}",
                state=DeliveryState.DELIVERED, changed_at=at,
            )  # fmt: skip
            deliveries.enqueue(tx, one)
            assert receipts.first_receipt(tx, name, at)

    def left(tx: Tx) -> tuple[list[str], list[str]]:
        found = deliveries.of_endpoint(tx, tenant, "whe-1", None, "", 10)
        return [one.message_id for one in found], [name for (name,) in tx.all("SELECT event_id FROM stripe_event")]

    served.run(parts.store.write(kept))
    assert served.run(accounted(parts, served.app.operator)) == []
    assert served.run(parts.store.write(left)) == (["new"], ["new"])


def test_what_stripe_refused_stands_among_the_failed_and_is_done_again_once(
    served: Layer, there: LocalStripe, operator: Operator, tmp_path: Path
) -> None:
    """given a payer without a mail address / when Stripe refuses the invoice for good / then it is read among what failed, put right, and
    done again: one invoice is there, however often that is asked."""
    agent, invoice = billed(operator, tmp_path, served)
    operator.says("stripe", "payers", "set", agent, "--name", "Ada")
    operator.says("invoices", "finalize", invoice)
    with Creto.connect(served.rest, token=served.token) as creto:
        eventually(lambda: creto.stripe.failed().items)
        (letter,) = creto.stripe.failed().items
        assert (letter.code, "Missing email" in letter.reason) == ("MT-424", True)
        (refused,) = creto.stripe.unfinished().items
        assert (refused.our_id, refused.state) == (invoice, "refused")
        assert [one["status"] for one in there.books.invoices.values()] == []

        creto.stripe.set_payer(agent=agent, name="Ada", email="ada@example.com")
        eventually(lambda: [one for one in there.books.customers.values() if one["email"]])
        assert creto.stripe.retry(ids=(letter.id,)).ids == (letter.id,)
        eventually(lambda: [one for one in there.books.invoices.values() if one["status"] == "open"])
        eventually(lambda: not creto.stripe.unfinished().items)
        assert creto.stripe.retry().ids == ()
        assert creto.stripe.failed().items == ()
        assert [one.state for one in creto.stripe.collect(our_id=invoice).requests] == ["there"] * 3
    (theirs,) = there.books.invoices.values()
    (customer,) = there.books.customers.values()
    assert (theirs["status"], theirs["customer"], len(there.books.lines[theirs["id"]])) == ("open", customer["id"], 1)
