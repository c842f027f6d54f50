"""The witness's HTTP face, driven as a server drives it."""

from __future__ import annotations

import asyncio
from typing import Any

from creto.cli.witness import witness_app
from creto.platform.audit.witness import REQUEST_BYTES_MAX, SIZE_CONTENT_TYPE


class Answers:
    """A witness that has been told what to say."""

    def __init__(self, status: int, body: bytes) -> None:
        self.answer, self.heard = (status, body), b""

    async def handle_add_checkpoint(self, body: bytes) -> tuple[int, bytes]:
        self.heard = body
        return self.answer


async def asked(watching: Any, method: str, path: str, *pieces: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[Any] = []
    waiting = [{"body": piece, "more_body": i < len(pieces) - 1} for i, piece in enumerate(pieces)]

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await witness_app(watching)({"type": "http", "method": method, "path": path}, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_a_request_in_pieces_reaches_the_witness_whole() -> None:
    watching = Answers(200, b"signature\n")
    status, _, body = await asked(watching, "POST", "/add-checkpoint", b"old 0\n", b"\nnote")
    assert (status, body, watching.heard) == (200, b"signature\n", b"old 0\n\nnote")


async def test_a_conflict_names_the_size_in_its_own_type() -> None:
    status, headers, body = await asked(Answers(409, b"17\n"), "POST", "/add-checkpoint", b"x")
    assert (status, headers[b"content-type"], body) == (409, SIZE_CONTENT_TYPE.encode(), b"17\n")


async def test_too_large_and_elsewhere() -> None:
    watching = Answers(200, b"")
    assert (await asked(watching, "POST", "/add-checkpoint", b"x" * (REQUEST_BYTES_MAX + 1)))[0] == 413
    assert watching.heard == b""
    assert (await asked(watching, "GET", "/add-checkpoint"))[0] == 404
    assert (await asked(watching, "GET", "/"))[0] == 200


async def test_the_transport_of_a_log_speaks_to_it() -> None:
    import uvicorn

    from creto.cli.witness import bound, quiet
    from creto.common.errors import EnablementError
    from creto.connectors.witness import http_transport

    listening = bound("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    watching = Answers(200, b"line\n")
    server = quiet(uvicorn.Config(witness_app(watching), lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        assert await http_transport(url)(b"old 0\n\n") == (200, b"line\n")
        assert watching.heard == b"old 0\n\n"
    finally:
        server.should_exit = True
        await serving
    try:
        await http_transport(url, timeout_s=2)(b"")
    except EnablementError as error:
        assert error.code in ("PL-503", "PL-504")
    else:
        raise AssertionError("nobody listens there any more")
