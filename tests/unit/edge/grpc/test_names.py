"""The client's names over gRPC: the service, its methods, and the fields of what they take."""

from __future__ import annotations

import msgspec
import pytest

from creto.contracts import RuntimeOversightRequest
from creto.edge.api import ENDPOINTS
from creto.edge.api.approvals import CREATE, GET, WAIT, CreateApproval
from creto.edge.api.approvers import PUT_POLICY, PutOversightPolicy, TierTerms
from creto.edge.api.endpoint import Endpoint
from creto.edge.api.votes import SUBMIT
from creto.edge.grpc.convert import to_message, to_struct
from creto.edge.grpc.schema import Schema, method_name, service_name
from creto.oversight import Assurance

SCHEMA = Schema(ENDPOINTS)


@pytest.mark.parametrize(
    ("endpoint", "name"),
    [(CREATE, "CreateRequest"), (GET, "GetRequest"), (WAIT, "AwaitApproval"), (SUBMIT, "SubmitResponse")],
)
def test_the_methods_are_called_as_the_client_calls_them(endpoint: Endpoint[..., object], name: str) -> None:
    assert (service_name(endpoint), method_name(endpoint)) == ("Oversight", name)


def test_the_fields_of_a_request_are_those_of_the_client() -> None:
    """All that a caller says; an act and its resource are one name each, and the arguments a JSON text."""
    theirs = {field.name for field in msgspec.structs.fields(RuntimeOversightRequest)}
    ours = set(SCHEMA.message_class(CreateApproval).DESCRIPTOR.fields_by_name)
    assert {
        "agent_nhi",
        "delegation_chain",
        "policy_id",
        "requirement",
        "sandbox_id",
        "action_description",
        "risk_factors",
    } <= theirs & ours


def test_a_request_goes_there_and_back() -> None:
    asked = CreateApproval(policy_id="p", action="a", resource="r:1", description="why", sandbox_id="sb-1", key="k")
    message = to_message(asked, SCHEMA)
    assert (message.action_description, message.sandbox_id) == ("why", "sb-1")  # type: ignore[attr-defined]
    assert to_struct(message, CreateApproval) == asked


@pytest.mark.parametrize("said", [Assurance.OWN_KEY, "A3"])
def test_an_assurance_is_its_name(said: Assurance | str) -> None:
    tiers = (TierTerms(name="t", approvers=("group:g",)),)
    asked = PutOversightPolicy(policy_id="p", tiers=tiers, assurance=said, assurance_by_risk={})
    assert asked.assurance == "A3"
    assert to_struct(to_message(asked, SCHEMA), PUT_POLICY.request_type) == asked
