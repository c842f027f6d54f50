"""./bench [PART …] [--json FILE]"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

import scripts.bench
from scripts.bench.measure import HEADER, Row, line

SHARED = {"__main__", "measure", "peers"}


def parts() -> list[str]:
    found = (m.name for m in pkgutil.iter_modules(scripts.bench.__path__) if m.name not in SHARED)
    return sorted(name for name in found if not name.startswith("_"))


def rows(part: str) -> Iterator[Row]:
    yield from importlib.import_module(f"scripts.bench.{part}").rows()


def main() -> int:
    parser = argparse.ArgumentParser(prog="./bench", description="Measure creto, each figure beside its peer.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(parts())}; all when none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same as JSON lines, with `met`")
    args = parser.parse_args()
    unknown = [p for p in args.parts if p not in parts()]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)} (there are {', '.join(parts())})")
    print(HEADER, flush=True)
    lines: list[bytes] = []
    missed = 0
    for part in args.parts or parts():
        for row in rows(part):
            print(line(row), flush=True)
            missed += row.met is False
            lines.append(
                msgspec.json.encode({**msgspec.to_builtins(row), "part": part, "ratio": row.ratio, "met": row.met})
            )
    if args.json:
        args.json.write_bytes(b"\n".join(lines) + b"\n")
    if missed:
        print(f"\n{missed} below what must be", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
