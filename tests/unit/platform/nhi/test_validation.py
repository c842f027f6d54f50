"""What memory may and may not do: caches that never outlive the truth, revocations that overtake everybody."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from creto.common.errors import EnablementError
from creto.common.ids import AgentId, TenantId
from creto.platform.nhi import Nhi
from creto.platform.nhi.dependents import Dependents
from tests.unit.platform.nhi.town import TENANT, Person, Town, chain_of, forged


class Silent:
    """A store whose signals can be lost; everything else is the store's own."""

    def __init__(self, store: object) -> None:
        self._store = store
        self.signals_alive = True
        self.reads = 0
        self.lost: list[Callable[[], None]] = []

    def on_signal_lost(self, fn: Callable[[], None]) -> None:
        self.lost.append(fn)

    def read_now(self, fn: Callable[..., object]) -> object:
        self.reads += 1
        return self._store.read_now(fn)  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


def told(nhi: Nhi) -> list[AgentId]:
    heard: list[AgentId] = []
    nhi.on_revoked(lambda tenant, agent: heard.append(agent))
    return heard


async def test_a_warm_chain_reads_nothing_and_verifies_nothing(town: Town) -> None:
    store = Silent(town.store)
    nhi = Nhi(store, town.clock)  # type: ignore[arg-type]
    chain = chain_of(await town.line(8))
    nhi.validate(chain, tenant=TENANT)
    reads = store.reads
    assert reads == 2  # all identities in one read, all links in another
    nhi.validate(chain, tenant=TENANT)
    assert store.reads == reads


async def test_while_signals_are_lost_every_look_up_reads_the_store(town: Town) -> None:
    store = Silent(town.store)
    nhi = Nhi(store, town.clock)  # type: ignore[arg-type]
    people = await town.line(2)
    chain = chain_of(people)
    nhi.validate(chain, tenant=TENANT)
    heard = told(nhi)
    store.signals_alive = False
    for forget in store.lost:
        forget()
    assert heard == [people[2].nhi]  # decisions that rest on what we told are void
    reads = store.reads
    nhi.validate(chain, tenant=TENANT)
    nhi.validate(chain, tenant=TENANT)
    assert store.reads == reads + 4
    # Behind our back, without any signal that would reach us:
    await town.store.write(
        lambda tx: tx.run("UPDATE nhi_identity SET state = 'revoked' WHERE agent = ?", people[1].nhi)
    )
    with pytest.raises(EnablementError, match="PL-124"):
        nhi.validate(chain, tenant=TENANT)


async def test_a_signal_of_another_release_empties_the_memory(town: Town) -> None:
    people = await town.line(1)
    chain = chain_of(people)
    town.nhi.validate(chain, tenant=TENANT)
    heard = told(town.nhi)
    await town.store.write(lambda tx: tx.signal("nhi.changed", '{"v":99}'))
    assert heard == [people[1].nhi]


async def test_a_revocation_tells_every_agent_that_stood_on_it(town: Town) -> None:
    people = await town.line(3)
    sibling = await town.agent("sibling")
    deep, side = chain_of(people), chain_of([*people[:2], sibling])
    for chain in (deep, side, chain_of(people[:2])):
        town.nhi.validate(chain, tenant=TENANT)
    heard = told(town.nhi)
    await town.nhi.revoke_link(deep.links[2], tenant=TENANT)
    assert heard == [people[3].nhi]
    heard.clear()
    await town.nhi.suspend(TENANT, people[1].nhi)
    assert set(heard) == {people[1].nhi, people[3].nhi, sibling.nhi}
    heard.clear()
    await town.nhi.resume(TENANT, people[1].nhi)
    assert heard == []
    await town.nhi.revoke(TENANT, people[0].nhi)
    assert set(heard) == {people[0].nhi, people[1].nhi, people[3].nhi, sibling.nhi}


async def test_a_revocation_is_known_before_it_returns(town: Town) -> None:
    people = await town.line(1)
    seen_inside: list[bool] = []
    town.nhi.on_revoked(lambda tenant, agent: seen_inside.append(town.nhi.is_revoked(agent, tenant=tenant)))
    town.nhi.get_now(TENANT, people[1].nhi)
    await town.nhi.revoke(TENANT, people[1].nhi)
    assert seen_inside == [True]


