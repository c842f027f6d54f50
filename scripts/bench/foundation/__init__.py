"""The foundation: every row of the design's table of numbers that belongs to it, and those that say what the rest stands on.

Each module measures one part over its public face and yields its rows; stores, logs and processes are made in a temporary folder and gone afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.bench.foundation import audit, authz, bus, commands, consensus, edges, memory, nhi, storage, stores
from scripts.bench.measure import FULL, Row, Scale, settle

MODULES = (commands, authz, nhi, consensus, stores, bus, storage, memory, edges, audit)


def rows(scale: Scale = FULL) -> Iterator[Row]:
    for module in MODULES:
        settle()
        yield from module.rows(scale)
