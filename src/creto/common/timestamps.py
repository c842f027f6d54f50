"""Time as the layer knows it: integer nanoseconds since 1970, from consensus, never from the caller.

Rules take `now` as an argument. Services get it from a `Clock`; `platform.consensus` makes the real ones.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NewType, Protocol

from creto.common.errors import InvalidInput

ConsensusTimestamp = NewType("ConsensusTimestamp", int)

MICROSECOND = 1_000
MILLISECOND = 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 3_600 * SECOND
DAY = 86_400 * SECOND


class Clock(Protocol):
    """Consensus time. Strictly increasing for one clock; `degraded` while it stands on local time alone."""

    @property
    def degraded(self) -> bool: ...

    def now(self) -> ConsensusTimestamp: ...


def iso(timestamp: int) -> str:
    """RFC 3339 in UTC with nanoseconds, so that nothing is lost on the way out and back."""
    seconds, nanos = divmod(timestamp, SECOND)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")


def from_iso(text: str, field: str = "timestamp") -> ConsensusTimestamp:
    match = RFC3339.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        day, clock, fraction, zone = match.groups()
        whole = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    except ValueError as error:
        raise InvalidInput.of(field, got=text, expected="RFC 3339, as 2026-01-31T09:30:00Z") from error
    return ConsensusTimestamp(int(whole.timestamp()) * SECOND + int((fraction or "0").ljust(9, "0")))


DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
UNITS = {"ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


def duration_ns(text: str, field: str = "duration") -> int:
    """Nanoseconds from what people type: 250ms, 30s, 15m, 2h, 7d."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise InvalidInput.of(field, got=text, expected="a number and a unit, as 30s, 15m, 2h or 7d")
    return int(match[1]) * UNITS[match[2]]
