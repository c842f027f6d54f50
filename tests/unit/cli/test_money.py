"""The commands of usage and money: each shows how it is called, typed amounts are amounts, and tables fit a terminal."""

from __future__ import annotations

import re
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from creto.cli.choices import AMOUNT, CURRENCY, money
from creto.cli.context import Cli, Command
from creto.cli.invoices import INVOICE, period_of, sums_of
from creto.cli.output import Column, Output, places
from creto.cli.root import COMMANDS, MONEY, root
from creto.cli.usage_query import filters, measured
from creto.common.errors import InvalidInput
from creto.common.timestamps import SECOND, from_iso
from creto.metering import Aggregation, InvoiceStatus, Period, PropertyFilter
from tests.unit.cli.test_root import command_at, commands
from tests.unit.metering.test_invoice_pdf import invoice as bill

TYPED = {"$SUB": "sub-1", "$INV": "inv-1", "$HELD": "hold-1", "$LETTER": "1"}


def test_of_a_void_invoice_nothing_is_due() -> None:
    final = bill()
    void = replace(final, status=InvoiceStatus.VOID)
    (due,) = [column for column in INVOICE if column.title == "DUE"]
    assert (due.value(final), due.value(void)) == (f"{final.due} USD", None)
    assert ("due" in dict(sums_of(final)), "due" in dict(sums_of(void))) == (True, False)


def money_commands() -> list[tuple[str, ...]]:
    of_money = {name for name, lazy in COMMANDS.items() if lazy.section == MONEY}
    assert isinstance(root, click.Group)
    found = [path for path in commands(root) if path[0] in of_money]
    return [path for path in found if not isinstance(command_at(path), click.Group)]


@pytest.mark.parametrize("path", money_commands(), ids=" ".join)
def test_each_shows_how_it_is_called(path: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = command_at(path)
    assert isinstance(command, Command)
    line = re.split(r";|  #", command.example)[0]
    assert line.startswith(f"creto {' '.join(path)}")
    assert f"$ {command.example}\n" in CliRunner().invoke(root, [*path, "--help"], obj=Cli()).output
    words = [TYPED.get(word, word) for word in shlex.split(line)[1 + len(path) :]]
    given = [word for word in words if word != ">"] if ">" not in words else words[: words.index(">")]
    monkeypatch.chdir(tmp_path)
    for name in (word for word in given if word.endswith((".parquet", ".toml", ".json", ".jsonl"))):
        Path(name).touch()
    command.make_context(path[-1], given, obj=Cli())  # raises where a word is not understood


def test_there_are_as_many_as_the_work_needs() -> None:
    assert {path[0] for path in money_commands()} >= {"coupons", "taxes", "exchange-rates", "billing", "credits"}


@pytest.mark.parametrize("typed", ["NaN", "Infinity", "-inf", "5 EUR", "1,50", ""])
def test_what_is_no_amount_is_said_to_be_none(typed: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is no amount, as 12\.50"):
        AMOUNT.convert(typed, None, None)


def test_a_currency_is_one_of_iso() -> None:
    assert CURRENCY.convert("eur", None, None) == "EUR"
    with pytest.raises(click.BadParameter, match="'EUROS' is no currency"):
        CURRENCY.convert("EUROS", None, None)


@pytest.mark.parametrize(("amount", "currency"), [("1.50", "EUR"), ("1000", "JPY"), ("1.555", "KWD"), ("2.500", "USD")])
def test_an_amount_that_its_currency_has(amount: str, currency: str) -> None:
    assert money(Decimal(amount), currency, "amount") == Decimal(amount)


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [("0.005", "EUR", "at most 2 decimals"), ("1.5", "JPY", "a whole number"), ("1.5555", "KWD", "at most 3 decimals")],
)
def test_an_amount_that_its_currency_has_not(amount: str, currency: str, expected: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        money(Decimal(amount), currency, "amount")
    assert (refused.value.field, refused.value.got) == ("amount", f"{amount} {currency}")
    assert str(refused.value.expected).startswith(expected)


@pytest.mark.parametrize(
    ("start", "end", "zone", "said"),
    [
        ("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "UTC", "2026-01"),
        ("2025-12-31T23:00:00Z", "2026-01-31T23:00:00Z", "Europe/Berlin", "2026-01"),
        ("2026-01-15T00:00:00Z", "2026-02-15T00:00:00Z", "UTC", "2026-01-15 to 2026-02-14"),
        ("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "UTC", "2026-01-01 to 2026-12-31"),
        ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", "UTC", "2026-01-01T00:00:00Z to 2026-01-01T01:00:00Z"),
    ],
)
def test_a_period_as_a_person_says_it(start: str, end: str, zone: str, said: str) -> None:
    assert period_of(Period(from_iso(start), from_iso(end), zone)) == said


def test_a_period_that_ends_within_a_second_is_told_exactly() -> None:
    start = from_iso("2026-01-01T00:00:00Z")
    assert " to " in period_of(Period(start, start + SECOND // 2))


def test_what_is_asked_of_usage() -> None:
    assert measured({"sum_": None, "max_": None}) == (Aggregation.COUNT, None)
    assert measured({"sum_": None, "unique_": "user"}) == (Aggregation.UNIQUE_COUNT, "user")
    with pytest.raises(click.UsageError, match="at a time"):
        measured({"sum_": "a", "max_": "b"})
    assert list(filters(["model=opus", "model=haiku", "region=eu"], "--where")) == [
        PropertyFilter("model", ("opus", "haiku")),
        PropertyFilter("region", ("eu",)),
    ]
    with pytest.raises(InvalidInput):
        list(filters(["model"], "--where"))


ROW = ("sub-" + "0" * 36, "agent:nhi:ed25519:" + "1" * 44, "株式会社クレト 東京本店", "████████████████████████")
COLUMNS: tuple[Column[tuple[str, ...]], ...] = (
    Column("ID", lambda r: r[0], shrinks=True),
    Column("AGENT", lambda r: r[1], shrinks=True),
    Column("NAME", lambda r: r[2]),
    Column("", lambda r: r[3], drops=True),
)


@pytest.mark.parametrize("chars", [80, 120])
def test_a_table_fits_its_terminal(
    chars: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("creto.cli.output.terminal_chars", lambda: chars)
    Output().items([ROW, ("sub-1", "agent:2", "Ada", "█")], COLUMNS)
    title, first, second = capsys.readouterr().out.splitlines()
    assert max(map(places, (title, first, second))) <= chars
    assert ROW[2] in first
    assert first.startswith("sub-0")
    assert "…" in first
    where = {line.index(name) + places(line) - len(line) for line, name in ((title, "NAME"), (second, "Ada"))}
    assert len(where) == 1


def test_what_is_not_a_terminal_gets_all_of_it(monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("creto.cli.output.terminal_chars", lambda: None)
    Output().items([ROW], COLUMNS)
    printed = capsys.readouterr().out
    assert all(cell in printed for cell in ROW)


@pytest.mark.parametrize(("text", "count"), [("abc", 3), ("日本", 4), ("e\u0301", 1), ("Straße", 6), ("█▋", 2)])
def test_places_of_a_terminal(text: str, count: int) -> None:
    assert places(text) == count
