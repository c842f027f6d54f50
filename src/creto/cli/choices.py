"""Options that several commands take."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from creto.common.errors import EnablementError, InvalidInput
from creto.common.limits import AMOUNT_DIGITS_MAX, PAGE_ITEMS_MAX
from creto.common.money import minor_digits, parse_amount
from creto.common.timestamps import SECOND, duration_ns, from_iso

T = TypeVar("T", covariant=True)

file_path = click.Path(dir_okay=False, path_type=Path)
folder_path = click.Path(file_okay=False, path_type=Path)

key_option = click.option("--key", "key_id", metavar="ID", help="The key in the keystore to sign with.")
key_file_option = click.option("--key-file", type=file_path, help="The key file to sign with, instead of --key.")
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many."
)
out_option = click.option("-o", "--out", type=file_path, help="Write here (a new file) instead of standard output.")
yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
reason_option = click.option("--reason", help="Why; it stands in the audit log.")


def one_of(kind: type[StrEnum]) -> click.Choice[str]:
    """Its values; click would take an enum by the names of its members."""
    return click.Choice([one.value for one in kind])


class Duration(click.ParamType[int]):
    """Nanoseconds, from 30s, 15m, 2h or 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return value if isinstance(value, int) else duration_ns(value)
        except EnablementError as error:
            self.fail(error.message, param, ctx)


class Seconds(Duration):
    """As a duration, in seconds."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        return value if isinstance(value, int) else seconds(super().convert(value, param, ctx))


class Moment(click.ParamType[int]):
    """Nanoseconds since 1970, from RFC 3339 (2026-01-31T09:30:00Z), a day (2026-01-31), or a duration: ago (2h), or from now."""

    name = "time"

    def __init__(self, *, ahead: bool = False) -> None:
        self._ahead = ahead

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            if value[-1:] in "smhd" and value[:1].isdigit():
                import time

                away_ns = duration_ns(value)
                return time.time_ns() + (away_ns if self._ahead else -away_ns)
            return from_iso(value if len(value) > 10 else f"{value}T00:00:00Z", "time")
        except EnablementError:
            away = "2h from now as in 2h" if self._ahead else "a while ago as in 2h"
            self.fail(f"{value!r} is no time: 2026-01-31T09:30:00Z, 2026-01-31, or {away}.", param, ctx)


class Amount(click.ParamType[Decimal]):
    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        try:
            amount = parse_amount(str(value))
        except InvalidInput:
            self.fail(f"{value!r} is no amount, as 12.50.", param, ctx)
        if len(amount.as_tuple().digits) > AMOUNT_DIGITS_MAX:
            self.fail(f"{value!r} has more than {AMOUNT_DIGITS_MAX} digits.", param, ctx)
        return amount


class CurrencyCode(click.ParamType[str]):
    """An ISO 4217 code; typed in small letters it is the same."""

    name = "currency"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from creto.metering.currencies import ISO_4217

        code = str(value).upper()
        if code not in ISO_4217:
            self.fail(f"{value!r} is no currency of ISO 4217, as EUR.", param, ctx)
        return code


DURATION, SECONDS, MOMENT, AHEAD = Duration(), Seconds(), Moment(), Moment(ahead=True)
AMOUNT, CURRENCY = Amount(), CurrencyCode()


def money(amount: Decimal, currency: str, field: str) -> Decimal:
    """An amount as its currency has it: a typed 0.005 EUR is a slip of the finger, more often than not."""
    digits = minor_digits(currency)
    if amount != round(amount, digits):
        form = f"at most {digits} decimals" if digits else "a whole number"
        raise InvalidInput.of(field, got=f"{amount} {currency}", expected=f"{form}: {currency} has no smaller unit")
    return amount


def seconds(nanoseconds: int) -> int:
    return max(1, nanoseconds // SECOND)


class Page(Protocol[T]):
    @property
    def items(self) -> tuple[T, ...]: ...

    @property
    def cursor(self) -> str | None: ...


async def paged(
    method: Callable[..., Awaitable[Page[T]]], limit: int, *, more: Callable[[], None] = lambda: None, **asked: Any
) -> AsyncIterator[T]:
    """The first `limit` items of a list, over as many pages as that takes; `more()` if there would be others."""
    cursor = None
    while limit > 0:
        page = await method(**asked, limit=min(limit, PAGE_ITEMS_MAX), cursor=cursor)
        for item in page.items:
            yield item
        limit -= len(page.items)
        cursor = page.cursor
        if cursor is None:
            return
    more()


async def collected(
    method: Callable[..., Awaitable[Page[T]]], limit: int, note: Callable[[str], None], **asked: Any
) -> list[T]:
    """As `paged`, in one list; says so when there are more."""
    said = f"There are more than {limit}: --limit takes a higher number."
    return [item async for item in paged(method, limit, more=lambda: note(said), **asked)]


def confirmed(question: str, yes: bool) -> None:
    """Asked once before what cannot be undone."""
    if not yes:
        click.confirm(question, abort=True, err=True)
