"""Decision certificates and chains as files: verified with public keys alone, and told apart from everything else."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.platform.audit import Keys, People, Principal, verify_file
from creto.platform.audit.verify_file import Person
from creto.platform.consensus import Cluster, DecisionCertificate, GroupQuorum, PersonId, Quorum, Statement, Verdict
from creto.platform.crypto import SigningKey
from creto.platform.nhi import DelegationChain, PrincipalKind, delegate, nhi_of

ANN, BOT = SigningKey.generate(), SigningKey.generate()
NOW = ConsensusTimestamp(1_800_000_000 * 10**9)
PEOPLE = People(Cluster(), (Person(PersonId("ann"), (ANN.public.to_bytes(),), ("finance",)),))


def known(key: SigningKey) -> Principal:
    return Principal(key=key.public.to_bytes(), kind=PrincipalKind.HUMAN, person=PersonId(nhi_of(key.public)))


def decision() -> DecisionCertificate:
    statement = Statement(
        cluster=Cluster(),
        tenant=TenantId("acme"),
        request_id=RequestId("r-1"),
        agent=nhi_of(BOT.public),
        action="funds.transfer",
        resource="bank:acme",
        arguments_digest=b"\x01" + bytes(32),
        policy_id=PolicyId("large-transfer"),
        policy_version=3,
        verdict=Verdict.APPROVED,
        quorum=Quorum((GroupQuorum("finance", 1),)),
        not_before=NOW,
        not_after=NOW + HOUR,
    )
    return DecisionCertificate(statement).signed_by(ANN, PersonId("ann"), "finance", NOW + 1)


def chain() -> DelegationChain:
    link = delegate(
        ANN,
        None,
        nhi_of(BOT.public),
        tenant=TenantId("acme"),
        actions=("runtime:*",),
        resources=("*",),
        not_before=NOW,
        not_after=ConsensusTimestamp(NOW + HOUR),
    )
    return DelegationChain((link,))


def test_a_decision_says_who_decided_what() -> None:
    verdict = verify_file(decision().encode() + b"\n", Keys(people=People.parse(wire.encode(PEOPLE))))
    assert verdict.kind == "decision"
    assert "decided by ann under the policy large-transfer version 3" in verdict.shows


def test_a_decision_that_was_changed_does_not_hold() -> None:
    signed = decision()
    forged = replace(signed, statement=replace(signed.statement, resource="bank:evil"))
    with pytest.raises(EnablementError) as refused:
        verify_file(forged.encode(), Keys(people=PEOPLE))
    assert refused.value.code == "PL-305"


def test_a_decision_needs_the_keys_of_those_who_may_decide() -> None:
    with pytest.raises(InvalidInput):
        verify_file(decision().encode(), Keys())
    with pytest.raises(EnablementError) as refused:
        verify_file(decision().encode(), Keys(people=People(Cluster(), ())))
    assert refused.value.code == "PL-305"


def test_a_chain_says_who_acts_for_whom() -> None:
    keys = Keys(agents={nhi_of(ANN.public): known(ANN)})
    verdict = verify_file(chain().to_bytes(), keys)
    assert (verdict.kind, verdict.details["agent"]) == ("chain", nhi_of(BOT.public))


def test_a_chain_that_was_widened_does_not_hold() -> None:
    keys = Keys(agents={nhi_of(ANN.public): known(ANN)})
    forged = DelegationChain((replace(chain().links[0], actions=("*",)),))
    with pytest.raises(EnablementError) as refused:
        verify_file(forged.to_bytes(), keys)
    assert refused.value.code == "PL-116"


@pytest.mark.parametrize("agents", [{}, {nhi_of(ANN.public): known(BOT)}])
def test_a_chain_needs_the_keys_of_those_on_it(agents: dict[AgentId, Principal]) -> None:
    with pytest.raises(EnablementError) as refused:
        verify_file(chain().to_bytes(), Keys(agents=agents))
    assert refused.value.code == "PL-125"
