"""Where sealed bytes lie: a folder, this process's memory, or an S3 bucket, chosen by URL.

    open_backend("file:///var/lib/creto/objects")
    open_backend("memory://")
    open_backend("s3://bucket/prefix?region=eu-central-1&endpoint=https://minio.example")

A backend keeps immutable blobs under names that the service makes; a caller's object key never becomes a path.

INVARIANT: a blob is visible whole or not at all, and when `put` or `put_stream` returns it has reached the disk.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from creto.common.errors import AlreadyExists, ConnectionFailed, EnablementError, InternalError, InvalidInput, NotFound
from creto.common.limits import STORAGE_PART_BYTES, STORAGE_PARTS_IN_FLIGHT

BLOB_NAME = re.compile(r"(?:[A-Za-z0-9_=-]+/)*[A-Za-z0-9_.=-]*[A-Za-z0-9_=-]")
STAGED = re.compile(r"#\d+$")
LIST_PAGE = 1_000
REQUEST_TIMEOUT_S = 60  # one request of at most one part
RETRIES_MAX = 4


class Blob(msgspec.Struct, frozen=True):
    name: str
    size: int
    modified_at: int  # the backend's own clock, in nanoseconds: good for ages, not for order


class Backend(Protocol):
    """What a place for blobs does. Every implementation passes tests/contract/backends.py."""

    async def put(self, name: str, data: bytes | bytearray) -> None:
        """Store a new blob; a name that is taken is refused with PL-409."""
        ...

    async def put_stream(self, name: str, chunks: AsyncIterator[bytes | bytearray]) -> None:
        """Store a new blob of any length in bounded memory; if `chunks` raises, nothing appears."""
        ...

    async def read(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The bytes of each [start, end); less where the blob is shorter. PL-404 if there is no such blob."""
        ...

    async def size(self, name: str) -> int: ...

    def stream(self, name: str) -> AsyncIterator[bytes]:
        """The whole blob, piece by piece."""
        ...

    async def delete(self, name: str) -> None:
        """Remove it; a blob that is not there is no error."""
        ...

    def list(self, prefix: str) -> AsyncIterator[list[Blob]]:
        """All blobs below a folder."""
        ...

    async def tidy(self, before: int) -> int:
        """Remove what writes that broke off before then left behind and `list` does not show. How many files."""
        ...


def checked_blob(name: str) -> str:
    if not BLOB_NAME.fullmatch(name) or ".." in name:
        raise InternalError("PL-500", "a blob name is not one of ours")
    return name


def translated(error: Exception, name: str) -> EnablementError:
    """A backend's failure as ours. Its text may hold addresses and request headers, so only its class is told."""
    from obstore import exceptions

    if isinstance(error, FileNotFoundError):
        return NotFound("PL-404", f"blob {name} is not in the object store")
    if isinstance(error, exceptions.AlreadyExistsError):
        return AlreadyExists("PL-409", f"blob {name} exists already")
    return ConnectionFailed("PL-503", f"the object store failed on blob {name} ({type(error).__name__})")


