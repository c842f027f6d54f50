"""The peers' figures, measured once for each run in an environment and a process of their own, before ours."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from scripts.bench.measure import Peer, Row, Scale

HOME = Path(__file__).resolve().parents[2]
PYTHON = HOME / ".venv-peers/bin/python"
SCRIPT = Path(__file__).with_name("peers.py")
PATIENCE_S = 120


@cache
def figures(seconds: float) -> dict[str, tuple[Peer, ...]]:
    """By key; what could not be measured is said on stderr and stands nowhere."""
    if not PYTHON.exists():
        return complain(f"no {PYTHON}: make it with scripts/environment peers")
    command = [str(PYTHON), "-W", "ignore", str(SCRIPT), str(seconds)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return complain(f"{error}; {getattr(error, 'stderr', None) or ''}")
    found: dict[str, tuple[Peer, ...]] = {}
    for text in done.stdout.splitlines():
        told: dict[str, Any] = msgspec.json.decode(text)
        if "error" in told:
            complain(f"{told['key']}: {told['error']}")
        else:
            found[told["key"]] = (*found.get(told["key"], ()), Peer(told["name"], told["us"]))
    return found


def complain(why: str) -> dict[str, tuple[Peer, ...]]:
    print(f"bench: PEER MISSING, its rows stay without ratio: {why}", file=sys.stderr, flush=True)
    return {}


def beside(row: Row, scale: Scale, *keys: str) -> Row:
    """The row with these peers."""
    known = figures(max(0.02, 1.5 * scale.effort))
    peers = tuple(peer for key in keys for peer in known.get(key, ()))
    return msgspec.structs.replace(row, peers=peers)
