"""Write the gRPC contract: `python -m scripts.protos` after endpoints have changed.

A published field keeps its number and its type for ever: `broken` says where the new text would break clients of the old.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from creto.edge.api import ENDPOINTS
from creto.edge.grpc.schema import Schema, as_text

FILE = Path(__file__).parents[1] / "proto" / "creto" / "v1" / "creto.proto"
BLOCK = re.compile(r"^(message|service) (\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"^ *((?:repeated |optional )?[\w<>, .]+?) (\w+) = (\d+);", re.MULTILINE)
METHOD = re.compile(r"rpc (\w+)\(([\w.]+)\) returns \(([\w.]+)\);")


def contract() -> str:
    return as_text(Schema(ENDPOINTS))


def promises(text: str) -> set[tuple[str, ...]]:
    """Every field with its number and type, every method with its messages."""
    found: set[tuple[str, ...]] = set()
    for kind, name, body in BLOCK.findall(text):
        rows = FIELD.findall(body) if kind == "message" else METHOD.findall(body)
        found |= {(name, *row) for row in rows}
    return found


def broken(old: str, new: str) -> list[str]:
    return sorted(" ".join(promise) for promise in promises(old) - promises(new))


def main() -> int:
    new = contract()
    lost = broken(FILE.read_text(), new) if FILE.exists() else []
    if lost and "--break" not in sys.argv:
        print("published, and gone in the new contract (--break writes it nevertheless):\n  " + "\n  ".join(lost))
        return 1
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
