"""Dead letters over the edges and the SDK: seen, delivered again, given up, and each act in the log."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from creto.bus import EmbeddedBus, Redelivery
from creto.common.errors import EnablementError, NotFound
from creto.common.ids import DEFAULT_TENANT
from creto.platform.nhi import PrincipalKind
from creto.sdk import Creto
from tests.layers import Layer


async def buried(served: Layer, durable: str, *payloads: bytes) -> list[str]:
    """Messages that this durable could not take."""
    bus = EmbeddedBus(served.app.parts.store, rule=Redelivery(deliveries_max=1))
    ids = [
        await bus.publish(f"{durable}.due", payload, tenant=DEFAULT_TENANT, agent="a", headers={"x": "y"})
        for payload in payloads
    ]

    async def consume(_: object) -> None:
        raise ValueError("no such customer")

    await bus.subscribe(f"{durable}.>", durable, consume)
    async with asyncio.timeout(20):
        while len(await bus.dead_letters(DEFAULT_TENANT, durable=durable)) < len(payloads):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await bus.close()
    return ids


def test_dead_letters_are_seen_replayed_and_discarded_and_the_log_knows_by_whom(served: Layer) -> None:
    one, two, three = served.run(buried(served, "billing", b"1", b"2", b"3"))
    with Creto.connect(served.rest, token=served.token) as creto:
        first = creto.bus.dead_letters(durable="billing", limit=2)
        rest = creto.bus.dead_letters(durable="billing", limit=2, cursor=first.cursor)
        assert [letter.id for letter in (*first.items, *rest.items)] == [one, two, three]
        assert rest.cursor is None
        assert (first.items[0].code, first.items[0].reason) == ("PL-902", "ValueError: no such customer")

        whole = creto.bus.dead_letter(message_id=one, durable="billing")
        assert (whole.payload, whole.headers["x"], whole.letter.subject) == (b"1", "y", "billing.due")

        assert creto.bus.replay_dead(durable="billing", ids=(two, "no-such")).ids == (two,)
        assert creto.bus.discard_dead(durable="billing", ids=(one, two)).ids == (one,)
        assert [letter.id for letter in creto.bus.dead_letters(durable="billing").items] == [three]
        with pytest.raises(NotFound, match="PL-404"):
            creto.bus.dead_letter(message_id=one, durable="billing")

        served.run(served.app.parts.audit.sequence_once())
        for action, event, taken in (
            ("bus.replay_dead", "DeadLettersReplayed", [two]),
            ("bus.discard_dead", "DeadLettersDiscarded", [one]),
        ):
            (entry,) = creto.audit.query(action=action, resource="bus:durable:billing").items
            assert (entry.event, entry.agent_nhi) == (event, served.app.operator)
            assert msgspec.json.decode(entry.body)["metadata"]["ids"] == taken


def test_who_may_not_does_not(served: Layer) -> None:
    with Creto.connect(served.rest, token=served.token) as creto:
        ada = creto.register("auditing", kind=PrincipalKind.HUMAN)
        creto.policies.assign_role(agent=ada.nhi, role="auditor")
    with Creto.connect(served.rest, key=ada) as mine:
        assert mine.bus.dead_letters(durable="nobody").items == ()
        with pytest.raises(EnablementError, match="PL-403"):
            mine.bus.discard_dead(durable="nobody", ids=("x",))
        with pytest.raises(EnablementError, match="cursor"):
            mine.bus.dead_letters(cursor="x")
    with (
        Creto.connect(served.rest, token=served.token_for(served.app.operator, "audit:read")) as narrow,
        pytest.raises(EnablementError, match="PL-109"),
    ):
        narrow.bus.dead_letters()
