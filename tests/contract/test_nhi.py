"""The identity service over every engine: what depends on SQL, locks, isolation and signals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from creto.common.errors import EnablementError
from creto.common.ids import SandboxId, TenantId
from creto.platform.nhi import DelegationChain, PrekeyCounts, PrekeyKind, answer, rotation_proofs, seal_bundle
from tests.contract.stores import MakeStore
from tests.unit.platform.nhi.test_prekeys import first_keys, one_time
from tests.unit.platform.nhi.town import PARTS, TENANT, Person, Town, chain_of, key

MakeTown = Callable[[], Town]
Act = Callable[[Town, list[Person], DelegationChain], Awaitable[None]]


@pytest.fixture
def make_town(make_store: MakeStore) -> MakeTown:
    """Towns that share one database: nodes of one deployment."""
    return lambda: Town(make_store(parts=PARTS))


@pytest.fixture
async def town(make_town: MakeTown) -> Town:
    town = make_town()
    await town.nhi.start()
    return town


async def test_the_life_of_an_identity(town: Town) -> None:
    boss = await town.human("Boss")
    bot = await town.agent("bot", owner=boss.nhi)
    town.people -= 1  # the same key again
    with pytest.raises(EnablementError, match="PL-105"):
        await town.agent("bot", owner=boss.nhi)
    assert town.accepts(chain_of([boss, bot]))
    old, new = rotation_proofs(bot.key, key(500), tenant=TENANT)
    await town.nhi.rotate(TENANT, bot.nhi, key(500).public, old_proof=old, new_proof=new)
    heir = Person(key(500))
    assert [i.nhi for i in (await town.nhi.list(TENANT, owner=boss.nhi)).items] in (
        [bot.nhi, heir.nhi],
        [heir.nhi, bot.nhi],
    )
    await town.nhi.suspend(TENANT, heir.nhi)
    await town.nhi.resume(TENANT, heir.nhi)
    revocation = await town.nhi.revoke(TENANT, bot.nhi)
    assert {i.nhi for i in revocation.identities} == {bot.nhi, heir.nhi}
    with pytest.raises(EnablementError, match="PL-124"):
        town.accepts(chain_of([boss, heir]))


async def test_pages_are_complete_and_without_repeats(town: Town) -> None:
    people = [await town.agent(f"agent {i}") for i in range(11)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        page = await town.nhi.list(TENANT, limit=3, cursor=cursor)
        seen += [i.nhi for i in page.items]
        cursor = page.cursor
    assert cursor is None
    assert len(seen) == len(set(seen)) == len(people)


async def test_of_many_rotations_at_once_one_succeeds(town: Town) -> None:
    bot = await town.agent()
    proofs = [rotation_proofs(bot.key, key(500 + i), tenant=TENANT) for i in range(6)]
    results = await asyncio.gather(
        *[
            town.nhi.rotate(TENANT, bot.nhi, key(500 + i).public, old_proof=old, new_proof=new)
            for i, (old, new) in enumerate(proofs)
        ],
        return_exceptions=True,
    )
    won = [r for r in results if not isinstance(r, BaseException)]
    assert len(won) == 1
    assert {r.code for r in results if isinstance(r, EnablementError)} == {"PL-132"}
    assert (await town.nhi.get(TENANT, bot.nhi)).successor == won[0].nhi


async def test_a_one_time_key_is_handed_out_once_to_many_at_once_from_two_nodes(make_town: MakeTown) -> None:
    one, two = make_town(), make_town()
    bot = await one.agent()
    count = 20
    upload = seal_bundle(bot.key, [*first_keys(), *one_time(count)], tenant=TENANT, batch=1)
    await one.nhi.publish_bundle(TENANT, bot.nhi, upload)
    takes = [town.nhi.get_key_bundle(TENANT, bot.nhi) for _ in range(count // 2 + 2) for town in (one, two)]
    bundles = await asyncio.gather(*takes)
    taken = [b.one_time_dh.key.id for b in bundles if b.one_time_dh]
    kems = [b.kem.key.id for b in bundles if b.kem.key.kind is PrekeyKind.ONE_TIME_KEM]
    assert sorted(taken) == sorted(kems) == list(range(1, count + 1))
    assert [b.kem.key.kind for b in bundles].count(PrekeyKind.LAST_RESORT_KEM) == len(bundles) - count
    assert await one.nhi.prekey_counts(TENANT, bot.nhi) == PrekeyCounts(0, 0)
    bundles[0].verify()


async def test_challenges_and_logins_are_good_once_on_two_nodes(make_town: MakeTown) -> None:
    one, two = make_town(), make_town()
    await one.nhi.start()
    await two.nhi.start()
    ada = await one.human()
    challenge = await one.nhi.challenge(TENANT, ada.nhi)
    signature = answer(ada.key, challenge)
    exchanges = [town.nhi.exchange(challenge, signature) for town in (one, two, one, two)]
    results = await asyncio.gather(*exchanges, return_exceptions=True)
    tokens = [r for r in results if not isinstance(r, BaseException)]
    assert len(tokens) == 1
    assert one.nhi.verify_token(tokens[0].token) == two.nhi.verify_token(tokens[0].token)
    secret = await one.nhi.login_token(TENANT, ada.nhi, scopes=("console:*",))
    logins = await asyncio.gather(*[t.nhi.exchange_login(secret) for t in (one, two, one)], return_exceptions=True)
    assert sum(not isinstance(r, BaseException) for r in logins) == 1


async def test_a_sandbox_is_bound_once_by_two_at_once(make_town: MakeTown) -> None:
    one, two = make_town(), make_town()
    people = [await one.agent(), await one.agent()]
    binds = [
        town.nhi.bind_identity(SandboxId("sb"), person.nhi, tenant=TENANT)
        for town, person in zip((one, two), people, strict=True)
    ]
    results = await asyncio.gather(*binds, return_exceptions=True)
    assert sum(not isinstance(r, BaseException) for r in results) == 1
    assert {r.code for r in results if isinstance(r, EnablementError)} == {"PL-409"}


async def suspend(town: Town, people: list[Person], chain: DelegationChain) -> None:
    await town.nhi.suspend(TENANT, people[1].nhi)


async def revoke(town: Town, people: list[Person], chain: DelegationChain) -> None:
    await town.nhi.revoke(TENANT, people[1].nhi)


async def revoke_link(town: Town, people: list[Person], chain: DelegationChain) -> None:
    await town.nhi.revoke_link(chain.links[0], tenant=TENANT)


@pytest.mark.parametrize("act", [suspend, revoke, revoke_link])
async def test_another_node_refuses_once_it_has_settled(make_town: MakeTown, act: Act) -> None:
    one, two = make_town(), make_town()
    people = await one.line(2)
    chain = chain_of(people)
    heard: list[str] = []
    two.nhi.on_revoked(lambda tenant, agent: heard.append(agent))
    assert two.accepts(chain)
    await act(one, people, chain)
    assert await one.store.settled(30)
    with pytest.raises(EnablementError, match=r"PL-12[46]"):
        two.accepts(chain)
    assert people[2].nhi in heard


async def test_tenants_do_not_see_one_another(town: Town) -> None:
    other = TenantId("other")
    ada = await town.human()
    town.people -= 1
    same_key = await town.human("Ada elsewhere", tenant=other)
    assert same_key.nhi == ada.nhi
    await town.nhi.revoke(other, ada.nhi)
    assert town.nhi.is_revoked(ada.nhi, tenant=other)
    assert not town.nhi.is_revoked(ada.nhi, tenant=TENANT)
    assert [i.name for i in (await town.nhi.list(TENANT)).items] == ["Ada"]
