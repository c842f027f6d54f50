"""kill -9 while humans decide: no acknowledged request or vote is lost, nothing is decided twice, and everybody who waits can go on."""

from __future__ import annotations

import random

import pytest

from creto.common.ids import RequestId
from creto.contracts import Approved
from creto.oversight import RequestState
from creto.platform.audit.events import StateTransition, event_of
from creto.store import open_store
from tests.crash.killing import run_and_kill
from tests.unit.oversight.world import PARTS, TENANT, World


@pytest.mark.timeout(1_800)
async def test_ov_123_killed_while_a_quorum_completes(store_url: str, deep: bool) -> None:
    chance = random.Random(7)
    for seed in range(40 if deep else 3):
        said = run_and_kill("tests.crash.oversight_child", store_url, str(seed), after_s=chance.uniform(0.05, 0.8))
        await judge(store_url, [line.split() for line in said if line != "ready"])


async def judge(store_url: str, said: list[list[str]]) -> None:
    store = open_store(store_url, parts=PARTS)
    try:
        world = World(store)
        ended: dict[str, int] = {}
        for entry in await world.entries("StateTransition"):
            event = event_of(entry)
            assert isinstance(event, StateTransition)
            ended[event.request_id] = ended.get(event.request_id, 0) + 1
        for word, request_id, *rest in said:
            record = await world.oversight.get(TENANT, RequestId(request_id))
            if word == "voted" and rest[1] == "approved":
                assert record.progress.state is RequestState.APPROVED
        for record in await world.oversight.history(TENANT, limit=1_000):
            request_id = record.ask.request_id
            assert ended.get(request_id, 0) == (not record.progress.state.open)
            cards = await world.oversight.notifications(TENANT, request_id)
            assert len(cards) >= 3  # asked or asking: in the transaction that made the request
        for record in await world.oversight.list_pending_requests(TENANT, limit=1_000):
            await world.click(record, "alice")
            assert (await world.click(record, "bob")).state is RequestState.APPROVED
            assert isinstance(await world.oversight.await_decision(TENANT, record.ask.request_id), Approved)
    finally:
        store.close()
