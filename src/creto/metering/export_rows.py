"""Events as rows of a file: what JSON lines and CSV hold of each. Parquet has the same columns, typed."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import Any, TextIO

import msgspec

from creto.common import wire
from creto.common.timestamps import iso
from creto.metering.invoice_csv import text
from creto.metering.usage_types import KeptEvent

FIELDS = (
    "event_id", "idempotency_key", "tenant", "agent", "delegation_chain", "event_type", "time", "timestamp", "properties",
    "signature", "form", "state", "came_at", "changed_at", "batch", "place", "entry_id",
)  # fmt: skip


def record(kept: KeptEvent) -> dict[str, Any]:
    event = kept.event
    values = (
        event.event_id, event.idempotency_key, event.tenant, event.agent_nhi, event.delegation_chain, event.event_type,
        iso(event.timestamp), event.timestamp, event.properties, event.signature, kept.form.name.lower(),
        kept.state.name.lower(), kept.came_at, kept.changed_at, kept.batch, kept.place, kept.entry_id,
    )  # fmt: skip
    return dict(zip(FIELDS, values, strict=True))


def json_lines(events: Iterable[KeptEvent]) -> bytes:
    return b"".join(msgspec.json.encode(record(kept)) + b"\n" for kept in events)


class CsvRows:
    """CSV with a head, its texts as those of invoices."""

    def __init__(self, file: TextIO) -> None:
        self._rows = csv.writer(file, lineterminator="\r\n")
        self._rows.writerow(FIELDS)

    def add(self, events: Iterable[KeptEvent]) -> None:
        self._rows.writerows([cell(value) for value in record(kept).values()] for kept in events)


def cell(value: Any) -> Any:
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return text(" ".join(value))
    return text(value if isinstance(value, str) else wire.encode(value).decode())
