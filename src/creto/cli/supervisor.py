"""The supervisor of `creto serve`: one child process a role, started again when it ends, drained when we end.

    supervisor = Supervisor(command, {"http": 2, "grpc": 1, "worker": 1}, ready=print)
    code = await supervisor.run(stop)

A child that ends before it has ever served is a mistake in the configuration, not a crash: everything ends with its exit code.

INVARIANT: a child is spawned, never forked; it ends when the supervisor does, however that ends (its standard input is our pipe).
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import msgspec

from creto.cli.serving import Ready
from creto.common import wire
from creto.common.errors import InvalidInput
from creto.common.limits import CHILD_BACKOFF_S_MAX, CHILD_DRAIN_S_MAX, CHILD_HEALTHY_S
from creto.common.logs import fields

log = logging.getLogger("creto.supervisor")

FIRST_BACKOFF_S = 0.5


def backoff_s(failures: int) -> float:
    """How long to wait after so many ends in a row."""
    return float(min(CHILD_BACKOFF_S_MAX, FIRST_BACKOFF_S * 2 ** min(failures, 16)))


class Child(msgspec.Struct, frozen=True):
    addresses: dict[str, str]
    restarts: int


class Supervisor:
    def __init__(
        self,
        command: Callable[[str], Sequence[str]],
        roles: Mapping[str, int],
        *,
        ready: Callable[[Ready], None],
        monotonic: Callable[[], float] = time.monotonic,
        pause_s: Callable[[int], float] = backoff_s,
    ) -> None:
        self._command = command
        self._seats = [(role, number) for role, count in roles.items() for number in range(count)]
        self._ready = ready
        self._monotonic = monotonic
        self._pause_s = pause_s
        self._children: dict[tuple[str, int], asyncio.subprocess.Process] = {}
        self._served: set[tuple[str, int]] = set()
        self._ready_now: dict[tuple[str, int], Ready] = {}
        self._lives: Counter[tuple[str, int]] = Counter()
        self._stop = asyncio.Event()
        self._code = 0

    @property
    def pids(self) -> dict[str, int]:
        return {f"{role}-{number}": child.pid for (role, number), child in self._children.items()}

    @property
    def children(self) -> dict[str, Child]:
        """Every child that there should be; one that does not serve has no addresses."""
        return {
            f"{role}-{number}": Child(
                self._ready_now[seat].addresses if (seat := (role, number)) in self._ready_now else {},
                max(0, self._lives[role, number] - 1),
            )
            for role, number in self._seats
        }

    async def run(self, stop: asyncio.Event) -> int:
        """Until `stop` is set or a child cannot even start; the exit code."""
        keepers = [asyncio.create_task(self._keep(seat)) for seat in self._seats]
        stops = [asyncio.create_task(event.wait()) for event in (stop, self._stop)]
        await asyncio.wait(stops, return_when=asyncio.FIRST_COMPLETED)
        self._stop.set()
        self.send(signal.SIGTERM)
        _, late = await asyncio.wait(keepers, timeout=CHILD_DRAIN_S_MAX)
        if late:
            log.error("Some children did not drain in time", extra=fields(operation="stop", children=self.pids))
            self.send(signal.SIGKILL)
        await asyncio.gather(*keepers)
        for task in stops:
            task.cancel()
        return self._code

    def send(self, number: signal.Signals) -> None:
        """To every child: SIGHUP reloads, SIGTERM drains."""
        for child in self._children.values():
            with suppress(ProcessLookupError):
                child.send_signal(number)

    async def _keep(self, seat: tuple[str, int]) -> None:
        failures = 0
        while not self._stop.is_set():
            started = self._monotonic()
            code = await self._one_life(seat)
            if self._stop.is_set():
                return
            if seat not in self._served:
                self._code = code if code > 0 else 1
                self._stop.set()
                return
            failures = 0 if self._monotonic() - started >= CHILD_HEALTHY_S else failures + 1
            pause = self._pause_s(failures)
            log.warning(
                "A child ended and is started again",
                extra=fields(operation="restart", role=seat[0], number=seat[1], exit_code=code, pause_s=pause),
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)

    async def _one_life(self, seat: tuple[str, int]) -> int:
        child = await asyncio.create_subprocess_exec(
            *self._command(seat[0]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for us; the children drain when we say so
        )
        self._children[seat] = child
        self._lives[seat] += 1
        if self._stop.is_set():
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
        try:
            await self._listen(seat, child)
            return await child.wait()
        finally:
            del self._children[seat]
            self._ready_now.pop(seat, None)

    async def _listen(self, seat: tuple[str, int], child: asyncio.subprocess.Process) -> None:
        """The child's first line says that it serves; it says nothing after that."""
        assert child.stdout is not None
        while line := await child.stdout.readline():
            with suppress(InvalidInput):
                ready = wire.decode(line, Ready, what="ready")
                self._served.add(seat)
                self._ready_now[seat] = ready
                self._ready(ready)
