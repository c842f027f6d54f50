"""Which of metering's messages leave as webhooks, to whom, and as what. Pure.

    {"type": "metering.invoice.finalized", "timestamp": "2026-02-01T00:00:00.000000000Z",
     "data": {"subject": "metering:invoice:inv-…", "status": "final", "total": "157.20", "currency": "USD", "digest": "…", …}}

Whoever acted inside stays inside. A message is a hint with what is needed to act on it: an invoice is fetched, and proved by its digest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from creto.bus import Message, checked_pattern, matches
from creto.bus.outbox import published_at
from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import WEBHOOK_BODY_BYTES_MAX, WEBHOOK_WISHES_MAX
from creto.common.timestamps import iso
from creto.contracts import SUBJECT_THRESHOLD_EXCEEDED
from creto.metering import SUBJECT_ANOMALY

# Durables by what they read. Usage itself is no news: it is asked for.
FAMILIES: Final = {
    "invoices": "metering.invoice.*",
    "payments": "metering.payment.*",
    "thresholds": SUBJECT_THRESHOLD_EXCEEDED,
    "quotas": "metering.quotas.*",
    "balances": "metering.credits.*",
    "anomalies": SUBJECT_ANOMALY,
    "alerts": "metering.alerts.*",
    "dead": "metering.event.dead",
    "meters": "metering.meter.refused",
}
INSIDE: Final = {"actor", "at", "signature"}


def checked_wishes(events: Sequence[str]) -> tuple[str, ...]:
    """Patterns of subjects, each of which can match something that leaves."""
    if len(events) > WEBHOOK_WISHES_MAX:
        raise InvalidInput.of("events", got=len(events), expected=f"{WEBHOOK_WISHES_MAX} patterns at most")
    for one in events:
        checked_pattern(one)
        if not any(overlap(one, family) for family in FAMILIES.values()):
            raise InvalidInput.of("events", got=one, expected=f"one of {', '.join(FAMILIES.values())}, or a part of it")
    return tuple(dict.fromkeys(events))


def overlap(wish: str, family: str) -> bool:
    """Whether a subject exists that both match."""
    ours, theirs = wish.split("."), family.split(".")
    for a, b in zip(ours, theirs, strict=False):
        if ">" in (a, b):
            return True
        if a != b and "*" not in (a, b):
            return False
    return len(ours) == len(theirs)


def wanted(wishes: Sequence[str], subject: str) -> bool:
    return any(matches(wish, subject) for wish in wishes)


def body_of(message: Message) -> bytes:
    """The webhook. What is too large for one names its subject alone."""
    said = wire.decode(message.payload, dict[str, Any], what="message")
    at = next((said[name] for name in ("at", "timestamp") if isinstance(said.get(name), int)), published_at(message.id))
    data = {name: value for name, value in said.items() if name not in INSIDE}
    if message.subject == SUBJECT_THRESHOLD_EXCEEDED and isinstance(said.get("payload"), dict):
        data = said["payload"]  # it travels in an envelope
    whole = wire.encode({"type": message.subject, "timestamp": iso(at), "data": data})
    if len(whole) <= WEBHOOK_BODY_BYTES_MAX:
        return whole
    return wire.encode({"type": message.subject, "timestamp": iso(at), "data": {"subject": said.get("subject")}})
