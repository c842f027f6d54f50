"""The shipped schema knows the acts and resources of the four products, and the shipped roles cover each group of acts."""

from __future__ import annotations

import pytest

from creto.security.authz import Allow, Deny, RequiresOversight
from creto.security.authz.cedar import Uid
from creto.security.authz.names import SYNONYMS, action_uid
from creto.security.authz.texts import action_entities, compiled, parsed_schema
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import Office

SPEC = [
    ("sandbox.spawn", "runtime:sandbox:sb-1", "runtime"), ("spawn", "runtime:sandbox:sb-1", "runtime"),
    ("spawn_child", "runtime:sandbox:sb-1", "runtime"), ("spawn_sandbox", "runtime:template:t", "runtime"),
    ("network.egress", "network:api.anthropic.com:443", "runtime"), ("egress", "network:api.anthropic.com:443", "runtime"),
    ("egress_connect", "network:api.anthropic.com:443", "runtime"), ("api_call", "network:api.x.com", "runtime"),
    ("inference.call", "network:api.anthropic.com", "runtime"), ("secret.read", "runtime:secret:db", "runtime"),
    ("submit_event", "metering:subscription:s", "metering"), ("query_cost", "cost::current_month", "metering"),
    ("check_quota", "tenant:default", "metering"), ("create_subscription", "metering:customer:c", "metering"),
    ("create_request", "oversight:request:r", "oversight"), ("submit_decision", "oversight:request:r", "oversight"),
    ("create_policy", "oversight:policy:p", "oversight"), ("cancel_request", "oversight:request:r", "oversight"),
    ("messaging:send", "messaging:channel:c", "messaging"), ("send_message", "agent:nhi:ed25519:bob", "messaging"),
    ("messaging:open_session", "messaging:session:s", "messaging"), ("messaging:publish", "messaging:topic:t", "messaging"),
    ("funds.transfer", "bank:acme", "business"), ("payment.approve", "invoice:1", "business"),
]  # fmt: skip


@pytest.mark.parametrize(("action", "resource", "group"), SPEC)
async def test_an_act_of_the_spec_is_in_its_products_group(
    office: Office, action: str, resource: str, group: str
) -> None:
    uid = action_uid(action)
    assert Uid("Action", group) in action_entities(parsed_schema())[uid].ancestors
    of_resource = office.authz.uid_of(TENANT, resource)
    compiled(f'permit (principal, action == Action::"{uid.id}", resource is {of_resource.type});')


async def test_two_names_of_one_act_are_one_act(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    text = 'forbid (principal, action == Action::"sandbox.spawn", resource);'
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    spawning = [name for name, act in SYNONYMS.items() if act == "sandbox.spawn"]
    assert [type(office.check(ada, name)) for name in ["sandbox.spawn", *spawning]] == [Deny] * 4


@pytest.mark.parametrize(
    ("role", "groups"),
    [
        ("developer", {"runtime", "messaging", "memory", "platform:read"}),
        ("finance", {"metering"}),
        ("approver", set()),
        ("auditor", {"platform:read"}),
        (
            "operator",
            {"runtime", "messaging", "memory", "metering", "oversight", "platform:read", "platform:write", "agents:write", "business"},
        ),
    ],
)  # fmt: skip
async def test_roles_reach_whole_groups_of_acts(office: Office, role: str, groups: set[str]) -> None:
    """So an act that a product adds to its group needs no new policy."""
    ada = await office.hire("Ada", role)
    acts = {
        uid.id: {parent.id for parent in entity.ancestors} for uid, entity in action_entities(parsed_schema()).items()
    }
    named = {group for parents in acts.values() for group in parents}
    reached = {
        group
        for group in named
        if all(isinstance(office.check(ada, act), Allow) for act, parents in acts.items() if group in parents)
    }
    assert reached == groups


async def test_what_could_undo_a_sandbox_is_an_act_of_its_own(office: Office) -> None:
    """Whoever may run programs there does not have it for that; a tenant permits it, and may have humans asked first."""
    ada, bob = await office.hire("Ada", "operator"), await office.hire("Bob", "developer")
    sandbox = "runtime:sandbox:sb-1"
    assert isinstance(office.check(ada, "sandbox.privileged", sandbox), Allow)
    assert isinstance(office.check(bob, "sandbox.exec", sandbox), Allow)
    assert isinstance(office.check(bob, "sandbox.privileged", sandbox), Deny)
    text = """permit (principal in Role::"developer", action == Action::"sandbox.privileged", resource);
    @id("ask") @oversight("mounts") forbid (principal, action == Action::"sandbox.privileged", resource);"""
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    assert isinstance(office.check(bob, "sandbox.privileged", sandbox), RequiresOversight)


async def test_finance_reads_names_and_repeats_what_stripe_refused_but_not_the_bus(office: Office) -> None:
    ada = await office.hire("Ada", "finance")
    may = ("agents:read", "audit:read", "metering:read", "metering:write", "finalize_invoice", "grant_credits")
    assert [type(office.check(ada, act)) for act in may] == [Allow] * len(may)
    may_not = ("agents:write", "bus:read", "bus:write", "keys:write")
    assert [type(office.check(ada, act)) for act in may_not] == [Deny] * len(may_not)


async def test_a_tenant_adds_an_act_to_a_group_and_the_roles_reach_it(office: Office) -> None:
    ada = await office.hire("Ada", "developer")
    assert isinstance(office.check(ada, "sandbox.warm"), Deny)
    schema = 'action "sandbox.warm" in ["runtime"] appliesTo { principal: [Agent, Human], resource: [Sandbox], context: Facts };'
    await office.authz.upload_policies(TENANT, "", schema=schema, actor=ada.nhi, activate=True)
    assert isinstance(office.check(ada, "sandbox.warm"), Allow)
