"""The whole layer with its gRPC edge in a process of its own: python -m scripts.bench.foundation.serving FOLDER

It prints one JSON line with its port, a token and the operator's id, and serves until its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from creto.app import running
from creto.edge.api import ENDPOINTS, Authenticator, Dispatcher
from creto.edge.grpc import GrpcServer
from creto.sdk.local import beside


async def main(folder: Path) -> None:
    async with running(beside(folder / "layer.db")) as app:
        nhi = app.parts.nhi
        server = GrpcServer(Dispatcher(app.parts), Authenticator(nhi, app.tenant), ENDPOINTS)
        port = await server.start("127.0.0.1:0")
        issued = await nhi.issue_token(app.tenant, app.operator, scopes=("*",))
        told = {"port": port, "token": issued.token, "operator": app.operator}
        print(msgspec.json.encode(told).decode(), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        await server.stop(0.0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
