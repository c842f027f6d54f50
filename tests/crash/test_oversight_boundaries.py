"""A crash at every boundary between us and the world: commit, send, the provider's acceptance, the answer to a callback, wake-up, the act.

Each run is an agent that asks, two humans who press buttons in Slack, and the act at the end; one process dies at a named moment, and another
goes on. The agent asks again, Slack sends again what it has no answer to: as they do.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from creto.common import wire
from creto.common.breaker import CircuitBreaker
from creto.common.errors import InvalidInput
from creto.common.ids import PolicyId
from creto.common.timestamps import MINUTE, SECOND
from creto.connectors.courier import Courier
from creto.connectors.slack_cards import APPROVE
from creto.connectors.slack_channel import SlackChannel
from creto.connectors.slack_inbound import SlackInbound
from creto.contracts import Approved
from creto.oversight import Channel, NotificationKind, OversightPolicy, Quorum, RequestState
from creto.oversight.core import DECIDED
from creto.oversight.types import DeliveryState
from creto.platform.audit.events import StateTransition, event_of
from creto.store import Store
from creto.store.types import EngineName, Entry, LedgerRow, Position, ReadTx
from tests.contract.stores import MakeStore
from tests.failpoints import POINTS, Crashed, Failpoints, Hub, Life
from tests.slack_server import Card, SlackServer
from tests.unit.connectors.post import INSTALL
from tests.unit.oversight.world import PARTS, TENANT, World, consume, id_of, tier

BOTH = OversightPolicy(policy_id=PolicyId("both"), tiers=(tier("alice", "bob"),), quorum=Quorum(approvals=2))
PEOPLE = {"alice": "U1", "bob": "U2"}


class Direct:
    """Slack without the line to it: the same server, whose calls can die before and after it has done them."""

    def __init__(self, server: SlackServer, life: Life) -> None:
        self._server = server
        self._life = life

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        self._life.at("send.before")
        done = {"chat.postMessage": self._server._post, "chat.update": self._server._update}[method](arguments)
        if not done["ok"]:
            raise InvalidInput("PL-400", f"Slack: {done['error']}")
        self._life.at("provider.accepted")
        return done

    async def respond(self, url: str, text: str, *, replace: bool = False) -> None:
        self._server.responses.append((url, {"text": text}))


class Process:
    """The layer as one process runs it, over rows that others left."""

    def __init__(self, points: Failpoints, hub: Hub, world: World, server: SlackServer) -> None:
        self.life = Life(points, hub, waking=DECIDED)
        self.world = World(self.life.store, world.clock)  # type: ignore[arg-type]
        server.now_s = world.clock.now() // SECOND
        channel = SlackChannel([INSTALL], api=lambda _: Direct(server, self.life))  # type: ignore[arg-type,return-value]
        self.inbound = SlackInbound(self.world.oversight, channel, answer_s=30.0)
        never = CircuitBreaker("tests", counts=lambda _: False)
        self.courier = Courier(self.world.oversight, channel, breaker=never)


@dataclass
class Run:
    """One request from the asking to the act."""

    points: Failpoints
    hub: Hub
    world: World
    chance: random.Random
    number: int
    server: SlackServer = field(default_factory=SlackServer)
    consumed: int = 0
    executed: int = 0
    crashes: int = 0
    promised: set[str] = field(default_factory=set)  # whose vote was answered with "recorded"

    def __post_init__(self) -> None:
        self.server.numbers = self.number * 1_000  # no two messages of a workspace have one ts
        self.process = self.started()

    def started(self) -> Process:
        return Process(self.points, self.hub, self.world, self.server)

    async def survived(self, work: Callable[[Process], Any]) -> Any:
        """Do it in the process that is there; if that dies, in the next one, once what it had taken is free again."""
        for _ in range(3):
            try:
                return await self.process.life.run(work(self.process))
            except Crashed:
                self.crashes += 1
                self.process = self.started()
                await self.check_pending()
                self.world.clock.advance(MINUTE + SECOND)
        raise AssertionError("one crash was planned")

    # Who does what

    async def ask(self, process: Process) -> Any:
        return await process.world.request(BOTH, {"run": self.number})

    async def deliver(self, process: Process) -> None:
        await process.courier.deliver_once()

    def press(self, name: str) -> Callable[[Process], Any]:
        """The human presses the newest card; Slack sends the same bytes until it has an answer."""
        card = self.newest(name)
        self.server.now_s = self.world.clock.now() // SECOND
        _, body = self.server.click(card, APPROVE, user=PEOPLE[name])

        async def pressed(process: Process) -> None:
            self.server.now_s = self.world.clock.now() // SECOND
            headers, _ = self.server.signed(body, retry=self.chance.randrange(3))
            answer = await process.inbound.interactions(headers, body)
            await process.inbound.settled()
            assert answer.status == 200, answer
            assert self.server.responses[-1][1]["text"].startswith("Recorded"), self.server.responses[-1]
            process.life.at("ack.before")
            self.promised.add(name)
            process.life.at("ack.after")

        return pressed

    def newest(self, name: str) -> Card:
        return [one for one in self.server.cards if one.conversation == f"D{PEOPLE[name]}" and one.buttons][-1]

    async def act(self, process: Process) -> None:
        """The agent waits for the decision and does what was approved, if that was not done already."""
        record = await self.ask(process)
        if record.ask.request_id != self.request_id:  # the approval was used: what came of it is for the humans to say
            await process.world.oversight.cancel(TENANT, record.ask.request_id, by=id_of("bot-7"))
            return
        result = await process.world.oversight.await_decision(TENANT, record.ask.request_id, timeout_s=30)
        assert isinstance(result, Approved)
        assert result.override_token is not None
        process.life.at("consume.before")
        await consume(process.world, record, result.override_token)
        self.consumed += 1
        process.life.at("consume.after")
        self.executed += 1

    # The whole, and what must be true

    async def all(self) -> None:
        record = await self.survived(self.ask)
        self.request_id = record.ask.request_id
        await self.survived(self.deliver)
        first, second = self.chance.sample(sorted(PEOPLE), 2)
        await self.survived(self.press(first))
        if self.chance.random() < 0.5:
            await self.survived(self.press(first))  # again, on the same card
        if self.chance.random() < 0.3:
            await self.survived(self.deliver)
        await self.survived(lambda process: self.decide_and_act(process, self.press(second)))
        await self.survived(self.deliver)
        await self.check_end()

    async def decide_and_act(self, process: Process, press: Callable[[Process], Any]) -> None:
        """The last vote, while the agent waits for it."""
        waiting = asyncio.create_task(self.act(process))
        try:
            await press(process)
            await waiting
        finally:
            waiting.cancel()
            await asyncio.wait((waiting,))

    async def check_pending(self) -> None:
        """At every start: a request that is open has told, or will tell, everybody who may decide."""
        for record in await self.world.oversight.list_pending_requests(TENANT):
            told = await self.world.oversight.notifications(TENANT, record.ask.request_id)
            there = {
                n.address
                for n in told
                if n.kind is NotificationKind.ASKED and n.state in (DeliveryState.QUEUED, DeliveryState.SENT)
            }
            assert there == set(PEOPLE.values())

    async def check_end(self) -> None:
        oversight = self.world.oversight
        record = await oversight.get(TENANT, self.request_id)
        assert self.promised == set(PEOPLE)
        assert record.progress.state is RequestState.APPROVED
        assert self.executed <= 1
        assert self.consumed <= 1
        assert self.executed == 1 or self.crashes == 1
        told = await oversight.notifications(TENANT, self.request_id)
        assert {n.state for n in told} <= {DeliveryState.SENT, DeliveryState.DROPPED}
        known = {n.reference for n in told if n.kind is NotificationKind.ASKED and n.reference}
        for card in self.server.cards:
            if any(str(one).endswith(f"{card.conversation}/{card.ts}") for one in known):
                assert card.buttons == {}


def tail_after(position: Position) -> Callable[[ReadTx], list[LedgerRow]]:
    return lambda tx: tx.ledger_tail(position, 1_000)


async def transitions(store: Store) -> dict[str, list[str]]:
    """The states that each request came to, as the ledger has them."""
    await store.settled(10.0)
    found: dict[str, list[str]] = {}
    after = Position()
    while rows := await store.read(tail_after(after)):
        for row in rows:
            event = event_of(wire.decode(row.body, Entry)) if b"StateTransition" in row.body else None
            if isinstance(event, StateTransition):
                found.setdefault(event.request_id, []).append(event.new_state)
        after = rows[-1].position
    return found


def unless_crashed(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What the tasks of a dead process say is of no interest."""
    if not isinstance(context.get("exception"), Crashed):
        loop.default_exception_handler(context)


