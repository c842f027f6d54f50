"""Requests as the console's pure parts see them, without a store.

case = a_case({"amount": 50}, policy=P2)
card = cards.card(case, viewer("alice"), now=NOW)
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.edge.console.cards import Viewer
from creto.oversight import Case, Channel, Evidence, Record, Verdict, attest
from creto.oversight.ballots import Counted, receipt
from creto.oversight.decisions import Ballot, CastVote
from creto.oversight.drafts import hashed
from creto.oversight.escalation import begun
from creto.oversight.policies import policy_hash
from creto.oversight.types import Assurance, Note, Progress
from creto.platform.consensus import PersonId
from tests.unit.oversight.test_rules import NOW, an_ask
from tests.unit.oversight.world import HUMANS, LAYER, TENANT, id_of, person

NAMES = {person(name): name.title() for name in HUMANS}
LATER = ConsensusTimestamp(NOW + 60 * SECOND)


def a_record(arguments: object = None, *, progress: dict[str, Any] | None = None, **options: Any) -> Record:
    ask = an_ask(arguments, **options)
    begin: Progress = replace(begun(ask, 0, NOW), **progress or {})
    return hashed(ask, begin)


def a_vote(
    record: Record, name: str, verdict: Verdict = Verdict.APPROVE, *, reason: str = "", round: int = 1
) -> CastVote:
    ask = record.ask
    ballot = Ballot(
        installation="creto", tenant=TENANT, request_id=ask.request_id, round=round, tier=0, agent=ask.agent,
        action=ask.action, resource=ask.resource, args_hash=record.args_hash, display_hash=record.display_hash,
        policy_id=ask.policy.policy_id, policy_version=ask.policy.version, policy_hash=policy_hash(ask.policy),
        verdict=verdict, person=person(name), approver=id_of(name), reason=reason, nonce=name, signed_at=NOW,
    )  # fmt: skip
    signed = attest(ballot, LAYER, Evidence(channel=Channel.WEB, account=id_of(name)), Assurance.SESSION)
    return CastVote(seat=person(name), groups=(), signed=signed)


def a_case(
    arguments: object = None, *, votes: tuple[tuple[str, Verdict], ...] = (), waiting_for: tuple[str, ...] = (),
    notes: tuple[Note, ...] = (), **options: Any,
) -> Case:  # fmt: skip
    record = a_record(arguments, **options)
    cast = tuple(a_vote(record, name, verdict, round=record.ask.round) for name, verdict in votes)
    waits: tuple[PersonId, ...] = tuple(map(person, waiting_for))
    return Case(record, cast, notes, receipt(record, cast, Counted.VOTE), waits)


def viewer(name: str = "alice", *, seated: bool = True, passkeys: int = 0) -> Viewer:
    return Viewer(person=person(name), seated=seated, passkeys=passkeys, names=NAMES)
