"""The worlds of the SDK: what is returned in one is awaited in the other."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from creto.common.errors import EnablementError


async def done(value: Any) -> Any:
    """What a method gives, in either world."""
    return await value if inspect.isawaitable(value) else value


async def refused(kind: type[EnablementError], code: str, call: Callable[[], Any]) -> EnablementError:
    with pytest.raises(kind) as caught:
        await done(call())
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert caught.value.message
    return caught.value
