"""./bench [PART …] [--quick] [--json FILE]"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

import scripts.bench
from scripts.bench.measure import FULL, HEADER, QUICK, Row, Scale, line

SHARED = {"__main__", "beside", "measure", "peers", "peers_quota"}


def parts() -> list[str]:
    found = (m.name for m in pkgutil.iter_modules(scripts.bench.__path__) if m.name not in SHARED)
    return sorted(name for name in found if not name.startswith("_"))


def rows(part: str, scale: Scale) -> Iterator[Row]:
    yield from importlib.import_module(f"scripts.bench.{part}").rows(scale)


def as_json(part: str, row: Row) -> bytes:
    """The fields of the row, with the closest peer as `peer` and how many times better we are as `ratio`; all of them in `peers`, `ratios`."""
    ratios, peer = row.ratios, row.closest
    told = {"part": part, "peer": peer, "ratio": ratios[peer] if peer else None, "ratios": ratios}
    told |= {"met": row.met, "reached": row.reached}
    return msgspec.json.encode({**msgspec.to_builtins(row), **told})


def main() -> int:
    parser = argparse.ArgumentParser(prog="./bench", description="Measure creto, each figure beside its peer.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of {', '.join(parts())}; all when none is named")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the same as JSON lines, with `met`")
    parser.add_argument(
        "--quick", action="store_true", help="less of everything: a log of 100,000 entries, fewer samples"
    )
    args = parser.parse_args()
    unknown = [p for p in args.parts if p not in parts()]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)} (there are {', '.join(parts())})")
    print(HEADER, flush=True)
    if args.json:
        args.json.write_bytes(b"")
    missed: list[str] = []
    for part in args.parts or parts():
        for row in rows(part, QUICK if args.quick else FULL):
            print(line(row), flush=True)
            missed += [row.name] if row.met is False else []
            if args.json:
                with args.json.open("ab") as file:
                    file.write(as_json(part, row) + b"\n")
    if missed:
        print(f"\n{len(missed)} below what must be: {'; '.join(missed)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
