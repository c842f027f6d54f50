"""What a command prints: for a person, aligned and short; with --json, for a program.

Results go to standard output, everything else to standard error. With --json a list is JSON lines, one object a line; a single thing is
one document on one line; an error is `{"error": {...}}` on standard error, in the form REST has it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from unicodedata import combining, east_asian_width

import click
import msgspec

from creto.common.errors import EnablementError
from creto.common.timestamps import iso

T = TypeVar("T")

GAP = "  "
PAYLOAD_CHARS_MAX = 4_000
SHRUNK_CHARS_MIN = 14
CELL_CHARS_MAX = 80  # a longer value is cut in a table; --json has all of it


@dataclass(frozen=True)
class Column(Generic[T]):
    """`shrinks`: its cells lose their middle where a terminal is too narrow for the table; `drops`: there the column is left out."""

    title: str
    value: Callable[[T], object]
    right: bool = False
    shrinks: bool = False
    drops: bool = False


@dataclass
class Output:
    json: bool = False
    quiet: bool = False

    def items(self, items: Iterable[T], columns: Sequence[Column[T]], *, nothing: str = "") -> int:
        """A list. The number of its items."""
        if self.json:
            return sum(self._line(item) for item in items)
        rows = [[cell(column.value(item)) for column in columns] for item in items]
        if rows:
            chars = terminal_chars()
            columns = dropped(columns, rows, chars)
            shrink([column.title for column in columns], rows, [column.shrinks for column in columns], chars)
            for line in table([column.title for column in columns], rows, [column.right for column in columns]):
                click.echo(line)
        elif nothing:
            self.note(nothing)
        return len(rows)

    def thing(self, thing: Any, lines: Sequence[tuple[str, object]]) -> None:
        """One object: its fields by name."""
        if self.json:
            self._line(thing)
            return
        width = max((len(name) for name, _ in lines), default=0)
        for name, value in lines:
            if value is not None and value != "" and value != ():
                click.echo(f"{styled(name.ljust(width), dim=True)}{GAP}{text(value)}")

    def say(self, thing: Any, sentence: str) -> None:
        """The result of an act: a sentence, or the object."""
        if self.json:
            self._line(thing)
        else:
            click.echo(sentence)

    def note(self, sentence: str) -> None:
        """A remark, which a script never has to read."""
        if not self.quiet:
            click.echo(sentence, err=True)

    def error(self, error: EnablementError) -> None:
        if self.json:
            click.echo(b'{"error":' + msgspec.json.encode(error.body()) + b"}", err=True)
            return
        first, *rest = error.rendered().split("\n")
        click.echo(styled(first, fg="red"), err=True)
        for line in rest:
            click.echo(line, err=True)

    def _line(self, thing: Any) -> int:
        click.echo(msgspec.json.encode(thing, enc_hook=str))
        return 1


def styled(text: str, **style: Any) -> str:
    """Colour for a terminal, unless NO_COLOR is set (no-color.org); elsewhere click takes it out again."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> Iterable[str]:
    """Columns as wide as their widest cell; no trailing spaces, so that output can be compared."""
    widths = widths_of(titles, rows)
    yield styled(aligned(titles, widths, right), bold=True)
    for row in rows:
        yield aligned(row, widths, right)


def terminal_chars() -> int | None:
    """How wide standard output is, if it is a terminal: what goes elsewhere is whole."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def dropped(columns: Sequence[Column[T]], rows: Sequence[list[str]], chars: int | None) -> Sequence[Column[T]]:
    """The columns without those that may be left out, if the table is too wide; the last of them first."""
    kept = list(columns)
    for i in reversed([i for i, column in enumerate(columns) if column.drops]):
        if chars is None or sum(widths_of([c.title for c in kept], rows)) + len(GAP) * (len(kept) - 1) <= chars:
            break
        del kept[i]
        for row in rows:
            del row[i]
    return kept


def widths_of(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(places(title), *(places(row[i]) for row in rows)) for i, title in enumerate(titles)]


def places(text: str) -> int:
    """How many places of a terminal it takes: Unicode's UAX 11 gives wide characters two, and marks on others none."""
    if text.isascii():
        return len(text)
    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def shrink(titles: Sequence[str], rows: Sequence[list[str]], shrinks: Sequence[bool], chars: int | None) -> None:
    """Cut the middle out of the cells that allow it, as far as the table needs: of the widest first, of equals alike."""
    widths = widths_of(titles, rows)
    if chars is None or not any(shrinks):
        return
    free = chars - len(GAP) * (len(widths) - 1) - sum(w for w, may in zip(widths, shrinks, strict=True) if not may)
    kept = max(w for w, may in zip(widths, shrinks, strict=True) if may)
    while kept > SHRUNK_CHARS_MIN and sum(min(w, kept) for w, may in zip(widths, shrinks, strict=True) if may) > free:
        kept -= 1
    for i in (i for i, may in enumerate(shrinks) if may):
        for row in rows:
            row[i] = without_middle(row[i], kept)


def without_middle(text: str, most: int) -> str:
    """Whole, or its beginning and its end in so many places."""
    if places(text) <= most:
        return text
    tail = begin(text[::-1], (most - 1) // 2)[::-1]
    return f"{begin(text, most - 1 - places(tail))}…{tail}"


def begin(text: str, most: int) -> str:
    while places(text) > most:
        text = text[:-1]
    return text


def aligned(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    blanks = [" " * (width - places(cell)) for cell, width in zip(cells, widths, strict=True)]
    placed = (blank + cell if r else cell + blank for cell, blank, r in zip(cells, blanks, right, strict=True))
    return GAP.join(placed).rstrip()


def cell(value: object) -> str:
    found = text(value)
    return found if len(found) <= CELL_CHARS_MAX else found[: CELL_CHARS_MAX - 1] + "…"


def text(value: object) -> str:
    """A value on one line, without control characters: what others wrote must not drive this terminal."""
    if value is None:
        return "-"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(text(item) for item in value) or "-"
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(value))


def readable(payload: bytes) -> str:
    """What a message says, as far as a person reads it."""
    text = payload[:PAYLOAD_CHARS_MAX].decode(errors="replace")
    return text if len(payload) <= PAYLOAD_CHARS_MAX else f"{text}… (--json has all of it)"


def counted(count: int, noun: str) -> str:
    """1 use, 2 uses."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def when(timestamp: int | None) -> str:
    """Seconds are enough for a person; --json has the nanoseconds."""
    return "-" if timestamp is None else iso(timestamp)[:19] + "Z"


def day(timestamp: int | None) -> str:
    """A day, where it begins (in UTC) at that instant; else to the second."""
    return "-" if timestamp is None else when(timestamp).removesuffix("T00:00:00Z")


def size(count: int) -> str:
    """1536 → 1.5 KiB."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"
