"""`put` of any content, against a line that keeps what it is asked."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from creto.common.errors import ConnectionFailed, InvalidInput
from creto.common.ids import AgentId
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api import objects, uploads
from creto.edge.api.objects import ObjectView
from creto.sdk import uploading
from creto.sdk.uploading import Content, put

PART = 10


class KeepingLine:
    """An upload service in memory; part `fails_at` is refused."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[int, bytes] = {}
        self.asked: list[str] = []
        self.at_once = self.at_once_most = 0
        self._fails_at = fails_at

    async def call(self, endpoint: Any, request: Any) -> Any:
        self.asked.append(endpoint.verb)
        if endpoint is objects.PUT:
            return self._stored(request.key, request.content)
        if endpoint is uploads.CREATE:
            self.key = request.key
            return uploads.UploadView(
                upload="u", key=request.key, created_at=ConsensusTimestamp(1), created_by=AgentId("a")
            )
        if endpoint is uploads.PUT_PART:
            self.at_once += 1
            self.at_once_most = max(self.at_once, self.at_once_most)
            await asyncio.sleep(0)
            self.at_once -= 1
            if request.number == self._fails_at:
                raise ConnectionFailed("PL-503")
            self.parts[request.number] = request.content
            return uploads.PartView(number=request.number, size=len(request.content), root=b"r")
        if endpoint is uploads.COMPLETE:
            assert [part.number for part in request.parts] == sorted(self.parts)
            return self._stored(self.key, b"".join(self.parts[n] for n in sorted(self.parts)))
        assert endpoint is uploads.ABORT
        self.parts.clear()
        return None

    def _stored(self, key: str, content: bytes) -> ObjectView:
        self.objects[key] = content
        return ObjectView(
            key=key, version="v", size=len(content), digest=b"", created_at=ConsensusTimestamp(1), created_by=AgentId("a")
        )  # fmt: skip

    async def close(self) -> None: ...


@pytest.fixture(autouse=True)
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "STORAGE_PART_BYTES", PART)


def pieces(data: bytes) -> Iterator[bytes]:
    """Odd lengths, and one without bytes."""
    yield data[:3]
    yield b""
    yield data[3:17]
    yield data[17:]


async def stream(data: bytes) -> AsyncIterator[bytes]:
    for piece in pieces(data):
        yield piece


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 2 * PART, 105])
@pytest.mark.parametrize("made", [bytes, io.BytesIO, pieces, stream], ids=lambda made: made.__name__)
async def test_any_content_of_any_length(made: Any, size: int) -> None:
    data = bytes(range(size))
    line, arrived = KeepingLine(), []
    content: Content = made(data)
    view = await put(line, "k", content, advance=arrived.append)
    assert (line.objects["k"], view.size, sum(arrived)) == (data, size, size)
    assert line.asked[0] == ("put" if size <= PART else "create_upload")
    assert line.at_once_most <= uploading.STORAGE_PARTS_IN_FLIGHT


@pytest.mark.parametrize("fails_at", [1, 3, 11])
async def test_what_fails_is_given_up_and_raised_as_it_was(fails_at: int) -> None:
    line = KeepingLine(fails_at)
    with pytest.raises(ConnectionFailed, match="PL-503"):
        await put(line, "k", bytes(105))
    assert line.asked[-1] == "abort_upload"
    assert (line.objects, line.parts) == ({}, {})


async def test_a_source_that_breaks_is_given_up_too() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(35)
        raise OSError("the disk is gone")

    line = KeepingLine()
    with pytest.raises(OSError, match="the disk is gone"):
        await put(line, "k", broken())
    assert line.asked[-1] == "abort_upload"


async def test_more_parts_than_an_upload_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploading, "UPLOAD_PARTS_MAX", 3)
    line = KeepingLine()
    with pytest.raises(InvalidInput, match="PL-413"):
        await put(line, "k", bytes(PART * 3 + 1))
    assert line.objects == {}
