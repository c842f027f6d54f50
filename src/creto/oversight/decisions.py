"""Decisions as evidence: what a human signed, and the file that proves a decision to anybody.

    ballot = service.ballot(…)                       # everything the vote is bound to
    signed = sign(ballot, key)                       # by the human's own key: A3
    signed = attest(ballot, layer_key, evidence, Assurance.RELAYED)      # by the service, with what the channel proved: A0 to A2
    signed = witness(ballot, layer_key, enrolled, assertion, evidence)   # by the human's passkey over the ballot, and by the service: A3
    DecisionFile.decode(data)                        # `creto.oversight.proof` says whether it holds

INVARIANT: a ballot binds installation, tenant, request, round, tier, agent, act, resource, arguments, what was shown, policy text and version,
verdict, human, seat, nonce and time. Change one and no signature fits.
INVARIANT: a vote that the service relayed never looks like one that the human signed.
INVARIANT: a passkey's challenge is the ballot itself; that it is this human's passkey is the service's word, and its hybrid signature is over all of it.
"""

from __future__ import annotations

from typing import assert_never

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, SignatureVerificationFailed
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.limits import OVERSIGHT_DECISION_BYTES_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import RiskLevel, TimeoutAction
from creto.oversight.display import assurance_label
from creto.oversight.eligibility import Seating
from creto.oversight.quorum import Vote
from creto.oversight.types import (
    Advance,
    Assurance,
    Backing,
    Bound,
    Channel,
    Grant,
    GrantWish,
    ItemHash,
    OversightPolicy,
    RequestState,
    Strict,
    Verdict,
)
from creto.platform.consensus import PersonId
from creto.platform.crypto import SignatureSuite, SigningKey, VerifyKey
from creto.platform.crypto.webauthn import Assertion, Passkey, checked_assertion

VOTE_CONTEXT = b"creto/oversight/vote/v1"
ATTEST_CONTEXT = b"creto/oversight/attest/v1"
WITNESS_CONTEXT = b"creto/oversight/passkey/v1"
FILE_CONTEXT = b"creto/oversight/decision/v1"
FILE_KIND = "creto/oversight/decision/v1"
FILE_HEAD = b'{"kind":"' + FILE_KIND.encode() + b'"'
PASSKEY_LABEL = "passkey"
SUITES = frozenset({SignatureSuite.HYBRID})  # both Ed25519 and ML-DSA-65, or it is no decision


class Ballot(Strict, frozen=True, kw_only=True):
    """One human's vote, as it is signed."""

    installation: str
    tenant: TenantId
    request_id: RequestId
    round: int
    tier: int
    agent: AgentId
    action: str
    resource: str
    args_hash: bytes
    display_hash: bytes
    risk: RiskLevel = RiskLevel.LOW
    policy_id: PolicyId
    policy_version: int
    policy_hash: bytes
    verdict: Verdict
    person: PersonId
    approver: AgentId  # the identity that decided: the person's key of today
    on_behalf_of: PersonId | None = None
    reason: str = ""
    items: dict[str, Verdict] = {}
    wish: GrantWish | None = None
    counter: tuple[Bound, ...] = ()
    nonce: str
    signed_at: ConsensusTimestamp

    def signed_bytes(self) -> bytes:
        return wire.encode(self)


class Evidence(Strict, frozen=True, kw_only=True):
    """What a channel proved to the service: which account acted, on which message, in which delivery."""

    channel: Channel
    account: str
    message: str = ""
    delivery: str = ""  # the provider's delivery, or the digest of its bytes
    authenticated_at: ConsensusTimestamp | None = None
    method: str = ""


class OwnKey(Strict, frozen=True, kw_only=True, tag="own_key"):
    """The approver's own signature."""

    key: bytes
    signature: bytes


class Attested(Strict, frozen=True, kw_only=True, tag="attested"):
    """The service's signature: it vouches for what the channel proved, not for the human's hand."""

    key: bytes
    assurance: Assurance
    evidence: Evidence
    signature: bytes


class EnrolledPasskey(Strict, frozen=True, kw_only=True):
    """A passkey that a human showed to be theirs, once, in a session."""

    person: PersonId
    passkey: Passkey
    name: str
    enrolled_at: ConsensusTimestamp