def test_a_full_index_says_so_and_gives_everybody_back() -> None:
    index = Dependents(pairs_max=3)
    tenant, a, b = TenantId("t"), AgentId("a"), AgentId("b")
    assert index.note(tenant, (a, b"link"), b) == 0
    assert index.note(tenant, (a, b"link"), b) == 0  # the same again takes no room
    assert index.note(tenant, (a, b), a) is None
    assert index.of(tenant, a) == {a, b}
    assert index.drain() == {(tenant, a), (tenant, b)}
    assert index.of(tenant, a) == set()
    assert index.note(tenant, (a,), b) == 1


async def test_more_chains_than_the_index_holds_are_still_revoked(town: Town) -> None:
    town.nhi._registry.dependents = Dependents(pairs_max=20)
    people = await town.line(6)
    chains = [chain_of(people[:n]) for n in range(2, 8)]
    allowed: set[AgentId] = set()  # what a decision cache would hold
    town.nhi.on_revoked(lambda tenant, agent: allowed.discard(agent))
    for _ in range(3):
        for chain in chains:
            town.nhi.validate(chain, tenant=TENANT)
            allowed.add(chain.agents[-1])
    assert allowed  # the index was drained on the way, and not everybody forgotten
    await town.nhi.revoke(TENANT, people[0].nhi)
    assert allowed == set()


@pytest.fixture
def switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("switching_often")
async def test_no_thread_accepts_a_chain_after_its_revocation_returned(town: Town, deep: bool) -> None:
    people = await town.line(2)
    root, middle = people[0], people[1]
    rng = random.Random(7)
    late: list[str] = []
    for number in range(300 if deep else 25):
        leaf = await town.agent(f"leaf {number}")
        chain = chain_of([root, middle, leaf])
        returned, stop, started = threading.Event(), threading.Event(), threading.Barrier(4)

        def ask(chain: object = chain, returned: threading.Event = returned, stop: threading.Event = stop,
                started: threading.Barrier = started) -> None:  # fmt: skip
            started.wait()
            while not stop.is_set():
                over = returned.is_set()
                try:
                    town.nhi.validate(chain, tenant=TENANT)  # type: ignore[arg-type]
                except EnablementError as error:
                    assert error.code == "PL-124"
                    if over:
                        return
                else:
                    if over:
                        late.append(str(chain))

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        started.wait()
        if rng.random() < 0.5:
            await town.nhi.revoke(TENANT, leaf.nhi)
        else:
            await town.nhi.revoke_link(chain.links[rng.randrange(1, 2)], tenant=TENANT)
        returned.set()
        for thread in threads:
            thread.join(10)
        stop.set()
    assert late == []


@pytest.mark.usefixtures("switching_often")
async def test_no_cached_decision_survives_a_revocation(town: Town, deep: bool) -> None:
    """A decision cache that listens, filled by threads while agents are revoked under them."""
    people = await town.line(1)
    allowed: dict[AgentId, int] = {}
    drops: dict[AgentId, int] = {}

    def drop(tenant: TenantId, agent: AgentId) -> None:
        drops[agent] = drops.get(agent, 0) + 1
        allowed.pop(agent, None)

    town.nhi.on_revoked(drop)
    for number in range(200 if deep else 20):
        leaf = await town.agent(f"leaf {number}")
        chain = chain_of([people[0], people[1], leaf])
        stop = threading.Event()

        def decide(chain: object = chain, leaf: Person = leaf, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                before = drops.get(leaf.nhi, 0)
                try:
                    town.nhi.validate(chain, tenant=TENANT)  # type: ignore[arg-type]
                except EnablementError:
                    return
                allowed[leaf.nhi] = before
                if drops.get(leaf.nhi, 0) != before:  # what every cache does: look again after it has written
                    allowed.pop(leaf.nhi, None)

        threads = [threading.Thread(target=decide) for _ in range(3)]
        for thread in threads:
            thread.start()
        await town.nhi.revoke_link(chain.links[1], tenant=TENANT)
        for thread in threads:
            thread.join(10)
        stop.set()
        assert leaf.nhi not in allowed


async def test_re_signing_the_same_terms_is_verified_again_and_accepted(town: Town) -> None:
    people = await town.line(2)
    chain = chain_of(people)
    again = forged(chain, 0, people)
    assert again.fingerprint != chain.fingerprint
    assert town.accepts(chain)
    assert town.accepts(again)
