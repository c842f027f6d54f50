"""Decisions: remembered, and evaluated among many policies; override tokens."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from tests.unit.platform.nhi.town import PARTS, TENANT, Town, chain_of

from creto.common.errors import ProductId
from creto.common.ids import AgentId, PolicyId
from creto.common.telemetry import Metrics
from creto.gate import Gate, Operation
from creto.platform.consensus import EmbeddedClock
from creto.platform.crypto import SigningKey
from creto.platform.nhi import DelegationChain
from creto.security.authz import Allow, Authz, TenantAuthz
from creto.store import open_store
from scripts.bench.beside import beside
from scripts.bench.measure import Row, Scale, amortised, each, latency

LENGTH = 8
TERMS: dict[str, Any] = {"actions": ("sandbox.*",), "resources": ("runtime:*",), "not_before": 0, "not_after": 2**62}
HOT = 64  # agents whose decisions are asked again and again
MS = 1_000.0
DIGEST = bytes(32)
ACTION = "sandbox.spawn"
POLICY = PolicyId("large")


def rows(scale: Scale) -> Iterator[Row]:
    yield from asyncio.run(measured(scale))


async def measured(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(
            f"sqlite:///{Path(folder)}/bench.db", parts=(*PARTS, "creto.platform.consensus", "creto.security.authz")
        )
        town = await Town.open(store)
        authz = Authz(store, town.clock, town.nhi, signer=SigningKey.generate())
        await authz.start()
        try:
            return [
                *await decisions(authz, town, scale),
                *await gated(authz, town, scale),
                await overrides(authz, town, scale),
            ]
        finally:
            authz.close()
            store.close()


async def decisions(authz: Authz, town: Town, scale: Scale) -> list[Row]:
    operator = (await town.human()).nhi
    agents = [(await town.agent(f"agent {n}")).nhi for n in range(HOT)]
    found = []
    for count in (10, 1_000):
        await authz.upload_policies(TENANT, policies(agents, count), actor=operator, activate=True)
        samples = misses(authz.tenant(TENANT), agents[3], scale.count(5_000))
        found.append(latency(f"authz decision, miss, {count:,} policies", samples, must=1 * MS, aim=250.0))
    few, many = found
    return [
        *hits(authz, agents, scale),
        beside(few, scale, "cedarpy 10"),
        beside(many, scale, "cedarpy 1000", "casbin", "agt policy"),
    ]


def policies(agents: list[AgentId], count: int) -> str:
    """Half are about one agent, a quarter about one resource, a quarter about a role; each tenth also looks at the context."""
    lines = [f'@id("hot") permit (principal, action == Action::"{ACTION}", resource);']
    for n in range(count - 1):
        agent = agents[n % HOT]
        scope = (
            f'principal == Agent::"{agent}", action == Action::"sandbox.exec", resource',
            f'principal == Agent::"{agent}", action, resource == Sandbox::"runtime:sandbox:box-{n}"',
            f'principal, action == Action::"sandbox.spawn", resource == Sandbox::"runtime:sandbox:box-{n}"',
            f'principal in Role::"role-{n}", action == Action::"sandbox.spawn", resource',
        )[n % 4]
        when = " when { context has amount && context.amount > 10000 }" if n % 10 == 9 else ""
        lines.append(f'@id("p{n}") permit ({scope}){when};')
    return "\n".join(lines)


def misses(view: TenantAuthz, agent: AgentId, count: int) -> list[float]:
    """A resource never asked for before, each time."""
    fresh = iter([f"runtime:sandbox:new-{time.time_ns()}-{n}" for n in range(count + 20)])
    assert isinstance(view.check(agent, ACTION, "runtime:sandbox:x"), Allow)
    return each(lambda: view.check(agent, ACTION, next(fresh)), count, warm=20)


def hits(authz: Authz, agents: list[AgentId], scale: Scale) -> list[Row]:
    view = authz.tenant(TENANT)
    asked = [(agent, ACTION, f"runtime:sandbox:sb-{n}") for n, agent in enumerate(agents)]
    for request in asked:
        assert isinstance(view.check(*request), Allow)

    def shortest(count: int) -> None:
        check = view.check
        for _ in range(count // HOT):
            for agent, action, resource in asked:
                check(agent, action, resource)

    def longest(count: int) -> None:
        for _ in range(count // HOT):
            for agent, action, resource in asked:
                authz.check(agent, action, resource, tenant=TENANT)

    count = scale.count(1_000, 4) * HOT
    return [
        Row(name="authz decision, cached, amortised", value=(held := amortised(shortest, count)), p50=held, rate=1e6 / held, must=0.168, aim=0.120),
        Row(name="authz decision, cached, tenant named each time", value=(named := amortised(longest, count)), p50=named, rate=1e6 / named, must=0.168),
    ]  # fmt: skip


async def gated(authz: Authz, town: Town, scale: Scale) -> list[Row]:
    """Identity or chain, policy, count: all that stands before an operation that needs no write of its own."""
    people = await town.line(LENGTH)
    with EmbeddedClock(town.store) as clock:
        gate = Gate(town.nhi, authz, town.store, clock, Metrics())
        operations = {
            "for oneself": operation(people[0].nhi),
            f"chain of {LENGTH}": operation(people[-1].nhi, chain_of(people, **TERMS)),
        }
        found = []
        for who, asked in operations.items():
            taken = []
            for _ in range(7):
                started = time.perf_counter_ns()
                for _ in range(count := scale.count(10_000)):
                    await gate.authorized_operation(asked)
                taken.append((time.perf_counter_ns() - started) / 1000 / count)
            value = median(taken)
            found.append(Row(name=f"gate: operation allowed, cached, {who}", value=value, p50=value, rate=1e6 / value))
        return found


def operation(agent: AgentId, chain: DelegationChain | None = None) -> Operation:
    return Operation(
        tenant=TENANT, agent=agent, chain=chain, action=ACTION, resource="runtime:sandbox:x", product=ProductId.RUNTIME
    )


async def overrides(authz: Authz, town: Town, scale: Scale) -> Row:
    """Signed and admitted beforehand; consumed with agent, action, resource and arguments bound."""
    human, agent = (await town.human("Eve")).nhi, (await town.agent("spender")).nhi
    rounds, per_round = 7, scale.count(400, 4)

    async def admitted() -> str:
        text = await authz.issue_override(
            tenant=TENANT,
            agent=agent,
            action=ACTION,
            resource="runtime:sandbox:x",
            args_digest=DIGEST,
            policy_id=POLICY,
            actor=human,
        )
        return (await authz.admit(text, tenant=TENANT)).token_id

    taken = []
    for _ in range(rounds):
        tokens = await asyncio.gather(*(admitted() for _ in range(per_round)))
        consume = authz.consume
        started = time.perf_counter_ns()
        for token in tokens:
            consume(token, agent, ACTION, "runtime:sandbox:x", DIGEST, POLICY, tenant=TENANT)
        taken.append((time.perf_counter_ns() - started) / 1000 / per_round)
    value = median(taken)
    return Row(name="override token, consumed with binding, amortised", value=value, p50=value, rate=1e6 / value, must=0.5, aim=0.45)  # fmt: skip
