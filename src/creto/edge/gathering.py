"""The health and the metrics of several processes as one: asked of each when somebody asks us.

    apps = gathering_apps(supervisor.processes)

INVARIANT: a process that is dead, late or broken is visible and holds up nobody: it is not ready, and its `up` is 0.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import httpx2
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from creto.common import wire
from creto.common.limits import GATHER_S_MAX
from creto.common.metrics import Metrics, labelled
from creto.common.telemetry import CONTENT_TYPE

Asked = tuple[int, bytes] | None  # what a process answered; None if it did not


class Process(msgspec.Struct, frozen=True):
    """A process of the layer and where it answers; no addresses while it does not run."""

    name: str
    metrics: str | None = None
    health: str | None = None
    restarts: int = 0


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    ready: bool
    error: str | None = None
    dependencies: tuple[dict[str, Any], ...] = ()


wire.prepare(Standing)


class GatheredReadiness(msgspec.Struct, frozen=True):
    """Ready only if all processes are."""

    ready: bool
    processes: dict[str, Standing]


class Apps(NamedTuple):
    metrics: Starlette
    health: Starlette


def gathering_apps(processes: Callable[[], Sequence[Process]]) -> Apps:
    async def metrics(_: Request) -> Response:
        known = processes()
        answers = await asked({p.name: f"{p.metrics}/metrics" if p.metrics else None for p in known})
        return Response(merged(known, answers), media_type=CONTENT_TYPE)

    async def live(_: Request) -> Response:
        return PlainTextResponse("live\n")

    async def ready(_: Request) -> Response:
        answers = await asked({p.name: f"{p.health}/ready" if p.health else None for p in processes()})
        found = {name: standing(answer) for name, answer in answers.items()}
        whole = GatheredReadiness(bool(found) and all(s.ready for s in found.values()), found)
        return Response(msgspec.json.encode(whole), 200 if whole.ready else 503, media_type="application/json")

    return Apps(
        Starlette(routes=[Route("/metrics", metrics)]),
        Starlette(routes=[Route("/live", live), Route("/ready", ready)]),
    )


async def asked(addresses: Mapping[str, str | None], timeout_s: float = GATHER_S_MAX) -> dict[str, Asked]:
    """All at once, each with the same time."""
    async with httpx2.AsyncClient(timeout=timeout_s, trust_env=False) as client:

        async def one(address: str | None) -> Asked:
            if address is None:
                return None
            try:
                async with asyncio.timeout(timeout_s):
                    answer = await client.get(address)
            except (httpx2.HTTPError, TimeoutError):
                return None
            return answer.status_code, answer.content

        answers = await asyncio.gather(*(one(address) for address in addresses.values()))
    return dict(zip(addresses, answers, strict=True))


def standing(answer: Asked) -> Standing:
    """What a process says of itself; the worst is taken for whatever cannot be read."""
    if answer is None:
        return Standing(False, "it does not answer")
    try:
        found = msgspec.json.decode(answer[1], type=Standing)
    except msgspec.DecodeError:
        return Standing(False, f"it answers {answer[0]}")
    return Standing(found.ready and answer[0] == 200, None, found.dependencies)


def merged(processes: Iterable[Process], answers: Mapping[str, Asked]) -> str:
    """One text: every sample with the label `process`, the samples of one metric together, as Prometheus demands."""
    own = Metrics()
    up = own.gauge("platform_process_up_ratio", "1 while the process answers", "process")
    restarts = own.counter("platform_process_restarts_total", "How often it was started again", "process")
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for process in processes:
        answer = answers.get(process.name)
        good = answer is not None and answer[0] == 200
        up.labels(process.name).set(float(good))
        restarts.labels(process.name).add(process.restarts)
        if answer is not None and good:
            add(answer[1].decode(errors="replace"), process.name, heads, samples)
    lines = [line for name, head in heads.items() for line in (*head, *samples.get(name, ()))]
    return own.render() + "".join(f"{line}\n" for line in lines)


def add(text: str, process: str, heads: dict[str, list[str]], samples: dict[str, list[str]]) -> None:
    """Sort the lines of one process under their metrics. Samples follow the head of theirs."""
    name = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            heads.setdefault(name, [line])
        elif line.startswith("# TYPE ") and len(heads.get(name, ())) == 1:
            heads[name].append(line)
        elif line and not line.startswith("#") and name:
            samples.setdefault(name, []).append(labelled(line, "process", process))
