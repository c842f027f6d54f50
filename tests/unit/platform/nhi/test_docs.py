from __future__ import annotations

import ast
import inspect
import textwrap

import pytest

from creto.common.errors import EnablementError
from creto.common.timestamps import HOUR
from creto.platform import nhi
from creto.platform.crypto import SigningKey
from tests.unit.platform.nhi.town import Town


async def test_the_example_of_the_part_runs_as_printed(town: Town) -> None:
    example = textwrap.dedent((nhi.__doc__ or "").partition("\n\n")[2])
    names = {**vars(nhi), "SigningKey": SigningKey, "HOUR": HOUR, "store": town.store, "clock": town.clock}
    made = eval(compile(example, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    assert inspect.isawaitable(made)
    await made
    assert names["valid"].root == nhi.nhi_of(names["ada"].public)
    with pytest.raises(EnablementError, match="PL-124"):
        names["nhi"].validate(names["chain"], tenant="acme")
