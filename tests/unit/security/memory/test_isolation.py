"""The invariant: a recall for A never returns what B wrote, under any ranking, name, word or vector.

Partitions with names made to collide (prefixes, separators, wildcards, case, unicode look-alikes) all remember the same words, vectors,
actions, conversations and keys; random recalls of every kind are then asked of each. Whatever comes back says whose it is.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from creto.common.errors import NotFound
from creto.common.ids import AgentId, TenantId
from creto.security.memory import Memory, Metric, NewTurn, Role
from tests.unit.security.memory.conftest import ALICE, BOB, World

PARTITIONS = [
    (TenantId(tenant), AgentId(agent))
    for tenant, agent in [
        ("t", ALICE), ("t", BOB), ("t2", ALICE), ("T", ALICE), ("t%", ALICE), ("t_", ALICE),
        ("t", "a"), ("t", "a%"), ("t", "a_"), ("t", "A"), ("t", "ab"), ("ta", "b"), ("t", "a b"), ("t a", "b"),
        ("t", "а"), ("t", "a\u0301"), ("t", "á"), ("t", "' OR 1=1 --"), ("t", "*"), ("*", "a"), ("t\"", "a"),
        ("t", '["t","a"]'), ("t/a", "b"), ("t", "a/b"), ("t", "None"), ("None", "a"), ("t", "0"), ("0", "t"),
    ]
]  # fmt: skip
WORDS = ["invoice", "transfer", "approved", "vendor", "secret", "OR", "AND", "NOT", "NEAR", "*", "%", '"', "t", "a"]
ACTIONS = ["funds.transfer", "a", "t", "%", "reasoning", "files.delete"]
Recall = Callable[[Memory, random.Random, TenantId, AgentId], Awaitable[list[tuple[TenantId, AgentId, str]]]]


async def filled(world: World) -> dict[str, tuple[TenantId, AgentId]]:
    """Every partition holds the same; only the mark in each content differs. Who owns which id."""
    owners = {}
    for tenant, agent in PARTITIONS:
        mark = f"mark {tenant}|{agent}"
        for n in range(6):
            text = f"{' '.join(WORDS)} {mark}"
            context = await world.memory.store_context(
                tenant, agent, ACTIONS[4], text, action=ACTIONS[n], vector=[1.0, n / 6, 0.5]
            )
            owners[context.id] = (tenant, agent)
        await world.memory.history.append(tenant, agent, "chat", [NewTurn(Role.USER, mark)])
        await world.memory.state.put(tenant, agent, "plan", mark.encode())
    return owners


async def by_words(m: Memory, rng: random.Random, t: TenantId, a: AgentId) -> list[tuple[TenantId, AgentId, str]]:
    query = " ".join(rng.choices([*WORDS, *(agent for _, agent in PARTITIONS)], k=rng.randrange(1, 6)))
    return [(c.tenant, c.agent, c.text) for c in await m.search(t, a, query, limit=rng.choice([1, 5, 1000]))]


async def by_vector(m: Memory, rng: random.Random, t: TenantId, a: AgentId) -> list[tuple[TenantId, AgentId, str]]:
    query = [rng.uniform(-1, 1) for _ in range(3)]
    found = await m.nearest(t, a, query, limit=rng.choice([1, 5, 1000]), metric=rng.choice(list(Metric)))
    return [(f.context.tenant, f.context.agent, f.context.text) for f in found]


async def by_action(m: Memory, rng: random.Random, t: TenantId, a: AgentId) -> list[tuple[TenantId, AgentId, str]]:
    found = await m.fetch_reasoning_context(t, a, rng.choice(ACTIONS), rng.choice([1, 5, 1000]))
    return [(c.tenant, c.agent, c.text) for c in found]


async def by_time(m: Memory, rng: random.Random, t: TenantId, a: AgentId) -> list[tuple[TenantId, AgentId, str]]:
    page = await m.recent(t, a, kind=rng.choice([None, "reasoning"]), limit=1000)
    return [(c.tenant, c.agent, c.text) for c in page.items]


async def by_conversation(
    m: Memory, rng: random.Random, t: TenantId, a: AgentId
) -> list[tuple[TenantId, AgentId, str]]:
    page = await m.history.page(t, a, "chat", newest_first=rng.random() < 0.5)
    return [(turn.tenant, turn.agent, turn.content) for turn in page.items]


async def by_key(m: Memory, rng: random.Random, t: TenantId, a: AgentId) -> list[tuple[TenantId, AgentId, str]]:
    entry = await m.state.get(t, a, "plan")
    return [(entry.tenant, entry.agent, entry.value.decode())] if entry else []


PARTS = 4  # of one count, so that as many processes can share it
RECALLS: list[Recall] = [by_words, by_words, by_vector, by_vector, by_action, by_time, by_conversation, by_key]


@pytest.mark.parametrize("part", range(PARTS))
async def test_no_recall_crosses_a_partition(world: World, part: int, deep: bool) -> None:
    owners = await filled(world)
    rng, found = random.Random(part), 0
    count = (1_000_000 if deep else 1_600) // PARTS  # for each engine
    for _ in range(count):
        tenant, agent = rng.choice(PARTITIONS)
        for whose_tenant, whose_agent, text in await rng.choice(RECALLS)(world.memory, rng, tenant, agent):
            assert (whose_tenant, whose_agent) == (tenant, agent)
            assert text.endswith(f"mark {tenant}|{agent}")
            found += 1
    assert found > count  # the recalls do find things

    for id, owner in owners.items():
        tenant, agent = rng.choice([p for p in PARTITIONS if p != owner])
        try:
            await world.memory.get(tenant, agent, id)
        except NotFound:
            continue
        raise AssertionError(f"{owner}'s item was shown to {(tenant, agent)}")


async def test_what_others_remember_changes_neither_results_nor_order(world: World) -> None:
    """Ranking uses no statistics across agents: the same memories give the same order whatever the neighbours hold."""
    texts = ["apple pie", "apple apple tart", "pie of pears", "apple", "tart and pie and apple", "nothing here"]
    alone, crowded = (TenantId("t"), ALICE), (TenantId("t"), BOB)
    for text in texts:
        await world.memory.store_context(*alone, "note", text)
    before = [c.text for c in await world.memory.search(*alone, "apple pie tart")]
    for n in range(300):
        await world.memory.store_context(
            TenantId(f"n{n % 3}"), AgentId("neighbour"), "note", "apple pie tart " * (n % 7)
        )
    for text in texts:
        await world.memory.store_context(*crowded, "note", text)

    assert [c.text for c in await world.memory.search(*alone, "apple pie tart")] == before
    assert [c.text for c in await world.memory.search(*crowded, "apple pie tart")] == before
