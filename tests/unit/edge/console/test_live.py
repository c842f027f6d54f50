"""Live events: whoever looks on hears which request of their tenant moved, and streams end when the server does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from creto.common.errors import InternalError
from creto.common.ids import TenantId
from creto.edge.console.live import RETRY, WAITING_MAX, Live
from creto.oversight import Channel, Evidence, RequestState, Verdict
from tests.unit.oversight.conftest import world  # noqa: F401 - the fixture
from tests.unit.oversight.world import TENANT, World, id_of


async def opened(live: Live, tenant: TenantId = TENANT) -> AsyncIterator[bytes]:
    stream = live.stream(tenant)
    assert await anext(stream) == RETRY
    return stream


async def heard(stream: AsyncIterator[bytes]) -> str:
    async with asyncio.timeout(30):
        return (await anext(stream)).decode()


async def test_what_moves_is_told(world: World) -> None:  # noqa: F811
    live = Live(world.store)
    stream, other = await opened(live), await opened(live, TenantId("other"))
    record = await world.request()
    line = f"event: moved\ndata: {record.ask.request_id}\n\n"
    assert await heard(stream) == line
    await world.oversight.comment(TENANT, record.ask.request_id, "hm", by=id_of("alice"))
    assert await heard(stream) == line
    await world.oversight.relay_response(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE,
        evidence=Evidence(channel=Channel.WEB, account="a"), hold_s=5,
    )  # fmt: skip
    assert await heard(stream) == line
    await world.pass_s(6)
    assert await heard(stream) == line
    assert (await world.now_of(record)).progress.state is RequestState.APPROVED
    live.close()
    assert {told async for told in stream} <= {line.encode()}
    with pytest.raises(StopAsyncIteration):
        await anext(other)
    with pytest.raises(InternalError):
        live.stream(TENANT)


async def test_who_is_slow_looks_at_everything(world: World) -> None:  # noqa: F811
    live = Live(world.store)
    stream = await opened(live)
    for number in range(WAITING_MAX + 5):
        live._moved(f"{TENANT}/req-{number}")
    await asyncio.sleep(0)
    assert await heard(stream) == "event: moved\ndata: \n\n"
    live.close()


async def test_a_tenant_whose_name_holds_a_slash_hears_of_its_own(world: World) -> None:  # noqa: F811
    live = Live(world.store)
    inner, outer = await opened(live, TenantId("acme/north")), await opened(live)
    live._moved("acme/north/req-1")
    live._moved("acme/req-2")
    assert await heard(inner) == "event: moved\ndata: req-1\n\n"
    assert await heard(outer) == "event: moved\ndata: req-2\n\n"
    live.close()
