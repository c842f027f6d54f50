from __future__ import annotations

import pytest

from creto.common import wire
from creto.common.errors import EnablementError, Unauthorized
from creto.common.ids import AgentId, AgentIdentity, SandboxId, TenantId
from creto.common.timestamps import DAY, SECOND, ConsensusTimestamp
from creto.platform.crypto import SignatureSuite, SigningKey, VerifyKey, jose
from creto.platform.nhi import (
    IdentityState,
    PrincipalKind,
    Standing,
    nhi_of,
    registration_proof,
    rotation_proofs,
)
from creto.store.types import Position
from tests.unit.platform.nhi.town import START, TENANT, Person, Town, chain_of, key


async def rotated(town: Town, person: Person, number: int, **options: int) -> Person:
    old, new = rotation_proofs(person.key, key(number), tenant=TENANT)
    await town.nhi.rotate(TENANT, person.nhi, key(number).public, old_proof=old, new_proof=new, **options)
    return Person(key(number))


async def refused(town: Town, code: str, kind: PrincipalKind, person: SigningKey, name: str, **options: object) -> None:
    proof = options.pop("proof", None) or registration_proof(person, tenant=TENANT, kind=kind, name=name)
    with pytest.raises(EnablementError) as caught:
        await town.nhi.register(TENANT, kind, person.public, name, proof=proof, **options)  # type: ignore[arg-type]
    assert caught.value.code == code


async def test_a_registered_principal_is_found_in_its_tenant_alone(town: Town) -> None:
    ada = await town.human("Ada")
    bot = await town.agent("bot", owner=ada.nhi)
    found = await town.nhi.get(TENANT, bot.nhi)
    assert found == town.nhi.get_now(TENANT, bot.nhi)
    assert (found.kind, found.name, found.owner, found.origin) == (PrincipalKind.AGENT, "bot", ada.nhi, bot.nhi)
    assert found.agent == AgentIdentity.of(bot.key.public.ed25519, bot.key.public.ml_dsa)
    assert town.nhi.is_registered(found.agent, tenant=TENANT)
    assert not town.nhi.is_registered(bot.nhi, tenant=TenantId("other"))
    with pytest.raises(EnablementError, match="PL-102"):
        await town.nhi.get(TenantId("other"), bot.nhi)
    with pytest.raises(EnablementError, match="tenant"):
        town.nhi.get_now(TenantId(""), bot.nhi)


async def test_an_identity_with_another_ml_dsa_key_is_not_ours(town: Town) -> None:
    ada = await town.human()
    impostor = AgentIdentity.of(ada.key.public.ed25519, key(9_999).public.ml_dsa)
    assert not town.nhi.is_registered(impostor, tenant=TENANT)


async def test_registration_needs_the_private_key_and_a_hybrid_one(town: Town) -> None:
    mallory, victim = key(9_999), key(9_998)
    stolen = registration_proof(mallory, tenant=TENANT, kind=PrincipalKind.HUMAN, name="Eve")
    await refused(town, "PL-210", PrincipalKind.HUMAN, victim, "Eve", proof=stolen)
    renamed = registration_proof(victim, tenant=TENANT, kind=PrincipalKind.AGENT, name="Eve")
    await refused(town, "PL-210", PrincipalKind.HUMAN, victim, "Eve", proof=renamed)
    await refused(town, "PL-216", PrincipalKind.HUMAN, SigningKey.generate(SignatureSuite.ED25519), "Eve")
    await refused(town, "PL-400", PrincipalKind.HUMAN, victim, " Eve")
    await refused(town, "PL-102", PrincipalKind.AGENT, victim, "Eve", owner=nhi_of(mallory.public),
                  proof=registration_proof(victim, tenant=TENANT, kind=PrincipalKind.AGENT, name="Eve", owner=nhi_of(mallory.public)))  # fmt: skip


async def test_a_key_is_registered_once(town: Town) -> None:
    ada = await town.human("Ada")
    await refused(town, "PL-105", PrincipalKind.HUMAN, ada.key, "Ada again")
    await town.nhi.revoke(TENANT, ada.nhi)
    await refused(town, "PL-105", PrincipalKind.HUMAN, ada.key, "Ada returns")


