"""Waiting, on the loops of several threads at once."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from creto.store import open_store
from creto.store.waiters import Waiters

TURNS = 20_000


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_nobody_is_forgotten_who_comes_as_another_goes(tmp_path: Path, restless: None) -> None:
    """Who is forgotten is not woken, and holds a place for ever."""
    with closing(open_store(f"sqlite:///{tmp_path}/creto.db")) as store:
        waiters = Waiters(store, "decided", most=TURNS)

        async def come_and_go() -> None:
            for _ in range(TURNS):
                waiters.remove("one", waiters.add("one", brief=False))

        threads = [threading.Thread(target=asyncio.run, args=(come_and_go(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(waiters) == 0
