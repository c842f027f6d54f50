"""Columns as PostgreSQL's array literals: one short statement for however many rows, where the driver would spend longer on each value."""

from __future__ import annotations

from collections.abc import Iterable


def bytes_array(values: Iterable[bytes]) -> str:
    """For `?::bytea[]`."""
    return "{" + ",".join([f'"\\\\x{value.hex()}"' for value in values]) + "}"


def number_array(values: Iterable[int]) -> str:
    """For `?::bigint[]` or `?::smallint[]`."""
    return "{" + ",".join(map(str, values)) + "}"


def text_array(values: Iterable[str]) -> str:
    """For `?::text[]`."""
    every = list(values)
    joined = '","'.join(every)
    if "\\" in joined or joined.count('"') != 2 * max(len(every) - 1, 0):
        joined = '","'.join([value.replace("\\", "\\\\").replace('"', '\\"') for value in every])
    return f'{{"{joined}"}}' if every else "{}"
