"""Decision certificates: k of n distinct humans decided this, provable to anyone who has their public keys.

    statement = Statement(cluster, tenant, request_id, agent, action, resource, …, quorum=Quorum((GroupQuorum("finance", 2),)))
    certificate = DecisionCertificate(statement).signed_by(key_of_ann, "ann", "finance", clock.now())
    certificate = certificate.signed_by(key_of_bob, "bob", "finance", clock.now())
    data = certificate.encode()                                     # a small file
    DecisionCertificate.decode(data).verify(trust, now=clock.now())   # public keys alone; raises PL-305

Every human signs the same bytes, the statement, followed by their own seat: who they are, for which group, when, and in an ordered
quorum after whose signature.

INVARIANT: a certificate that verifies holds, for each group of the quorum, its number of distinct humans of that group; one human is one
vote whatever keys and groups they have, and one key is one human.
INVARIANT: nothing in it can be changed or used for another request, arguments, policy version, tenant, cluster or epoch: all that is signed.
INVARIANT: one wrong signature spoils the whole; there is no surplus that nobody checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, SignatureVerificationFailed
from creto.common.ids import AgentId, Name, PolicyId, RequestId, TenantId
from creto.common.limits import CERTIFICATE_SEATS_MAX, DECISION_CERTIFICATE_BYTES_MAX
from creto.common.timestamps import iso
from creto.platform.consensus.reading import Cluster, Count
from creto.platform.consensus.types import PersonId, Signer
from creto.platform.crypto import SignatureSuite, SigningKey, VerifyKey, digest

DECISION_CONTEXT = b"creto/decision/v1"
Votes = Annotated[int, msgspec.Meta(ge=1, le=CERTIFICATE_SEATS_MAX)]
Digest = Annotated[bytes, msgspec.Meta(min_length=1, max_length=65)]


class Verdict(StrEnum):
    APPROVED = "approved"
    DENIED = "denied"


class GroupQuorum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many distinct members of this group. Zero is not a quorum."""

    group: Name
    required: Votes


class Quorum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the policy demands for this verdict."""

    groups: Annotated[tuple[GroupQuorum, ...], msgspec.Meta(min_length=1, max_length=CERTIFICATE_SEATS_MAX)]
    ordered: bool = False  # the groups in their order, each signature over the one before
    window_ns: Count = 0  # between the first and the last signature; 0: the statement's validity is the window


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was decided: the bytes that all of them sign."""

    cluster: Cluster  # the installation and its epoch: a signature counts there and nowhere else
    tenant: Annotated[TenantId, msgspec.Meta(min_length=1)]
    request_id: Annotated[RequestId, msgspec.Meta(min_length=1)]
    agent: AgentId  # who wants to act
    action: Name
    resource: Annotated[str, msgspec.Meta(min_length=1, max_length=2048)]
    arguments_digest: Digest  # with its suite in front
    policy_id: Annotated[PolicyId, msgspec.Meta(min_length=1)]
    policy_version: Count
    verdict: Verdict
    quorum: Quorum
    not_before: Count
    not_after: Count
    shown_digest: bytes = b""  # of what the approvers were shown
    excluded: tuple[PersonId, ...] = ()  # who may not decide: the agent's owner and its ancestors

    def canonical_bytes(self) -> bytes:
        return wire.encode(self)


class Seat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One human's signature, and what it says about itself."""

    person: Annotated[PersonId, msgspec.Meta(min_length=1)]
    group: Name
    key: bytes  # which of the person's keys: suite and public key
    signed_at: Count
    previous: bytes = b""  # in an ordered quorum: the digest of the seat before
    signature: bytes = b""

    def signed_bytes(self, statement: Statement) -> bytes:
        """The statement, the same for all, then this seat. JSON holds no raw newline, so the border is clear."""
        return statement.canonical_bytes() + b"\n" + wire.encode(msgspec.structs.replace(self, signature=b""))

    def link(self) -> bytes:
        """What the next seat of an ordered quorum commits to."""
        return digest(wire.encode(self))


class Human(msgspec.Struct, frozen=True):
    """An approver as the verifier knows them."""

    person: PersonId
    keys: tuple[VerifyKey, ...]
    groups: frozenset[str]


