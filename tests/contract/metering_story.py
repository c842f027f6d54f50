"""Metering's part of the SDK's story: usage, quotas, billing and credits, told in every world."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import InternalError, InvalidInput, NotFound, OversightRequired, SignatureVerificationFailed
from creto.common.timestamps import DAY, SECOND, iso
from creto.contracts import BillableEvent, CostThreshold, CostThresholdType, RequireApproval
from creto.edge.api.invoices import CreditedLine
from creto.metering import (
    Aggregation,
    Block,
    Charge,
    CycleUnit,
    EventState,
    Fee,
    IngestStatus,
    InvoiceStatus,
    Limit,
    Meter,
    Override,
    Party,
    PerUnit,
    QuotaAnswer,
    SubscriptionStatus,
    TopUp,
    Window,
    WindowUnit,
)
from creto.platform.crypto import verify_digest
from creto.sdk import AgentKey
from tests.contract.buses import eventually
from tests.contract.sdk_worlds import done, refused

D = Decimal


def used(agent: Any, id: str, at: int, tokens: int = 1_000, kind: str = "inference") -> BillableEvent:
    return BillableEvent(
        event_id=id, tenant="default", agent_nhi=agent, delegation_chain=(agent,), event_type=kind, timestamp=at,
        idempotency_key=id, properties={"tokens": tokens, "amount": str(tokens)},
    )  # type: ignore[arg-type]  # fmt: skip


TOKENS = Meter(meter_id="tokens", event_type="inference", aggregation=Aggregation.SUM, property="tokens")  # type: ignore[arg-type]


async def usage(creto: Any, world: str) -> None:
    bot = (await done(creto.register(f"meter-{world}"))).nhi
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    one = used(bot, f"one-{world}", now)
    assert (await done(creto.metering.submit_event(event=one))).status is IngestStatus.ACCEPTED
    more = [to_builtins(used(bot, f"{n}-{world}", now - n), enc_hook=str) for n in range(1, 4)]
    batch = await done(creto.metering.submit_events(events=(*more, {"specversion": "?"})))
    assert (batch.accepted, batch.rejected) == (3, 1)
    assert (await done(creto.metering.event(event_id=one.event_id))).state is EventState.COUNTED
    assert (await done(creto.metering.prove(event_id=one.event_id))).batch
    assert (await done(creto.metering.explain(event_id=one.event_id))).lines == ()
    asked = {"meter": TOKENS, "start": now - DAY, "end": now + DAY, "agent": bot}
    assert (await done(creto.metering.query_usage(**asked))).rows[0].quantity == 4_000
    await done(creto.metering.void(event_id=f"1-{world}", reason="twice"))
    right = replace(one, properties={"tokens": 500})
    await done(creto.metering.correct(event_id=one.event_id, event=right, reason="half of it"))
    assert (await done(creto.metering.query_usage(**asked))).rows[0].quantity == 2_500
    await refused(NotFound, "MT-404", lambda: creto.metering.event(event_id="never"))
    await refused(InvalidInput, "MT-400", lambda: creto.metering.query_usage(**(asked | {"end": now - DAY})))
    await refused(NotFound, "MT-404", lambda: creto.metering.query_cost(subscription_id="never"))
    cloud = {
        "specversion": "1.0", "id": world, "source": "/story", "type": "talk", "subject": bot, "time": iso(now), "data": {"words": 7},
    }  # fmt: skip
    taken = await done(creto.metering.submit_event(event=cloud))
    assert (taken.status, taken.event_id) == (IngestStatus.ACCEPTED, f"/story#{world}")
    nobody_pays = {one.event_type: one.events for one in (await done(creto.metering.unpaid(agent=bot))).items}
    assert nobody_pays == {"inference": 3, "talk": 1}
    lacking = used(bot, f"bare-{world}", now)
    await done(creto.metering.submit_event(event=replace(lacking, properties={})))
    page = await done(creto.metering.query_usage(**asked))
    assert (page.rows[0].quantity, page.unread, page.unread_count) == (2_500, (lacking.event_id,), 1)
    forged = to_builtins(replace(used(bot, f"forged-{world}", now), signature=b"none"))
    await refused(SignatureVerificationFailed, "MT-401", lambda: creto.metering.submit_event(event=forged))

    async def told() -> bool:
        return any(one.events == 1 for one in (await done(creto.metering.alerts())).items)

    assert await eventually(told)
    assert (await done(creto.metering.dead_letters())).items == ()
    await refused(NotFound, "MT-404", lambda: creto.metering.retry_dead_letter(letter_id="never"))
    await refused(NotFound, "MT-404", lambda: creto.metering.discard_dead_letter(letter_id="never", reason="gone"))
    await refused(NotFound, "MT-404", lambda: creto.metering.dead_letter(letter_id="never"))


async def archive(creto: Any, world: str) -> None:
    bot = (await done(creto.register(f"archived-{world}"))).nhi
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    old = [used(bot, f"old{n}-{world}", now - (n + 3) * DAY) for n in range(3)]
    await done(creto.metering.submit_events(events=tuple(to_builtins(one, enc_hook=str) for one in old)))
    page = await done(creto.metering.events(agent=bot, end=now - DAY, limit=2))
    rest = await done(creto.metering.events(agent=bot, end=now - DAY, limit=2, cursor=page.cursor))
    assert [kept.event for kept in (*page.items, *rest.items)] == old
    made = (await done(creto.metering.archive_usage(grace_s=0))).items
    assert sum(part.events for part in made) >= len(old)
    assert set(made) <= set((await done(creto.metering.archives(limit=1_000))).items)
    first = made[0]
    assert (await done(creto.metering.archive_part(day=first.day, part=first.part))) == first
    file = (await done(creto.metering.archive_file(day=first.day, part=first.part))).data
    verify_digest(file, first.digest)
    piece = await done(creto.metering.archive_file(day=first.day, part=first.part, start=0, length=4))
    assert piece.data == b"PAR1" == file[-4:]
    await refused(NotFound, "MT-404", lambda: creto.metering.archive_part(day="2001-01-01", part=1))
    await refused(InvalidInput, "PL-400", lambda: creto.metering.archive_part(day="yesterday", part=1))
    prices = await done(creto.metering.prices())
    assert (prices.origin, prices.currency) == ("package", "USD")
    assert any(price.model == "claude-3-opus" for price in prices.items)


async def quotas(creto: Any, world: str) -> None:
    bot = (await done(creto.register(f"quota-{world}"))).nhi
    limits = (Limit(3, Window(WindowUnit.DAY)),)
    name = f"calls-{world}"
    made = await done(creto.quotas.put(quota_id=name, limits=limits, counts=(name,)))
    assert (await done(creto.quotas.get(quota_id=name))) == made
    assert name in {one.quota_id for one in (await done(creto.quotas.list())).items}
    assert (await done(creto.quotas.check(agent=bot, event_type=name))).remaining == 3
    held = await done(creto.quotas.reserve(agent=bot, event_type=name, amount=2))
    assert (await done(creto.quotas.settle(reservation_id=held.reservation_id, amount=1))).reservation_id
    other = await done(creto.quotas.reserve(agent=bot, event_type=name))
    await done(creto.quotas.release(reservation_id=other.reservation_id))
    mine = [one for one in (await done(creto.quotas.usage(agent=bot))).items if one.quota_id == name]
    assert mine[0].limit == 3
    raised = await done(creto.quotas.answer(quota_id=name, window="day", answer=QuotaAnswer.INCREASE, new_limit=4))
    assert raised.limits[0].amount == 4
    blocked = await done(creto.quotas.answer(quota_id=name, window="day", answer=QuotaAnswer.BLOCK))
    assert (blocked.limits[0].amount, blocked.overflow) == (4, Block())
    await refused(NotFound, "MT-404", lambda: creto.quotas.answer(quota_id=name, window="year", new_limit=4))
    await done(creto.quotas.reserve(agent=bot, event_type=name, amount=3))

    async def notices() -> Any:
        return (await done(creto.quotas.notices(agent=bot))).items

    assert "100% of quota" in (await eventually(notices))[0].notice.text
    await done(creto.quotas.delete(quota_id=name))
    await refused(NotFound, "MT-404", lambda: creto.quotas.get(quota_id=name))
    await done(creto.quotas.put_rate(counts=name, micros=5))
    assert name in {one.counts for one in (await done(creto.quotas.rates())).items}
    await done(creto.quotas.delete_rate(counts=name))

    before = await done(creto.quotas.settings())
    assert (await done(creto.quotas.set_settings(zone="Europe/Berlin"))).zone == "Europe/Berlin"
    assert (await done(creto.quotas.set_settings(zone=before.zone))) == before
    owner = (await done(creto.auth.whoami())).agent
    dear = {"threshold_type": CostThresholdType.PER_TRANSACTION, "limit": D(10_000), "counts": (f"pay-{world}",)}
    await done(creto.quotas.put_threshold(threshold_id=name, action=RequireApproval(approvers=(owner,)), **dear))
    assert [one.threshold.limit for one in (await done(creto.quotas.thresholds())).items] == [10_000]
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    dear_one, cheap = used(bot, "a", now, 20_000, f"pay-{world}"), used(bot, "b", now, 1, f"pay-{world}")
    trigger = (await done(creto.quotas.check_cost_threshold(event=dear_one))).trigger
    assert (trigger.current_cost, trigger.threshold) == (20_000, 10_000)
    assert (await done(creto.quotas.check_cost_threshold(event=cheap))).trigger is None
    answers = (await done(creto.quotas.check_batch(events=(cheap, dear_one)))).results
    assert [one.trigger for one in answers] == [None, trigger]
    half = CostThreshold(
        threshold_id="half", threshold_type=CostThresholdType.PER_TRANSACTION, limit=D("0.5"), currency="USD",
        action=RequireApproval(approvers=()),
    )  # fmt: skip
    several = (await done(creto.quotas.check_multiple_thresholds(event=cheap, thresholds=(half,)))).triggers
    assert [(one.current_cost, one.threshold) for one in several] == [(1, D("0.5"))]
    for id, end in ((f"yes-{world}", "finalize"), (f"no-{world}", "release")):
        event = used(bot, id, now, 20_000, f"pay-{world}")
        await refused(OversightRequired, "MT-202", lambda event=event: creto.metering.submit_event(event=event))
        assert id in {one.event_id for one in (await done(creto.quotas.waiting())).items}
        assert (await done(creto.metering.wait_event(event_id=id, timeout_s=0))).state is EventState.HELD
        await done(getattr(creto.metering, end)(event_id=id, reason="decided"))
        assert (await done(creto.metering.wait_event(event_id=id))).state is not EventState.HELD
    assert (await done(creto.metering.accumulated_cost(agent=bot))).total_cost == 20_000
    await done(creto.quotas.delete_threshold(threshold_id=name))
    assert (await done(creto.quotas.anomaly(agent=bot))).anomaly is None
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    loop = tuple(to_builtins(used(bot, f"loop{n}-{world}", now + n, kind="poll")) for n in range(170))
    await done(creto.metering.submit_events(events=loop))

    async def runaways() -> Any:
        return (await done(creto.quotas.anomalies())).items

    (flagged,) = await eventually(runaways)
    assert (flagged.agent, flagged.kind, flagged.event_type) == (bot, "loop", "poll")
    assert (await done(creto.quotas.anomaly(agent=bot))).flagged == flagged
    assert (await done(creto.quotas.forgive(agent=bot))).agent == bot
    assert (await done(creto.quotas.anomalies(past=True))).items == ()


async def billing(creto: Any, world: str) -> None:
    bot = (await done(creto.register(f"payer-{world}"))).nhi
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    b, plan_id, started = creto.billing, f"team-{world}", now - 40 * DAY
    charge = Charge(charge_id="tokens", meter=TOKENS, price=PerUnit(unit=D("0.001")))  # type: ignore[arg-type]
    fee = Fee(charge_id="seat", amount=D(10))  # type: ignore[arg-type]
    plan = {"plan_id": plan_id, "name": "Team", "currency": "USD", "cycle": CycleUnit.MONTH, "charges": (charge,)}
    await done(b.create_plan(**plan))
    assert (await done(b.revise_plan(**plan, fees=(fee,)))).version == 2
    assert (await done(b.plan(plan_id=plan_id, version=1))).fees == ()
    assert plan_id in {one.plan_id for one in (await done(b.plans())).items}
    assert [one.version for one in (await done(b.plan_versions(plan_id=plan_id))).items] == [1, 2]
    made = await done(b.subscribe(agent=bot, plan_id=plan_id, key=f"k-{world}", starts_at=started))
    sub = {"subscription_id": made.subscription_id}
    assert (await done(b.subscription(**sub))).agent == bot
    assert [one.agent for one in (await done(b.subscriptions(agent=bot))).items] == [bot]
    await done(creto.metering.submit_event(event=used(bot, f"billed-{world}", started + DAY, 2_500)))

    await done(creto.credits.create_coupon(coupon_id=f"ten-{world}", percent=D(10)))
    assert (await done(creto.credits.coupon(coupon_id=f"ten-{world}"))).percent == 10
    assert (await done(creto.credits.coupons())).items
    await done(creto.credits.set_tax(code="vat", percent=D(20)))
    assert (await done(creto.credits.taxes())).items[0].percent == 20
    rules = await done(creto.credits.set_rules(preset="lago", percent_first=True))
    assert await done(creto.credits.rules()) == rules
    await done(b.apply_coupon(**sub, coupon_id=f"ten-{world}"))
    await done(b.remove_coupon(**sub, coupon_id=f"ten-{world}"))
    assert (await done(creto.credits.drop_coupon(coupon_id=f"ten-{world}"))).coupon_id == f"ten-{world}"
    await done(creto.credits.set_tax(code=f"none-{world}", percent=D(5)))
    await done(creto.credits.drop_tax(code=f"none-{world}"))
    assert f"none-{world}" not in {one.code for one in (await done(creto.credits.taxes())).items}
    await done(b.set_taxes(**sub, taxes=("vat",)))
    await done(b.override(**sub, override=Override(fees={"seat": D(8)})))  # type: ignore[dict-item]
    await done(b.show_in(**sub, currency=None))
    await done(b.set_customer(**sub, party=Party(name="Ada Ltd")))
    await done(b.set_issuer(party=Party(name="Us Inc")))
    assert (await done(b.letterhead(**sub))).customer.name == "Ada Ltd"

    assert (await done(b.preview(**sub, at=started))).status is InvoiceStatus.PREVIEW
    assert (await done(creto.metering.query_cost(**sub, at=started))).by_event_type == {"inference": D("2.50")}
    draft = await done(b.draft(**sub, at=started))
    inv = {"invoice_id": draft.invoice_id}
    assert (await done(b.recount(**inv))).total == draft.total
    await done(b.close(**inv))
    final = await done(b.finalize(**inv, series=f"S{world}"))
    assert final.status is InvoiceStatus.FINAL
    assert (await done(b.invoice(**inv))) == final
    assert (await done(b.invoices(**sub))).items == (final,)
    usage = next(line for line in final.lines if line.charge_id == "tokens")
    explained = await done(b.explain(**inv, line_id=usage.line_id))
    assert (explained.root_holds, [e.event_id for e in explained.events]) == (True, [f"billed-{world}"])
    assert (await done(b.reproduce(**inv))).same
    assert b"Ada" in (await done(b.pdf(**inv))).data or (await done(b.pdf(**inv))).data.startswith(b"%PDF")
    assert wire.decode((await done(b.file(**inv))).data, dict[str, Any])
    assert usage.line_id.encode() in (await done(b.csv(**inv))).data
    note = await done(b.credit_note(**inv, lines=(CreditedLine(line_id=usage.line_id, amount=D("0.50")),)))
    await done(b.void(invoice_id=note.invoice_id))
    assert (await done(b.run(limit=1_000))).failed == {}
    await refused(NotFound, "MT-404", lambda: b.invoice(invoice_id="never"))

    assert (await done(b.change(**sub, plan_id=plan_id, version=2))).phases[-1].version == 2
    assert (await done(b.pause(**sub))).status is SubscriptionStatus.PAUSED
    await done(b.resume(**sub))
    assert (await done(b.cancel(**sub))).status is SubscriptionStatus.CANCELLED
    assert (await done(b.terminate(**sub))).status is SubscriptionStatus.TERMINATED
    fresh = await done(b.subscribe(agent=AgentKey.generate().nhi, plan_id=plan_id))
    await done(b.delete(subscription_id=fresh.subscription_id))
    await refused(NotFound, "MT-404", lambda: b.subscription(subscription_id=fresh.subscription_id))


async def credits(creto: Any, world: str) -> None:
    bot = (await done(creto.register(f"wallet-{world}"))).nhi
    c = creto.credits
    book = await done(c.grant(agent=bot, amount=D(100), currency="USD", key=f"g-{world}", reason="welcome"))
    assert (await done(c.burn(agent=bot, amount=D(30), currency="USD", ref=f"own-{world}"))).usable == 70
    assert (await done(c.wallet(agent=bot, currency="USD"))).usable == 70
    assert len((await done(c.postings(grant_id=book.grant.grant_id))).items) == 2
    (posting,) = (await done(c.postings_for(ref=f"own-{world}"))).items
    assert posting.grant_id == book.grant.grant_id
    assert (await done(c.void(grant_id=book.grant.grant_id))).balance.voided == 70
    rule = await done(
        c.set_top_up(rule_id=f"r-{world}", agent=bot, currency="USD", top_up=TopUp(amount=D(50), below=D(10)))
    )
    assert rule.rule_id in {one.rule_id for one in (await done(c.top_ups())).items}
    mine = [one for one in (await done(c.purchases())).items if one.agent == bot]
    assert (await done(c.settle_purchase(purchase_id=mine[0].purchase_id, paid=True))).grant_id
    await done(c.drop_top_up(rule_id=rule.rule_id))
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    await done(c.add_exchange_rate(base="USD", quote="EUR", rate=D("0.9"), at=now - SECOND * len(world)))
    assert (await done(c.exchange_rates(base="USD", quote="EUR"))).items[0].rate == D("0.9")


async def collecting(creto: Any, world: str) -> None:
    """Stripe, where none is configured: who pays is kept, and nothing is said to be on its way."""
    bot = (await done(creto.register(f"collected-{world}"))).nhi
    s = creto.stripe
    standing = await done(s.standing())
    assert (standing.configured, standing.receives, standing.requests, standing.payments) == (False, False, {}, {})
    assert (await done(s.payer(agent=bot))).customer is None
    made = await done(s.set_payer(agent=bot, name="Ada", email="ada@example.com", customer="cus_1"))
    assert (made.name, made.email, made.customer) == ("Ada", "ada@example.com", "cus_1")
    assert made in (await done(s.payers())).items
    error = await refused(InvalidInput, "PL-400", lambda: s.set_payer(agent=bot, email="nobody"))
    assert "email" in str(error.field)
    assert (await done(s.payments())).items == (await done(s.unfinished())).items == ()
    assert (await done(s.failed())).items == ()
    assert (await done(s.retry(ids=("never",)))).ids == ()
    await refused(NotFound, "MT-404", lambda: s.payment(our_id="never"))
    await refused(NotFound, "MT-404", lambda: s.collect(our_id="never"))
    invoice = (await done(creto.billing.invoices(status=InvoiceStatus.FINAL))).items[0]
    error = await refused(InternalError, "PL-501", lambda: s.collect(our_id=invoice.invoice_id))
    assert error.hint is not None
    assert "stripe.api_key" in error.hint
    known = await done(s.payment(our_id=invoice.invoice_id))
    assert (known.payment, known.requests) == (None, ())


STORIES = (usage, archive, quotas, billing, credits, collecting)
