"""The supervisor: children started again, drained, and given up when they never served."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from creto.cli.serving import Ready
from creto.cli.supervisor import Supervisor, backoff_s
from creto.common.limits import CHILD_BACKOFF_S_MAX

SERVES = 'import signal, sys; print(\'{"role":"%s","addresses":{}}\', flush=True); sys.stdin.read()'


def child(role: str, code: str = SERVES) -> list[str]:
    return [sys.executable, "-c", code % role if "%s" in code else code]


async def test_a_child_that_ends_is_started_again_and_all_drain() -> None:
    stop, heard, twice = asyncio.Event(), [], asyncio.Event()

    def ready(said: Ready) -> None:
        heard.append(said.role)
        if said.role == "http" and heard.count("http") == 1:
            os.kill(supervisor.pids["http-0"], signal.SIGKILL)
        if heard.count("http") == 2 and "worker" in heard:
            twice.set()

    supervisor = Supervisor(child, {"http": 1, "worker": 1}, ready=ready, pause_s=lambda failures: 0.0)
    running = asyncio.create_task(supervisor.run(stop))
    await asyncio.wait_for(twice.wait(), 30)
    stop.set()
    assert await asyncio.wait_for(running, 30) == 0
    assert sorted(heard) == ["http", "http", "worker"]
    assert supervisor.pids == {}


async def test_a_child_that_does_not_serve_has_no_address() -> None:
    """given one of two children / when it is killed / then it stands there without an address until it serves again."""
    stop, both, gone, back = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
    addressed = SERVES.replace('"addresses":{}', '"addresses":{"metrics":"http://m"}')
    served: list[str] = []

    def ready(said: Ready) -> None:
        served.append(said.role)
        (both if len(served) == 2 else back).set() if len(served) > 1 else None

    def pause(failures: int) -> float:
        assert supervisor.children["http-0"].addresses == {}
        gone.set()
        return 0.0

    supervisor = Supervisor(lambda role: child(role, addressed), {"http": 1, "grpc": 1}, ready=ready, pause_s=pause)
    assert {name: c.addresses for name, c in supervisor.children.items()} == {"http-0": {}, "grpc-0": {}}
    running = asyncio.create_task(supervisor.run(stop))
    await asyncio.wait_for(both.wait(), 30)
    assert supervisor.children["http-0"].addresses == {"metrics": "http://m"}
    os.kill(supervisor.pids["http-0"], signal.SIGKILL)
    await asyncio.wait_for(gone.wait(), 30)
    await asyncio.wait_for(back.wait(), 30)
    assert supervisor.children["http-0"].addresses == {"metrics": "http://m"}
    assert (supervisor.children["http-0"].restarts, supervisor.children["grpc-0"].restarts) == (1, 0)
    stop.set()
    await asyncio.wait_for(running, 30)


async def test_a_child_that_never_served_ends_everything_with_its_code() -> None:
    supervisor = Supervisor(
        lambda role: child(role, "raise SystemExit(2)" if role == "grpc" else SERVES),
        {"http": 1, "grpc": 1},
        ready=lambda _: None,
    )
    assert await asyncio.wait_for(supervisor.run(asyncio.Event()), 30) == 2


async def test_a_child_ends_when_its_input_does() -> None:
    """So it does not outlive a supervisor that was killed."""
    process = await asyncio.create_subprocess_exec(*child("http"), stdin=asyncio.subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), 30) == 0


def test_pauses_grow_and_stay_bounded() -> None:
    pauses = [backoff_s(failures) for failures in range(30)]
    assert pauses[0] < pauses[1] < pauses[2]
    assert pauses[-1] == max(pauses) == CHILD_BACKOFF_S_MAX
