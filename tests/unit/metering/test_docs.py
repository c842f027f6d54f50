from __future__ import annotations

import ast
import inspect
import textwrap
from decimal import Decimal
from pathlib import Path

from creto import metering
from creto.common.timestamps import SECOND
from creto.platform.consensus.testing import ManualClock
from creto.store import open_store
from tests.unit.metering.examples import AGENT, HUMAN, D, event


async def test_the_example_of_the_part_runs_as_printed(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/creto.db", parts=("creto.store", "creto.metering"))
    try:
        example = (metering.__doc__ or "").partition("\n\n")[2].partition("\nBeneath")[0]
        clock = ManualClock()
        used = event(clock.now() + SECOND, type="inference", input_tokens=2_000_000)
        names = {**vars(metering), "Decimal": Decimal, "store": store, "clock": clock, "human": HUMAN, "agent": AGENT}
        names |= {"trust": metering.UnsafeTrustEverybody(), "used": used}
        made = eval(compile(textwrap.dedent(example), "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
        assert inspect.isawaitable(made)
        await made
        assert names["draft"].total == D(6)
    finally:
        store.close()