async def test_a_list_comes_in_pages_in_order_of_registration(town: Town) -> None:
    people = [await town.human("Ada"), *[await town.agent(f"a{i}") for i in range(6)]]
    await town.nhi.suspend(TENANT, people[3].nhi)
    seen: list[str] = []
    cursor = None
    while True:
        page = await town.nhi.list(TENANT, limit=3, cursor=cursor)
        seen += [identity.nhi for identity in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert sorted(seen) == sorted(p.nhi for p in people)
    humans = await town.nhi.list(TENANT, kind=PrincipalKind.HUMAN)
    assert [i.name for i in humans.items] == ["Ada"]
    suspended = await town.nhi.list(TENANT, state=IdentityState.SUSPENDED)
    assert [i.nhi for i in suspended.items] == [people[3].nhi]
    assert (await town.nhi.list(TenantId("other"))).items == ()
    for limit in (0, 1_001):
        with pytest.raises(EnablementError, match="limit"):
            await town.nhi.list(TENANT, limit=limit)


async def test_suspension_ends_and_revocation_does_not(town: Town) -> None:
    ada = await town.human()
    await town.nhi.suspend(TENANT, ada.nhi, reason="on leave")
    assert town.nhi.standing(ada.nhi, tenant=TENANT) is Standing.SUSPENDED
    with pytest.raises(EnablementError, match="PL-132"):
        await town.nhi.suspend(TENANT, ada.nhi)
    await town.nhi.resume(TENANT, ada.nhi)
    assert town.nhi.standing(ada.nhi, tenant=TENANT) is Standing.IN_FORCE
    first = await town.nhi.revoke(TENANT, ada.nhi, reason="left")
    assert first.everywhere
    assert town.nhi.is_revoked(ada.nhi, tenant=TENANT)
    again = await town.nhi.revoke(TENANT, ada.nhi)
    assert again.identities == first.identities
    for act in (town.nhi.resume, town.nhi.suspend):
        with pytest.raises(EnablementError, match="PL-132"):
            await act(TENANT, ada.nhi)


async def test_a_rotation_makes_a_successor_and_retires_the_old_key_after_the_overlap(town: Town) -> None:
    boss = await town.human("Boss")
    old = await town.agent("bot", owner=boss.nhi)
    new = await rotated(town, old, 500, overlap_s=60)
    was, now_is = await town.nhi.get(TENANT, old.nhi), await town.nhi.get(TENANT, new.nhi)
    assert (was.successor, now_is.predecessor) == (new.nhi, old.nhi)
    assert (now_is.name, now_is.owner, now_is.kind, now_is.origin) == ("bot", boss.nhi, PrincipalKind.AGENT, old.nhi)
    assert town.nhi.standing(old.nhi, tenant=TENANT) is Standing.IN_FORCE
    town.clock.move(60 * SECOND)
    assert town.nhi.standing(old.nhi, tenant=TENANT) is Standing.RETIRED
    assert town.nhi.standing(new.nhi, tenant=TENANT) is Standing.IN_FORCE


async def test_a_rotation_needs_both_keys_the_newest_and_one_in_force(town: Town) -> None:
    old = await town.agent()
    good_old, good_new = rotation_proofs(old.key, key(500), tenant=TENANT)
    bad_old, _ = rotation_proofs(key(9_999), key(500), tenant=TENANT)
    for proofs in ((bad_old, good_new), (good_old, good_old), (good_new, good_old)):
        with pytest.raises(EnablementError, match="PL-210"):
            await town.nhi.rotate(TENANT, old.nhi, key(500).public, old_proof=proofs[0], new_proof=proofs[1])
    await rotated(town, old, 500)
    with pytest.raises(EnablementError, match="PL-132"):
        await rotated(town, old, 501)
    await town.nhi.suspend(TENANT, nhi_of(key(500).public))
    with pytest.raises(EnablementError, match="PL-104"):
        await rotated(town, Person(key(500)), 502)


async def test_a_revocation_takes_the_whole_line_of_keys_with_it(town: Town) -> None:
    first = await town.agent()
    second = await rotated(town, first, 500)
    third = await rotated(town, second, 501)
    revocation = await town.nhi.revoke(TENANT, second.nhi)
    assert {i.nhi for i in revocation.identities} == {first.nhi, second.nhi, third.nhi}
    assert all(town.nhi.is_revoked(p.nhi, tenant=TENANT) for p in (first, second, third))


async def test_one_key_of_a_line_can_be_revoked_alone(town: Town) -> None:
    first = await town.agent()
    second = await rotated(town, first, 500)
    await town.nhi.revoke(TENANT, first.nhi, whole_line=False)
    assert town.nhi.is_revoked(first.nhi, tenant=TENANT)
    assert not town.nhi.is_revoked(second.nhi, tenant=TENANT)


async def test_the_past_stays_verifiable(town: Town) -> None:
    ada = await town.human()
    signature = ada.key.sign(b"yes", b"test/v1")
    then = town.clock.now()
    town.clock.move(DAY)
    await town.nhi.revoke(TENANT, ada.nhi)
    assert town.nhi.validate_signature(ada.nhi, b"yes", signature, b"test/v1", tenant=TENANT, at=then).nhi == ada.nhi
    for at in (None, town.clock.now(), ConsensusTimestamp(START - 1)):
        with pytest.raises(EnablementError, match="PL-103"):
            town.nhi.validate_signature(ada.nhi, b"yes", signature, b"test/v1", tenant=TENANT, at=at)
    for message, context in ((b"no", b"test/v1"), (b"yes", b"test/v2")):
        with pytest.raises(EnablementError, match="PL-210"):
            town.nhi.validate_signature(ada.nhi, message, signature, context, tenant=TENANT, at=then)
    town.nhi.verify_key(ada.nhi, tenant=TENANT).verify(b"yes", signature, b"test/v1")


async def test_a_retired_key_cannot_speak_for_the_time_after(town: Town) -> None:
    old = await town.agent()
    await rotated(town, old, 500, overlap_s=60)
    signature = old.key.sign(b"yes", b"test/v1")
    ends = ConsensusTimestamp(START + 60 * SECOND)
    town.nhi.validate_signature(old.nhi, b"yes", signature, b"test/v1", tenant=TENANT, at=ConsensusTimestamp(ends - 1))
    with pytest.raises(EnablementError, match="PL-133"):
        town.nhi.validate_signature(old.nhi, b"yes", signature, b"test/v1", tenant=TENANT, at=ends)
    town.clock.move(DAY)
    await town.nhi.revoke(TENANT, old.nhi)  # a later revocation does not undo the retirement
    with pytest.raises(EnablementError, match="PL-133"):
        town.nhi.validate_signature(old.nhi, b"yes", signature, b"test/v1", tenant=TENANT, at=ends)


async def test_a_sandbox_runs_one_agent(town: Town) -> None:
    one, two, box = await town.agent("one"), await town.agent("two"), SandboxId("sb-1")
    binding = await town.nhi.bind_identity(box, one.nhi, tenant=TENANT)
    assert await town.nhi.bind_identity(box, one.nhi, tenant=TENANT) == binding
    assert await town.nhi.bound_identity(box, tenant=TENANT) == binding
    assert await town.nhi.bound_identity(box, tenant=TenantId("other")) is None
    with pytest.raises(EnablementError, match="PL-409"):
        await town.nhi.bind_identity(box, two.nhi, tenant=TENANT)
    assert await town.nhi.unbind_identity(box, one.nhi, tenant=TENANT)
    assert not await town.nhi.unbind_identity(box, one.nhi, tenant=TENANT)
    await town.nhi.bind_identity(box, two.nhi, tenant=TENANT)
    await town.nhi.revoke(TENANT, one.nhi)
    with pytest.raises(EnablementError, match="PL-103"):
        await town.nhi.bind_identity(SandboxId("sb-2"), one.nhi, tenant=TENANT)


async def test_every_change_is_in_the_ledger_and_on_the_bus(town: Town) -> None:
    boss = await town.human("Boss")
    bot = await town.agent("bot", owner=boss.nhi)
    new = await rotated(town, bot, 500)
    chain = chain_of([boss, new])
    await town.nhi.suspend(TENANT, new.nhi, reason="odd", actor=boss.nhi)
    await town.nhi.resume(TENANT, new.nhi)
    await town.nhi.bind_identity(SandboxId("sb-1"), new.nhi, tenant=TENANT)
    await town.nhi.unbind_identity(SandboxId("sb-1"), new.nhi, tenant=TENANT)
    await town.nhi.revoke_link(chain.links[0], tenant=TENANT)
    await town.nhi.revoke_link(chain.links[0], tenant=TENANT)
    await town.nhi.revoke(TENANT, boss.nhi)
    acts = [
        "registered",
        "registered",
        "rotated",
        "suspended",
        "resumed",
        "bound",
        "unbound",
        "link_revoked",
        "revoked",
    ]
    entries = await town.store.read(lambda tx: tx.ledger_tail(Position(), 100))
    bodies = [wire.decode(row.body, dict[str, object]) for row in entries]
    assert [b["action"] for b in bodies] == [f"nhi.{act}" for act in acts]
    assert (bodies[3]["agent_nhi"], bodies[3]["resource"]) == (boss.nhi, new.nhi)
    assert bodies[3]["metadata"] == {"reason": "odd"}
    messages = await town.store.read(lambda tx: tx.outbox_tail(Position(), 100))
    assert [m.subject for m in messages] == [f"nhi.{act}" for act in acts]


async def test_a_refused_change_leaves_nothing(town: Town) -> None:
    ada = await town.human()
    before = await town.store.read(lambda tx: len(tx.ledger_tail(Position(), 100)))
    for attempt in (town.nhi.resume, town.nhi.revoke):
        with pytest.raises(EnablementError):
            await attempt(TENANT, AgentId(Person(key(9_999)).nhi) if attempt == town.nhi.revoke else ada.nhi)
    assert await town.store.read(lambda tx: len(tx.ledger_tail(Position(), 100))) == before


async def test_jwks_lead_back_to_the_key(town: Town) -> None:
    ada = await town.human()
    okp, akp = town.nhi.to_jwk(await town.nhi.get(TENANT, ada.nhi))
    assert (okp.kty, okp.crv, akp.kty, akp.alg) == ("OKP", "Ed25519", "AKP", "ML-DSA-65")
    assert jose.from_jwk(okp) == VerifyKey.of(ada.key.public.ed25519)
    assert jose.from_jwk(akp) == VerifyKey.of(None, ada.key.public.ml_dsa)
    assert str(okp.kid).startswith(f"{ada.nhi}#")


async def test_the_client_s_names(town: Town) -> None:
    people = await town.line(2)
    chain = chain_of(people)
    leaf = town.nhi.get_now(TENANT, people[2].nhi).agent
    assert town.nhi.verify_delegation_chain(leaf, chain, tenant=TENANT).agent == leaf.nhi
    assert town.nhi.validate_delegation_chain(chain, tenant=TENANT).agent == leaf.nhi
    town.nhi.verify_delegation(chain.links[1], tenant=TENANT)
    with pytest.raises(EnablementError, match="PL-115"):
        town.nhi.verify_delegation(chain.links[1], tenant=TenantId("other"))
    await town.nhi.revoke_link(chain.links[1], tenant=TENANT)
    with pytest.raises(EnablementError, match="PL-124"):
        town.nhi.verify_delegation(chain.links[1], tenant=TENANT)


async def test_a_root_acts_on_its_own_account_and_an_agent_does_not(town: Town) -> None:
    ada, bot = await town.human(), await town.agent()
    own = town.nhi.rooted(ada.nhi, tenant=TENANT)
    own.check(now=town.clock.now(), action="anything", resource="anywhere")
    town.nhi.recheck(own)
    with pytest.raises(EnablementError, match="PL-110"):
        town.nhi.rooted(bot.nhi, tenant=TENANT)
    await town.nhi.revoke(TENANT, ada.nhi)
    with pytest.raises(EnablementError, match="PL-124"):
        town.nhi.recheck(own)
    with pytest.raises(EnablementError, match="PL-103"):
        town.nhi.rooted(ada.nhi, tenant=TENANT)


@pytest.mark.parametrize("ending", ["resume", "revoke"])
async def test_what_was_signed_while_suspended_is_never_accepted(town: Town, ending: str) -> None:
    """given a signature made while suspended / when the signer is resumed, or revoked / then it does not hold, and what was signed before does."""
    ada = await town.human()
    signature = ada.key.sign(b"yes", b"test/v1")
    before = town.clock.now()
    town.clock.move(SECOND)
    suspended = town.clock.now()
    await town.nhi.suspend(TENANT, ada.nhi)
    town.clock.move(SECOND)
    during = town.clock.now()
    town.clock.move(SECOND)
    await (town.nhi.resume if ending == "resume" else town.nhi.revoke)(TENANT, ada.nhi)

    def accepted(at: int) -> bool:
        try:
            town.nhi.validate_signature(
                ada.nhi, b"yes", signature, b"test/v1", tenant=TENANT, at=ConsensusTimestamp(at)
            )
        except Unauthorized as error:
            assert error.code in ("PL-103", "PL-104")
            return False
        return True

    assert accepted(before)
    assert accepted(suspended - 1)
    assert not accepted(suspended)
    assert not accepted(during)
    assert accepted(town.clock.now()) is (ending == "resume")


async def test_a_state_that_nobody_kept_is_refused(town: Town) -> None:
    """given an identity whose earlier states are not on record / when its past is asked / then the answer is no, and for what is known yes."""
    ada = await town.human()
    signature, then = ada.key.sign(b"yes", b"test/v1"), town.clock.now()
    for step in (town.nhi.suspend, town.nhi.resume):
        town.clock.move(SECOND)
        await step(TENANT, ada.nhi)
    await town.store.write(lambda tx: tx.run("DELETE FROM nhi_state WHERE version < 3"))
    with pytest.raises(Unauthorized, match="nobody kept"):
        town.nhi.validate_signature(ada.nhi, b"yes", signature, b"test/v1", tenant=TENANT, at=then)
    town.nhi.validate_signature(ada.nhi, b"yes", signature, b"test/v1", tenant=TENANT, at=town.clock.now())
