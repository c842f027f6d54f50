"""The whole layer with its edges in a process of its own: python -m scripts.bench.foundation.serving FOLDER

It prints one JSON line with its addresses, a token and the operator's id, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec
from tests.engines import free_port

from creto.app import create_kek, running
from creto.common.config import load
from creto.edge.servers import serving


async def main(folder: Path) -> None:
    kek = folder / "kek"
    create_kek(kek)
    env = {
        "CRETO_STORE__URL": f"sqlite:///{folder / 'layer.db'}",
        "CRETO_CRYPTO__KEK": f"file:{kek}",
        "CRETO_STORAGE__URL": f"file://{folder / 'objects'}",
        **{f"CRETO_SERVER__{name}_PORT": str(free_port()) for name in ("GRPC", "REST", "METRICS", "HEALTH")},
    }
    async with running(load(defaults=(), env=env)) as app:
        nhi = app.parts.nhi
        issued = await nhi.issue_token(app.tenant, app.operator, scopes=("*",))
        async with serving(app.parts, app.tenant) as addresses:
            told = {"grpc": addresses.grpc, "rest": addresses.rest, "token": issued.token, "operator": app.operator}
            print(msgspec.json.encode(told).decode(), flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
