"""Mutated chains from a seed: none is accepted, and the unmutated ones between them are.

The attackers hold the keys of every agent on the chain (not the root's), so most forgeries carry valid signatures throughout; only the
rules stand in the way.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common.errors import EnablementError
from creto.common.ids import TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.nhi import Budget, DelegationChain
from tests.unit.platform.nhi.town import TENANT, Person, Town, chain_of, forged, key, signed, with_link

CODES = {f"PL-{number}" for number in (*range(110, 130), 133)}
STRANGER = 9_999


class Case:
    """A valid chain, and the call that asks about it."""

    def __init__(self, rng: random.Random, pool: list[list[Person]], chains: dict[int, list[DelegationChain]]) -> None:
        self.rng = rng
        self.line = rng.randrange(len(pool))
        self.people = pool[self.line]
        self.family = chains[self.line]
        self.chain = rng.choice(self.family)
        self.options: dict[str, Any] = {"tenant": TENANT, "agent": self.chain.agents[-1]}

    @property
    def links(self) -> list[Any]:
        return list(self.chain.links)

    def index(self, start: int = 0) -> int:
        return self.rng.randrange(start, len(self.chain.links))


Attack = Callable[[Case], DelegationChain]


def drop(case: Case) -> DelegationChain:
    links = case.links
    del links[case.index()]
    return DelegationChain(tuple(links))


def swap(case: Case) -> DelegationChain:
    links = case.links
    i, j = case.rng.sample(range(len(links)), 2)
    links[i], links[j] = links[j], links[i]
    return DelegationChain(tuple(links))


def splice(case: Case) -> DelegationChain:
    """The upper part of one chain and the lower part of another of the same people."""
    other = case.rng.choice([chain for chain in case.family if chain is not case.chain])
    cut = case.index(1)
    return DelegationChain((*other.links[:cut], *case.chain.links[cut:]))


def widen(case: Case) -> DelegationChain:
    """An agent grants more than it has, and everybody beneath goes along."""
    i = case.index(1)
    above = case.chain.links[i - 1]
    changes = case.rng.choice(
        [
            {"actions": (*case.chain.links[i].actions, "extra")},
            {"actions": ("*",)},
            {"actions": (above.actions[0][:-2] + "*",)},
            {"resources": ("*",)},
            {"resources": (*case.chain.links[i].resources, "window")},
            {"budget": Budget(above.budget.micros + case.rng.randrange(1, 10**9), "USD")},
            {"budget": Budget(1, "EUR")},
            {"budget": None},
            {"not_after": above.not_after + case.rng.randrange(1, 10**12)},
            {"not_before": above.not_before - case.rng.randrange(1, 10**12)},
        ]
    )
    return forged(case.chain, i, case.people, **changes)


def widen_unsigned(case: Case) -> DelegationChain:
    """The same, at the top, where the root does not sign again."""
    link = case.chain.links[0]
    changes = case.rng.choice(
        [
            {"actions": ("*",)},
            {"budget": None},
            {"depth_left": 15},
            {"not_after": link.not_after + case.rng.randrange(1, 10**12)},
            {"not_before": link.not_before - case.rng.randrange(1, 10**12)},
            {"resources": ("*",)},
        ]
    )
    if case.rng.random() < 0.5:
        return with_link(case.chain, 0, **changes)
    top = with_link(case.chain, 0, **changes)
    return forged(top, 1, case.people) if len(top.links) > 1 else top


def extend(case: Case) -> DelegationChain:
    """The last agent, which may hand nothing on, hands on to a stranger or to somebody of the town."""
    last = case.chain.links[-1]
    child = case.rng.choice([Person(key(STRANGER)), *case.people])
    link = replace(
        last, parent=last.child, child=child.nhi, parent_link=last.hash, nonce=case.rng.randbytes(16),
        depth_left=case.rng.randrange(0, 3),
    )  # fmt: skip
    signer = case.people[len(case.chain.links)] if case.rng.random() < 0.8 else Person(key(STRANGER))
    case.options["agent"] = case.rng.choice([None, child.nhi])
    return case.chain.extended(signed(link, signer.key))


def sibling(case: Case) -> DelegationChain:
    """A link under one parent is hung beneath that parent's sibling."""
    i = case.index()
    stranger = case.people[-1] if case.rng.random() < 0.5 else Person(key(STRANGER))
    links = case.links
    links[i] = signed(replace(links[i], parent=stranger.nhi), stranger.key)
    return DelegationChain(tuple(links))


