"""Decisions as evidence: what a human signed, and the file that proves a decision to anybody.

    ballot = service.ballot(…)                       # everything the vote is bound to
    signed = sign(ballot, key)                       # by the human's own key: A3
    signed = attest(ballot, layer_key, evidence, Assurance.RELAYED)      # by the service, with what the channel proved: A0 to A2
    signed = witness(ballot, layer_key, enrolled, assertion, evidence)   # by the human's passkey over the ballot, and by the service: A3
    DecisionFile.decode(data).verify(keys)           # offline, public keys alone; raises OV-401

INVARIANT: a ballot binds installation, tenant, request, round, tier, agent, act, resource, arguments, what was shown, policy text and version,
verdict, human, seat, nonce and time. Change one and no signature fits.
INVARIANT: a vote that the service relayed never looks like one that the human signed.
INVARIANT: a passkey's challenge is the ballot itself; that it is this human's passkey is the service's word, and its hybrid signature is over all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import msgspec

from creto.common import wire
from creto.common.errors import InvalidInput, SignatureVerificationFailed
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.limits import OVERSIGHT_DECISION_BYTES_MAX
from creto.common.timestamps import ConsensusTimestamp, iso
from creto.contracts import TimeoutAction
from creto.oversight.display import assurance_label
from creto.oversight.policies import policy_hash
from creto.oversight.quorum import Vote, tally
from creto.oversight.types import Assurance, Bound, Channel, GrantWish, OversightPolicy, RequestState, Strict, Verdict
from creto.platform.audit.types import Verdict as FileVerdict
from creto.platform.audit.verify_file import Keys, register
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
    """A vote in a file, with the seat that the service found for it."""

    seat: PersonId
    groups: tuple[str, ...]
    signed: SignedBallot

    def vote(self) -> Vote:
        ballot = self.signed.ballot
        return Vote(
            person=ballot.person, seat=self.seat, groups=self.groups, verdict=ballot.verdict, round=ballot.round,
            items=ballot.items,
        )  # fmt: skip


class DecisionFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=False, forbid_unknown_fields=True):
    """A decision with everything it rests on, sealed by the service."""

    kind: str = FILE_KIND
    installation: str
    tenant: TenantId
    request_id: RequestId
    round: int
    agent: AgentId
    action: str
    resource: str
    args_hash: bytes
    display_hash: bytes
    approved_hash: bytes | None  # of the arguments that may be executed
    policy: OversightPolicy
    items: tuple[str, ...]
    approved_items: tuple[str, ...]
    excluded: tuple[PersonId, ...]
    state: RequestState
    created_at: ConsensusTimestamp
    decided_at: ConsensusTimestamp
    decided_by: PersonId | None
    final_action: TimeoutAction | None
    grant_id: str | None
    reason: str
    votes: tuple[CastVote, ...]
    service_key: bytes
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
            raise InvalidInput.of("decision", got="another spelling", expected="the canonical bytes")
        return decision

    def verify(self, agents: Mapping[AgentId, bytes], service: AgentId | None = None) -> tuple[PersonId, ...]:
        """Who decided. `agents` are the keys that the verifier trusts, the service's among them; OV-401 for what does not hold."""
        if self.state.open:
            raise unproved("state", str(self.state), "a decision")
        services = {known for nhi, known in agents.items() if service in (None, nhi)}
        if self.service_key not in services:
            raise unproved("service_key", "a key that is not trusted", "the service's key (--agents)")
        layer = VerifyKey.from_bytes(self.service_key)
        if layer.suite not in SUITES:
            raise unproved("service_key", layer.suite.name, "a hybrid key")
        try:
            layer.verify(self.signed_bytes(), self.signature, FILE_CONTEXT)
            for vote in self.votes:
                self._check_bound(vote)
                self._check_signed(vote, agents, layer)
        except SignatureVerificationFailed as error:
            if error.code == "OV-401":
                raise
            raise SignatureVerificationFailed(
                "OV-401", f"a signature does not hold: {error.message}", caused_by=error
            ) from error
        self._check_outcome()
        return tuple(
            dict.fromkeys(vote.signed.ballot.person for vote in self.votes if vote.signed.ballot.round == self.round)
        )

    def _check_bound(self, vote: CastVote) -> None:
        """A vote of the last round is about exactly this; an earlier one about this request."""
        ballot = vote.signed.ballot
        fields = ["installation", "tenant", "request_id", "agent", "action", "resource"]
        if ballot.round == self.round:
            fields += ["args_hash", "display_hash"]
        for field in fields:
            if getattr(ballot, field) != getattr(self, field):
                raise unproved(f"vote.{field}", getattr(ballot, field), getattr(self, field))
        policy = (ballot.policy_id, ballot.policy_version, ballot.policy_hash)
        if policy != (self.policy.policy_id, self.policy.version, policy_hash(self.policy)):
            raise unproved(
                "vote.policy", f"{ballot.policy_id} version {ballot.policy_version}", "the policy of this file"
            )
        if {ballot.person, vote.seat} & set(self.excluded):
            raise unproved("vote.person", ballot.person, "somebody other than the agent, its owner and its ancestors")

    def _check_signed(self, vote: CastVote, agents: Mapping[AgentId, bytes], layer: VerifyKey) -> None:
        if vote.signed.by_service:
            vote.signed.verify(layer)
            return
        known = agents.get(vote.signed.ballot.approver)
        if known is None:
            raise unproved("vote.approver", vote.signed.ballot.approver, "an approver whose key is known (--agents)")
        vote.signed.verify(VerifyKey.from_bytes(known))

    def _check_outcome(self) -> None:
        """The votes say what the file says; silence and a cancellation need none.

        A denial short of the policy's number denies when the others could not make it an approval: who they were is the service's word.
        """
        votes = [vote.vote() for vote in self.votes]
        if self.grant_id is not None or self.state in (RequestState.TIMED_OUT, RequestState.CANCELLED):
            return
        counts = [tally(self.policy.quorum, votes, round=self.round, item=item) for item in self.items or (None,)]
        approved = any(one.verdict is Verdict.APPROVE for one in counts)
        denied = all(one.verdict is Verdict.DENY or (one.verdict is None and one.denials) for one in counts)
        if not (approved if self.state is RequestState.APPROVED else denied):
            raise unproved("quorum", f"{len(self.votes)} votes", f"the votes that make it {self.state}")


