"""Many wait at once: through a deploy that changes the code, and at rest, when waiting must cost next to nothing."""

from __future__ import annotations

import asyncio
import resource
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from creto.app import App, running
from creto.common.ids import AgentId, PolicyId, RequestId
from creto.contracts import Action, Approved, OversightRequest, Resource
from creto.oversight import (
    Assurance,
    Channel,
    EscalationTier,
    Evidence,
    OversightPolicy,
    RequestState,
    Verdict,
    display,
)
from creto.platform.crypto import SigningKey
from creto.platform.nhi import PrincipalKind, nhi_of, registration_proof
from creto.sdk import AsyncCreto
from tests.engines import free_port
from tests.layers import layer, settings

T = TypeVar("T")
OF_ONE_AGENT = 500
AT_ONCE = 50
IDLE_S = 5.0
THREADS_MAX = 50
IDLE_CORE_MAX = 0.02


async def registered(app: App, kind: PrincipalKind, name: str) -> AgentId:
    key = SigningKey.generate()
    proof = registration_proof(key, tenant=app.tenant, kind=kind, name=name)
    await app.parts.nhi.register(app.tenant, kind, key.public, name, proof=proof)
    return nhi_of(key.public)


async def staffed(app: App, count: int) -> tuple[AgentId, list[OversightRequest]]:
    """A human who decides, and so many different requests of as many agents as that takes."""
    ann = await registered(app, PrincipalKind.HUMAN, "ann")
    tier = EscalationTier(name="all", approvers=(ann,))
    policy = OversightPolicy(policy_id=PolicyId("deploys"), tiers=(tier,))
    await app.parts.oversight.put_policy(app.tenant, policy, by=app.operator)
    bots = [await registered(app, PrincipalKind.AGENT, f"bot-{n}") for n in range(-(-count // OF_ONE_AGENT))]
    return ann, [asking(app, bots[n // OF_ONE_AGENT], n) for n in range(count)]


def asking(app: App, bot: AgentId, number: int) -> OversightRequest:
    import msgspec

    return OversightRequest(
        tenant=app.tenant, agent_nhi=bot, delegation_chain=(bot,),
        action=Action(name="code.deploy", parameters=msgspec.Raw(b'{"n":%d}' % number)),
        resource=Resource(resource_type="", resource_id="service:web"), policy_id=PolicyId("deploys"),
        action_description="",
    )  # fmt: skip


async def all_of(work: list[Callable[[], Awaitable[T]]]) -> list[T]:
    """Some at a time, in order."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(task: Callable[[], Awaitable[T]]) -> T:
        async with places:
            return await task()

    return list(await asyncio.gather(*map(one, work)))


async def approved(app: App, request_id: RequestId, ann: AgentId) -> RequestState:
    receipt = await app.parts.oversight.relay_response(
        app.tenant, request_id, approver=ann, verdict=Verdict.APPROVE, assurance=Assurance.SESSION,
        evidence=Evidence(channel=Channel.API, account=ann),
    )  # fmt: skip
    return receipt.state


async def waits(app: App, count: int) -> None:
    for _ in range(12_000):
        if app.parts.oversight.waiting() >= count:
            await app.parts.store.read(lambda tx: tx.value("SELECT 1"))  # behind the first look of each
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{app.parts.oversight.waiting()} wait, not {count}")


async def test_a_deploy_while_many_wait(tmp_path: Path, deep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """given agents that wait / when the layer is stopped, its code changed, and started / then all can be decided, and all go on."""
    count = 1_000 if deep else 60
    config = settings(tmp_path)
    async with running(config) as app:
        ann, requests = await staffed(app, count)
        gone = [
            asyncio.create_task(app.parts.approvals.await_approval(app.tenant, None, request)) for request in requests
        ]
        await waits(app, count)
        for task in gone:
            task.cancel()  # the agents' processes die with it
        assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*gone, return_exceptions=True))
    monkeypatch.setattr(display, "TEMPLATE", "creto/oversight/display/v2")  # the new release shows requests otherwise
    monkeypatch.setitem(display.EFFECTS, "code.deploy", "roll out code")
    async with running(config) as app:
        oversight = app.parts.oversight
        stored = oversight.policy(app.tenant, PolicyId("deploys"))
        await oversight.put_policy(app.tenant, stored, by=app.operator)  # and the policy has a new version
        waiting = await oversight.list_pending_requests(app.tenant, limit=1_000)
        assert len(waiting) == count
        again = [
            asyncio.create_task(app.parts.approvals.await_approval(app.tenant, None, request)) for request in requests
        ]
        await waits(app, count)
        ids = [record.ask.request_id for record in waiting]
        states = await all_of([lambda one=one: approved(app, one, ann) for one in ids])  # type: ignore[misc]
        assert set(states) == {RequestState.APPROVED}
        results = await asyncio.gather(*again)
        assert all(isinstance(result, Approved) and result.override_token for result in results)
        assert len(await oversight.list_pending_requests(app.tenant, limit=1_000)) == 0


async def test_agents_elsewhere_wait_through_a_restart(tmp_path: Path, deep: bool) -> None:
    """given agents that wait over HTTP / when the server goes away and comes back / then they wait on, and get their answers."""
    count, port = (200 if deep else 10), free_port()
    env = {"CRETO_SERVER__REST_PORT": str(port)}
    with layer(tmp_path, env) as first:
        token = first.token
        made = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(prepared(first.app, count), first.loop))
        ann, ids = made
        client = AsyncCreto.connect(first.rest, token=token)
        creto = await client.__aenter__()
        waiting = [asyncio.ensure_future(creto.approvals.wait(request_id=one, timeout_s=120)) for one in ids]
        await waits(first.app, count)
    with layer(tmp_path, env) as second:
        for one in ids:
            work = approved(second.app, one, ann)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, second.loop))
        outcomes = await asyncio.gather(*waiting)
        assert {outcome.state for outcome in outcomes} == {RequestState.APPROVED}
        await client.__aexit__(None, None, None)


async def prepared(app: App, count: int) -> tuple[AgentId, list[RequestId]]:
    ann, requests = await staffed(app, count)
    records = await all_of([lambda one=one: app.parts.oversight.create(one) for one in requests])  # type: ignore[misc]
    return ann, [record.ask.request_id for record in records]


async def test_waiting_costs_no_threads_and_hardly_a_core(
    tmp_path: Path, deep: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    count = 10_000 if deep else 1_000
    before = threading.active_count()  # of what the process tested before
    async with running(settings(tmp_path)) as app:
        ann, ids = await prepared(app, count)
        alone = await idle_share()
        tasks = [asyncio.create_task(app.parts.oversight.await_decision(app.tenant, one)) for one in ids]
        await waits(app, count)
        share, threads = await idle_share(), threading.active_count() - before
        with capsys.disabled():
            print(f"\n{count:,} pending waits: {threads} threads, {share:.2%} of a core idle, {alone:.2%} without them")
        assert threads < THREADS_MAX
        assert share - alone < IDLE_CORE_MAX
        assert await approved(app, ids[-1], ann) is RequestState.APPROVED
        assert isinstance(await tasks[-1], Approved)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def idle_share() -> float:
    """Of a core, in all threads of this process, while nobody does anything."""
    await asyncio.sleep(1.0)  # what was begun ends
    before, began = spent_s(), time.monotonic()
    await asyncio.sleep(IDLE_S)
    return (spent_s() - before) / (time.monotonic() - began)


def spent_s() -> float:
    """Seconds of CPU that this process has used, in all of its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
