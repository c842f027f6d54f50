"""What memory lacks is read beside the loop: a slow database holds up who needs it, and nobody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from creto.app import App, running
from creto.edge.api.dispatch import Call, Dispatcher
from creto.edge.api.system import SUITES, GetSuites
from creto.store import ReadTx
from tests.layers import settings


class Slow:
    """A store whose reads wait for the gate, and fail the test on the thread of the loop."""

    def __init__(self, app: App, patch: pytest.MonkeyPatch) -> None:
        self.gate = threading.Event()
        self.asked = threading.Event()
        self.on_loop = 0
        self._loop_thread = threading.get_ident()
        self._read = app.parts.nhi._store.read_now
        for part in (app.parts.nhi._registry, app.parts.authz):
            patch.setattr(part._store, "read_now", self.read_now)

    def read_now(self, fn: Callable[[ReadTx], Any]) -> Any:
        self.on_loop += threading.get_ident() == self._loop_thread
        self.asked.set()
        assert self.gate.wait(20)
        return self._read(fn)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running(settings(tmp_path), work=False) as found:
        yield found


async def test_a_slow_database_stalls_no_request_that_hits(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """given one request whose caller memory lacks / when the database is slow / then another request is answered meanwhile."""
    dispatch, parts = Dispatcher(app.parts), app.parts
    token = (await parts.nhi.issue_token(app.tenant, app.operator, scopes=("*",))).token
    call = Call(parts.nhi.verify_token(token), app.tenant)
    await dispatch(SUITES, call, GetSuites())
    slow = Slow(app, monkeypatch)
    await dispatch(SUITES, call, GetSuites())  # from memory
    assert not slow.asked.is_set()
    parts.nhi._registry.forget_all()
    parts.authz.forget_all()
    late = asyncio.create_task(dispatch(SUITES, call, GetSuites()))
    assert await asyncio.to_thread(slow.asked.wait, 20)
    async with asyncio.timeout(30):  # the loop turns
        for _ in range(100):
            await asyncio.sleep(0)
    assert not late.done()
    slow.gate.set()
    assert (await late).version >= 1
    assert slow.on_loop == 0


async def test_a_token_seen_for_the_first_time_is_read_beside_the_loop(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    nhi = app.parts.nhi
    token = (await nhi.issue_token(app.tenant, app.operator, scopes=("*",))).token
    nhi._registry.forget_all()
    slow = Slow(app, monkeypatch)
    slow.gate.set()
    await nhi.prefetch_token(token)
    assert nhi.verify_token(token).agent == app.operator
    assert slow.on_loop == 0
    slow.asked.clear()
    await nhi.prefetch_token(token)
    await nhi.prefetch_token("no token")
    await nhi.prefetch_token(token[:-2] + ("aa" if token[-2:] != "aa" else "bb"))
    assert not slow.asked.is_set()
