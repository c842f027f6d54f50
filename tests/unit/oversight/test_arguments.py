"""What is said of arguments that are no JSON."""

from __future__ import annotations

import pytest

from creto.common.errors import InvalidInput
from creto.oversight.arguments import parsed


def test_who_edits_is_told_where_the_mistake_is() -> None:
    with pytest.raises(InvalidInput) as caught:
        parsed(b'{\n  "amount": 12,\n  "to": d\n}')
    assert caught.value.got == "something else in line 3, column 9"