class Trust(msgspec.Struct, frozen=True):
    """What a verifier holds: which installation it speaks of, who the humans are, which suites it accepts."""

    cluster: Cluster
    humans: Mapping[PersonId, Human]
    suites: frozenset[SignatureSuite] = frozenset({SignatureSuite.HYBRID})

    @staticmethod
    def of(cluster: Cluster, humans: Sequence[Human], suites: Sequence[SignatureSuite] = ()) -> Trust:
        known = {human.person: human for human in humans}
        owners = {(key, human.person) for human in humans for key in human.keys}
        if len(known) != len(humans) or len({key for key, _ in owners}) != len(owners):
            raise InvalidInput.of(
                "humans", got="a person or a key twice", expected="one entry per person, one person per key"
            )
        return Trust(cluster, known, frozenset(suites or (SignatureSuite.HYBRID,)))


class DecisionCertificate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    statement: Statement
    seats: Annotated[tuple[Seat, ...], msgspec.Meta(max_length=CERTIFICATE_SEATS_MAX)] = ()

    def with_seat(self, seat: Seat) -> DecisionCertificate:
        return DecisionCertificate(self.statement, (*self.seats, seat))

    def signed_by(self, key: SigningKey, person: PersonId, group: str, now: int) -> DecisionCertificate:
        """With one more human's vote."""
        return self.with_seat(sign_seat(self, key, key.public, person, group, now))

    def encode(self) -> bytes:
        return wire.encode(self)

    @staticmethod
    def decode(data: bytes) -> DecisionCertificate:
        """Exactly one spelling of a certificate is read: what `encode` writes."""
        if len(data) > DECISION_CERTIFICATE_BYTES_MAX:
            raise InvalidInput.of(
                "certificate", got=f"{len(data)} bytes", expected=f"at most {DECISION_CERTIFICATE_BYTES_MAX} bytes"
            )
        certificate = wire.decode(data, DecisionCertificate, what="certificate")
        if certificate.encode() != data:
            raise InvalidInput.of("certificate", got="another spelling", expected="the canonical bytes")
        return certificate

    def verify(self, trust: Trust, *, now: int | None = None) -> tuple[PersonId, ...]:
        """Who decided, in order; PL-305 with the rule that is broken.

        `now` is when it is to be acted upon. Without it the certificate is judged as evidence: it was valid when it was signed.
        """
        check_validity(self.statement, trust, now)
        check_people(self, trust)
        check_quorum(self)
        check_times(self)
        if self.statement.quorum.ordered:
            check_order(self)
        for seat in self.seats:
            check_signature(self.statement, seat, trust)
        return tuple(seat.person for seat in self.seats)

    def binds(
        self,
        *,
        tenant: str,
        request_id: str,
        agent: str,
        action: str,
        resource: str,
        arguments_digest: bytes,
        policy_version: int,
        verdict: Verdict = Verdict.APPROVED,
    ) -> None:
        """Whether this is the operation it decided; PL-305 names the part that differs."""
        asked = locals()
        for field in (
            "tenant",
            "request_id",
            "agent",
            "action",
            "resource",
            "arguments_digest",
            "policy_version",
            "verdict",
        ):
            if getattr(self.statement, field) != asked[field]:
                raise invalid(field, asked[field], getattr(self.statement, field))


def sign_seat(
    certificate: DecisionCertificate, key: Signer, public: VerifyKey, person: PersonId, group: str, now: int
) -> Seat:
    """A human's vote, to be appended to the certificate as it stands; for keys whose private half lives elsewhere."""
    ordered = certificate.statement.quorum.ordered
    previous = certificate.seats[-1].link() if ordered and certificate.seats else b""
    seat = Seat(person, group, public.to_bytes(), now, previous)
    return msgspec.structs.replace(seat, signature=key.sign(seat.signed_bytes(certificate.statement), DECISION_CONTEXT))


