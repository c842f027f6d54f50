"""Every audit event type: it becomes an entry and comes back."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import InvalidInput, ProductId
from creto.common.ids import new_id
from creto.platform.audit import AuditEvent, AuditRecord, event_of
from creto.platform.audit.events import Period, SandboxSpawned
from creto.platform.audit.words import asked_words, resource_beginning, resource_terms, words_of
from creto.store import Entry, Grade, Outcome
from tests.unit.platform.audit.logs import AGENT, START, TENANT, entry

SPEC = {
    ProductId.RUNTIME: ["SandboxSpawned", "SandboxTerminated", "EgressAttempt", "AttestationGenerated"],
    ProductId.METERING: ["EventIngested", "QuotaChecked", "QuotaExceeded", "InvoiceGenerated"],
    ProductId.OVERSIGHT: ["RequestCreated", "NotificationSent", "ResponseReceived", "ApprovalReceived", "DenialReceived", "Escalated", "StateTransition"],
    ProductId.MESSAGING: ["MessageSent", "MessageReceived", "MessageDelivered", "DeliveryDenied", "SessionEstablished", "TopicCreated", "SubscriptionCreated"],
    ProductId.PLATFORM: ["LogKeyRotated", "BatchRecorded"],
}  # fmt: skip
VALUES: dict[Any, Any] = {"int": 7, "Decimal": Decimal("1.5"), "Decimal | None": Decimal("2"), "bytes": b"\x01\x02", "bool": True, "Period": Period(START, START + 1), "tuple[str, ...]": ("a", "b"), "EgressDecision": "denied"}  # fmt: skip


def example(kind: type[AuditEvent]) -> AuditEvent:
    hints = {f.encode_name: str(kind.__annotations__.get(f.name, "str")) for f in msgspec.structs.fields(kind)}
    return msgspec.convert({name: VALUES.get(hint, f"{name}-1") for name, hint in hints.items()}, kind)


def test_the_types_are_those_of_the_specification() -> None:
    assert {name: kind.product for name, kind in AuditEvent.types.items()} == {
        name: product for product, names in SPEC.items() for name in names
    }


@pytest.mark.parametrize("kind", AuditEvent.types.values(), ids=lambda kind: kind.__name__)
def test_an_event_becomes_an_entry_and_comes_back(kind: type[AuditEvent]) -> None:
    event = example(kind)
    made = event.entry(
        tenant=TENANT, agent=AGENT, timestamp=START, outcome=Outcome.DENIED, grade=Grade.GATEWAY, why="no"
    )
    assert (made.event, made.product, made.action) == (kind.__name__, kind.product, kind.action)
    assert re.fullmatch(r"[a-z]+:[a-z]+:\S+", made.resource)
    again = msgspec.json.decode(made.body(), type=Entry)
    assert event_of(again) == event


def test_metadata_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidInput, match="event"):
        event_of(entry(1, event="Unknown"))
    with pytest.raises(InvalidInput, match="metadata"):
        event_of(entry(1, event="SandboxSpawned", metadata={"sandbox_id": "x"}))
    given_by_hand = {"sandbox_id": "sb", "agent_nhi": AGENT, "attestation_hash": "AQI="}
    assert event_of(entry(1, event="SandboxSpawned", metadata=given_by_hand)) == SandboxSpawned(
        sandbox_id="sb",
        agent_nhi=AGENT,
        attestation_hash=b"\x01\x02",  # type: ignore[arg-type]
    )


def test_a_record_is_an_entry_told_by_its_caller() -> None:
    record = AuditRecord(who=AGENT, delegation_chain=(AGENT,), what="runtime:spawn", resource="runtime:sandbox:x", outcome=Outcome.FAILURE, timestamp=START, why="no room")  # fmt: skip
    made = record.entry(tenant=TENANT, product=ProductId.RUNTIME, event_id=new_id())  # type: ignore[arg-type]
    assert AuditRecord.of(made) == record


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=4))
def test_words_are_those_of_the_values_however_they_are_spelled(metadata: dict[str, Any]) -> None:
    texts: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            [walk(v) for v in value.values()]
        elif isinstance(value, list):
            [walk(v) for v in value]
        else:
            texts.append({None: "null", True: "true", False: "false"}.get(value, str(value)) if not isinstance(value, int) or isinstance(value, bool) else str(value))  # fmt: skip

    walk(metadata)
    expected = [w for text in texts for w in re.findall(r"[^\W_]+", text.lower())]
    assert sorted(words_of(metadata)) == sorted(expected)


def test_words_of_ids_and_of_long_text() -> None:
    assert words_of({"id": "SB-01a1fbda-0326"}) == ["sb", "01a1fbda", "0326"]
    assert asked_words("sb-01a1fbda*") == [("sb", False), ("01a1fbda", True)]
    assert [len(w) for w in words_of({"x": "a" * 100})] == [64, 36]
    assert words_of({"a": "b:c", "d": [1.5, "e_f:"]}, "Why not") == ["b", "c", "1", "5", "e", "f", "why", "not"]


@pytest.mark.parametrize(("resource", "terms"), [("a", "r=a"), ("a:b", "r=a:b b=a:"), ("a:b:c:d", "r=a:b:c:d b=a: b=a:b:"), ("a b", "r=a_b")])  # fmt: skip
def test_terms_of_resources(resource: str, terms: str) -> None:
    assert resource_terms(resource) == terms


@given(st.text(alphabet="ab:/ ", min_size=1, max_size=8), st.integers(1, 8))
def test_every_resource_has_the_term_of_its_prefixes(resource: str, cut: int) -> None:
    beginning = resource_beginning(resource[:cut])
    assert beginning is None or beginning in resource_terms(resource).split(" ")
