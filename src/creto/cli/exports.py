"""What `creto usage export` writes: JSON lines, CSV or Parquet, piece by piece, under a name that is there only when it is whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from creto.common.errors import AlreadyExists, InvalidInput
from creto.metering.export_rows import CsvRows, json_lines

if TYPE_CHECKING:
    from creto.metering import KeptEvent

Add = Callable[[Sequence["KeptEvent"]], object]
FORMS = ("jsonl", "csv", "parquet")
GROUP = "export"


def form_of(out: Path | None, form: str | None) -> str:
    """As it was asked for, else as the file is called; JSON lines where nothing says otherwise."""
    if form is None and out is not None and out.suffix:
        form = out.suffix[1:].lower()
        if form not in FORMS:
            raise InvalidInput.of("--out", got=out.name, expected="a name that ends in " + ", ".join(FORMS))
    if form == "parquet" and is_stream(out):
        raise InvalidInput.of("--out", got="standard output", expected="a file, for Parquet")
    return form or "jsonl"


def is_stream(out: Path | None) -> bool:
    return out is None or str(out) == "-"


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Where to write what becomes this file at the end, if nothing fails."""
    if path.exists():
        raise AlreadyExists("PL-409", f"{path} exists already", field="--out", hint="Name a file that is new.")
    partial = path.with_name(f".{path.name}.part")
    try:
        yield partial
        os.rename(partial, path)
    except OSError as error:
        raise InvalidInput("PL-400", f"{path} cannot be written: {error.strerror}", field="--out") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def exporting(out: Path | None, form: str) -> Iterator[Add]:
    if out is None or is_stream(out):
        with streaming(sys.stdout.buffer.fileno(), form) as add:
            yield add
        return
    with new_file(out) as partial, to_parquet(partial) if form == "parquet" else to_text(partial, form) as add:
        yield add


@contextmanager
def streaming(descriptor: int, form: str) -> Iterator[Add]:
    with open(descriptor, "w", encoding="utf-8", newline="", closefd=False) as file:
        if form == "csv":
            yield CsvRows(file).add
        else:
            yield lambda events: file.write(json_lines(events).decode())


@contextmanager
def to_text(path: Path, form: str) -> Iterator[Add]:
    descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
    try:
        with streaming(descriptor, form) as add:
            yield add
    finally:
        os.close(descriptor)


@contextmanager
def to_parquet(path: Path) -> Iterator[Add]:
    from creto.metering.analytics import Sheet

    with TemporaryDirectory(prefix="creto-export-", dir=path.parent) as folder, Sheet(Path(folder)) as sheet:
        yield lambda events: sheet.add(GROUP, events)
        sheet.write(GROUP, path)
