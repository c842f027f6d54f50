"""What the questions of metering share: names, reasons, and numbers that a database can hold."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from creto.common.errors import InvalidInput
from creto.common.limits import AMOUNT_DIGITS_MAX, INTEGER_MAX, PAGE_ITEMS_MAX
from creto.edge.api.endpoint import Ask
from creto.edge.api.fields import Id

T = TypeVar("T")

Why = Annotated[str, Meta(min_length=1, max_length=1_000)]
Names = Annotated[tuple[Id, ...], Meta(max_length=PAGE_ITEMS_MAX)]
Currency = Annotated[str, Meta(min_length=1, max_length=16)]
Zone = Annotated[str, Meta(min_length=1, max_length=64)]


class Asked(Ask, frozen=True):
    """The base of metering's questions. INVARIANT: no number in them, however deep, is one that rows or decimals cannot hold."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for number in numbers(self):
            check_number(number)


def numbers(value: Any) -> Iterator[int | Decimal]:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        yield value
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from numbers(getattr(value, name))
    elif isinstance(value, dict):
        for one in value.values():
            yield from numbers(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from numbers(one)


def check_number(number: int | Decimal) -> None:
    if isinstance(number, int):
        fits = abs(number) <= INTEGER_MAX
    else:
        exponent = number.as_tuple().exponent
        fits = isinstance(exponent, int) and exponent >= -AMOUNT_DIGITS_MAX and number.adjusted() <= AMOUNT_DIGITS_MAX
    if not fits:
        raise InvalidInput.of(
            "number", got=str(number)[:64], expected=f"at most {AMOUNT_DIGITS_MAX} digits, integers to {INTEGER_MAX}", code="MT-400"
        )  # fmt: skip


def cursor_of(items: list[T], limit: int, name: str) -> str | None:
    """Where the next page begins, if there may be one."""
    return str(getattr(items[-1], name)) if len(items) == limit else None
