"""One way in for every file that can be verified offline: the file says what it is, the keys say whom to believe.

    verdict = verify_file(Path("invoice.json").read_bytes(), Keys(trust=trust))
    print(*verdict.shows, sep="\n")

Other parts add their kinds (chain, decision, invoice, receipt, attestation) with `register`.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, Unauthorized
from creto.common.ids import AgentId
from creto.common.limits import BODY_BYTES_MAX
from creto.common.timestamps import iso
from creto.platform.audit.batch import BatchProof
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.proof import is_proof, parse_proof
from creto.platform.audit.trust import Trust
from creto.platform.audit.types import Verdict
from creto.platform.audit.verify import contradiction
from creto.platform.consensus import Cluster, Human, PersonId
from creto.platform.consensus import Trust as DecisionTrust
from creto.platform.crypto import VerifyKey
from creto.platform.nhi import PrincipalKind, nhi_of


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A human who may decide: their keys, as VerifyKey bytes, and their groups."""

    person: PersonId
    keys: tuple[bytes, ...]
    groups: tuple[str, ...]


class People(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of which installation, and who decides there."""

    cluster: Cluster
    humans: tuple[Person, ...]

    @staticmethod
    def parse(data: bytes) -> People:
        return wire.decode(data, People, what="people")

    def trust(self) -> DecisionTrust:
        humans = [
            Human(one.person, tuple(VerifyKey.from_bytes(key) for key in one.keys), frozenset(one.groups))
            for one in self.humans
        ]
        return DecisionTrust.of(self.cluster, humans)


class Principal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Whose key it is. All keys of one human are one person; `layer` marks the key with which the installation itself speaks."""

    key: bytes  # VerifyKey bytes
    kind: PrincipalKind
    person: PersonId
    owner: AgentId | None = None
    layer: bool = False


class Keys(msgspec.Struct, frozen=True):
    """Whom to believe."""

    trust: Trust | None = None  # logs and witnesses
    agents: dict[AgentId, Principal] = {}  # humans, services and agents
    trusted: tuple[Checkpoint, ...] = ()  # checkpoints kept from earlier
    people: People | None = None  # the humans who may decide

    def log(self) -> Trust:
        if self.trust is None:
            raise InvalidInput.of("keys", got="no log key", expected="the log's public keys (--keys trust.json)")
        return self.trust


def key_of(agent: AgentId, keys: Keys) -> VerifyKey:
    """The key that the verifier knows for an identity; PL-125 if none, or one that makes another identity."""
    if agent not in keys.agents:
        hint = "`creto agents keys` writes the public keys of an installation's identities."
        raise Unauthorized("PL-125", field="agents", got=agent, expected="an agent whose key is known", hint=hint)
    key = VerifyKey.from_bytes(keys.agents[agent].key)
    if nhi_of(key) != agent:
        raise Unauthorized("PL-125", field="agents", got=nhi_of(key), expected=f"the key of {agent}")
    return key


Recognises = Callable[[bytes], bool]
Verifies = Callable[[bytes, Keys], Verdict]
KINDS: dict[str, tuple[Recognises, Verifies]] = {}


def register(kind: str, recognises: Recognises, verifies: Verifies) -> None:
    """Add a kind of file. `recognises` takes any bytes; `verifies` raises unless all of it holds."""
    KINDS[kind] = (recognises, verifies)


LEAF_BYTES_SHOWN = 1_000  # the file has all of it


def verify_file(data: bytes, keys: Keys) -> Verdict:
    if len(data) > BODY_BYTES_MAX:
        raise InvalidInput("PL-413", "the file is too large", got=len(data), expected=f"at most {BODY_BYTES_MAX} bytes")
    for recognises, verifies in KINDS.values():
        if recognises(data):
            return verifies(data, keys)
    error = InvalidInput.of("file", got="none of these", expected=", ".join(KINDS))
    error.hint = "Some kinds are known by their bytes alone: if a tool has rewritten the file, fetch it anew."
    raise error


def verify_proof(data: bytes, keys: Keys) -> Verdict:
    proof = parse_proof(data)
    witnesses = proof.verify(keys.log())
    for known in keys.trusted:
        if known.size == proof.checkpoint.size and not known.same_tree(proof.checkpoint):
            raise contradiction(known, proof.checkpoint)
    entry = proof.entry
    return Verdict(
        "proof",
        (
            f"{entry.agent_nhi} did {entry.action} on {entry.resource}: {entry.outcome}, at {iso(entry.timestamp)}",
            *batched(proof.batch),
            f"entry {proof.index} of {proof.checkpoint.origin}, under the checkpoint of size {proof.checkpoint.size}",
            f"seen by {', '.join(sorted(witnesses)) or 'no witness'}",
        ),
        {"event_id": entry.event_id, "index": proof.index, "size": proof.checkpoint.size},
    )


def batched(batch: BatchProof | None) -> tuple[str, ...]:
    """What of the batch that an entry records the file proves."""
    if batch is None:
        return ()
    leaf = batch.leaf[:LEAF_BYTES_SHOWN].decode(errors="replace")
    return (f"number {batch.index + 1} of the {batch.count} that it records: {leaf}",)


def is_checkpoint(data: bytes) -> bool:
    try:
        Checkpoint.parse(data)
    except EnablementError:
        return False
    return True


def verify_checkpoint(data: bytes, keys: Keys) -> Verdict:
    checkpoint = Checkpoint.parse(data)
    witnesses = keys.log().check(checkpoint)
    for known in keys.trusted:
        if known.origin == checkpoint.origin and known.size == checkpoint.size and known.root != checkpoint.root:
            raise contradiction(known, checkpoint)
    return Verdict(
        "checkpoint",
        (
            f"{checkpoint.origin} had {checkpoint.size} entries with the root {checkpoint.root.hex()}",
            f"seen by {', '.join(sorted(witnesses)) or 'no witness'}",
        ),
        {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()},
    )


register("proof", is_proof, verify_proof)
register("checkpoint", is_checkpoint, verify_checkpoint)