def depth(case: Case) -> DelegationChain:
    i = case.index(1)
    above = case.chain.links[i - 1].depth_left
    return forged(case.chain, i, case.people, depth_left=min(15, above + case.rng.randrange(3)))


def empty(case: Case) -> DelegationChain:
    case.options["agent"] = case.rng.choice([None, case.options["agent"]])
    return DelegationChain(())


def replay(case: Case) -> DelegationChain:
    if case.rng.random() < 0.5:
        i = case.index()
        links = case.links
        links.insert(case.rng.randrange(len(links) + 1), links[i])
        return DelegationChain(tuple(links))
    i = case.index(1)
    return forged(case.chain, i, case.people, nonce=case.chain.links[case.rng.randrange(i)].nonce)


def clock_phase(case: Case) -> DelegationChain:
    """Just outside the tightest window, on either side, also when the chain was accepted a moment ago."""
    begins = max(link.not_before for link in case.chain.links)
    ends = min(link.not_after for link in case.chain.links)
    away = case.rng.choice([0, 1, 10**9, 10**15])
    case.options["now"] = ConsensusTimestamp(case.rng.choice([begins - 1 - away, ends + away]))
    return case.chain


def redirect(case: Case) -> DelegationChain:
    """Somebody else presents the chain, or in another tenant."""
    if case.rng.random() < 0.5:
        case.options["tenant"] = TenantId("other")
    else:
        case.options["agent"] = case.rng.choice(case.chain.agents[:-1])
    return case.chain


def another_tenant(case: Case) -> DelegationChain:
    return forged(case.chain, case.index(), case.people, tenant=TenantId("other"))


def flip(case: Case) -> DelegationChain:
    """One bit of the encoded chain."""
    data = bytearray(case.chain.to_bytes())
    data[case.rng.randrange(len(data))] ^= 1 << case.rng.randrange(8)
    return DelegationChain.from_bytes(bytes(data))


def exchange_signatures(case: Case) -> DelegationChain:
    i, j = case.rng.sample(range(len(case.chain.links)), 2)
    links = case.links
    links[i], links[j] = (
        replace(links[i], signature=links[j].signature),
        replace(links[j], signature=links[i].signature),
    )
    return DelegationChain(tuple(links))


ATTACKS: tuple[Attack, ...] = (
    drop, swap, splice, widen, widen_unsigned, extend, sibling, depth, empty, replay, clock_phase, redirect,
    another_tenant, flip, exchange_signatures,
)  # fmt: skip


async def test_no_mutated_chain_is_accepted(town: Town, deep: bool) -> None:
    rng = random.Random(20_260_131)
    lines = [await town.line(length) for length in (2, 3, 4, 5, 8, 2, 3, 4)]
    chains = {i: [chain_of(line), chain_of(line), chain_of(line, actions=("ping",))] for i, line in enumerate(lines)}
    refusals: Counter[tuple[str, str]] = Counter()
    for number in range(100_000 if deep else 2_000):
        attack = ATTACKS[number % len(ATTACKS)]
        case = Case(rng, lines, chains)
        if number % 50 == 0:
            assert town.nhi.validate(case.chain, **case.options).agents == case.chain.agents
        with pytest.raises(EnablementError) as caught:
            town.nhi.validate(attack(case), **case.options)
        assert caught.value.code in CODES, (attack.__name__, caught.value)
        refusals[attack.__name__, caught.value.code] += 1
    # Every rule that a mutation can break was the one that refused at least once.
    reached = {code for _, code in refusals}
    assert reached >= {f"PL-{n}" for n in (110, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 127, 128, 129)}
    assert {name for name, _ in refusals} == {attack.__name__ for attack in ATTACKS}
