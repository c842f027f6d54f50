"""Money out over the wire: what a question must be, what each endpoint is about, and who may ask it."""

from __future__ import annotations

from typing import Any

import pytest

from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import PAGE_ITEMS_MAX, WEBHOOK_WISHES_MAX
from creto.edge.api import stripe, webhooks
from creto.edge.api.endpoint import Endpoint

AGENT = "agent:nhi:ed25519:" + "1" * 32
ENDPOINT = {"endpoint_id": "whe-1"}


@pytest.mark.parametrize(
    ("endpoint", "asked", "field", "got", "expected"),
    [
        (webhooks.ADD, {"url": ""}, "$.url", "str of length 0", "str of length >= 1"),
        (webhooks.ADD, {"url": "https://a", "event": ["x"]}, "$.event", "an unknown field", None),
        (webhooks.WANT, ENDPOINT, "$.events", "nothing", "a value"),
        (
            webhooks.WANT,
            ENDPOINT | {"events": ["a"] * (WEBHOOK_WISHES_MAX + 1)},
            "$.events",
            f"array of length {WEBHOOK_WISHES_MAX + 1}",
            f"array of length <= {WEBHOOK_WISHES_MAX}",
        ),
        (webhooks.GET, {"endpoint_id": ""}, "$.endpoint_id", "str of length 0", "str of length >= 1"),
        (webhooks.TEST, {}, "$.endpoint_id", "nothing", "a value"),
        (webhooks.DELIVERIES, ENDPOINT | {"state": "lost"}, "$.state", "'lost'", "one of queued, delivered, failed"),
        (webhooks.DELIVERIES, ENDPOINT | {"limit": 0}, "$.limit", "0", "int >= 1"),
        (webhooks.DELIVERY, ENDPOINT, "$.message_id", "nothing", "a value"),
        (webhooks.AGAIN, ENDPOINT | {"message_id": 7}, "$.message_id", "int", "str"),
        (stripe.SET_PAYER, {"agent": AGENT, "email": "nobody"}, "$.email", "str of length 6", None),
        (stripe.SET_PAYER, {"agent": AGENT, "customer": "acct_1"}, "$.customer", "str of length 6", None),
        (stripe.SET_PAYER, {"agent": AGENT, "name": ""}, "$.name", "str of length 0", "str of length >= 1"),
        (stripe.PAYER, {}, "$.agent", "nothing", "a value"),
        (
            stripe.PAYERS,
            {"limit": PAGE_ITEMS_MAX + 1},
            "$.limit",
            str(PAGE_ITEMS_MAX + 1),
            f"int <= {PAGE_ITEMS_MAX}",
        ),
        (
            stripe.PAYMENTS,
            {"status": "late"},
            "$.status",
            "'late'",
            "one of draft, open, action_required, failed, uncollectible, void, paid",
        ),
        (stripe.PAYMENT, {"our_id": ""}, "$.our_id", "str of length 0", "str of length >= 1"),
        (stripe.COLLECT, {"our_id": None}, "$.our_id", "null", "str"),
        (stripe.UNFINISHED, {"limit": "all"}, "$.limit", "str", "int"),
        (stripe.RETRY, {"ids": ["a", ""]}, "$.ids[1]", "str of length 0", "str of length >= 1"),
        (stripe.FAILED, {"durable": "other"}, "$.durable", "an unknown field", None),
        (stripe.STANDING, {"agent": AGENT}, "$.agent", "an unknown field", None),
    ],
)
def test_a_question_that_does_not_fit_is_told_how(
    endpoint: Endpoint[..., Any], asked: dict[str, Any], field: str, got: str, expected: str | None
) -> None:
    with pytest.raises(InvalidInput) as caught:
        wire.convert(asked, endpoint.request_type, what="request")
    assert (caught.value.code, caught.value.field, caught.value.got) == ("PL-400", field, got)
    assert expected in (None, caught.value.expected)
    assert caught.value.expected


def test_one_thing_is_named_where_one_thing_is_meant() -> None:
    of_one = {e.name: e.about for e in (*webhooks.ENDPOINTS, *stripe.ENDPOINTS) if e.path_fields}
    assert {about for name, about in of_one.items() if name.startswith("webhooks.")} == {
        "webhook:endpoint:{endpoint_id}"
    }
    assert of_one["stripe.set_payer"] == of_one["stripe.payer"] == "{agent}"
    assert of_one["stripe.payment"] == of_one["stripe.collect"] == "metering:invoice:{our_id}"


def test_secrets_are_not_kept_under_an_idempotency_key() -> None:
    assert not webhooks.ADD.takes_key
    assert not webhooks.ROTATE.takes_key
    assert stripe.COLLECT.takes_key


def test_what_stripe_refused_is_a_matter_of_money_not_of_the_bus() -> None:
    assert (stripe.FAILED.action, stripe.RETRY.action) == (stripe.UNFINISHED.action, stripe.COLLECT.action)
    assert not any(str(e.action).startswith("bus:") for e in stripe.ENDPOINTS)
