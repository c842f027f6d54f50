"""What ./test does: each check in turn, a line each, and the whole output of what failed.

A skipped test is counted and named at the end; it never counts as passed. With CRETO_TEST_REQUIRE=1 a skip fails the run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SUITES = ("unit", "contract", "integration", "crash", "e2e", "docs")
SKIPPED = re.compile(r"^SKIPPED \[(\d+)\] (.*)$", re.MULTILINE)
COUNT = re.compile(r"\d+ (?:passed|failed|error|skipped).* in \d")


def main() -> int:
    parser = argparse.ArgumentParser(prog="./test", description=__doc__)
    parser.add_argument("paths", nargs="*", help="only these tests")
    parser.add_argument("--deep", action="store_true", help="fuzz, crash and soak suites at full counts")
    parser.add_argument("-k", metavar="EXPRESSION", help="only tests whose names match (with PATH…)")
    args = parser.parse_args()
    deep = ["--deep"] if args.deep else []
    if args.paths:
        only = ["-k", args.k] if args.k else []
        return subprocess.run([BIN / "pytest", *args.paths, *deep, *only], cwd=ROOT, check=False).returncode

    failed: list[str] = []
    skipped: list[str] = []
    for name, command in checks(deep):
        started = time.monotonic()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        output = done.stdout + done.stderr
        skips = SKIPPED.findall(output)
        skipped += [f"{count} × {reason}" for count, reason in skips]
        bad = done.returncode not in (0, 5)
        bad = bad or (done.returncode == 5 and name in SUITES)
        print(
            f"{'FAILED' if bad else 'ok    '} {name:<12} {time.monotonic() - started:6.1f} s  {summary(output)}",
            flush=True,
        )
        if bad:
            failed.append(name)
            print(output, flush=True)
    if skipped:
        print("\nSKIPPED, and therefore not shown to work:\n  " + "\n  ".join(skipped))
    if skipped and os.environ.get("CRETO_TEST_REQUIRE") == "1":
        failed.append("skipped tests where none may be")
    print(f"\n{'failed: ' + ', '.join(failed) if failed else 'all passed'}")
    return 1 if failed else 0


def checks(deep: list[str]) -> list[tuple[str, list[str]]]:
    workers = str(max(2, min(4, os.cpu_count() or 2)))
    style = [
        ("ruff", [str(BIN / "ruff"), "check", "."]),
        ("format", [str(BIN / "ruff"), "format", "--check", "."]),
        ("mypy", [str(BIN / "mypy")]),
        ("floors", [str(BIN / "lint-imports")]),
    ]
    suites = [
        (name, [str(BIN / "pytest"), f"tests/{name}", "-q", "-n", workers, "--dist", "loadgroup", *deep])
        for name in SUITES
        if (ROOT / "tests" / name).is_dir()
    ]
    return style + suites


def summary(output: str) -> str:
    """Pytest's count, whatever a library said after it; else the last line with words in it: mypy's and ruff's verdict."""
    lines = [line.strip("= ") for line in output.splitlines() if line.strip("= ")]
    counts = [line for line in lines if COUNT.search(line)]
    return (counts or lines or [""])[-1]


if __name__ == "__main__":
    sys.exit(main())
