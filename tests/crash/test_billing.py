"""kill -9 while invoices are made and credits burn: numbers have no gaps, books balance, what was acknowledged is there."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from creto.metering import Account, Billing, InvoiceStatus, balance, check_books
from creto.metering.types import InvoiceId
from creto.store import open_store
from tests.contract.billing_desk import Desk
from tests.crash.billing_child import PARTS, prepared
from tests.crash.killing import run_and_kill
from tests.unit.metering.examples import AGENT, TENANT, D

KILLS, KILLS_DEEP = 3, 100


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_invoices_and_credits_survive_any_death(
    engine: str, tmp_path: Path, deep: bool, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/billing.db" if engine == "sqlite" else request.getfixturevalue("postgres_url")
    asyncio.run(prepared(url))
    chance = random.Random(engine)
    said: list[list[str]] = []
    for seed in range(KILLS_DEEP if deep else KILLS):
        heard = run_and_kill("tests.crash.billing_child", url, str(seed), after_s=chance.uniform(0.1, 0.8))
        said += [line.split(" ") for line in heard if line != "ready"]
    asyncio.run(check(url, said))


async def check(url: str, said: list[list[str]]) -> None:
    store = open_store(url, parts=PARTS)
    try:
        billing = Desk(store).billing
        known = {}
        after = ""
        while page := await billing.all_invoices(TENANT, after=after, limit=500):
            known |= {invoice.invoice_id: invoice for invoice in page}
            after = page[-1].invoice_id
        numbered = sorted(i.number for i in known.values() if i.number is not None)
        assert numbered == [f"INV-{n:06}" for n in range(1, len(numbered) + 1)]
        for act, *rest in said:
            if act == "final":
                assert known[InvoiceId(rest[0])].number == rest[1]
            elif act == "void":
                assert known[InvoiceId(rest[0])].status is InvoiceStatus.VOID
            else:
                assert await billing.postings_for(TENANT, f"job {rest[0]}")
        assert any(act == "final" for act, *_ in said)
        for invoice in known.values():
            postings = await billing.postings_for(TENANT, f"invoice/{invoice.invoice_id}")
            paid = sum(((p.target is Account.USED) - (p.source is Account.USED)) * p.amount for p in postings)
            due = invoice.credits if invoice.status is InvoiceStatus.FINAL else ()
            assert paid == sum(use.amount for use in due)
        await check_wallet(billing)
    finally:
        store.close()


async def check_wallet(billing: Billing) -> None:
    """Every grant adds up again from its postings."""
    after, used = "", D(0)
    while page := (await billing.wallet(TENANT, AGENT, "USD", after=after, limit=500)).grants:
        for book in page:
            postings = await billing.grant_postings(TENANT, book.grant.grant_id, limit=1_000)
            check_books(postings)
            assert balance(postings) == book.balance
            used += book.balance.used
        after = page[-1].grant.grant_id
    assert used == (await billing.wallet(TENANT, AGENT, "USD")).balance.used
