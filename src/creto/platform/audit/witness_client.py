"""A log's way to a witness. The transport is given: HTTP in production, a function call in a test.

async def transport(body: bytes) -> tuple[int, bytes]:
    answer = await client.post(f"{url}/add-checkpoint", content=body)
    return answer.status_code, answer.content
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from creto.common.breaker import CircuitBreaker
from creto.common.errors import AuditError, ConnectionFailed, EnablementError
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.keys import NoteKey
from creto.platform.audit.note import NoteSignature, from_decimal, malformed, parse_signatures
from creto.platform.audit.witness import AddCheckpoint

Transport = Callable[[bytes], Awaitable[tuple[int, bytes]]]
ConsistencyPath = Callable[[int], Awaitable[tuple[bytes, ...]]]  # from an old size to the checkpoint's
ATTEMPTS = 3  # the first may be behind, the second may race with another process of ours
ANSWER_BYTES_MAX = 64 * 1024


class WitnessClient:
    """One witness, known by the key it must sign with. It remembers how far the witness is, to spare a round trip.

    One that keeps failing is not asked for a while, so that the others do not wait for it.
    """

    def __init__(self, key: NoteKey, transport: Transport, breaker: CircuitBreaker | None = None) -> None:
        self.key = key
        self.breaker = breaker or CircuitBreaker(f"witness {key.name}")
        self._transport = transport
        self._seen_size = 0

    async def cosign(self, checkpoint: Checkpoint, path: ConsistencyPath) -> tuple[NoteSignature, ...]:
        """The witness's cosignatures, verified.

        Raises PL-605 if the witness says that the log forked or shrank, PL-503 if it cannot be reached.
        """
        for _ in range(ATTEMPTS):
            old = min(self._seen_size, checkpoint.size)
            status, body = await self._send(AddCheckpoint(old, await path(old), checkpoint))
            if status == 200:
                self._seen_size = checkpoint.size
                return self._verified(checkpoint, body)
            size = seen_size(body) if status == 409 else None
            if size is None or size == old or size > checkpoint.size:
                raise refusal(self.key.name, status, checkpoint, size)
            self._seen_size = size
        raise ConnectionFailed("PL-503", f"the witness {self.key.name} is asked by too many at once")

    async def _send(self, request: AddCheckpoint) -> tuple[int, bytes]:
        try:
            status, body = await self.breaker.call(lambda: self._transport(request.encode()))
        except (OSError, TimeoutError) as error:
            raise ConnectionFailed("PL-503", f"the witness {self.key.name} cannot be reached") from error
        if len(body) > ANSWER_BYTES_MAX:
            raise malformed("answer", f"{len(body)} bytes", f"at most {ANSWER_BYTES_MAX} bytes")
        return status, body

    def _verified(self, checkpoint: Checkpoint, body: bytes) -> tuple[NoteSignature, ...]:
        """Only lines of the key we know count; without one the answer is worth nothing."""
        try:
            lines = parse_signatures(body.decode())
        except UnicodeDecodeError as error:
            raise malformed("answer", "bytes that are not UTF-8", "signature lines") from error
        ours = tuple(line for line in lines if self.key.made(line))
        for line in ours:
            self.key.verify(checkpoint, line)
        if not ours:
            raise AuditError("PL-607", f"the answer holds no cosignature of {self.key.name}", expected=self.key.name)
        return ours


def seen_size(body: bytes) -> int | None:
    try:
        return from_decimal(body.decode("ascii").removesuffix("\n"), "size")
    except (EnablementError, UnicodeDecodeError):
        return None


def refusal(name: str, status: int, checkpoint: Checkpoint, size: int | None) -> AuditError:
    if status in (409, 422):
        return AuditError(
            "PL-605",
            f"the witness {name} has seen another log: it does not extend to the checkpoint of size {checkpoint.size}",
            got=f"{status}" + (f", it has seen size {size}" if size is not None else ""),
            expected="a log that only grew",
            hint="Keep the database: either it was put back, or somebody else signs with the log's key.",
        )
    return AuditError("PL-607", f"the witness {name} refused the checkpoint", got=status, expected=200)
