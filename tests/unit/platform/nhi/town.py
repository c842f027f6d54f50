"""A small town for identity tests: a store, a clock that stands still until it is moved, and people with keys.

town = await Town.open(store)
human, agent = await town.human("Ada"), await town.agent("scout")
chain = town.chain(human, agent)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
from msgspec.structs import replace

from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import HOUR, SECOND, ConsensusTimestamp
from creto.platform.crypto import Kek, Keystore, SignatureSuite, SigningKey
from creto.platform.nhi import DelegationChain, DelegationLink, Nhi, PrincipalKind, delegate, nhi_of, registration_proof
from creto.platform.nhi.chain import LINK_CONTEXT
from creto.store import Store

PARTS = ("creto.platform.crypto", "creto.platform.nhi")
TENANT = TenantId("acme")
START = ConsensusTimestamp(1_800_000_000 * SECOND)


@cache
def key(number: int) -> SigningKey:
    """The same key for the same number, so that a failing test can be run again."""
    return SigningKey.from_seed(SignatureSuite.HYBRID, number.to_bytes(4) * 16)


class StillClock:
    degraded = False

    def __init__(self, now: int = START) -> None:
        self.time = now

    def now(self) -> ConsensusTimestamp:
        return ConsensusTimestamp(self.time)

    def move(self, ns: int) -> None:
        self.time += ns


class Person(msgspec.Struct, frozen=True):
    key: SigningKey

    @property
    def nhi(self) -> AgentId:
        return nhi_of(self.key.public)


class Town:
    def __init__(self, store: Store, clock: StillClock | None = None) -> None:
        self.store = store
        self.clock = clock or StillClock()
        self.keystore = Keystore(store, Kek(bytes(32)), self.clock)
        self.nhi = Nhi(store, self.clock, self.keystore)
        self.people = 0

    @staticmethod
    async def open(store: Store) -> Town:
        town = Town(store)
        await town.nhi.start()
        return town

    async def settle(self, kind: PrincipalKind, name: str, tenant: TenantId = TENANT, **options: Any) -> Person:
        self.people += 1
        person = Person(key(self.people))
        owner = options.get("owner")
        proof = registration_proof(person.key, tenant=tenant, kind=kind, name=name, owner=owner)
        await self.nhi.register(tenant, kind, person.key.public, name, proof=proof, **options)
        return person

    async def human(self, name: str = "Ada", **options: Any) -> Person:
        return await self.settle(PrincipalKind.HUMAN, name, **options)

    async def agent(self, name: str = "scout", **options: Any) -> Person:
        return await self.settle(PrincipalKind.AGENT, name, **options)

    async def line(self, length: int) -> list[Person]:
        """A human and agents, in the order of a chain of `length` links."""
        return [await self.human(), *[await self.agent(f"agent {i}") for i in range(length)]]

    def chain(self, *people: Person, **terms: Any) -> DelegationChain:
        return chain_of(people, **terms)

    def accepts(self, chain: DelegationChain, **options: Any) -> bool:
        return self.nhi.validate(chain, tenant=TENANT, **options).agents == chain.agents


def terms_of(level: int, depth: int) -> dict[str, Any]:
    """What the link at a level grants: truly less in every respect than the one above."""
    return {
        "actions": ("a:" * (level + 1) + "*", "ping"),
        "resources": ("r:" * (level + 1) + "*", "door"),
        "budget_micros": 1_000 - level,
        "currency": "USD",
        "depth_left": depth - level - 1,
        "not_before": ConsensusTimestamp(START - HOUR + level),
        "not_after": ConsensusTimestamp(START + HOUR - level),
    }


def chain_of(people: Sequence[Person], tenant: TenantId = TENANT, **terms: Any) -> DelegationChain:
    chain = DelegationChain(())
    for level, (parent, child) in enumerate(pairwise(people)):
        wanted = {**terms_of(level, len(people) - 1), **terms}
        above = chain if chain.links else None
        chain = chain.extended(delegate(parent.key, above, child.nhi, tenant=tenant, **wanted))
    return chain


def forged(chain: DelegationChain, index: int, people: Sequence[Person], **changes: Any) -> DelegationChain:
    """The chain with one link's terms changed, and everybody from there down signing again: the strongest forger there is."""
    links = list(chain.links[:index])
    for level, link in enumerate(chain.links[index:], start=index):
        terms = {"parent_link": links[-1].hash if links else b"", **(changes if level == index else {})}
        links.append(signed(replace(link, **terms), people[level].key))
    return DelegationChain(tuple(links))


def signed(link: DelegationLink, key: SigningKey) -> DelegationLink:
    bare = replace(link, signature=b"")
    return replace(bare, signature=key.sign(bare.canonical_bytes, LINK_CONTEXT))


def with_link(chain: DelegationChain, index: int, **changes: Any) -> DelegationChain:
    """The chain with a link changed and nobody signing again."""
    links = list(chain.links)
    links[index] = replace(links[index], **changes)
    return DelegationChain(tuple(links))
