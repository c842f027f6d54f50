"""Checks through the face: roles, oversight, names, what is remembered and what is not, quota."""

from __future__ import annotations

import pytest

from creto.common.errors import InvalidInput
from creto.security.authz import (
    Allow,
    CheckRequest,
    Deny,
    QuotaDenied,
    QuotaVerdict,
    RequiresOversight,
)
from creto.security.authz.cedar import Uid
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import READ, SANDBOX, Office, Ticks

BIG = """
@id("big") @oversight("large-transfer")
forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > 10000 };
"""
NEVER = '@id("never") forbid (principal, action == Action::"funds.transfer", resource == Resource::"bank:evil");'


async def test_everything_is_denied_until_something_permits_it(office: Office) -> None:
    ada = await office.hire("Ada")
    assert isinstance(office.check(ada), Deny)
    await office.authz.assign_role(TENANT, ada.nhi, "operator", actor=ada.nhi)
    assert office.check(ada) == Allow(("creto.operator",))
    await office.authz.unassign_role(TENANT, ada.nhi, "operator", actor=ada.nhi)
    assert isinstance(office.check(ada), Deny)


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        ("developer", "sandbox.spawn", "agents:write"),
        ("security", "agents:write", "funds.transfer"),
        ("finance", "finalize_invoice", "sandbox.exec"),
        ("approver", "submit_decision", "create_policy"),
        ("auditor", "audit:read", "sandbox.exec"),
    ],
)
async def test_the_shipped_roles(office: Office, role: str, may: str, may_not: str) -> None:
    ada = await office.hire("Ada", role)
    assert isinstance(office.check(ada, may), Allow)
    assert isinstance(office.check(ada, may_not), Deny)


async def test_an_agent_may_use_its_own_memory_and_no_other(office: Office) -> None:
    scout, other = await office.town.agent("scout"), await office.town.agent("other")
    assert isinstance(office.check(scout, "memory:write", scout.nhi), Allow)
    assert isinstance(office.check(scout, "memory:write", other.nhi), Deny)
    assert isinstance(office.check(scout, "time:read", "tenant:acme"), Allow)
    assert isinstance(office.check(scout, READ), Deny)


async def test_oversight_stands_between_deny_and_allow(office: Office) -> None:
    ada, bob = await office.hire("Ada", "operator"), await office.hire("Bob")
    await office.authz.upload_policies(TENANT, BIG + NEVER, actor=ada.nhi, activate=True)
    assert isinstance(office.check(ada, "funds.transfer", "bank:acme", amount=10), Allow)
    asked = office.check(ada, "funds.transfer", "bank:acme", amount=50_000)
    assert asked == RequiresOversight("large-transfer", ("big",))
    assert office.check(ada, "funds.transfer", "bank:evil", amount=50_000) == Deny("a policy forbids it", ("never",))
    assert isinstance(office.check(bob, "funds.transfer", "bank:acme", amount=50_000), Deny)  # nothing permits it


