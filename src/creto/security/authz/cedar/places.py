"""Places in a text: the line and the column, in characters, both from 1. A line ends at CR LF, LF or CR, as a comment does in Cedar."""

from __future__ import annotations

import re

import msgspec

BREAKS = re.compile(r"\r\n|\r|\n")


class Place(msgspec.Struct, frozen=True):
    line: int
    column: int

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}"


def place_of(text: str, at: int) -> Place:
    line, start = 1, 0
    for ending in BREAKS.finditer(text, 0, at):
        line, start = line + 1, ending.end()
    return Place(line, at - start + 1)
