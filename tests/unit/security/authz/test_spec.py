"""Every name, state and field that the client's documents give authorization."""

from __future__ import annotations

import msgspec
import pytest

from creto import contracts
from creto.security import authz
from creto.security.authz import AuthzClient
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import READ, SANDBOX, Office

STRUCTS = {
    "CheckRequest": ["agent", "action", "resource"],
    "AuthzRequest": ["principal", "action", "resource"],
    "Allow": [],
    "Deny": ["reason"],
    "RequiresOversight": ["policy_id", "requirement"],
    "OversightRequirement": ["approvers", "reason"],
}


@pytest.mark.parametrize(("name", "fields"), STRUCTS.items(), ids=STRUCTS)
def test_structs(name: str, fields: list[str]) -> None:
    struct = getattr(authz, name)
    assert set(fields) <= {field.name for field in msgspec.structs.fields(struct)}


@pytest.mark.parametrize(
    "name", ["AuthzClient", "Decision", "AuthzDecision", "CheckRequest", "AuthzRequest", "OverrideToken"]
)
def test_types(name: str) -> None:
    assert hasattr(authz, name)


@pytest.mark.parametrize("name", ["check", "check_quota", "validate_override_token"])
def test_calls(name: str) -> None:
    assert callable(getattr(AuthzClient, name))


def test_one_requirement_for_authorization_and_for_the_products() -> None:
    assert contracts.OversightRequirement is authz.OversightRequirement
    assert contracts.TimeoutAction is authz.TimeoutAction


@pytest.mark.parametrize("request_type", [authz.CheckRequest, authz.AuthzRequest])
async def test_as_the_client_writes_it(
    office: Office, request_type: type[authz.CheckRequest] | type[authz.AuthzRequest]
) -> None:
    ada = await office.hire("Ada", "operator")
    match office.authz.check(request_type(ada.nhi, READ, SANDBOX), tenant=TENANT):
        case authz.Allow():
            pass
        case other:
            pytest.fail(str(other))
