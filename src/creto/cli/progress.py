"""A bar for what takes long, on a terminal only.

with progress(cli.output, "export", total=size) as advance:
    advance(1)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from creto.cli.output import Output

Advance = Callable[[int], None]


def is_shown(output: Output) -> bool:
    return sys.stderr.isatty() and not output.quiet and not output.json


@contextmanager
def progress(output: Output, what: str, total: int | None = None, *, as_bytes: bool = False) -> Iterator[Advance]:
    """`advance(n)` moves it by n; without a total it only shows that work goes on."""
    if not is_shown(output):
        yield lambda _: None
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
    except ModuleNotFoundError:  # a bar is a comfort: without the library the work is done all the same
        yield lambda _: None
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}")]
    if total is None:
        columns.append(TimeElapsedColumn())
    else:
        columns += [BarColumn(), DownloadColumn() if as_bytes else MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
