"""The way to a witness over HTTP (c2sp.org/tlog-witness): one POST for each checkpoint.

client = WitnessClient(NoteKey.parse(vkey), http_transport("http://127.0.0.1:9450"))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from creto.common.errors import ConnectionFailed, Timeout
from creto.common.limits import WITNESS_S_MAX

if TYPE_CHECKING:
    from creto.platform.audit.witness_client import Transport

ANSWER_BYTES_MAX = 64 * 1024


def http_transport(url: str, *, timeout_s: float = WITNESS_S_MAX) -> Transport:
    """A fresh connection each time: a log asks seldom, and from more than one loop."""
    address = f"{url.rstrip('/')}/add-checkpoint"

    async def send(body: bytes) -> tuple[int, bytes]:
        import httpx2

        try:
            async with (
                httpx2.AsyncClient(timeout=timeout_s, follow_redirects=False) as client,
                client.stream("POST", address, content=body) as answer,
            ):
                data = b""
                async for piece in answer.aiter_bytes():
                    data += piece
                    if len(data) > ANSWER_BYTES_MAX:
                        break
                return answer.status_code, data
        except httpx2.TimeoutException as error:
            raise Timeout("PL-504", f"the witness at {url} did not answer in {timeout_s:g} s") from error
        except httpx2.HTTPError as error:
            raise ConnectionFailed("PL-503", f"the witness at {url} cannot be reached") from error

    return send