@pytest.mark.timeout(1_800)
async def test_ov_123_a_crash_at_every_boundary(make_store: MakeStore, deep: bool) -> None:
    """No committed decision is lost, an approval is acted on at most once, and who may decide has been told or will be."""
    asyncio.get_running_loop().set_exception_handler(unless_crashed)
    store: Store = make_store(parts=PARTS)
    points, hub, world = Failpoints(), Hub(store), await World.open(store)
    await world.policy(BOTH)
    for name, user in PEOPLE.items():
        await world.contact(name, user, Channel.SLACK)
    await Run(points, hub, world, random.Random(0), 0).all()
    usual, asked = dict(points.passed), list[str]()
    assert set(usual) == set(POINTS)
    seeds = 200 if deep else 2 if store.engine is EngineName.POSTGRES else 4
    for number, (seed, point) in enumerate(((seed, point) for seed in range(seeds) for point in POINTS), 1):
        chance = random.Random(f"{seed} {point}")
        run = Run(points, hub, world, chance, number)
        points.arm(point, chance.randint(1, usual[point]))
        await run.all()
        points.disarm()
        asked.append(run.request_id)
    assert [point for point in POINTS if not points.fired[point]] == []
    ends = await transitions(store)
    assert {request_id: ends[request_id] for request_id in asked} == {one: [RequestState.APPROVED] for one in asked}