class Witnessed(Strict, frozen=True, kw_only=True, tag="passkey"):
    """The approver's passkey signed the ballot; the service signed that, and whose passkey it is."""

    key: bytes
    enrolled: EnrolledPasskey
    assertion: Assertion
    evidence: Evidence
    signature: bytes


class SignedBallot(Strict, frozen=True, kw_only=True):
    ballot: Ballot
    proof: OwnKey | Attested | Witnessed

    @property
    def assurance(self) -> Assurance:
        return self.proof.assurance if isinstance(self.proof, Attested) else Assurance.OWN_KEY

    @property
    def by_service(self) -> bool:
        """Whether the service's signature stands on it, beside the passkey's or alone."""
        return not isinstance(self.proof, OwnKey)

    @property
    def label(self) -> str:
        if isinstance(self.proof, Witnessed):
            return PASSKEY_LABEL
        channel = str(self.proof.evidence.channel) if isinstance(self.proof, Attested) else ""
        return assurance_label(self.assurance, channel)

    @property
    def signature(self) -> bytes:
        return self.proof.signature

    def verify(self, key: VerifyKey) -> None:
        """PL-210 unless `key`, which the caller trusts for this approver or as the service, signed exactly this."""
        if key.suite not in SUITES or self.proof.key != key.to_bytes():
            raise SignatureVerificationFailed.of("key", got="another key", expected=f"{key!r}, hybrid", code="PL-210")
        match self.proof:
            case OwnKey(signature=signature):
                key.verify(self.ballot.signed_bytes(), signature, VOTE_CONTEXT)
            case Attested(signature=signature) as proof:
                key.verify(attested_bytes(self.ballot, proof), signature, ATTEST_CONTEXT)
            case Witnessed(signature=signature) as proof:
                check_passkey(self.ballot, proof.enrolled, proof.assertion)
                key.verify(witnessed_bytes(self.ballot, proof), signature, WITNESS_CONTEXT)
            case _:
                assert_never(self.proof)


def sign(ballot: Ballot, key: SigningKey) -> SignedBallot:
    signature = key.sign(ballot.signed_bytes(), VOTE_CONTEXT)
    return SignedBallot(ballot=ballot, proof=OwnKey(key=key.public.to_bytes(), signature=signature))


def attest(ballot: Ballot, key: SigningKey, evidence: Evidence, assurance: Assurance) -> SignedBallot:
    """Only what the service saw: never the human's own key."""
    if assurance is Assurance.OWN_KEY:
        raise InvalidInput.of(
            "assurance", got="A3", expected="A0 to A2: only the approver's own signature is A3", code="OV-400"
        )
    bare = Attested(key=key.public.to_bytes(), assurance=assurance, evidence=evidence, signature=b"")
    signature = key.sign(attested_bytes(ballot, bare), ATTEST_CONTEXT)
    return SignedBallot(ballot=ballot, proof=msgspec.structs.replace(bare, signature=signature))


def attested_bytes(ballot: Ballot, proof: Attested) -> bytes:
    """The ballot, then what is vouched for. JSON holds no raw newline, so the border is clear."""
    return ballot.signed_bytes() + b"\n" + wire.encode([int(proof.assurance), proof.evidence])


def witness(
    ballot: Ballot, key: SigningKey, enrolled: EnrolledPasskey, assertion: Assertion, evidence: Evidence
) -> SignedBallot:
    """The service's hybrid signature over what the passkey signed: a vote stays proved when the passkey's algorithm no longer is."""
    check_passkey(ballot, enrolled, assertion)
    bare = Witnessed(
        key=key.public.to_bytes(), enrolled=enrolled, assertion=assertion, evidence=evidence, signature=b""
    )
    signature = key.sign(witnessed_bytes(ballot, bare), WITNESS_CONTEXT)
    return SignedBallot(ballot=ballot, proof=msgspec.structs.replace(bare, signature=signature))


def witnessed_bytes(ballot: Ballot, proof: Witnessed) -> bytes:
    return ballot.signed_bytes() + b"\n" + wire.encode([proof.enrolled, proof.assertion, proof.evidence])


