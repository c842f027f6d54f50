"""What a person waits for: `import creto` and `creto --help`, as wall time of a fresh process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec

from scripts.bench.measure import Row, Scale, latency

MS = 1_000.0


def rows(scale: Scale) -> Iterator[Row]:
    count = scale.count(15, 3)
    bare = wall(count, "-c", "pass")
    yield median("python itself, wall", bare)
    yield median("import creto, wall", wall(count, "-c", "import creto"), must=150 * MS, aim=80 * MS)
    yield median("creto --help, wall", wall(count, "-m", "creto", "--help"), must=300 * MS, aim=200 * MS)


def median(name: str, samples: list[float], **fields: float) -> Row:
    row = latency(name, samples, **fields)
    return msgspec.structs.replace(row, value=row.p50, p99=None, note="median counts")


def wall(count: int, *words: str) -> list[float]:
    samples = []
    for number in range(count + 1):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        if number:  # the first one compiles
            samples.append((time.perf_counter() - started) * 1e6)
    return samples