class ObstoreBackend:
    """Any store of obstore. `settle` makes a finished blob durable and `tidy` clears up where the store itself does not.

    S3 keeps the parts of an upload that broke off: a lifecycle rule of the bucket (AbortIncompleteMultipartUpload) removes them."""

    def __init__(
        self,
        store: Any,
        url: str,
        settle: Callable[[str], None] | None = None,
        tidy: Callable[[int], int] | None = None,
    ) -> None:
        self._store = store
        self._settle = settle
        self._tidy = tidy
        self.url = url

    def __repr__(self) -> str:
        return f"ObstoreBackend({self.url!r})"

    async def put(self, name: str, data: bytes | bytearray) -> None:
        import obstore

        try:
            await obstore.put_async(self._store, checked_blob(name), data, mode="create")
        except OSError as error:
            raise translated(error, name) from None
        except obstore.exceptions.BaseError as error:
            raise translated(error, name) from None
        await self._settled(name)

    async def put_stream(self, name: str, chunks: AsyncIterator[bytes | bytearray]) -> None:
        import obstore

        try:
            await obstore.put_async(
                self._store,
                checked_blob(name),
                chunks,
                chunk_size=STORAGE_PART_BYTES,
                max_concurrency=STORAGE_PARTS_IN_FLIGHT,
            )
        except OSError as error:
            raise translated(error, name) from None
        except obstore.exceptions.BaseError as error:
            raise translated(error, name) from None
        await self._settled(name)

    async def _settled(self, name: str) -> None:
        if self._settle is not None:
            await asyncio.to_thread(self._settle, name)

    async def read(self, name: str, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        import obstore

        starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
        try:
            found = await obstore.get_ranges_async(
                self._store, checked_blob(name), starts=starts, ends=ends, coalesce=0
            )
        except FileNotFoundError as error:
            raise translated(error, name) from None
        except (OSError, obstore.exceptions.BaseError) as error:
            return await self._short_read(name, ranges, error)
        return [piece.to_bytes() for piece in found]

    async def _short_read(self, name: str, ranges: Sequence[tuple[int, int]], error: Exception) -> list[bytes]:
        """A range beyond the end is an error to obstore and an empty answer to us."""
        size = await self.size(name)
        if all(start < size for start, _ in ranges):
            raise translated(error, name) from None
        inside = [(start, min(end, size)) for start, end in ranges if start < size]
        pieces = iter(await self.read(name, inside) if inside else [])
        return [next(pieces) if start < size else b"" for start, _ in ranges]

    async def size(self, name: str) -> int:
        import obstore

        try:
            return int((await obstore.head_async(self._store, checked_blob(name)))["size"])
        except (OSError, obstore.exceptions.BaseError) as error:
            raise translated(error, name) from None

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        import obstore

        try:
            found = await obstore.get_async(self._store, checked_blob(name))
            async for piece in found.stream(min_chunk_size=STORAGE_PART_BYTES // 8):
                yield piece
        except (OSError, obstore.exceptions.BaseError) as error:
            raise translated(error, name) from None

    async def delete(self, name: str) -> None:
        import obstore

        try:
            await obstore.delete_async(self._store, checked_blob(name))
        except FileNotFoundError:
            return
        except (OSError, obstore.exceptions.BaseError) as error:
            raise translated(error, name) from None

    async def tidy(self, before: int) -> int:
        return await asyncio.to_thread(self._tidy, before) if self._tidy is not None else 0

    async def list(self, prefix: str) -> AsyncIterator[list[Blob]]:
        import obstore

        try:
            async for page in obstore.list(self._store, prefix or None, chunk_size=LIST_PAGE):
                yield [
                    Blob(found["path"], found["size"], int(found["last_modified"].timestamp() * 1e6) * 1_000)
                    for found in page
                ]
        except FileNotFoundError:
            return
        except (OSError, obstore.exceptions.BaseError) as error:
            raise translated(error, prefix) from None


def open_file(url: str, credentials: Mapping[str, str]) -> Backend:
    """A folder, made if it is not there; `file://data` is one beside us. obstore renames a finished file into place; we flush it and its folders."""
    from obstore.store import LocalStore

    parts = urlsplit(url)
    host = "" if parts.netloc == "localhost" else parts.netloc
    if not host and not parts.path:
        raise InvalidInput.of("storage.url", got=url, expected="file:// and a folder")
    root = Path(unquote(host + parts.path)).absolute()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def settle(name: str) -> None:
        path = root / name
        for flushed in (path, *(p for p in path.parents if p == root or root in p.parents)):
            descriptor = os.open(flushed, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def tidy(before: int) -> int:
        """obstore writes to `<name>#<number>` and renames; what a crash left there has no other name."""
        stale = [
            p for p in root.rglob("*#*") if STAGED.search(p.name) and p.is_file() and p.stat().st_mtime_ns < before
        ]
        for path in stale:
            path.unlink(missing_ok=True)
        return len(stale)

    return ObstoreBackend(LocalStore(root), url, settle, tidy)


def open_memory(url: str, credentials: Mapping[str, str]) -> Backend:
    from obstore.store import MemoryStore

    return ObstoreBackend(MemoryStore(), url)


S3_OPTIONS = ("region", "endpoint", "allow_insecure_http", "virtual_hosted")


def open_s3(url: str, credentials: Mapping[str, str]) -> Backend:
    """An S3 bucket. Credentials come from `credentials` or, as with every S3 tool, from AWS_* in the environment."""
    from datetime import timedelta

    from obstore.store import S3Store

    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := sorted(set(options) - set(S3_OPTIONS)):
        raise InvalidInput.of("storage.url", got=unknown[0], expected=f"one of {', '.join(S3_OPTIONS)}")
    if not parts.netloc:
        raise InvalidInput.of("storage.url", got="no bucket", expected="s3://bucket/prefix")
    endpoint = options.get("endpoint")
    plain = bool(endpoint) and urlsplit(endpoint or "").scheme == "http"
    if plain and options.get("allow_insecure_http") != "1" and not loopback(endpoint or ""):
        raise InvalidInput.of(
            "storage.url",
            got="an http:// endpoint",
            expected="https:// (or allow_insecure_http=1 on a private network)",
        )
    config: dict[str, Any] = {"region": options.get("region", "us-east-1"), **credentials}
    if endpoint:
        config["endpoint"] = endpoint
    if options.get("virtual_hosted") == "1":
        config["virtual_hosted_style_request"] = True
    store = S3Store(
        parts.netloc,
        prefix=unquote(parts.path).strip("/") or None,
        client_options={"allow_http": plain, "timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
        retry_config={"max_retries": RETRIES_MAX, "retry_timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
        **config,
    )
    return ObstoreBackend(store, f"s3://{parts.netloc}{parts.path}")


def loopback(endpoint: str) -> bool:
    host = urlsplit(endpoint).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
