"""What a command prints: aligned for people, JSON for programs, and nothing that drives a terminal."""

from __future__ import annotations

import json

import msgspec
import pytest

from creto.cli.output import Column, Output, cell, shrink, size, styled, text, when
from creto.common.errors import InvalidInput, NotFound


class Row(msgspec.Struct, frozen=True):
    name: str
    count: int


ROWS = (Row("one", 1), Row("seventeen", 17))
COLUMNS: tuple[Column[Row], ...] = (Column("NAME", lambda r: r.name), Column("N", lambda r: r.count, right=True))


def test_a_list_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    assert Output().items(ROWS, COLUMNS) == 2
    assert capsys.readouterr().out == "NAME        N\none         1\nseventeen  17\n"


def test_a_list_is_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert Output(json=True).items(ROWS, COLUMNS) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in lines] == [{"name": "one", "count": 1}, {"name": "seventeen", "count": 17}]


def test_an_empty_list_says_so_beside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    Output().items((), COLUMNS, nothing="No rows.")
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "No rows.\n")
    Output(quiet=True).items((), COLUMNS, nothing="No rows.")
    assert capsys.readouterr().err == ""


def test_a_thing_leaves_out_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    Output().thing(ROWS[0], [("name", "one"), ("reason", None), ("who", ("a", "b"))])
    assert capsys.readouterr().out == "name    one\nwho     a, b\n"


def test_an_error_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    error = NotFound("PL-102").with_context("agents.get")
    Output().error(error)
    assert capsys.readouterr().err.splitlines()[:2] == ["PL-102  The identity is not registered", "  while agents.get"]
    Output(json=True).error(error)
    body = json.loads(capsys.readouterr().err)["error"]
    assert (body["code"], body["context"]) == ("PL-102", ["agents.get"])


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert styled("x", fg="red") == "\x1b[31mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert styled("x", fg="red") == "x"


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert text("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\x0ac"
    assert cell("x" * 100) == "x" * 79 + "…"
    hostile = InvalidInput.of("name", got="\x1b]0;x\x07", expected="a name")
    assert "\x1b" not in hostile.rendered()


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 * 1024**4, "3.0 TiB")]
)
def test_sizes(count: int, shown: str) -> None:
    assert size(count) == shown


def test_moments() -> None:
    assert when(1_700_000_000_123_456_789) == "2023-11-14T22:13:20Z"
    assert when(None) == "-"


def test_a_table_that_is_too_wide_for_the_terminal_loses_the_middle_of_what_may_shrink() -> None:
    rows = [["agent:nhi:ed25519:3wbqvZNv3DTxwHxnp22", "12"], ["agent:short", "3"]]
    shrink(["AGENT", "N"], rows, [True, False], 24)
    assert rows == [["agent:nhi:…TxwHxnp22", "12"], ["agent:short", "3"]]
    whole = [["agent:nhi:ed25519:3wbqvZNv3DTxwHxnp22", "12"]]
    shrink(["AGENT", "N"], whole, [True, False], None)
    assert whole == [["agent:nhi:ed25519:3wbqvZNv3DTxwHxnp22", "12"]]
