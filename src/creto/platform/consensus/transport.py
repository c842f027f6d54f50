"""How a clock reaches its time nodes: one kept connection each, frames of bounded length."""

from __future__ import annotations

import asyncio
from typing import Protocol

from creto.common.errors import ConnectionFailed, EnablementError, InvalidInput, Timeout
from creto.common.limits import TIME_FRAME_BYTES_MAX
from creto.platform.consensus.node import read_frame, write_frame

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Transport(Protocol):
    """The network, as tests and simulations replace it."""

    async def ask(self, address: str, request: bytes, timeout_s: float) -> bytes:
        """The answer of the node at `address`; any failure is an EnablementError."""
        ...

    async def close(self) -> None: ...


class TcpTransport:
    def __init__(self) -> None:
        self._connections: dict[str, Connection] = {}

    async def ask(self, address: str, request: bytes, timeout_s: float) -> bytes:
        """A connection that failed in any way is dropped: a late answer is never read as the answer to the next question."""
        try:
            async with asyncio.timeout(timeout_s):
                reader, writer = await self._connection(address)
                await write_frame(writer, request)
                return await read_frame(reader)
        except TimeoutError as error:
            self._drop(address)
            raise Timeout.of("answer", got="none", expected=f"one within {timeout_s} s") from error
        except (OSError, EOFError, UnicodeError) as error:
            self._drop(address)
            raise ConnectionFailed("PL-300", f"the time node at {address} cannot be reached") from error
        except (EnablementError, asyncio.CancelledError):
            self._drop(address)
            raise

    async def close(self) -> None:
        for address in tuple(self._connections):
            self._drop(address)

    async def _connection(self, address: str) -> Connection:
        known = self._connections.get(address)
        if known is not None and not known[0].at_eof():
            return known
        self._drop(address)
        host, port = host_port(address)
        self._connections[address] = await asyncio.open_connection(host, port, limit=TIME_FRAME_BYTES_MAX)
        return self._connections[address]

    def _drop(self, address: str) -> None:
        connection = self._connections.pop(address, None)
        if connection is not None:
            connection[1].close()


def host_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise InvalidInput.of("address", got=address, expected="host:port")
    return host.strip("[]"), int(port)
