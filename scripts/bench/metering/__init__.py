"""Metering: the rows of the design's table of numbers that belong to it."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.bench.measure import FULL, Row, Scale
from scripts.bench.metering import archive, invoices, papers, questions, quotas, usage

MODULES = (usage, questions, quotas, invoices, papers, archive)


def rows(scale: Scale = FULL) -> Iterator[Row]:
    for module in MODULES:
        yield from module.rows(scale)
