"""What may change while metering runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class MeteringTerms:
    """`lease_s` is how long a node keeps quota that it does not spend, `interval_s` how often credits and invoices are looked at."""

    lease_s: int
    interval_s: int
