"""What ./test does: style and types beside the tests of all suites, a line each, and the whole output of what failed.

A skipped test is counted and named at the end; it never counts as passed. With CRETO_TEST_REQUIRE=1 a skip fails the run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
SUITES = ("unit", "contract", "integration", "crash", "e2e", "docs")
SUITE = re.compile(r"^suite (\w+): (.*)$", re.MULTILINE)  # as tests/conftest.py tells them
WORKERS_MAX = 4
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

    with ThreadPoolExecutor(1) as beside:  # types take one core for long, and tests wait now and then
        looked = [(name, beside.submit(holds, name, command)) for name, command in style()]
        tests_s, done = timed(tests(deep))
    failed = [name for name, look in looked if not look.result()]
    output = done.stdout + done.stderr
    told = dict(SUITE.findall(output))
    for name in SUITES:
        counts = told.get(name, "no test ran")
        bad = "passed" not in counts or "failed" in counts or "error" in counts
        tell(name, None, bad, counts)
        if bad:
            failed.append(name)
    if done.returncode != 0:
        failed.append("tests")
        print(output, flush=True)
    tell("tests", tests_s, done.returncode != 0, count(output))
    skipped = [f"{count} × {reason}" for count, reason in SKIPPED.findall(output)]
    if skipped:
        print("\nSKIPPED, and therefore not shown to work:\n  " + "\n  ".join(skipped))
    if skipped and os.environ.get("CRETO_TEST_REQUIRE") == "1":
        failed.append("skipped tests where none may be")
    print(f"\n{'failed: ' + ', '.join(failed) if failed else 'all passed'}")
    return 1 if failed else 0


def style() -> list[tuple[str, list[str]]]:
    return [
        ("mypy", [str(BIN / "mypy")]),
        ("ruff", [str(BIN / "ruff"), "check", "."]),
        ("format", [str(BIN / "ruff"), "format", "--check", "."]),
        ("floors", [str(BIN / "lint-imports")]),
    ]


def holds(name: str, command: list[str]) -> bool:
    took_s, done = timed(command)
    tell(name, took_s, done.returncode != 0, last_line(done.stdout + done.stderr))
    if done.returncode != 0:
        print(done.stdout + done.stderr, flush=True)
    return done.returncode == 0


def tests(deep: list[str]) -> list[str]:
    """All suites in one go, so that a core that is done with one takes from the next; tests/conftest.py says in which order."""
    workers = max(2, min(WORKERS_MAX, len(os.sched_getaffinity(0))))
    folders = [f"tests/{name}" for name in SUITES]
    return [str(BIN / "pytest"), *folders, "-q", "-n", str(workers), "--dist", "loadscope", *deep]


def timed(command: list[str]) -> tuple[float, subprocess.CompletedProcess[str]]:
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return time.monotonic() - started, done


def tell(name: str, took_s: float | None, bad: bool, told: str) -> None:
    took = "" if took_s is None else f"{took_s:.1f} s"
    print(f"{'FAILED' if bad else 'ok    '} {name:<12} {took:>8}  {told}", flush=True)


def last_line(output: str) -> str:
    """The last line with words in it: mypy's and ruff's verdict."""
    lines = [line.strip("= ") for line in output.splitlines() if line.strip("= ")]
    return (lines or [""])[-1]


def count(output: str) -> str:
    """Pytest's count, whatever a library said after it."""
    lines = [line.strip("= ") for line in output.splitlines() if COUNT.search(line)]
    return (lines or [last_line(output)])[-1]


if __name__ == "__main__":
    sys.exit(main())
