"""Credits: the order in which they burn, what they may pay for, when to buy more."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import InvalidInput
from creto.common.timestamps import DAY, HOUR
from creto.metering import (
    Account,
    BurnKey,
    Cycle,
    CycleUnit,
    Grant,
    Posting,
    Purse,
    TopUp,
    balance,
    burn_down,
    check_books,
    cover,
    top_up_due,
    used_by,
)
from creto.metering.credits import Owed
from creto.metering.types import GrantId
from tests.unit.metering.examples import JANUARY, D

START = JANUARY.start


def grant(id: str, amount: int = 100, **more: Any) -> Grant:
    return Grant(grant_id=GrantId(id), amount=D(amount), **{"currency": "USD", **more})


def test_credits_burn_by_priority_then_expiry_then_age() -> None:
    grants = [
        grant("old", created_at=1),
        grant("new", created_at=2),
        grant("ends", created_at=3, expires_at=JANUARY.end),
        grant("first", created_at=4, priority=1),
    ]

    def order(*keys: BurnKey) -> list[str]:
        purse = Purse(*[keys] if keys else [])
        for g in grants:
            purse.put(g, g.amount)
        return [id for id, _ in purse.draw(D(400))]

    assert order() == ["first", "ends", "old", "new"]
    assert order(BurnKey.PRIORITY, BurnKey.AGE) == ["first", "old", "new", "ends"]
    assert order(BurnKey.AGE) == ["old", "new", "ends", "first"]


def test_a_grant_pays_for_what_it_may_in_its_currency_while_it_lasts() -> None:
    grants = [
        grant("fees", only=("fee",)),
        grant("tokens", only=("tokens",)),
        grant("euro", currency="EUR"),
        grant("gone", expires_at=START),
        grant("later", effective_at=START + DAY),
        grant("all", 30),
    ]
    owed = [
        Owed("1", frozenset({"base", "fee"}), D(40)),
        Owed("2", frozenset({"tokens", "usage"}), D(120)),
        Owed("3", frozenset({"calls", "usage"}), D(50)),
    ]
    uses = cover(grants, {g.grant_id: g.amount for g in grants}, owed, "USD", START)

    assert [(u.grant_id, u.line_id, u.amount) for u in uses] == [
        ("all", "1", 30),
        ("fees", "1", 10),
        ("tokens", "2", 100),
    ]


def test_late_credit_pays_what_was_left_open() -> None:
    late = grant("g", effective_at=START + DAY)
    book = burn_down([late], used_by([(START + HOUR, D(30))]), START, START + 2 * DAY)
    assert (book.left["g"], book.overage) == (70, 0)  # type: ignore[index]


def test_the_ledger_says_where_every_unit_went() -> None:
    book = burn_down(
        [grant("g", effective_at=START, expires_at=START + DAY)], used_by([(START + 1, D(30))]), START, START + 2 * DAY
    )
    assert [(p.source, p.target, p.amount, p.at) for p in book.postings] == [
        (Account.GRANTED, Account.REMAINING, 100, START),
        (Account.REMAINING, Account.USED, 30, START),
        (Account.REMAINING, Account.EXPIRED, 70, START + DAY),
    ]
    assert balance(book.postings).remaining == 0


@pytest.mark.parametrize(
    "postings",
    [
        [(Account.REMAINING, Account.USED, 1)],
        [(Account.GRANTED, Account.REMAINING, 0)],
        [(Account.GRANTED, Account.REMAINING, 5), (Account.REMAINING, Account.VOIDED, 6)],
        [(Account.USED, Account.USED, 5)],
    ],
)
def test_books_that_do_not_add_up_are_refused(postings: list[tuple[Account, Account, int]]) -> None:
    with pytest.raises(InvalidInput):
        check_books([Posting(GrantId("g"), 0, a, b, D(n)) for a, b, n in postings])


def test_a_cycle_tops_up_once_in_each_of_its_periods() -> None:
    rule = TopUp(amount=D(50), cycle=Cycle(CycleUnit.MONTH, START))
    assert top_up_due(rule, D(0), D(0), START + DAY, None) == 50
    assert top_up_due(rule, D(0), D(0), START + DAY, START) == 0
    assert top_up_due(rule, D(999), D(0), JANUARY.end, START) == 50


@given(st.integers(0, 500), st.integers(0, 500), st.integers(1, 100), st.integers(0, 300))
def test_a_threshold_tops_up_until_it_is_reached_and_not_twice(
    left: int, pending: int, amount: int, below: int
) -> None:
    rule = TopUp(amount=D(amount), below=D(below))
    due = top_up_due(rule, D(left), D(pending), START, None)

    assert due % amount == 0
    assert left + pending + due >= below or not due
    assert not due or left + pending + due - amount < below
    assert top_up_due(rule, D(left), D(pending) + due, START, None) == 0


def test_a_top_up_has_one_reason() -> None:
    with pytest.raises(InvalidInput):
        TopUp(amount=D(1))
