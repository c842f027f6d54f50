"""Columns as PostgreSQL's array literals: one short statement for however many rows, where the driver would spend longer on each value."""

from __future__ import annotations

from collections.abc import Iterable


def bytes_array(values: Iterable[bytes]) -> str:
    """For `?::bytea[]`."""
    return "{" + ",".join([f'"\\\\x{value.hex()}"' for value in values]) + "}"


def number_array(values: Iterable[int]) -> str:
    """For `?::bigint[]` or `?::smallint[]`."""
    return "{" + ",".join(map(str, values)) + "}"
