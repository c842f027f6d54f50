"""A quota that is topped up buys its steps from a wallet, each once, before anything is taken of it; over every engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from creto.common.errors import InvalidInput, QuotaExceeded
from creto.common.timestamps import HOUR
from creto.metering import (
    Billing,
    Limit,
    NewGrant,
    Quota,
    Quotas,
    StoredEvents,
    TopUpLimit,
    Window,
    WindowUnit,
)
from creto.platform.consensus.testing import ManualClock
from creto.store import Store
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, HUMAN, JANUARY, TENANT, D

PARTS = ("creto.store", "creto.platform.consensus", "creto.metering")
MONTH = Window(WindowUnit.MONTH)


class Shop:
    def __init__(self, store: Store, open_: ExitStack) -> None:
        self.store, self._open = store, open_
        self.clock = ManualClock(JANUARY.start + HOUR)
        self.billing = Billing(store, self.clock, StoredEvents())
        self.quotas = self.node()

    def node(self) -> Quotas:
        quotas = Quotas(self.store, self.clock, now=self.clock.now)
        quotas.steps.buy_from(self.billing.burning, self.billing.burnable)
        self._open.callback(quotas.close)
        return quotas

    async def opened(self, credits: str = "0", times: int = 3) -> None:
        """Ten acts a month; then ten more for 2.00, `times` times at most."""
        top_up = TopUpLimit(amount=10, times=times, price=D("2"))
        quota = Quota(quota_id="acts", agent=AGENT, limits=(Limit(10, MONTH),), overflow=top_up)
        await self.quotas.put_quota(TENANT, quota, by=HUMAN)
        if D(credits):
            grant = NewGrant(agent=AGENT, amount=D(credits), currency="USD")
            await self.billing.grant_credits(TENANT, grant, key="g", by=HUMAN)

    async def left(self) -> str:
        return str((await self.billing.wallet(TENANT, AGENT, "USD")).usable.normalize())


@pytest.fixture
def shop(make_store: MakeStore) -> Iterator[Shop]:
    with ExitStack() as open_:
        yield Shop(make_store(parts=PARTS), open_)


async def take(quotas: Quotas, count: int) -> int:
    """How many of so many acts are let through."""
    for done in range(count):
        try:
            await quotas.reserve(TENANT, AGENT, "act")
        except QuotaExceeded:
            return done
    return count


async def test_each_step_is_bought_once_on_whatever_node(shop: Shop) -> None:
    """given credits for three steps and two nodes / when both use the quota up / then three steps are paid, and no act passes after them."""
    await shop.opened("100")
    other = shop.node()
    await take(shop.quotas, 10)
    assert await shop.left() == "1E+2"
    assert (await shop.quotas.check_quota(TENANT, AGENT, "act")).outcome == "top_up"
    assert await shop.left() == "1E+2"
    await take(shop.quotas, 5)
    await take(other, 5)
    assert await shop.left() == "98"
    passed = await take(other, 30) + await take(shop.quotas, 30)
    assert passed == 20
    assert await shop.left() == "94"
    postings = await shop.billing.postings_for(TENANT, f"quota/acts/{AGENT}/{JANUARY.start}/1")
    assert [str(posting.amount) for posting in postings] == ["2"]


async def test_without_credits_the_limit_stays(shop: Shop) -> None:
    await shop.opened("3")
    assert await take(shop.quotas, 30) == 20
    with pytest.raises(QuotaExceeded, match="nobody can pay for more"):
        await shop.quotas.reserve(TENANT, AGENT, "act")
    assert await shop.left() == "1"
    await shop.billing.grant_credits(TENANT, NewGrant(agent=AGENT, amount=D(1), currency="USD"), key="more", by=HUMAN)
    shop.clock.advance(HOUR)
    assert await take(shop.quotas, 30) == 10


async def test_who_asks_is_told_whether_the_wallet_could_pay(shop: Shop) -> None:
    """given credits for two steps / when somebody asks for one, two or three steps / then he hears what a reservation would have got him"""
    await shop.opened("4")
    await take(shop.quotas, 10)

    async def outcome(amount: int) -> str:
        return (await shop.quotas.check_quota(TENANT, AGENT, "act", amount=amount)).outcome

    assert [await outcome(amount) for amount in (1, 10, 11, 20, 21, 31)] == ["top_up"] * 4 + ["deny"] * 2
    assert await shop.left() == "4"
    await take(shop.quotas, 20)
    assert await outcome(1) == "deny"


async def test_a_step_that_another_node_has_paid_needs_no_credits(shop: Shop) -> None:
    await shop.opened("2")
    other = shop.node()
    await take(shop.quotas, 10)
    assert await take(other, 1) == 1
    assert await shop.left() == "0"
    assert (await shop.quotas.check_quota(TENANT, AGENT, "act")).outcome == "top_up"
    assert (await shop.quotas.check_quota(TENANT, AGENT, "act", amount=20)).outcome == "deny"


async def test_an_act_of_several_steps_buys_them_all(shop: Shop) -> None:
    await shop.opened("100")
    hold = await shop.quotas.reserve(TENANT, AGENT, "act", 10)
    assert hold.outcome == "allow"
    hold = await shop.quotas.reserve(TENANT, AGENT, "act", 25)
    assert hold.outcome == "top_up"
    assert await shop.left() == "94"


async def test_nothing_is_bought_for_an_act_that_is_refused(shop: Shop) -> None:
    """given credits for all steps / when an act goes beyond them all, or another quota has no room for it / then none is bought."""
    await shop.opened("100")
    other = Quota(quota_id="other", counts=("act",), agent=AGENT, limits=(Limit(20, MONTH),))
    await shop.quotas.put_quota(TENANT, other, by=HUMAN)
    for amount in (1_000_000, 31, 25):
        with pytest.raises(QuotaExceeded):
            await shop.quotas.reserve(TENANT, AGENT, "act", amount)
    assert (await shop.quotas.check_quota(TENANT, AGENT, "act", amount=31)).outcome == "deny"
    assert await shop.left() == "1E+2"
    assert (await shop.quotas.reserve(TENANT, AGENT, "act", 18)).outcome == "top_up"
    assert await shop.left() == "96"


async def test_who_sells_nothing_lets_nothing_pass(shop: Shop) -> None:
    quotas = Quotas(shop.store, shop.clock, now=shop.clock.now)
    await shop.opened("100")
    assert await take(quotas, 30) == 10
    quotas.close()


@pytest.mark.parametrize("price", ["0", "-1", "NaN"])
def test_a_price_is_above_nothing(price: str) -> None:
    with pytest.raises(InvalidInput):
        TopUpLimit(amount=1, price=D(price))