def check_passkey(ballot: Ballot, enrolled: EnrolledPasskey, assertion: Assertion) -> None:
    """PL-210 unless this human's passkey signed exactly this ballot."""
    if enrolled.person != ballot.person:
        raise SignatureVerificationFailed.of("passkey", got=enrolled.person, expected=ballot.person, code="PL-210")
    checked_assertion(enrolled.passkey, assertion, challenge=ballot.signed_bytes())


class CastVote(Strict, frozen=True, kw_only=True):
    """A vote that was counted: when, in which seat, and what of the directory gave that seat then.

    `lessened`: for what it still counted in the end, where its human had left some of it.
    """

    seat: PersonId
    groups: tuple[str, ...]
    signed: SignedBallot
    at: ConsensusTimestamp = ConsensusTimestamp(0)
    seating: Seating = Seating()
    shares: dict[str, tuple[str, ...]] = {}
    lessened: Backing | None = None

    @property
    def backing(self) -> Backing:
        return self.lessened or Backing(groups=self.groups, shares=self.shares)

    def vote(self) -> Vote:
        ballot, backing = self.signed.ballot, self.backing
        return Vote(
            person=ballot.person, seat=self.seat, groups=backing.groups, verdict=ballot.verdict, round=ballot.round,
            items=ballot.items, shares=backing.shares,
        )  # fmt: skip


class DecisionFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False, forbid_unknown_fields=True):
    """A decision with everything that it takes to derive it again, sealed by the service.

    `basis` is the decision in which the grant was given that approved this one.
    """

    kind: str = FILE_KIND
    installation: str
    tenant: TenantId
    request_id: RequestId
    round: int
    agent: AgentId
    chain: tuple[AgentId, ...]
    excluded: tuple[PersonId, ...]
    action: str
    resource: str
    args_hash: bytes
    display_hash: bytes
    risk: RiskLevel
    policy: OversightPolicy
    items: tuple[ItemHash, ...]
    break_glass: bool  # it is the review of an act that nobody approved before
    advance: Advance | None  # the calls to be approved in advance that it is about
    state: RequestState
    tier: int  # the highest that was reached
    created_at: ConsensusTimestamp
    deadline_at: ConsensusTimestamp  # of that tier
    decided_at: ConsensusTimestamp
    decided_by: PersonId | None
    final_action: TimeoutAction | None
    reason: str
    approved_hash: bytes | None  # of the arguments that may be executed
    approved_items: tuple[str, ...]
    votes: tuple[CastVote, ...]
    grant: Grant | None  # as it was given
    basis: DecisionFile | None
    service: AgentId
    signature: bytes = b""

    def signed_bytes(self) -> bytes:
        return spelled(msgspec.structs.replace(self, signature=b""))

    def sealed(self, key: SigningKey) -> DecisionFile:
        return msgspec.structs.replace(self, signature=key.sign(self.signed_bytes(), FILE_CONTEXT))

    def encode(self) -> bytes:
        return spelled(self)

    @staticmethod
    def decode(data: bytes) -> DecisionFile:
        """Exactly one spelling is read: what `encode` writes."""
        if len(data) > OVERSIGHT_DECISION_BYTES_MAX:
            raise InvalidInput.of(
                "decision", got=f"{len(data)} bytes", expected=f"{OVERSIGHT_DECISION_BYTES_MAX} at most"
            )
        decision = wire.decode(data, DecisionFile, what="decision")
        if decision.encode() != data or decision.kind != FILE_KIND:
            error = InvalidInput.of(
                "decision", got="another spelling", expected="the canonical bytes, as they were fetched"
            )
            error.hint = "Some tool has rewritten the file: fetch it anew, with `creto approvals decision`."
            raise error
        return decision


def spelled(decision: DecisionFile) -> bytes:
    """Sorted within, the kind in front, so that a reader knows the file by its first bytes."""
    rest = msgspec.structs.asdict(decision)
    kind = rest.pop("kind")
    return b'{"kind":' + wire.encode(kind) + b"," + wire.encode(rest)[1:]


class Headed(msgspec.Struct, frozen=True):
    """Of a file no more than its kind."""

    kind: str = ""


def is_decision_file(data: bytes) -> bool:
    """In whatever spelling: who reads it says what is wrong with another."""
    if data.startswith(FILE_HEAD):
        return True
    try:
        return wire.decode(data, Headed).kind == FILE_KIND
    except InvalidInput:
        return False
