"""A decision certificate as a file: verified with the public keys of the humans who may decide.

    people = People.parse(Path("people.json").read_bytes())
    verdict = verify_file(Path("decision.json").read_bytes(), Keys(people=people))

`people.json` names the installation and its humans:

    {"cluster": {"chain": "creto", "epoch": 0}, "humans": [{"person": "ann", "keys": ["<base64 of suite and key>"], "groups": ["finance"]}]}
"""

from __future__ import annotations

from creto.common.errors import EnablementError, InvalidInput
from creto.common.timestamps import iso
from creto.platform.audit.types import Verdict
from creto.platform.audit.verify_file import Keys, register
from creto.platform.consensus import DecisionCertificate


def is_decision(data: bytes) -> bool:
    try:
        DecisionCertificate.decode(data.strip())
    except EnablementError:
        return False
    return True


def verify_decision(data: bytes, keys: Keys) -> Verdict:
    """As evidence: it was valid when it was signed; whether it still may be acted upon is for whoever acts."""
    if keys.people is None:
        raise InvalidInput.of("people", got="no keys of humans", expected="who may decide (--people people.json)")
    certificate = DecisionCertificate.decode(data.strip())
    people = certificate.verify(keys.people.trust())
    said = certificate.statement
    return Verdict(
        "decision",
        (
            f"{said.verdict}: {said.agent} may do {said.action} on {said.resource}"
            if said.verdict == "approved"
            else f"{said.verdict}: {said.agent} may not do {said.action} on {said.resource}",
            f"decided by {', '.join(people)} under the policy {said.policy_id} version {said.policy_version}",
            f"valid from {iso(said.not_before)} to {iso(said.not_after)}",
        ),
        {"request_id": said.request_id, "verdict": said.verdict, "people": people},
    )


register("decision", is_decision, verify_decision)
