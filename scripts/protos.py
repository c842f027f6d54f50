"""The gRPC contract as a file, made from the table of endpoints.

python -m scripts.protos            # write proto/creto/v1/creto.proto
python -m scripts.protos --check    # exit code 1 if it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

CONTRACT = Path(__file__).resolve().parents[1] / "proto" / "creto" / "v1" / "creto.proto"


def contract() -> str:
    from creto.edge.api import ENDPOINTS
    from creto.edge.grpc.schema import Schema, as_text

    return as_text(Schema(ENDPOINTS))


def main() -> int:
    if "--check" in sys.argv[1:]:
        return 0 if CONTRACT.is_file() and CONTRACT.read_text() == contract() else 1
    CONTRACT.parent.mkdir(parents=True, exist_ok=True)
    CONTRACT.write_text(contract())
    return 0


if __name__ == "__main__":
    sys.exit(main())
