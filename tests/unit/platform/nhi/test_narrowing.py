"""One test per rule of a delegation chain. Every forged link is signed by the right key: only the rule refuses it."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from creto.common.errors import EnablementError
from creto.common.ids import AgentId, TenantId
from creto.common.limits import CHAIN_LINKS_MAX
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.platform.nhi import Budget, DelegationChain, delegate
from tests.unit.platform.nhi.town import START, TENANT, Person, Town, chain_of, forged, key, signed, with_link


def code_of(town: Town, chain: DelegationChain, **options: Any) -> str:
    with pytest.raises(EnablementError) as caught:
        town.nhi.validate(chain, **{"tenant": TENANT, **options})
    return caught.value.code


@pytest.fixture
async def people(town: Town) -> list[Person]:
    return await town.line(3)


@pytest.fixture
def chain(people: list[Person]) -> DelegationChain:
    return chain_of(people)


def test_a_chain_that_keeps_every_rule_is_accepted(town: Town, chain: DelegationChain, people: list[Person]) -> None:
    valid = town.nhi.validate(chain, tenant=TENANT, agent=people[-1].nhi, action="a:a:a:x", resource="door")
    assert valid.root == people[0].nhi
    assert valid.agent == people[-1].nhi
    assert valid.ancestors == tuple(p.nhi for p in people[:-1])
    assert valid.budget == Budget(998, "USD")
    assert (valid.not_before, valid.not_after) == (START - HOUR + 2, START + HOUR - 2)
    assert chain.root().nhi == people[0].nhi
    assert chain.current().nhi == people[-1].nhi
    assert [identity.nhi for identity in chain.chain] == [p.nhi for p in people]
    assert chain.validate(town.nhi, tenant=TENANT) == valid


def test_pl_110_an_empty_chain(town: Town) -> None:
    assert code_of(town, DelegationChain(())) == "PL-110"
    with pytest.raises(EnablementError, match="PL-110"):
        DelegationChain(()).root()


def test_pl_111_too_many_links(town: Town, chain: DelegationChain) -> None:
    assert code_of(town, DelegationChain(chain.links[:1] * (CHAIN_LINKS_MAX + 1))) == "PL-111"


async def test_pl_112_an_agent_at_the_root(town: Town) -> None:
    agents = [await town.agent(), await town.agent()]
    assert code_of(town, chain_of(agents)) == "PL-112"


def test_pl_113_a_gap_between_two_links(town: Town, chain: DelegationChain) -> None:
    assert code_of(town, DelegationChain((chain.links[0], chain.links[2]))) == "PL-113"


def test_pl_113_a_chain_without_its_beginning(town: Town, chain: DelegationChain) -> None:
    assert code_of(town, DelegationChain(chain.links[1:])) == "PL-113"


def test_pl_113_a_link_spliced_from_another_chain_of_the_same_people(
    town: Town, chain: DelegationChain, people: list[Person]
) -> None:
    wider = chain_of(people, actions=("a:*",))
    assert code_of(town, DelegationChain((wider.links[0], *chain.links[1:]))) == "PL-113"


def test_pl_113_rewidening_through_a_sibling(town: Town, people: list[Person]) -> None:
    # The human gave the same agent a narrow and a wide grant; what was handed on under the narrow one cannot move to the wide one.
    narrow = chain_of(people[:2], actions=("a:b",), depth_left=3)
    wide = chain_of(people[:2], actions=("*",), depth_left=3)
    handed_on = delegate(
        people[1].key, narrow, people[2].nhi, actions=("a:b",), resources=("r:x",), budget_micros=1, currency="USD",
        not_before=START, not_after=ConsensusTimestamp(START + 1),
    )  # fmt: skip
    assert town.accepts(narrow.extended(handed_on))
    assert code_of(town, wide.extended(handed_on)) == "PL-113"


async def test_pl_114_a_cycle(town: Town, people: list[Person], chain: DelegationChain) -> None:
    back = signed(replace(chain.links[2], child=people[1].nhi), people[2].key)
    assert code_of(town, DelegationChain((*chain.links[:2], back))) == "PL-114"


def test_pl_114_an_agent_that_delegates_to_itself(town: Town, people: list[Person], chain: DelegationChain) -> None:
    own = signed(replace(chain.links[2], child=people[2].nhi), people[2].key)
    assert code_of(town, DelegationChain((*chain.links[:2], own))) == "PL-114"


async def test_pl_115_another_tenant(town: Town, people: list[Person], chain: DelegationChain) -> None:
    assert code_of(town, chain, tenant=TenantId("other")) == "PL-115"
    assert town.accepts(chain)
    assert code_of(town, chain, tenant=TenantId("other")) == "PL-115"  # warm
    assert code_of(town, forged(chain, 1, people, tenant=TenantId("other"))) == "PL-115"


def test_pl_116_a_signature_by_another_key(town: Town, chain: DelegationChain) -> None:
    stolen = signed(chain.links[2], key(9_999))
    assert code_of(town, DelegationChain((*chain.links[:2], stolen))) == "PL-116"


def test_pl_116_terms_changed_after_signing(town: Town, chain: DelegationChain) -> None:
    assert code_of(town, with_link(chain, 2, budget=Budget(1, "USD"))) == "PL-116"


def test_pl_116_no_signature_and_half_a_signature(town: Town, chain: DelegationChain) -> None:
    whole = chain.links[2].signature
    for signature in (b"", whole[:-1], whole[:65], b"\x41" + whole[-64:]):
        assert code_of(town, with_link(chain, 2, signature=signature)) == "PL-116"


def test_pl_116_a_changed_signature_is_refused_after_the_true_one_was_accepted(
    town: Town, chain: DelegationChain
) -> None:
    assert town.accepts(chain)
    flipped = bytes((*chain.links[1].signature[:-1], chain.links[1].signature[-1] ^ 1))
    assert code_of(town, with_link(chain, 1, signature=flipped)) == "PL-116"


def test_pl_117_wider_actions(town: Town, people: list[Person], chain: DelegationChain) -> None:
    for actions in (("a:*",), ("b",), ("a:a:*", "b"), ("*",), ("a:a",)):
        assert code_of(town, forged(chain, 1, people, actions=actions)) == "PL-117"


def test_pl_118_wider_resources(town: Town, people: list[Person], chain: DelegationChain) -> None:
    for resources in (("r:*",), ("windows",), ("*",)):
        assert code_of(town, forged(chain, 1, people, resources=resources)) == "PL-118"


def test_pl_119_a_wider_budget(town: Town, people: list[Person], chain: DelegationChain) -> None:
    for budget in (Budget(1_001, "USD"), Budget(1, "EUR"), None):
        assert code_of(town, forged(chain, 1, people, budget=budget)) == "PL-119"


def test_pl_120_deeper_than_allowed(town: Town, people: list[Person], chain: DelegationChain) -> None:
    assert code_of(town, forged(chain, 1, people, depth_left=2)) == "PL-120"
    assert code_of(town, forged(chain, 0, people, depth_left=1)) == "PL-120"


def test_pl_121_a_longer_life(town: Town, people: list[Person], chain: DelegationChain) -> None:
    parent = chain.links[0]
    for window in ({"not_after": parent.not_after + 1}, {"not_before": parent.not_before - 1}):
        assert code_of(town, forged(chain, 1, people, **window)) == "PL-121"


def test_pl_122_not_valid_yet(town: Town, chain: DelegationChain) -> None:
    begins = chain.links[2].not_before
    assert town.accepts(chain, now=begins)
    assert code_of(town, chain, now=ConsensusTimestamp(begins - 1)) == "PL-122"


def test_pl_123_expired(town: Town, chain: DelegationChain) -> None:
    ends = chain.links[2].not_after
    assert town.accepts(chain, now=ConsensusTimestamp(ends - 1))
    assert code_of(town, chain, now=ends) == "PL-123"


def test_pl_123_expiry_between_two_phases(town: Town, chain: DelegationChain) -> None:
    valid = town.nhi.validate(chain, tenant=TENANT, now=ConsensusTimestamp(chain.links[2].not_after - 1))
    with pytest.raises(EnablementError, match="PL-123"):
        valid.check(now=ConsensusTimestamp(chain.links[2].not_after))
    with pytest.raises(EnablementError, match="PL-123"):
        town.nhi.recheck(valid, now=ConsensusTimestamp(chain.links[2].not_after))


@pytest.mark.parametrize("who", range(4))
async def test_pl_124_a_revoked_identity(town: Town, people: list[Person], chain: DelegationChain, who: int) -> None:
    valid = town.nhi.validate(chain, tenant=TENANT)
    await town.nhi.revoke(TENANT, people[who].nhi)
    assert code_of(town, chain) == "PL-124"
    with pytest.raises(EnablementError, match="PL-124"):
        town.nhi.recheck(valid)


@pytest.mark.parametrize("which", range(3))
async def test_pl_124_a_revoked_link(town: Town, people: list[Person], chain: DelegationChain, which: int) -> None:
    assert town.accepts(chain)
    await town.nhi.revoke_link(chain.links[which], tenant=TENANT)
    assert code_of(town, chain) == "PL-124"
    resigned = forged(chain, which, people)  # other signatures, the same terms
    assert resigned.links[which].hash == chain.links[which].hash
    assert code_of(town, resigned) == "PL-124"
    assert town.accepts(chain_of(people))  # a new grant to the same people


async def test_pl_125_an_unknown_identity(town: Town, people: list[Person]) -> None:
    assert code_of(town, chain_of([*people, Person(key(9_999))])) == "PL-125"
    assert code_of(town, chain_of([Person(key(9_999)), *people])) == "PL-125"


async def test_pl_125_identities_of_another_tenant_are_unknown(town: Town, people: list[Person]) -> None:
    other = TenantId("other")
    assert code_of(town, chain_of(people, tenant=other), tenant=other) == "PL-125"


@pytest.mark.parametrize("who", range(4))
async def test_pl_126_a_suspended_identity(town: Town, people: list[Person], chain: DelegationChain, who: int) -> None:
    assert town.accepts(chain)
    await town.nhi.suspend(TENANT, people[who].nhi)
    assert code_of(town, chain) == "PL-126"
    await town.nhi.resume(TENANT, people[who].nhi)
    assert town.accepts(chain)


def test_pl_127_another_leaf(town: Town, people: list[Person], chain: DelegationChain) -> None:
    assert code_of(town, chain, agent=people[1].nhi) == "PL-127"
    assert town.accepts(chain)
    assert code_of(town, chain, agent=people[1].nhi) == "PL-127"  # warm


def test_pl_128_a_replayed_nonce(town: Town, people: list[Person], chain: DelegationChain) -> None:
    assert code_of(town, forged(chain, 1, people, nonce=chain.links[0].nonce)) == "PL-128"


@pytest.mark.parametrize(
    "changes",
    [
        {"actions": ()},
        {"actions": ("a*b",)},
        {"actions": ("**",)},
        {"actions": ("",)},
        {"actions": (" a",)},
        {"actions": ("a\n",)},
        {"resources": ("x" * 257,)},
        {"resources": ("x",) * 65},
        {"depth_left": -1},
        {"depth_left": CHAIN_LINKS_MAX},
        {"not_after": START - HOUR},
        {"not_before": -1},
        {"not_after": 2**63},
        {"nonce": b"short"},
        {"parent_link": b"x" * 66},
        {"signature": b"x" * 10_000},
        {"budget": Budget(-1, "USD")},
        {"budget": Budget(1, "usd")},
        {"budget": Budget(1, "DOLLAR")},
        {"parent": AgentId("agent:nhi:ed25519:0")},
        {"child": AgentId("someone")},
        {"tenant": TenantId("")},
    ],
)
def test_pl_129_a_malformed_link(town: Town, chain: DelegationChain, changes: dict[str, Any]) -> None:
    assert code_of(town, with_link(chain, 1, **changes)) == "PL-129"


async def test_pl_133_a_retired_identity(town: Town, people: list[Person], chain: DelegationChain) -> None:
    from creto.platform.nhi import rotation_proofs

    old, new = rotation_proofs(people[1].key, key(8_888), tenant=TENANT)
    await town.nhi.rotate(TENANT, people[1].nhi, key(8_888).public, old_proof=old, new_proof=new, overlap_s=60)
    retires_at = ConsensusTimestamp(START + 60 * 1_000_000_000)
    assert town.nhi.validate(chain, tenant=TENANT).not_after == retires_at
    assert code_of(town, chain, now=retires_at) == "PL-133"


def test_pl_134_and_135_an_operation_outside_the_grant(town: Town, chain: DelegationChain) -> None:
    assert code_of(town, chain, action="a:x") == "PL-134"
    assert code_of(town, chain, action="ping", resource="r:x") == "PL-135"
    assert town.accepts(chain, action="ping", resource="door")


def test_delegate_refuses_what_validation_would_refuse(people: list[Person], chain: DelegationChain) -> None:
    with pytest.raises(EnablementError, match="PL-120"):  # the last agent of the chain may hand nothing on
        delegate(
            people[3].key, chain, Person(key(9_999)).nhi, actions=("a:a:a:x",), resources=("door",),
            not_before=START, not_after=ConsensusTimestamp(START + 1), budget_micros=1, currency="USD",
        )  # fmt: skip
