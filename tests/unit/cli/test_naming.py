"""Names: what is an id is taken as it is, and a name that two things bear is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from creto.cli.naming import abbreviates, id_of, named
from creto.common.errors import InvalidInput, NotFound
from creto.sdk import AsyncCreto

PLANNER, OTHER = "agent:nhi:ed25519:" + "1" * 40 + "abcd", "agent:nhi:ed25519:" + "1" * 40 + "wxyz"
SUB, TWIN = "sub-01a1fe78-b1f0-7000-b2c2-bfc477b10ae2", "sub-01a1fe78-b1f0-7000-b2c2-000477b10ae2"


class Asked:
    """A layer that counts what it is asked."""

    def __init__(self) -> None:
        self.questions = 0
        listed = [SimpleNamespace(nhi=PLANNER, name="my planner"), SimpleNamespace(nhi=OTHER, name="株式会社")]
        self.agents = SimpleNamespace(list=self.answering(listed))
        subscriptions = [SimpleNamespace(subscription_id=one) for one in (SUB, TWIN)]
        invoices = [SimpleNamespace(invoice_id="inv-1-aaaa", number="INV-000001")]
        self.billing = SimpleNamespace(
            subscriptions=self.answering(subscriptions), invoices=self.answering(invoices, number=lambda i: i.number)
        )

    def answering(self, items: list[Any], **filters: Any) -> Any:
        async def page(limit: int = 100, cursor: str | None = None, **asked: str) -> Any:
            self.questions += 1
            found = [i for i in items if all(filters[name](i) == value for name, value in asked.items())]
            return SimpleNamespace(items=tuple(found), cursor=None)

        return page


@pytest.fixture
def asked() -> Asked:
    return Asked()


def creto(asked: Asked) -> AsyncCreto:
    return cast(AsyncCreto, asked)


async def test_what_is_an_id_needs_no_question(asked: Asked) -> None:
    fields = {"agent": PLANNER, "subscription_id": SUB, "invoice_id": "inv-unknown", "amount": 5, "at": None}
    assert await named(creto(asked), fields) == fields
    assert asked.questions == 0


@pytest.mark.parametrize(
    ("field", "text", "id"),
    [
        ("agent", "my planner", PLANNER),
        ("agent", "株式会社", OTHER),
        ("agent", "wxyz", OTHER),
        ("agent", "agent:n…abcd", PLANNER),
        ("subscription_id", "bfc477b10ae2", SUB),
        ("subscription_id", "sub-01a…2-000477b10ae2", TWIN),
        ("invoice_id", "INV-000001", "inv-1-aaaa"),
        ("invoice_id", "aaaa", "inv-1-aaaa"),
    ],
)
async def test_names_lead_to_ids(asked: Asked, field: str, text: str, id: str) -> None:
    assert await id_of(creto(asked), field, text) == id


async def test_what_two_things_are_called_is_not_guessed(asked: Asked) -> None:
    with pytest.raises(InvalidInput) as refused:
        await id_of(creto(asked), "subscription_id", "77b10ae2")
    assert (refused.value.field, refused.value.got) == ("subscription_id", "77b10ae2")
    assert SUB in str(refused.value.expected)
    assert TWIN in str(refused.value.expected)


@pytest.mark.parametrize("text", ["planner", "ae2", "", "…", "sub-…zzzz"])
async def test_what_nothing_is_called_says_where_to_look(asked: Asked, text: str) -> None:
    with pytest.raises(NotFound) as missing:
        await id_of(creto(asked), "subscription_id", text)
    assert (missing.value.code, missing.value.got) == ("MT-404", text)
    assert "creto subscriptions list" in str(missing.value.hint)


def test_an_abbreviation_does_not_overlap_itself() -> None:
    assert abbreviates("sub-…cd", "sub-abcd")
    assert not abbreviates("sub-ab…abcd", "sub-abcd")