def spelled(decision: DecisionFile) -> bytes:
    """Sorted within, the kind in front, so that a reader knows the file by its first bytes."""
    rest = msgspec.structs.asdict(decision)
    kind = rest.pop("kind")
    return b'{"kind":' + wire.encode(kind) + b"," + wire.encode(rest)[1:]


def is_decision_file(data: bytes) -> bool:
    return data.startswith(FILE_HEAD)


def verify_decision_file(data: bytes, keys: Keys) -> FileVerdict:
    """As evidence: what was decided, by whom, how sure it is that it was them."""
    if not keys.agents:
        raise InvalidInput.of(
            "keys", got="no keys of identities", expected="the service's and the approvers' keys (--agents)"
        )
    decision = DecisionFile.decode(data.strip())
    people = decision.verify(keys.agents)
    last = [vote.signed for vote in decision.votes if vote.signed.ballot.round == decision.round]
    return FileVerdict(
        "oversight decision",
        (
            f"{decision.state}: {decision.action} on {decision.resource} by {decision.agent}, at {iso(decision.decided_at)}",
            f"under the policy {decision.policy.policy_id} version {decision.policy.version}",
            *((f"nobody decided in time, which is {decision.final_action}",) if decision.final_action else ()),
            *(f"{one.ballot.verdict} by {one.ballot.person} ({one.label})" for one in last),
        ),
        {
            "request_id": decision.request_id,
            "state": str(decision.state),
            "people": people,
            "assurance": [one.label for one in last],
        },
    )


def unproved(field: str, got: object, expected: object) -> SignatureVerificationFailed:
    return SignatureVerificationFailed.of(field, got=got, expected=expected, code="OV-401")


register("oversight decision", is_decision_file, verify_decision_file)
