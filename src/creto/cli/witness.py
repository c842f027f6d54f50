"""`creto witness`: see another installation's log grow, and sign that it never shrank or forked (c2sp.org/tlog-witness)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from creto.cli.choices import file_path
from creto.cli.context import Cli, Command, pass_cli, read
from creto.cli.keyfiles import load_or_make_key
from creto.cli.stopping import stopping
from creto.common.errors import InvalidInput
from creto.common.limits import NOTE_BYTES_MAX

if TYPE_CHECKING:
    import uvicorn

    from creto.platform.audit import Witness
    from creto.platform.audit.keys import NoteSigner
    from creto.platform.crypto import SigningKey

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
STATE_PARTS = ("creto.platform.consensus", "creto.platform.audit")


@click.command(cls=Command)
@click.option("--log", "trust_file", type=file_path, required=True, help="The public keys of the log to watch: `creto audit keys` there, or a C2SP policy.")  # fmt: skip
@click.option("--name", required=True, help="The name this witness signs under, as witness.example/w1.")
@click.option("--key-file", type=file_path, default="witness.key", show_default=True, help="Its key; made on the first start.")  # fmt: skip
@click.option("--state", type=file_path, default="witness.db", show_default=True, help="What it has seen. Never lose it and go on with the same key.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(0, 65535), default=9450, show_default=True, help="0 takes a free one.")
@pass_cli
async def witness(cli: Cli, trust_file: Path, name: str, key_file: Path, state: Path, host: str, port: int) -> None:
    """Watch a log and cosign its checkpoints.

    Prints URL=VKEY for each of its keys: what stands in audit.witnesses of the installation that is watched. Run it elsewhere than the
    log, under other people.
    """
    from creto.platform.audit import Trust, Witness
    from creto.platform.consensus import EmbeddedClock
    from creto.store import open_store

    trust = Trust.parse(read(trust_file, bytes_max=NOTE_BYTES_MAX))
    signers = cosigners(name, load_or_make_key(key_file))
    store = open_store(f"sqlite:///{state}", parts=STATE_PARTS)
    try:
        with EmbeddedClock(store) as clock:
            listening = bound(host, port)
            address = "http://{}:{}".format(*listening.getsockname()[:2])
            for signer in signers:
                click.echo(f"{address}={signer.key.vkey}")
            cli.output.note(f"Watching {', '.join(sorted(trust.origins))}.")
            await serve(witness_app(Witness(store, clock, trust, signers)), listening)
    finally:
        store.close()


def cosigners(name: str, key: SigningKey) -> tuple[NoteSigner, ...]:
    """A classical and a post-quantum cosignature; the second key follows from the first."""
    from creto.platform.audit import CosignerEd25519, CosignerMlDsa44
    from creto.platform.crypto import hkdf

    seed = hkdf(key.private_bytes(), info=b"creto/witness/ml-dsa-44/v1", size_bytes=32)
    return CosignerEd25519(name, key), CosignerMlDsa44(name, seed)


def bound(host: str, port: int) -> Any:
    import socket

    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # its connections inherit it
        return listening
    except OSError as error:
        raise InvalidInput.of("--port", got=f"{host}:{port}", expected=f"a free port ({error.strerror})") from error


def witness_app(watching: Witness) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """POST /add-checkpoint, and GET / for whoever wonders what this is."""
    from creto.platform.audit.witness import REQUEST_BYTES_MAX, SIZE_CONTENT_TYPE

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if (scope["method"], scope["path"]) == ("POST", "/add-checkpoint"):
            body = await whole(receive, REQUEST_BYTES_MAX)
            status, answer = (413, b"") if body is None else await watching.handle_add_checkpoint(body)
            kind = SIZE_CONTENT_TYPE if status == 409 else "text/plain; charset=utf-8"
        elif scope["path"] == "/":
            status, kind = 200, "application/json"
            answer = json.dumps({"witness": "c2sp.org/tlog-witness", "post": "/add-checkpoint"}).encode()
        else:
            status, kind, answer = 404, "text/plain; charset=utf-8", b""
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return app


async def whole(receive: Receive, bytes_max: int) -> bytes | None:
    """The body, or None if it is too large."""
    body = b""
    while True:
        message = await receive()
        piece: bytes = message.get("body", b"")
        body += piece
        if len(body) > bytes_max:
            return None
        if not message.get("more_body"):
            return body


async def serve(app: Any, listening: Any) -> None:
    import asyncio

    import uvicorn

    async with stopping() as stop:
        server: uvicorn.Server = quiet(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        server.should_exit = True
        await task


def quiet(config: uvicorn.Config) -> uvicorn.Server:
    """A server that leaves the signals to us."""
    import uvicorn

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(config)
