"""Decisions of several humans: what verifies, and one test per rule for what does not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.timestamps import MINUTE, SECOND
from creto.platform.consensus import (
    Cluster,
    DecisionCertificate,
    GroupQuorum,
    Human,
    PersonId,
    Quorum,
    Statement,
    Trust,
    Verdict,
)
from creto.platform.consensus.testing import MANUAL_START
from creto.platform.crypto import SignatureSuite, SigningKey, digest

CLUSTER = Cluster("prod", 3)
ANN, BOB, CYD, DAN = (PersonId(name) for name in ("ann", "bob", "cyd", "dan"))
KEYS = {person: SigningKey.generate() for person in (ANN, BOB, CYD, DAN)}
ANNS_OTHER_KEY = SigningKey.generate()
HUMANS = [
    Human(ANN, (KEYS[ANN].public, ANNS_OTHER_KEY.public), frozenset({"finance", "legal"})),
    Human(BOB, (KEYS[BOB].public,), frozenset({"finance"})),
    Human(CYD, (KEYS[CYD].public,), frozenset({"legal"})),
    Human(DAN, (KEYS[DAN].public,), frozenset({"finance", "legal"})),
]
TRUST = Trust.of(CLUSTER, HUMANS)
FINANCE_AND_LEGAL = Quorum((GroupQuorum("finance", 2), GroupQuorum("legal", 1)))


def statement(quorum: Quorum = FINANCE_AND_LEGAL, **changes: Any) -> Statement:
    plain = Statement(
        cluster=CLUSTER,
        tenant=TenantId("acme"),
        request_id=RequestId("req-1"),
        agent=AgentId("agent:nhi:ed25519:x"),
        action="payments.send",
        resource="metering:invoice:42",
        arguments_digest=digest(b'{"amount":"12.50"}'),
        policy_id=PolicyId("large-payments"),
        policy_version=7,
        verdict=Verdict.APPROVED,
        quorum=quorum,
        not_before=MANUAL_START,
        not_after=MANUAL_START + 60 * MINUTE,
    )
    return msgspec.structs.replace(plain, **changes)


def signed(decided: Statement, *votes: tuple[PersonId, str]) -> DecisionCertificate:
    certificate = DecisionCertificate(decided)
    for minute, (person, group) in enumerate(votes, start=1):
        certificate = certificate.signed_by(KEYS[person], person, group, MANUAL_START + minute * MINUTE)
    return certificate


VALID = signed(statement(), (ANN, "finance"), (BOB, "finance"), (CYD, "legal"))
ORDERED = Quorum((GroupQuorum("finance", 2), GroupQuorum("legal", 1)), ordered=True, window_ns=10 * MINUTE)


def refused(certificate: DecisionCertificate, match: str, trust: Trust = TRUST, now: int | None = None) -> None:
    with pytest.raises(SignatureVerificationFailed, match=match) as error:
        certificate.verify(trust, now=now)
    assert error.value.code == "PL-305"


def test_verifies_from_its_bytes_with_public_keys_alone() -> None:
    decoded = DecisionCertificate.decode(VALID.encode())
    assert decoded.verify(TRUST, now=MANUAL_START + 5 * MINUTE) == (ANN, BOB, CYD)


def test_more_votes_than_needed_are_welcome() -> None:
    signed(statement(), (ANN, "finance"), (BOB, "finance"), (DAN, "finance"), (CYD, "legal")).verify(TRUST)


def test_a_denial_is_a_decision_too() -> None:
    denied = statement(Quorum((GroupQuorum("legal", 1),)), verdict=Verdict.DENIED)
    assert signed(denied, (CYD, "legal")).verify(TRUST) == (CYD,)


def test_in_order() -> None:
    signed(statement(ORDERED), (ANN, "finance"), (BOB, "finance"), (CYD, "legal")).verify(TRUST)


def test_too_few_in_one_group_though_enough_in_all() -> None:
    refused(signed(statement(), (ANN, "legal"), (BOB, "finance"), (CYD, "legal"), (DAN, "legal")), "quorum of finance")


def test_no_votes() -> None:
    refused(DecisionCertificate(statement()), "quorum of finance")


def test_one_human_is_one_vote_in_two_groups() -> None:
    refused(signed(statement(), (ANN, "finance"), (BOB, "finance"), (ANN, "legal")), "distinct humans")


def test_one_human_is_one_vote_with_two_keys() -> None:
    twice = signed(statement(), (ANN, "finance"), (CYD, "legal"))
    refused(twice.signed_by(ANNS_OTHER_KEY, ANN, "finance", MANUAL_START + 9 * MINUTE), "distinct humans")


def test_one_key_is_one_human() -> None:
    with pytest.raises(InvalidInput, match="one person per key"):
        Trust.of(CLUSTER, [*HUMANS, Human(PersonId("eve"), (KEYS[ANN].public,), frozenset({"finance"}))])


def test_a_key_listed_twice_for_one_person_is_one_key() -> None:
    Trust.of(CLUSTER, [Human(ANN, (KEYS[ANN].public, KEYS[ANN].public), frozenset({"finance"}))])


def test_another_humans_key() -> None:
    seat = VALID.seats[1]
    forged = msgspec.structs.replace(seat, person=DAN)
    refused(DecisionCertificate(VALID.statement, (VALID.seats[0], forged, VALID.seats[2])), "key")


def test_unknown_human() -> None:
    refused(VALID, "a human whose keys are known", Trust.of(CLUSTER, HUMANS[:2]))


def test_a_group_they_are_not_of() -> None:
    refused(signed(statement(), (ANN, "finance"), (CYD, "finance"), (DAN, "legal")), "a group of cyd")


def test_a_group_that_was_not_asked() -> None:
    only_finance = statement(Quorum((GroupQuorum("finance", 1),)))
    refused(signed(only_finance, (BOB, "finance"), (CYD, "legal")), "a group of the quorum")


def test_who_is_excluded() -> None:
    refused(signed(statement(excluded=(BOB,)), (ANN, "finance"), (BOB, "finance"), (CYD, "legal")), "other than who")


def test_the_one_who_asks() -> None:
    refused(signed(statement(agent=BOB), (ANN, "finance"), (BOB, "finance"), (CYD, "legal")), "other than who")


def test_a_quorum_of_nobody_cannot_be_written() -> None:
    for quorum in (Quorum(()), Quorum((GroupQuorum("finance", 0),))):
        with pytest.raises(InvalidInput):
            DecisionCertificate.decode(DecisionCertificate(statement(quorum)).encode())


def test_a_group_named_twice() -> None:
    twice = statement(Quorum((GroupQuorum("finance", 2), GroupQuorum("finance", 1))))
    refused(signed(twice, (ANN, "finance")), "a group twice")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tenant", TenantId("other")),
        ("request_id", RequestId("req-2")),
        ("agent", AgentId("agent:nhi:ed25519:y")),
        ("action", "payments.refund"),
        ("resource", "metering:invoice:43"),
        ("arguments_digest", digest(b'{"amount":"1250"}')),
        ("policy_id", PolicyId("small-payments")),
        ("policy_version", 8),
        ("verdict", Verdict.DENIED),
        ("quorum", Quorum((GroupQuorum("finance", 1), GroupQuorum("legal", 1)))),
        ("not_before", MANUAL_START - 1),
        ("not_after", MANUAL_START + 61 * MINUTE),
        ("shown_digest", digest(b"another picture")),
        ("excluded", (DAN,)),
    ],
)
def test_nothing_in_the_statement_can_be_changed(field: str, value: object) -> None:
    changed = msgspec.structs.replace(VALID.statement, **{field: value})
    refused(DecisionCertificate(changed, VALID.seats), "the signature of ann")


@pytest.mark.parametrize("cluster", [Cluster("prod", 4), Cluster("staging", 3)])
def test_signatures_are_not_used_in_another_epoch_or_installation(cluster: Cluster) -> None:
    refused(VALID, "cluster", Trust.of(cluster, HUMANS))
    moved = DecisionCertificate(msgspec.structs.replace(VALID.statement, cluster=cluster), VALID.seats)
    refused(moved, "the signature of ann", Trust.of(cluster, HUMANS))


@pytest.mark.parametrize("change", [{"group": "legal"}, {"signed_at": MANUAL_START + 2}])
def test_nothing_in_a_seat_can_be_changed(change: dict[str, Any]) -> None:
    anyone = signed(
        statement(Quorum((GroupQuorum("finance", 1), GroupQuorum("legal", 1)))), (DAN, "finance"), (ANN, "legal")
    )
    seats = (
        msgspec.structs.replace(anyone.seats[0], group="legal"),
        msgspec.structs.replace(anyone.seats[1], group="finance"),
    )
    refused(DecisionCertificate(anyone.statement, seats), "the signature of dan")
    seat = msgspec.structs.replace(VALID.seats[0], signed_at=MANUAL_START + 2)
    refused(DecisionCertificate(VALID.statement, (seat, *VALID.seats[1:])), "the signature of ann")


def test_a_signature_for_another_purpose() -> None:
    seat = VALID.seats[0]
    other = KEYS[ANN].sign(seat.signed_bytes(VALID.statement), b"creto/event/v1")
    refused(
        DecisionCertificate(VALID.statement, (msgspec.structs.replace(seat, signature=other), *VALID.seats[1:])),
        "the signature of ann",
    )


def test_a_weaker_suite() -> None:
    weak = SigningKey.generate(SignatureSuite.ED25519)
    one = statement(Quorum((GroupQuorum("finance", 1),)))
    certificate = DecisionCertificate(one).signed_by(weak, BOB, "finance", MANUAL_START + MINUTE)
    humans = [Human(BOB, (weak.public,), frozenset({"finance"}))]
    refused(certificate, "suite", Trust.of(CLUSTER, humans))
    certificate.verify(Trust.of(CLUSTER, humans, [SignatureSuite.ED25519]))


@pytest.mark.parametrize("now", [MANUAL_START - 1, MANUAL_START + 60 * MINUTE + 1, 2**62])
def test_outside_its_validity_it_is_evidence_only(now: int) -> None:
    VALID.verify(TRUST)
    refused(VALID, "now", now=now)


def test_signed_outside_its_validity() -> None:
    late = VALID.signed_by(KEYS[DAN], DAN, "legal", MANUAL_START + 61 * MINUTE)
    refused(late, "signed_at")


def test_a_validity_that_ends_before_it_begins() -> None:
    refused(signed(statement(not_after=MANUAL_START - 1), (ANN, "finance")), "validity")


def test_longer_than_the_window() -> None:
    quick = statement(Quorum(FINANCE_AND_LEGAL.groups, window_ns=90 * SECOND))
    refused(signed(quick, (ANN, "finance"), (BOB, "finance"), (CYD, "legal")), "window")


def test_out_of_order() -> None:
    refused(signed(statement(ORDERED), (CYD, "legal"), (ANN, "finance"), (BOB, "finance")), "the groups in order")


def test_seats_swapped_in_an_ordered_quorum() -> None:
    a, b, c = signed(statement(ORDERED), (ANN, "finance"), (BOB, "finance"), (CYD, "legal")).seats
    refused(DecisionCertificate(statement(ORDERED), (b, a, c)), "previous|order")


def test_a_seat_taken_out_of_the_chain() -> None:
    four = signed(statement(ORDERED), (ANN, "finance"), (DAN, "finance"), (BOB, "finance"), (CYD, "legal"))
    refused(DecisionCertificate(four.statement, (four.seats[0], *four.seats[2:])), "previous")


def test_a_chain_whose_beginning_was_cut() -> None:
    four = signed(statement(ORDERED), (ANN, "finance"), (DAN, "finance"), (BOB, "finance"), (CYD, "legal"))
    refused(DecisionCertificate(four.statement, four.seats[1:]), "previous")


def test_one_spelling_only() -> None:
    data = VALID.encode()
    for other in (data.replace(b"{", b"{ ", 1), data.replace(b"ann", b"\\u0061nn", 1), data + b" "):
        with pytest.raises(InvalidInput, match="spelling"):
            DecisionCertificate.decode(other)


def test_binds_names_what_differs() -> None:
    decided = VALID.statement
    asked: dict[str, Any] = {
        field: getattr(decided, field)
        for field in ("tenant", "request_id", "agent", "action", "resource", "arguments_digest", "policy_version")
    }
    VALID.binds(**asked)
    for field in asked:
        with pytest.raises(SignatureVerificationFailed, match=field):
            VALID.binds(**(asked | {field: "another"}))
    with pytest.raises(SignatureVerificationFailed, match="verdict"):
        VALID.binds(**asked, verdict=Verdict.DENIED)


def test_errors_hold_no_private_bytes() -> None:
    with pytest.raises(EnablementError) as error:
        DecisionCertificate(VALID.statement, VALID.seats[:1]).verify(TRUST)
    assert KEYS[ANN].private_bytes().hex() not in error.value.rendered()
