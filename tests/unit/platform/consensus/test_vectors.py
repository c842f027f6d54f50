"""Public adversarial cases of multi-party approval (Emilia protocol), each with its predicate, on our own rules.

Their signatures are WebAuthn assertions of P-256 keys, ours are hybrid signatures: each case is rebuilt with keys of ours in the place of
theirs, from the facts in the case itself: who signs in which role, when, over which action, after whom, with which key, and whether the
signature verifies. Then their verdict must be ours. Cases that have no counterpart here are listed with the reason.
"""

from __future__ import annotations

import base64
import hashlib
import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from tests.unit.platform.consensus.fakes import FakeLocal
from tests.unit.platform.consensus.quorums import agree_now, cluster

from creto.common.errors import EnablementError, SignatureVerificationFailed
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.timestamps import HOUR, MILLISECOND, SECOND, from_iso
from creto.platform.consensus import (
    Cluster,
    DecisionCertificate,
    GroupQuorum,
    Human,
    PersonId,
    Quorum,
    QuorumClock,
    Seat,
    Statement,
    Trust,
    Verdict,
    sign_seat,
)
from creto.platform.consensus.certificate import DECISION_CONTEXT
from creto.platform.consensus.node import TimeNode, node_id
from creto.platform.consensus.reading import Question, Reading, verified
from creto.platform.crypto import SignatureSuite, SigningKey, digest

NOT_OURS = {
    "reject_lifecycle_uv_absent": "flags of a WebAuthn authenticator: checked where passkeys are read, at the channel",
    "reject_lifecycle_up_absent": "flags of a WebAuthn authenticator: checked where passkeys are read, at the channel",
    "revocation.exec": "revocation statements: identities and links are revoked in nhi, online, not by statement",
    "consumption-proof": "one-time consumption: an override token's atomic pop and the idempotency guard, not a sparse tree",
    "canonicalization accept_*": "digests of another canonical form (JCS); a certificate has one spelling, ours",
    "canonicalization reject_*integer*, reject_non_integer_real, reject_*exponent": "numbers of arbitrary documents; a certificate's "
    "fields are typed",
    "canonicalization reject_nested_depth_over_limit": "a certificate has a fixed depth",
}
CLUSTER = Cluster("vectors", 1)
HYBRID_KEYS: dict[str, SigningKey] = {}


