"""Decision files: derived again offline, with public keys alone; anything altered is noticed, by whomever."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.common.ids import PolicyId
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.contracts import RiskFactor, RiskLevel, TimeoutAction
from creto.oversight import (
    ApproverGroup,
    Assurance,
    BatchItem,
    Bound,
    Channel,
    DecisionFile,
    Evidence,
    OversightPolicy,
    Quorum,
    Record,
    RequestState,
    Verdict,
    args_hash,
    attest,
    proved,
    sign,
)
from creto.oversight.decisions import CastVote
from creto.oversight.policies import policy_hash
from creto.oversight.types import BreakGlassTerms, GrantTerms, GrantWish
from creto.platform.audit import Keys, Principal, verify_file
from creto.platform.crypto import SignatureSuite, SigningKey
from creto.platform.nhi import PrincipalKind, nhi_of
from tests.unit.oversight.world import HUMANS, LAYER, P1, P2, P3, TENANT, World, id_of, key_of, keys_of, person, tier

KEYS = keys_of(*HUMANS, "bot-7")
OTHER_ARGUMENTS = args_hash("funds.transfer", "account:7", b'{"amount":5000000}')


async def file_of(world: World, record: Record) -> DecisionFile:
    return DecisionFile.decode(await world.oversight.decision_file(TENANT, record.ask.request_id))


@pytest.fixture
async def data(world: World) -> bytes:
    record = await world.request(P2)
    await world.approve(record, "alice")
    await world.click(record, "bob", delivery="d1")
    return await world.oversight.decision_file(TENANT, record.ask.request_id)


@pytest.fixture
async def own(world: World) -> DecisionFile:
    """Approved by Alice alone, with her own key."""
    record = await world.request(P1)
    await world.approve(record, "alice", reason="It is due.")
    return await file_of(world, record)


def refused(file: DecisionFile, key: SigningKey = LAYER, keys: Keys = KEYS) -> None:
    with pytest.raises(SignatureVerificationFailed) as caught:
        verify_file(file.sealed(key).encode(), keys)
    assert caught.value.code == "OV-401"


def voted(file: DecisionFile, key: SigningKey | None = None, **changes: Any) -> DecisionFile:
    """The first ballot altered, signed again by who lies: with this key, or with that of its approver."""
    ballot = replace(file.votes[0].signed.ballot, **changes)
    signer = key or next(key_of(name) for name in HUMANS if id_of(name) == ballot.approver)
    return replace(file, votes=(replace(file.votes[0], signed=sign(ballot, signer)), *file.votes[1:]))


async def test_a_decision_says_who_and_how_sure(data: bytes) -> None:
    verdict = verify_file(data, KEYS)
    assert verdict.kind == "oversight decision"
    assert verdict.details["people"] == (person("alice"), person("bob"))
    assert verdict.details["assurance"] == ["own key", "relayed:slack"]
    assert verdict.details["own_keys"] == (person("alice"),)
    assert "proved by humans' own keys: 1 of 2 who voted" in verdict.shows
    assert f"on the service's word: that {person('bob')} did: slack says it was the account U-bob" in verdict.shows
    assert len(data) < 64 * 1024


async def test_where_every_vote_has_its_own_key_little_is_left_to_believe(own: DecisionFile) -> None:
    assert proved(own, KEYS).word == ("the times, and for whom the agent acted",)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
async def test_no_bit_can_be_changed(data: bytes, place: float, bit: int) -> None:
    at = int(place * len(data))
    altered = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
    with pytest.raises(EnablementError):
        verify_file(altered, KEYS)


# Who may seal


@pytest.mark.parametrize("forger", ["bot-7", "mallory", "dave"])
async def test_nobody_but_the_installation_seals_a_decision(world: World, forger: str) -> None:
    """given a genuine denial / when who has a known key of their own turns it round and seals it / then it does not hold."""
    record, key = await world.request(), key_of(forger)
    await world.deny(record, "alice")
    genuine = await file_of(world, record)
    ballot = replace(genuine.votes[0].signed.ballot, verdict=Verdict.APPROVE)
    evidence = Evidence(channel=Channel.WEB, account=id_of("alice"))
    vote = replace(genuine.votes[0], signed=attest(ballot, key, evidence, Assurance.SESSION))
    forged = replace(
        genuine, state=RequestState.APPROVED, votes=(vote,), approved_hash=genuine.args_hash, reason=ballot.reason
    )
    for service in (genuine.service, id_of(forger)):
        refused(replace(forged, service=service), key)
    a_service = replace(KEYS.agents[id_of(forger)], kind=PrincipalKind.SERVICE)
    refused(replace(forged, service=id_of(forger)), key, Keys(agents=KEYS.agents | {id_of(forger): a_service}))


async def test_the_votes_of_humans_need_no_key_of_agents(own: DecisionFile) -> None:
    human = replace(KEYS.agents[id_of("alice")], kind=PrincipalKind.AGENT)
    refused(own, keys=Keys(agents=KEYS.agents | {id_of("alice"): human}))


async def test_only_trusted_keys_count(data: bytes, world: World) -> None:
    swapped = replace(KEYS.agents[id_of("alice")], key=key_of("eve").public.to_bytes())
    layer, alice = (
        {nhi: one for nhi, one in KEYS.agents.items() if nhi != name} for name in (nhi_of(LAYER.public), id_of("alice"))
    )
    for agents in (layer, alice, KEYS.agents | {id_of("alice"): swapped}):
        with pytest.raises(SignatureVerificationFailed):
            verify_file(data, Keys(agents=agents))
    with pytest.raises(InvalidInput):
        verify_file(data, Keys())


async def test_the_service_never_signs_as_a_human(world: World) -> None:
    record = await world.request()
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    with pytest.raises(InvalidInput):
        attest(ballot, LAYER, Evidence(channel=Channel.SLACK, account="U1"), Assurance.OWN_KEY)
    stranger = attest(ballot, key_of("mallory"), Evidence(channel=Channel.WEB, account="U1"), Assurance.SESSION)
    with pytest.raises(SignatureVerificationFailed):
        await world.oversight.submit_response(TENANT, stranger)


async def test_half_a_signature_is_none(world: World) -> None:
    record = await world.request()
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    with pytest.raises(SignatureVerificationFailed):
        await world.oversight.submit_response(TENANT, sign(ballot, key_of("alice").component(SignatureSuite.ED25519)))


# A service that lies, and seals again


LIES: dict[str, Callable[[DecisionFile], DecisionFile]] = {
    "a review of what was done already": lambda f: replace(f, break_glass=True),
    "other arguments": lambda f: replace(f, approved_hash=OTHER_ARGUMENTS),
    "no arguments": lambda f: replace(f, approved_hash=None),
    "the state": lambda f: replace(f, state=RequestState.DENIED, approved_hash=None),
    "still open": lambda f: replace(f, state=RequestState.PENDING),
    "silence": lambda f: replace(
        f, state=RequestState.TIMED_OUT, final_action=TimeoutAction.AUTO_APPROVE, decided_by=None,
        decided_at=ConsensusTimestamp(f.deadline_at + 1), reason="nobody decided in time",
    ),
    "cancelled": lambda f: replace(
        f, state=RequestState.CANCELLED, decided_by=None, approved_hash=None,
        decided_at=ConsensusTimestamp(f.decided_at + 3_600 * SECOND),
    ),
    "who decided": lambda f: replace(f, decided_by=person("mallory")),
    "nobody decided": lambda f: replace(f, decided_by=None),
    "why": lambda f: replace(f, reason="I agree fully."),
    "decided before the vote": lambda f: replace(f, decided_at=ConsensusTimestamp(f.created_at)),
    "nobody is excluded": lambda f: replace(f, excluded=()),
    "the voter is excluded": lambda f: replace(f, excluded=(*f.excluded, person("alice"))),
    "no vote": lambda f: replace(f, votes=()),
    "a final action": lambda f: replace(f, final_action=TimeoutAction.AUTO_DENY),
    "the resource": lambda f: replace(f, resource="account:8"),
    "the request": lambda f: replace(f, request_id="req-other"),
    "what was shown": lambda f: replace(f, display_hash=b"x" * 33),
    "how risky it is": lambda f: replace(f, risk=RiskLevel.CRITICAL),
    "a policy of nobody": lambda f: replace(f, policy=replace(f.policy, quorum=Quorum(approvals=0)), votes=()),
    "a tier that there is not": lambda f: replace(f, tier=9),
    "a vote at a tier to come": lambda f: voted(f, tier=99),
    "a vote from the future": lambda f: voted(f, signed_at=ConsensusTimestamp(2**60)),
    "a vote of somebody whom no tier names": lambda f: replace(
        voted(f, person=person("mallory"), approver=id_of("mallory")), decided_by=person("mallory")
    ),
    "alice's vote by mallory's key": lambda f: voted(f, key_of("mallory"), approver=id_of("mallory")),
    "mallory in alice's seat": lambda f: replace(f, votes=(replace(f.votes[0], seat=person("mallory")),)),
    "a group": lambda f: replace(f, votes=(replace(f.votes[0], groups=("finance",)),)),
    "another human behind alice's name": lambda f: replace(
        f,
        votes=(
            replace(
                voted(f, person=person("mallory"), approver=id_of("mallory")).votes[0], seat=person("mallory"),
                seating=replace(f.votes[0].seating, people={id_of("alice"): person("mallory")}),
            ),
        ),
        decided_by=person("mallory"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_even_the_service_cannot_lie_about_a_vote_of_ones_own(
    own: DecisionFile, lie: Callable[[DecisionFile], DecisionFile]
) -> None:
    assert proved(own.sealed(LAYER), KEYS).own == (person("alice"),)
    refused(lie(own))


async def test_even_the_service_cannot_lie_about_how_many_voted(data: bytes) -> None:
    file = DecisionFile.decode(data)
    refused(replace(file, votes=file.votes[:1]))
    refused(replace(file, votes=(file.votes[0], file.votes[0])))
    refused(replace(file, votes=(file.votes[0], replace(file.votes[1], seat=person("alice")))))
    refused(replace(file, policy=replace(file.policy, quorum=Quorum(approvals=1))))


async def test_the_assurance_that_the_policy_demands_is_demanded_again(world: World) -> None:
    record = await world.request()
    await world.click(record, "alice", delivery="d1")
    file = await file_of(world, record)
    proved(file, KEYS)
    signed, evidence = file.votes[0].signed, Evidence(channel=Channel.SLACK, account="U-alice", delivery="d1")

    def sealed_as(policy: OversightPolicy, sure: Assurance) -> DecisionFile:
        ballot = replace(signed.ballot, policy_hash=policy_hash(policy))
        vote = replace(file.votes[0], signed=attest(ballot, LAYER, evidence, sure))
        return replace(file, policy=policy, votes=(vote,))

    proved(sealed_as(file.policy, Assurance.RELAYED).sealed(LAYER), KEYS)
    refused(sealed_as(replace(file.policy, assurance=Assurance.OWN_KEY), Assurance.RELAYED))
    refused(sealed_as(file.policy, Assurance.SESSION))  # more than Slack can say
    refused(sealed_as(replace(file.policy, reason_required=True, assurance=Assurance.SESSION), Assurance.RELAYED))


async def test_groups_and_stand_ins_are_derived_and_named_as_the_services_word(world: World) -> None:
    await world.oversight.delegate(
        TENANT, of=id_of("fay"), to=id_of("trudy"), starts_at=world.clock.now(),
        ends_at=ConsensusTimestamp(world.clock.now() + 3_600 * SECOND), by=id_of("fay"),
    )  # fmt: skip
    record = await world.request(P3)
    await world.approve(record, "sam")
    await world.approve(record, "trudy")
    file = await file_of(world, record)
    word = proved(file, KEYS).word
    assert f"that {person('sam')} was in the group security" in word
    assert f"that {person('trudy')} stood in for {person('fay')}" in word
    held: CastVote = file.votes[1]
    for seating in (
        replace(held.seating, delegations=()),
        replace(held.seating, groups={}),
        replace(held.seating, groups={"security": (id_of("fay"),)}),
    ):
        refused(replace(file, votes=(file.votes[0], replace(held, seating=seating))))


# Batches, edits, silence, grants


async def test_of_a_batch_exactly_the_approved_part_is_proved(world: World) -> None:
    items = [
        BatchItem(item_id="a", arguments=b'{"n":1}'),
        BatchItem(item_id="b", arguments=b'{"n":2}'),
        BatchItem(item_id="c", arguments=b'{"n":3}', after=("b",)),
    ]
    record = await world.request(items=items)
    await world.approve(record, "alice", items={"b": Verdict.DENY})
    file = await file_of(world, record)
    proved(file, KEYS)
    assert file.approved_items == ("a",)
    assert b'"n":' not in file.encode()  # what the arguments are stays with the installation
    refused(replace(file, approved_items=("a", "b")))
    refused(replace(file, approved_hash=file.args_hash))
    refused(replace(file, items=(*file.items[:2], replace(file.items[2], after=()))))
    refused(replace(file, items=file.items[:2]))


async def test_an_edit_is_proved_with_the_round_before(world: World) -> None:
    await world.permit_all()
    record = await world.request(P2)
    await world.approve(record, "bob")
    await world.approve(record, "alice", arguments=b'{"amount":40}')
    await world.approve(record, "bob")
    file = await file_of(world, record)
    assert (file.round, len(file.votes)) == (2, 3)
    assert proved(file, KEYS).people == (person("alice"), person("bob"))
    refused(replace(file, round=1))


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda file: json.dumps(file, indent=2),
        lambda file: json.dumps(file, sort_keys=True, separators=(",", ":")),
        lambda file: "\ufeff" + json.dumps(file),
    ],
)
async def test_a_decision_in_another_spelling_is_refused_as_such(
    data: bytes, rewrite: Callable[[dict[str, Any]], str]
) -> None:
    """given a file that a tool has rewritten / when it is verified / then it says what is wrong and what to do, and nothing of what stands there."""
    with pytest.raises(InvalidInput) as caught:
        verify_file(rewrite(json.loads(data)).encode(), KEYS)
    error = caught.value
    assert "fetch it anew" in str(error.hint)
    assert not any(text in error.rendered() for text in ('"kind', "acme", "installation", "agent:nhi"))


def test_a_file_of_no_kind_is_not_repeated() -> None:
    with pytest.raises(InvalidInput) as caught:
        verify_file(b'{"password":"hunter2"}', KEYS)
    assert "hunter2" not in caught.value.rendered()
    assert "oversight decision" in str(caught.value.expected)


async def test_silence_and_cancellations_are_proved_as_such(world: World) -> None:
    silent, gone = await world.request(P2, {"n": 1}), await world.request(P2, {"n": 2})
    await world.oversight.cancel(TENANT, gone.ask.request_id, by=id_of("bot-7"), reason="not needed")
    await world.pass_s(3_601)
    file = await file_of(world, silent)
    shows = verify_file(file.encode(), KEYS).shows
    assert "nobody decided in time, which is auto_deny" in shows
    assert any("on the service's word: that nobody decided before" in line for line in shows)
    refused(replace(file, final_action=TimeoutAction.AUTO_APPROVE, approved_hash=file.args_hash))
    refused(replace(file, decided_at=ConsensusTimestamp(file.deadline_at - 1)))
    cancelled = await file_of(world, gone)
    assert "that it was cancelled: not needed" in proved(cancelled, KEYS).word
    refused(replace(cancelled, state=RequestState.APPROVED, approved_hash=cancelled.args_hash))


async def test_a_grant_is_proved_with_the_vote_that_gave_it(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("g"), grants=GrantTerms(ttl_s_max=60, uses_max=2))
    first = await world.request(policy, idempotency_key="1")
    await world.approve(first, "alice", wish=GrantWish(ttl_s=60, uses=2))
    second = await world.request(policy, idempotency_key="2")
    file = await file_of(world, second)
    assert file.grant is not None
    assert file.basis is not None
    shows = verify_file(file.encode(), KEYS).shows
    assert any("approved in advance by" in line and file.grant.grant_id in line for line in shows)
    assert any(f"there approve by {person('alice')} (own key)" in line for line in shows)
    refused(replace(file, grant=None))
    refused(replace(file, basis=None))
    refused(replace(file, args_hash=OTHER_ARGUMENTS, approved_hash=OTHER_ARGUMENTS))
    refused(replace(file, grant=replace(file.grant, args_hash=None)))
    refused(replace(file, grant=replace(file.grant, uses_max=100)))
    refused(replace(file, grant=replace(file.grant, expires_at=ConsensusTimestamp(2**60))))
    refused(replace(file, basis=replace(file.basis, votes=()).sealed(LAYER)))
    refused(replace(own_of(file), grant=replace(file.grant, grant_id="grant-made-up"), basis=own_of(file)))


def own_of(file: DecisionFile) -> DecisionFile:
    assert file.basis is not None
    return file.basis


async def test_a_counter_proposal_and_break_glass_say_what_is_believed(world: World) -> None:
    policy = await world.policy(
        P1, policy_id=PolicyId("bg"), break_glass=BreakGlassTerms(armers=(id_of("eve"),)), tiers=(tier("alice", "bob"),)
    )
    asked = await world.request(policy, {"amount": 50})
    await world.deny(asked, "alice", counter=(Bound(path="amount", at_most="40"),))
    taken = await file_of(world, await world.request(policy, {"amount": 39}))
    assert (
        "that the arguments keep the bounds of the grant, and are otherwise those that were asked about"
        in proved(taken, KEYS).word
    )
    assert taken.grant is not None
    refused(replace(taken, grant=replace(taken.grant, bounds=())))
    await world.oversight.break_glass(
        TENANT, policy.policy_id, agent=id_of("bot-7"), action="code.deploy", resource="service:web", by=id_of("eve"),
        reason="outage",
    )  # fmt: skip
    used = await file_of(world, await world.request(policy, action="code.deploy", resource="service:web"))
    assert f"that {person('eve')} broke the glass: outage" in proved(used, KEYS).word
    refused(replace(used, policy=replace(used.policy, break_glass=None)))


async def test_calls_that_were_approved_in_advance_are_proved_with_their_terms(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("adv"), grants=GrantTerms(ttl_s_max=60, uses_max=2))
    proposed = await world.oversight.propose_grant(
        TENANT, policy.policy_id, agent=id_of("bot-7"), action="funds.transfer", resource="account:7",
        wish=GrantWish(ttl_s=60, uses=2), by=id_of("alice"), bounds=(Bound(path="amount", at_most="40"),),
    )  # fmt: skip
    await world.approve(proposed, "alice")
    file = await file_of(world, await world.request(policy, {"amount": 39}))
    assert file.grant is not None
    assert file.basis is not None
    assert file.basis.advance is not None
    proved(file, KEYS)
    refused(replace(file, grant=replace(file.grant, bounds=())))
    wider = replace(file.basis, advance=replace(file.basis.advance, uses=100)).sealed(LAYER)
    refused(replace(file, basis=wider, grant=replace(file.grant, uses_max=100)))


async def test_a_vote_of_who_left_is_in_no_file(world: World) -> None:
    """given two needed, one of whom has left the group / when time ends it / then the file says so, and holds."""
    policy = await world.policy(P3, policy_id=PolicyId("left"), quorum=Quorum(approvals=2))
    record = await world.request(policy)
    await world.approve(record, "sue")
    await world.oversight.put_group(TENANT, ApproverGroup(name="security", members=(id_of("sam"),)), by=id_of("eve"))
    await world.approve(record, "sam")
    await world.pass_s(3_601)
    file = await file_of(world, record)
    assert (file.state, len(file.votes)) == (RequestState.TIMED_OUT, 1)
    proved(file, KEYS)


async def test_risk_decides_how_sure_one_has_to_be(world: World) -> None:
    policy = await world.policy(
        P1, policy_id=PolicyId("r"), assurance_by_risk={RiskLevel.HIGH: Assurance.OWN_KEY}, tiers=(tier("alice"),)
    )
    record = await world.request(policy, risk_factors=(RiskFactor(name="x", level=RiskLevel.HIGH),))
    await world.approve(record, "alice")
    file = await file_of(world, record)
    assert file.risk is RiskLevel.HIGH
    proved(file, KEYS)
    refused(replace(file, risk=RiskLevel.LOW))


async def test_the_keys_say_whose_keys_they_are(own: DecisionFile) -> None:
    stranger: Principal = replace(KEYS.agents[id_of("alice")], person=person("mallory"))
    refused(own, keys=Keys(agents=KEYS.agents | {id_of("alice"): stranger}))


@pytest.mark.timeout(600)
async def test_many_files_are_verified(data: bytes, deep: bool) -> None:
    for _ in range(10_000 if deep else 100):
        verify_file(data, KEYS)
