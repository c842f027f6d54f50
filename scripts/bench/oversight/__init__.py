"""Oversight: the rows of the design's table of numbers that belong to it."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.bench.measure import FULL, Row, Scale
from scripts.bench.oversight import decisions, files, waits

MODULES = (decisions, waits, files)


def rows(scale: Scale = FULL) -> Iterator[Row]:
    for module in MODULES:
        yield from module.rows(scale)