def check_validity(statement: Statement, trust: Trust, now: int | None) -> None:
    if statement.cluster != trust.cluster:
        raise invalid("cluster", statement.cluster, trust.cluster)
    if statement.not_before > statement.not_after:
        raise invalid("validity", "an end before its beginning", "not_before at or before not_after")
    if now is not None and not statement.not_before <= now <= statement.not_after:
        raise invalid("now", now_text(now), f"{now_text(statement.not_before)} to {now_text(statement.not_after)}")


def check_people(certificate: DecisionCertificate, trust: Trust) -> None:
    """Known, allowed, of the group they sat for, with a key of their own; each once."""
    persons: set[str] = set()
    keys: set[bytes] = set()
    excluded = {*certificate.statement.excluded, PersonId(certificate.statement.agent)}
    for seat in certificate.seats:
        human = trust.humans.get(seat.person)
        if human is None:
            raise invalid("person", seat.person, "a human whose keys are known")
        if seat.person in excluded:
            raise invalid("person", seat.person, "somebody other than who asked, or owns the agent")
        if seat.group not in human.groups:
            raise invalid("group", seat.group, f"a group of {seat.person}")
        if seat.person in persons or seat.key in keys:
            raise invalid("seats", f"{seat.person} or their key twice", "distinct humans with distinct keys")
        if seat.key not in {key.to_bytes() for key in human.keys}:
            raise invalid("key", "a key that is not theirs", f"a known key of {seat.person}")
        persons.add(seat.person)
        keys.add(seat.key)


def check_quorum(certificate: DecisionCertificate) -> None:
    """Each group has its own number, no group is left out, none is there that was not asked."""
    required = {rule.group: rule.required for rule in certificate.statement.quorum.groups}
    if len(required) != len(certificate.statement.quorum.groups):
        raise invalid("quorum", "a group twice", "each group once")
    counted = dict.fromkeys(required, 0)
    for seat in certificate.seats:
        if seat.group not in counted:
            raise invalid("group", seat.group, "a group of the quorum")
        counted[seat.group] += 1
    for group, votes in counted.items():
        if votes < required[group]:
            raise invalid(f"quorum of {group}", f"{votes} votes", f"{required[group]} votes")


def check_times(certificate: DecisionCertificate) -> None:
    statement = certificate.statement
    times = [seat.signed_at for seat in certificate.seats]
    for time in times:
        if not statement.not_before <= time <= statement.not_after:
            raise invalid(
                "signed_at", now_text(time), f"{now_text(statement.not_before)} to {now_text(statement.not_after)}"
            )
    window = statement.quorum.window_ns
    if window and max(times) - min(times) > window:
        raise invalid("window", f"{max(times) - min(times)} ns", f"at most {window} ns")


def check_order(certificate: DecisionCertificate) -> None:
    """The groups in the quorum's order, later seats signed later, each over the one before."""
    rank = {rule.group: i for i, rule in enumerate(certificate.statement.quorum.groups)}
    if certificate.seats[0].previous:
        raise invalid("previous", "a seat before the first", "none")
    for before, seat in zip(certificate.seats, certificate.seats[1:], strict=False):
        if rank[seat.group] < rank[before.group] or seat.signed_at <= before.signed_at:
            raise invalid("order", f"{seat.person} after {before.person}", "the groups in order, each signature later")
        if seat.previous != before.link():
            raise invalid("previous", seat.previous.hex(), before.link().hex())


def check_signature(statement: Statement, seat: Seat, trust: Trust) -> None:
    key = VerifyKey.from_bytes(seat.key)
    if key.suite not in trust.suites:
        raise invalid("suite", key.suite.name, " or ".join(sorted(suite.name for suite in trust.suites)))
    try:
        key.verify(seat.signed_bytes(statement), seat.signature, DECISION_CONTEXT)
    except SignatureVerificationFailed as error:
        raise SignatureVerificationFailed(
            "PL-305", f"the signature of {seat.person} is not valid", caused_by=error
        ) from error


def invalid(field: str, got: object, expected: object) -> SignatureVerificationFailed:
    return SignatureVerificationFailed.of(field, got=got, expected=expected, code="PL-305")


def now_text(time: int) -> str:
    """RFC 3339; a time beyond what a calendar holds, as a number."""
    try:
        return iso(time)
    except (OverflowError, ValueError, OSError):
        return str(time)