def cases(vectors: Path, suite: str) -> dict[str, dict[str, Any]]:
    return {case["id"]: case for case in json.loads((vectors / "quorum" / suite).read_text())["vectors"]}


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def ours(their_key: str) -> SigningKey:
    """One hybrid key of ours for each key of theirs: the same key twice stays the same key twice."""
    if their_key not in HYBRID_KEYS:
        HYBRID_KEYS[their_key] = SigningKey.generate()
    return HYBRID_KEYS[their_key]


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def assertion_verifies(signoff: dict[str, Any], their_key: str) -> bool:
    """Their cryptography, with their key: is it a signature over this context?"""
    webauthn = signoff["webauthn"]
    client_data = unpadded(webauthn["client_data_json"])
    if unpadded(json.loads(client_data)["challenge"]) != hashlib.sha256(canonical(signoff["context"])).digest():
        return False
    key = load_der_public_key(unpadded(their_key))
    assert isinstance(key, EllipticCurvePublicKey)
    signed = unpadded(webauthn["authenticator_data"]) + hashlib.sha256(client_data).digest()
    try:
        key.verify(unpadded(webauthn["signature"]), signed, ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True


def statement(case: dict[str, Any]) -> Statement:
    policy = case["policy"]
    first = case["members"][0]["signoff"]["context"]
    groups = tuple(GroupQuorum(approver["role"], 1) for approver in policy["approvers"])
    if policy["mode"] == "threshold":
        groups = (GroupQuorum("approvers", policy["required"]),)
    times = [from_iso(member["signoff"]["context"]["issued_at"]) for member in case["members"]]
    return Statement(
        cluster=CLUSTER,
        tenant=TenantId("vectors"),
        request_id=RequestId("request"),
        agent=AgentId(first["initiator"]),
        action="act",
        resource="resource",
        arguments_digest=digest(case["action_hash"].encode()),
        policy_id=PolicyId(first["policy"]),
        policy_version=1,
        verdict=Verdict.APPROVED,
        quorum=Quorum(groups, policy["mode"] == "ordered", policy["window_sec"] * SECOND),
        not_before=min(times),
        not_after=max(times) + HOUR,
        excluded=(PersonId(first["initiator"]),),
    )


def rebuilt(case: dict[str, Any]) -> tuple[DecisionCertificate, Trust]:
    """Their quorum as our certificate, flaws included."""
    decided = statement(case)
    certificate = DecisionCertificate(decided)
    before: dict[str, Any] | None = None
    for member in case["members"]:
        context = member["signoff"]["context"]
        key = ours(member["approver_public_key"])
        group = member["role"] if decided.quorum.ordered else group_of(case, member)
        seat = sign_seat(
            certificate, key, key.public, PersonId(context["approver"]), group, from_iso(context["issued_at"])
        )
        if "prev_context_hash" in context and before is not None:
            linked = context["prev_context_hash"].split(":")[-1] == hashlib.sha256(canonical(before)).hexdigest()
            seat = (
                seat if linked else resigned(decided, msgspec.structs.replace(seat, previous=digest(b"another")), key)
            )
        if context["action_hash"] != case["action_hash"]:
            other = msgspec.structs.replace(decided, arguments_digest=digest(context["action_hash"].encode()))
            seat = resigned(other, seat, key)
        if not assertion_verifies(member["signoff"], member["approver_public_key"]):
            seat = resigned(decided, seat, SigningKey.generate())
        certificate = certificate.with_seat(seat)
        before = context
    return certificate, trust(case)


def group_of(case: dict[str, Any], member: dict[str, Any]) -> str:
    seat = {"role": member["role"], "approver": member["signoff"]["context"]["approver"]}
    return "approvers" if seat in case["policy"]["approvers"] else member["role"]


def trust(case: dict[str, Any]) -> Trust:
    """Who may sit where, from the policy; whose key it is, from the members. A key in two hands is in both their entries."""
    humans = []
    for person in {member["signoff"]["context"]["approver"]: None for member in case["members"]}:
        keys = {m["approver_public_key"] for m in case["members"] if m["signoff"]["context"]["approver"] == person}
        roles = {a["role"] for a in case["policy"]["approvers"] if a["approver"] == person}
        groups = roles if case["policy"]["mode"] == "ordered" else {"approvers"} if roles else {"intern"}
        humans.append(Human(PersonId(person), tuple(ours(key).public for key in sorted(keys)), frozenset(groups)))
    return Trust(CLUSTER, {human.person: human for human in humans})


def resigned(decided: Statement, seat: Seat, key: SigningKey) -> Seat:
    return msgspec.structs.replace(seat, signature=key.sign(seat.signed_bytes(decided), DECISION_CONTEXT))


QUORUM_RULES = {
    "accept_ordered_3of3": None,
    "accept_threshold_2of3": None,
    "reject_under_threshold": "quorum of inspector_general",
    "reject_duplicate_human": "group|distinct humans",
    "reject_out_of_order": "order",
    "reject_action_mismatch": "signature of",
    "reject_expired_window": "window",
    "reject_one_bad_signature": "signature of",
    "reject_wrong_role": "group",
    "reject_broken_chain": "previous",
    "reject_duplicate_key": "distinct humans with distinct keys",
    "reject_initiator_is_approver": "other than who asked",
    "reject_distinct_humans_false_shared_key": "distinct humans with distinct keys",
}


@pytest.mark.parametrize("id", QUORUM_RULES)
def test_quorum(vectors: Path, id: str) -> None:
    case = cases(vectors, "quorum.v1.json")[id]
    certificate, trusted = rebuilt(case["quorum"])
    rule = QUORUM_RULES[id]
    assert case["expect"]["valid"] is (rule is None)
    if rule is None:
        DecisionCertificate.decode(certificate.encode()).verify(trusted)
        return
    with pytest.raises(SignatureVerificationFailed, match=rule) as error:
        certificate.verify(trusted)
    assert error.value.code == "PL-305"


def test_every_quorum_case_has_its_test(vectors: Path) -> None:
    assert set(cases(vectors, "quorum.v1.json")) == set(QUORUM_RULES)


def one_vote(case: dict[str, Any]) -> tuple[Statement, Seat, Trust]:
    """A signoff is a certificate of one: the nonce is our request id, the relying party our cluster."""
    context = case["signoff"]["context"]
    decided = Statement(
        cluster=Cluster(case["rp_id"]),
        tenant=TenantId("vectors"),
        request_id=RequestId(context["nonce"]),
        agent=AgentId(context["initiator"]),
        action="act",
        resource="resource",
        arguments_digest=digest(context["action_hash"].encode()),
        policy_id=PolicyId(context["policy"]),
        policy_version=1,
        verdict=Verdict.APPROVED,
        quorum=Quorum((GroupQuorum("approvers", 1),)),
        not_before=from_iso(context["issued_at"]),
        not_after=from_iso(context["expires_at"]),
    )
    key = ours(case["approver_public_key"])
    person = PersonId(context["approver"])
    seat = sign_seat(DecisionCertificate(decided), key, key.public, person, "approvers", decided.not_before)
    return decided, seat, Trust.of(decided.cluster, [Human(person, (key.public,), frozenset({"approvers"}))])


def flawed(id: str, decided: Statement, seat: Seat, key: SigningKey) -> DecisionCertificate:
    match id:
        case "reject_structural_ceremony_type":
            signature = key.sign(seat.signed_bytes(decided), b"creto/registration/v1")
            return DecisionCertificate(decided, (msgspec.structs.replace(seat, signature=signature),))
        case "reject_crypto_wrong_key":
            return DecisionCertificate(decided, (resigned(decided, seat, SigningKey.generate()),))
        case "reject_crypto_malformed_sig":
            return DecisionCertificate(decided, (msgspec.structs.replace(seat, signature=seat.signature[:9]),))
        case "reject_action_binding_hash":
            return DecisionCertificate(msgspec.structs.replace(decided, arguments_digest=digest(b"another")), (seat,))
        case "reject_action_binding_nonce":
            return DecisionCertificate(msgspec.structs.replace(decided, request_id=RequestId("another")), (seat,))
        case "reject_audience_wrong_rp":
            return DecisionCertificate(msgspec.structs.replace(decided, cluster=Cluster("another")), (seat,))
        case _:
            return DecisionCertificate(decided, (seat,))


SIGNOFFS = [
    "accept_valid",
    "reject_structural_ceremony_type",
    "reject_crypto_wrong_key",
    "reject_crypto_malformed_sig",
    "reject_action_binding_hash",
    "reject_action_binding_nonce",
    "reject_audience_wrong_rp",
]


@pytest.mark.parametrize("id", SIGNOFFS)
def test_signoff(vectors: Path, id: str) -> None:
    case = cases(vectors, "signoffs.v1.json")[id]
    decided, seat, trusted = one_vote(case)
    certificate = flawed(id, decided, seat, ours(case["approver_public_key"]))
    if case["expect"]["valid"]:
        certificate.verify(trusted)
        return
    with pytest.raises(SignatureVerificationFailed) as error:
        certificate.verify(trusted)
    assert error.value.code == "PL-305"


def test_every_signoff_has_its_test_or_its_reason(vectors: Path) -> None:
    assert set(cases(vectors, "signoffs.v1.json")) - set(SIGNOFFS) <= set(NOT_OURS)


WITNESSES = {
    "accept_3_of_3_over_one_head": None,
    "accept_exactly_k": None,
    "reject_k_minus_1": "quorum of witnesses",
    "reject_duplicate_counts_once": "distinct humans",
    "reject_unpinned_ignored": "keys are known",
    "reject_different_head_ignored": "signature of",
}


@pytest.mark.parametrize("id", WITNESSES)
def test_k_of_n_over_one_head(vectors: Path, id: str) -> None:
    """Cosignatures of k witnesses over one head: the same rule as k humans over one statement."""
    case = cases(vectors, "witness.v1.json")[id]
    quorum = case["witness_quorum"]
    pinned = {witness["witness_id"]: witness["public_key"] for witness in quorum["pinned"]}
    head = {name: quorum["checkpoint"][name] for name in ("tree_size", "root_hash", "log_key_id")}

    def decided(over: dict[str, Any]) -> Statement:
        return msgspec.structs.replace(
            WITNESSED, arguments_digest=digest(canonical(over)), quorum=Quorum((GroupQuorum("witnesses", quorum["k"]),))
        )

    certificate = DecisionCertificate(decided(head))
    for cosignature in quorum["cosignatures"]:
        person = PersonId(cosignature["witness_id"])
        key = ours(pinned.get(person, f"unpinned {person}"))
        seat = sign_seat(certificate, key, key.public, person, "witnesses", WITNESSED.not_before)
        over = {name: cosignature[name] for name in head}
        certificate = certificate.with_seat(seat if over == head else resigned(decided(over), seat, key))
    humans = [Human(PersonId(id), (ours(key).public,), frozenset({"witnesses"})) for id, key in pinned.items()]
    rule = WITNESSES[id]
    assert case["expect"]["valid"] is (rule is None)
    if rule is None:
        certificate.verify(Trust.of(CLUSTER, humans))
        return
    with pytest.raises(SignatureVerificationFailed, match=rule):
        certificate.verify(Trust.of(CLUSTER, humans))


WITNESSED = Statement(
    cluster=CLUSTER, tenant=TenantId("vectors"), request_id=RequestId("head"), agent=AgentId("log"), action="witness",
    resource="log", arguments_digest=digest(b""), policy_id=PolicyId("witnesses"), policy_version=1,
    verdict=Verdict.APPROVED, quorum=Quorum((GroupQuorum("witnesses", 1),)), not_before=0, not_after=1,
)  # fmt: skip


def test_every_witness_case_has_its_test(vectors: Path) -> None:
    assert set(cases(vectors, "witness.v1.json")) == set(WITNESSES)


TIMES = {
    "accept_pinned_hash_bounds": None,
    "reject_unpinned_tsa": "node",
    "reject_tsa_key_substitution": "signature is not valid",
    "reject_tampered_time": "signature is not valid",
    "reject_wrong_covered_hash": "nonce",
}


@pytest.mark.parametrize("id", TIMES)
def test_time_attestation(vectors: Path, id: str) -> None:
    """An attested time is a node's reading: the covered hash is our nonce, the pinned authority our pinned node."""
    case = cases(vectors, "time-attestation.v1.json")[id]
    attested = case["time_attestation"]
    pinned = ours_ed25519(next(iter(case["tsa_keys"].values()))["public_key"] if case["tsa_keys"] else "nobody")
    signer = ours_ed25519(attested["proof"]["public_key"])
    authority = attested["ts_authority_id"] if attested["ts_authority_id"] in case["tsa_keys"] else "unpinned"
    expected = (
        node_id(pinned.public)
        if authority != "unpinned"
        else node_id(SigningKey.generate(SignatureSuite.ED25519).public)
    )
    reading = Reading(
        CLUSTER,
        digest(attested["hashed"].encode())[1:],
        node_id(pinned.public),
        from_iso(attested["time"]),
    ).signed(signer)
    if not theirs_verifies(attested):
        reading = msgspec.structs.replace(reading, time=reading.time + 1)
    question = Question(CLUSTER, digest(case.get("expected_hash", attested["hashed"]).encode())[1:])
    rule = TIMES[id]
    assert case["expect"]["valid"] is (rule is None)
    if rule is None:
        assert verified(reading, question, expected, pinned.public) == from_iso(attested["time"])
        return
    with pytest.raises(SignatureVerificationFailed, match=rule) as error:
        verified(reading, question, expected, pinned.public)
    assert error.value.code == "PL-306"


def ours_ed25519(their_key: str) -> SigningKey:
    name = f"ed25519 {their_key}"
    if name not in HYBRID_KEYS:
        HYBRID_KEYS[name] = SigningKey.generate(SignatureSuite.ED25519)
    return HYBRID_KEYS[name]


def theirs_verifies(attested: dict[str, Any]) -> bool:
    key = load_der_public_key(unpadded(attested["proof"]["public_key"]))
    assert isinstance(key, Ed25519PublicKey)
    signed = canonical({name: value for name, value in attested.items() if name != "proof"})
    try:
        key.verify(unpadded(attested["proof"]["signature_b64u"]), signed)
    except InvalidSignature:
        return False
    return True


def test_time_out_of_bounds(vectors: Path) -> None:
    """reject_out_of_bounds_time: the bounds are what the quorum says, give or take the tolerance."""
    case = cases(vectors, "time-attestation.v1.json")["reject_out_of_bounds_time"]
    right, wrong = from_iso(case["not_after"]), from_iso(case["time_attestation"]["time"])
    nodes, peers = cluster(4, lambda: wrong, lambda: right)
    clock = QuorumClock(peers, local=FakeLocal(wall=right))
    assert agree_now(clock, nodes)
    assert not clock.state().nodes[0].taken
    assert abs(clock.now() - right) < MILLISECOND


SPELLINGS = [
    "reject_duplicate_key_literal",
    "reject_duplicate_key_escape_alias",
    "reject_duplicate_key_nested",
    "reject_duplicate_key_non_bmp_alias",
    "reject_lone_high_surrogate",
    "reject_lone_low_surrogate",
    "reject_reversed_surrogate_pair",
    "reject_high_surrogate_then_bmp_escape",
    "reject_lone_surrogate_in_member_name",
]


@pytest.mark.parametrize("id", SPELLINGS)
def test_a_spelling_that_two_readers_may_read_differently(vectors: Path, id: str) -> None:
    """The ill-spelt document in the place of a name inside a certificate that would else verify."""
    text = cases(vectors, "canonicalization.v1.json")[id]["canonicalization"]["input_json"]
    decided, seat, _ = one_vote(cases(vectors, "signoffs.v1.json")["accept_valid"])
    data = DecisionCertificate(decided, (seat,)).encode()
    member = text.strip()[1:-1]
    for spelt in (data.replace(b'{"statement"', b"{" + member.encode() + b',"statement"', 1), text.encode()):
        assert spelt != data
        with pytest.raises(EnablementError):
            DecisionCertificate.decode(spelt)
    again = data.replace(b'"tenant":"vectors"', b'"tenant":"other","tenant":"vectors"', 1)
    with pytest.raises(EnablementError, match="spelling"):
        DecisionCertificate.decode(again)


def test_every_suite_has_its_tests_or_its_reason(vectors: Path) -> None:
    files = {path.name: set(cases(vectors, path.name)) for path in (vectors / "quorum").glob("*.json")}
    assert files.keys() == {
        "quorum.v1.json", "signoffs.v1.json", "witness.v1.json", "time-attestation.v1.json", "canonicalization.v1.json",
        "revocation.exec.v1.json", "consumption-proof.v1.json",
    }  # fmt: skip
    assert files["time-attestation.v1.json"] == {*TIMES, "reject_out_of_bounds_time"}
    others = {id for id in files["canonicalization.v1.json"] if id not in SPELLINGS}
    patterns = [
        p for rule in NOT_OURS if rule.startswith("canonicalization ") for p in rule.split(" ", 1)[1].split(", ")
    ]
    assert [id for id in others if not any(fnmatch(id, pattern) for pattern in patterns)] == []


def test_time_nodes_are_named_by_their_keys() -> None:
    key = SigningKey.generate()
    assert TimeNode(key).node == node_id(key.public)