async def test_what_reads_the_context_is_not_remembered(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    await office.authz.upload_policies(TENANT, BIG, actor=ada.nhi, activate=True)
    assert isinstance(office.check(ada, "funds.transfer", "bank:acme", amount=10), Allow)
    assert isinstance(office.check(ada, "funds.transfer", "bank:acme", amount=50_000), RequiresOversight)
    assert len(office.authz._hits) == 0
    office.check(ada)
    assert len(office.authz._hits) == 1


async def test_an_unknown_action_or_resource_is_evaluated(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    assert isinstance(office.check(ada, "brew:tea", "kettle:1"), Allow)
    assert isinstance(office.check(ada, "", ""), Allow)
    assert office.check("agent:nhi:ed25519:nobody") == Deny("the identity is not registered")  # type: ignore[arg-type]


async def test_a_context_that_is_no_cedar_value_is_refused(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    with pytest.raises(InvalidInput, match="PL-702"):
        office.check(ada, amount=1.5)


async def test_resources_become_entities_by_one_rule(office: Office) -> None:
    ada, scout = await office.hire("Ada"), await office.town.agent("scout")
    expected = {
        SANDBOX: Uid("Sandbox", "sb-1"),
        "tenant:default": Uid("Tenant", "default"),
        "network:api.x.com:443": Uid("Network", "api.x.com:443"),
        ada.nhi: Uid("Human", ada.nhi),
        scout.nhi: Uid("Agent", scout.nhi),
        f"agent:{scout.nhi}": Uid("Agent", scout.nhi),
        "kettle:1": Uid("Resource", "kettle:1"),
    }
    assert {uri: office.authz.uid_of(TENANT, uri) for uri in expected} == expected


async def test_attributes_of_resources_and_groups_count(office: Office) -> None:
    ada = await office.hire("Ada")
    text = """
    permit (principal, action == Action::"network.egress", resource is Network) when { resource.host like "*.x.com" && resource has port && resource.port == 443 };
    permit (principal, action == Action::"sandbox.read", resource in Group::"shared");
    """
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    assert isinstance(office.check(ada, "network.egress", "network:api.x.com:443"), Allow)
    assert isinstance(office.check(ada, "network.egress", "network:api.x.com:80"), Deny)
    assert isinstance(office.check(ada), Deny)
    await office.authz.put_entity(TENANT, SANDBOX, {}, [Uid("Group", "shared")], actor=ada.nhi)
    assert isinstance(office.check(ada), Allow)
    await office.authz.drop_entity(TENANT, SANDBOX, actor=ada.nhi)
    assert isinstance(office.check(ada), Deny)


async def test_a_decision_that_looked_at_another_identity_falls_with_it(office: Office) -> None:
    ada = await office.hire("Ada")
    scout = await office.town.agent("scout", owner=ada.nhi)
    text = 'permit (principal is Agent, action == Action::"sandbox.read", resource) when { principal has owner && principal.owner in Role::"lead" };'
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    assert isinstance(office.check(scout), Deny)
    await office.authz.assign_role(TENANT, ada.nhi, "lead", actor=ada.nhi)
    assert isinstance(office.check(scout), Allow)
    await office.authz.unassign_role(TENANT, ada.nhi, "lead", actor=ada.nhi)
    assert isinstance(office.check(scout), Deny)


async def test_revoked_suspended_and_resumed(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    assert isinstance(office.check(ada), Allow)
    await office.town.nhi.suspend(TENANT, ada.nhi)
    assert office.check(ada) == Deny("the identity is suspended")
    await office.town.nhi.resume(TENANT, ada.nhi)
    assert isinstance(office.check(ada), Allow)
    await office.town.nhi.revoke(TENANT, ada.nhi)
    assert office.check(ada) == Deny("the identity is revoked")


async def test_tenants_share_nothing(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    assert isinstance(office.check(ada), Allow)
    assert office.authz.check(ada.nhi, READ, SANDBOX, tenant="other") == Deny("the identity is not registered")  # type: ignore[arg-type]
    assert office.authz.tenant(TENANT) is office.authz.tenant(TENANT)


async def test_a_request_as_one_value(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    assert isinstance(office.authz.authorize(CheckRequest(ada.nhi, READ, SANDBOX), tenant=TENANT), Allow)


class OneADay:
    def __init__(self) -> None:
        self.left = 2

    def take(self, tenant: str, agent: str, action: str, resource: str) -> QuotaVerdict:
        self.left -= 1
        return QuotaVerdict(self.left >= 0, "spent", 60.0)


async def test_quota_is_taken_on_every_check_that_would_be_allowed(office: Office, ticks: Ticks) -> None:
    ada = await office.hire("Ada", "operator")
    quota = OneADay()
    metered = Office(office.store, ticks=ticks, quota=quota)
    assert isinstance(metered.check(ada), Allow)
    assert isinstance(metered.check(ada), Allow)  # a hit
    assert metered.check(ada) == QuotaDenied("spent", 60.0)
    assert isinstance(metered.check("agent:nhi:ed25519:nobody"), Deny)  # type: ignore[arg-type]
    assert quota.left == -1
