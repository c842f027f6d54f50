"""What every backend of storage must do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from creto.common.breaker import CircuitBreaker, CircuitOpen
from creto.common.errors import AlreadyExists, ConnectionFailed, InternalError, InvalidInput, NotFound
from creto.security.storage import Backend, GuardedBackend, open_backend
from creto.security.storage.opening import BREAKER
from tests.contract.backends import CREDENTIALS, backend, s3_endpoint, s3_url

__all__ = ["backend", "s3_endpoint", "s3_url"]

PART = 8 * 1024 * 1024


async def pieces(*values: bytes) -> AsyncIterator[bytes]:
    for value in values:
        yield value


async def names(backend: Backend, prefix: str) -> set[str]:
    return {blob.name async for page in backend.list(prefix) for blob in page}


async def test_a_blob_comes_back(backend: Backend) -> None:
    await backend.put("t/ab/one", b"hello")

    assert await backend.read("t/ab/one", [(0, 5)]) == [b"hello"]
    assert await backend.size("t/ab/one") == 5


async def test_ranges_are_exact_and_short_at_the_end(backend: Backend) -> None:
    await backend.put("t/ab/one", bytes(range(200)))

    assert await backend.read("t/ab/one", [(0, 3), (100, 102)]) == [b"\0\1\2", b"\x64\x65"]
    assert await backend.read("t/ab/one", [(198, 300)]) == [b"\xc6\xc7"]
    assert await backend.read("t/ab/one", [(0, 2), (200, 300)]) == [b"\0\1", b""]


async def test_a_name_is_taken_once(backend: Backend) -> None:
    await backend.put("t/ab/one", b"first")

    with pytest.raises(AlreadyExists) as caught:
        await backend.put("t/ab/one", b"second")

    assert caught.value.code == "PL-409"
    assert await backend.read("t/ab/one", [(0, 10)]) == [b"first"]


async def test_a_stream_of_several_parts(backend: Backend) -> None:
    await backend.put_stream("t/ab/long", pieces(b"a" * PART, b"b" * PART, b"c"))

    assert await backend.size("t/ab/long") == 2 * PART + 1
    assert await backend.read("t/ab/long", [(PART - 1, PART + 1), (2 * PART, 2 * PART + 1)]) == [b"ab", b"c"]


async def test_an_empty_stream_is_an_empty_blob(backend: Backend) -> None:
    await backend.put_stream("t/ab/empty", pieces())

    assert await backend.size("t/ab/empty") == 0


async def test_a_stream_that_fails_leaves_nothing(backend: Backend) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a" * (PART + 1)
        raise InvalidInput("PL-400", "the sender went away")

    with pytest.raises(InvalidInput):
        await backend.put_stream("t/ab/half", broken())

    assert await names(backend, "t") == set()


async def test_listing_stays_in_its_folder(backend: Backend) -> None:
    for name in ("t/ab/one", "t/cd/two", "tt/ab/three", "u/ab/four"):
        await backend.put(name, b"x")

    assert await names(backend, "t") == {"t/ab/one", "t/cd/two"}
    assert await names(backend, "none") == set()
    assert {blob.size async for page in backend.list("") for blob in page} == {1}


async def test_a_deleted_blob_is_gone_and_deleting_again_is_no_error(backend: Backend) -> None:
    await backend.put("t/ab/one", b"x")
    await backend.delete("t/ab/one")
    await backend.delete("t/ab/one")

    for act in (backend.read("t/ab/one", [(0, 1)]), backend.size("t/ab/one")):
        with pytest.raises(NotFound) as caught:
            await act
        assert caught.value.code == "PL-404"


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "", "a/", "a\0b", "a b", "é"])
async def test_a_name_that_is_not_ours_is_refused(backend: Backend, name: str) -> None:
    for act in (backend.put(name, b"x"), backend.read(name, [(0, 1)]), backend.delete(name), backend.size(name)):
        with pytest.raises(InternalError):
            await act


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "objects",
        "file://",
        "s3://",
        "s3://bucket/x?unknown=1",
        "s3://bucket/x?endpoint=http://minio.example:9000",
    ],
)
def test_urls_that_fit_nothing(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_backend(url)


def test_an_insecure_endpoint_must_be_asked_for() -> None:
    open_backend("s3://bucket/x?endpoint=http://minio.example:9000&allow_insecure_http=1")


async def test_a_local_folder_is_private_and_holds_only_blobs(tmp_path: Path) -> None:
    backend = open_backend(f"file://{tmp_path}/objects")
    await backend.put("t/ab/one", b"x")

    assert (tmp_path / "objects").stat().st_mode & 0o077 == 0
    assert [p.name for p in (tmp_path / "objects").rglob("*") if p.is_file()] == ["one"]


async def test_what_a_broken_write_left_is_tidied_away(tmp_path: Path) -> None:
    backend = open_backend(f"file://{tmp_path}/objects")
    await backend.put("t/ab/one", b"x")
    (tmp_path / "objects/t/ab/two#1").write_bytes(b"half")
    written_at = (tmp_path / "objects/t/ab/two#1").stat().st_mtime_ns

    assert await names(backend, "") == {"t/ab/one"}
    assert await backend.tidy(written_at) == 0
    assert await backend.tidy(written_at + 1) == 1
    assert sorted(p.name for p in (tmp_path / "objects").rglob("*") if p.is_file()) == ["one"]


class Away:
    """A place that refuses every connection while it is told to."""

    def __init__(self, inner: Backend) -> None:
        self.inner, self.away, self.calls = inner, True, 0

    def __getattr__(self, name: str) -> Any:
        self.calls += 1
        if self.away:
            raise ConnectionFailed("PL-503", "the object store failed")
        return getattr(self.inner, name)


async def test_an_object_store_that_keeps_failing_is_spared() -> None:
    """given a place that is away / when it is asked again and again / then it is let alone until its time has passed, and then found again."""
    now = [0.0]
    place = Away(open_backend("memory://"))
    breaker = CircuitBreaker(BREAKER, timeout_s=30, clock=lambda: now[0])
    backend = GuardedBackend(place, breaker)  # type: ignore[arg-type]
    for _ in range(9):
        with pytest.raises(ConnectionFailed, match="PL-503"):
            await backend.put("t/ab/one", b"hello")
    assert (place.calls, breaker.state, breaker.refusals) == (5, "open", 4)
    with pytest.raises(CircuitOpen):
        await names(backend, "t/")
    place.away, now[0] = False, 31.0
    await backend.put("t/ab/one", b"hello")
    assert b"".join([piece async for piece in backend.stream("t/ab/one")]) == b"hello"
    for _ in range(9):  # an answer, however often
        with pytest.raises(NotFound):
            await backend.size("t/ab/none")
    assert breaker.state == "closed"


def test_what_is_elsewhere_is_guarded_and_a_folder_is_not(s3_url: str, tmp_path: Path) -> None:
    guarded = open_backend(s3_url, CREDENTIALS)
    assert isinstance(guarded, GuardedBackend)
    assert guarded.breaker.name == BREAKER
    assert not isinstance(open_backend(f"file://{tmp_path}/objects"), GuardedBackend)
