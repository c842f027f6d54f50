"""Checks through the face: roles, oversight, names, what is remembered and what is not, quota."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from creto.common.errors import InternalError, InvalidInput, NotFound
from creto.platform.nhi import rotation_proofs
from creto.security.authz import (
    Allow,
    AuthzRequest,
    CheckRequest,
    Decision,
    Deny,
    Granted,
    OversightRequirement,
    QuotaDenied,
    RequiresOversight,
)
from creto.security.authz.cedar import Uid
from creto.store import open_store
from tests.quotas import Quota
from tests.unit.platform.nhi.town import TENANT, Person, key
from tests.unit.security.authz.office import PARTS, READ, SANDBOX, Office, Ticks

BIG = """
@id("big") @oversight("large-transfer")
forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > 10000 };
"""
NEVER = '@id("never") forbid (principal, action == Action::"funds.transfer", resource == Resource::"bank:evil");'


async def test_everything_is_denied_until_something_permits_it(office: Office) -> None:
    await office.hire("Olive", "operator")
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


async def test_an_agent_is_in_its_owner_but_in_none_of_the_owners_roles(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    scout, other = await office.town.agent("scout", owner=ada.nhi), await office.town.agent("other")
    assert isinstance(office.check(scout), Deny)
    text = f'permit (principal in Human::"{ada.nhi}", action == Action::"sandbox.read", resource);'
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    assert isinstance(office.check(scout), Allow)
    assert isinstance(office.check(other), Deny)


async def test_revoked_suspended_and_resumed(office: Office) -> None:
    await office.hire("Olive", "operator")
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
    assert office.authz.check(CheckRequest(ada.nhi, READ, SANDBOX), tenant=TENANT) == Allow(("creto.operator",))
    assert office.authz.check(AuthzRequest(ada.nhi, READ, SANDBOX), tenant=TENANT) == Allow(("creto.operator",))
    assert CheckRequest(ada.nhi, READ, SANDBOX).principal == AuthzRequest(ada.nhi, READ, SANDBOX).agent == ada.nhi
    with pytest.raises(InvalidInput, match="PL-400"):
        office.authz.check(ada.nhi, tenant=TENANT)  # type: ignore[call-overload]


async def test_quota_is_asked_on_every_check_that_would_be_allowed(office: Office, ticks: Ticks) -> None:
    ada = await office.hire("Ada", "operator")
    quota = Quota(limit=2)
    metered = Office(office.store, ticks=ticks, quota=quota)
    check = metered.authz.tenant(TENANT).check
    for _ in range(2):  # the second is a hit
        assert isinstance(check(ada.nhi, READ, SANDBOX), Granted)
    assert check(ada.nhi, READ, SANDBOX) == QuotaDenied("spent", 60.0, limit=2, used=2)
    assert isinstance(check("agent:nhi:ed25519:nobody", READ, SANDBOX), Deny)  # type: ignore[arg-type]
    assert len(quota.asked) == 3


async def test_what_is_granted_is_settled_or_released(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    quota = Quota(limit=10)
    office.authz.use_quota(quota)
    first, second = (office.authz.tenant(TENANT).check(ada.nhi, READ, SANDBOX, amount=3) for _ in range(2))
    assert isinstance(first, Granted)
    assert isinstance(second, Granted)
    office.authz.settle(first.reservation, 2)
    office.authz.release(second.reservation)
    assert (quota.settled, quota.released, quota.held) == ([2], [3], {})


async def test_a_question_takes_nothing(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    quota = Quota(limit=1)
    office.authz.use_quota(quota)
    for _ in range(5):
        assert type(office.check(ada)) is Allow
    assert (quota.used, len(quota.asked)) == (0, 5)


async def test_quota_that_comes_later_is_taken_through_what_is_held_already(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    held = office.authz.tenant(TENANT).check
    assert type(held(ada.nhi, READ, SANDBOX)) is Allow
    assert office.authz.check_quota(ada.nhi, "api_calls", tenant=TENANT).allowed
    quota = Quota(limit=1)
    office.authz.use_quota(quota)
    assert office.authz.check_quota(ada.nhi, "api_calls", tenant=TENANT).allowed
    assert type(held(ada.nhi, READ, SANDBOX)) is Granted
    assert not office.authz.check_quota(ada.nhi, "api_calls", tenant=TENANT).allowed  # and nothing is taken
    assert held(ada.nhi, READ, SANDBOX) == office.check(ada) == QuotaDenied("spent", 60.0, limit=1, used=1)
    office.authz.use_quota(None)
    assert type(held(ada.nhi, READ, SANDBOX)) is Allow


async def test_no_check_that_begins_after_the_quota_came_goes_uncounted(office: Office) -> None:
    """Threads that check through one held handle while the quota comes."""
    ada = await office.hire("Ada", "operator")

    held = office.authz.tenant(TENANT).check
    for _ in range(20):
        office.authz.use_quota(None)
        in_force, wrong, asked = threading.Event(), [], threading.Barrier(5)

        def ask(
            in_force: threading.Event = in_force, wrong: list[object] = wrong, asked: threading.Barrier = asked
        ) -> None:
            asked.wait(10)
            for _ in range(300):
                late = in_force.is_set()
                for check in (held, office.authz.tenant(TENANT).check):
                    if isinstance(check(ada.nhi, READ, SANDBOX), Allow) and late:
                        wrong.append(check)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        asked.wait(10)
        office.authz.use_quota(Quota(limit=0))
        in_force.set()
        for thread in threads:
            thread.join()
        assert wrong == []


async def test_a_quota_that_fails_allows_nothing(office: Office) -> None:
    ada = await office.hire("Ada", "operator")

    class Broken(Quota):
        def reserve(self, *_: Any, **__: Any) -> Any:
            raise InternalError("PL-500")

    office.authz.use_quota(Broken())
    for _ in range(2):
        with pytest.raises(InternalError):
            office.check(ada)


ASKED = """@oversight("two-eyes") @approvers("cfo@company.com, role:finance") @quorum("2") @timeout_s("7200") @reason("Above 10,000")
forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > 10000 };"""


async def test_a_policy_may_say_whom_to_ask(office: Office) -> None:
    ada = await office.hire("Ada", "operator")
    await office.authz.upload_policies(TENANT, BIG + ASKED, actor=ada.nhi, activate=True)
    asked = office.check(ada, "funds.transfer", "bank:acme", amount=50_000)
    assert isinstance(asked, RequiresOversight)
    assert (asked.policy_id, asked.also, asked.requirement) == ("large-transfer", ("two-eyes",), None)
    await office.authz.upload_policies(TENANT, ASKED + BIG, actor=ada.nhi, activate=True)
    asked = office.check(ada, "funds.transfer", "bank:acme", amount=50_000)
    assert isinstance(asked, RequiresOversight)
    assert asked.policy_id == "two-eyes"
    assert asked.requirement == OversightRequirement(
        approvers=("cfo@company.com", "role:finance"), reason="Above 10,000", quorum=2, timeout_s=7_200
    )
    assert msgspec.json.decode(msgspec.json.encode(asked), type=Decision) == asked


MISTYPED: list[object] = ["50000", [50000], True, {"value": 50000}]


@pytest.mark.parametrize("amount", MISTYPED)
async def test_a_forbid_that_cannot_be_evaluated_holds(office: Office, amount: object) -> None:
    """Cedar skips it: an amount sent as a string would pass by the policy on amounts."""
    ada = await office.hire("Ada", "operator")
    await office.authz.upload_policies(TENANT, BIG, actor=ada.nhi, activate=True)
    asked = office.check(ada, "funds.transfer", "bank:acme", amount=amount)
    assert asked == RequiresOversight("large-transfer", ("big",))
    await office.authz.upload_policies(
        TENANT, BIG.replace('@oversight("large-transfer")', ""), actor=ada.nhi, activate=True
    )
    refused = office.check(ada, "funds.transfer", "bank:acme", amount=amount)
    assert refused == Deny("a policy that may forbid it could not be evaluated", ("big",))
    assert isinstance(office.check(ada, "funds.transfer", "bank:acme", amount=5), Allow)


async def test_a_permit_that_cannot_be_evaluated_is_left_out(office: Office) -> None:
    ada = await office.hire("Ada")
    text = BIG.replace("forbid", "permit").replace('@oversight("large-transfer")', "")
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    assert isinstance(office.check(ada, "funds.transfer", "bank:acme", amount="50000"), Deny)


@pytest.mark.parametrize("host", ["evil.com", "EVIL.com", "evil.com.", "Evil.Com.:443", "evil.com:443"])
async def test_a_host_has_one_spelling(office: Office, host: str) -> None:
    ada = await office.hire("Ada", "operator")
    text = '@id("evil") forbid (principal, action, resource is Network) when { resource.host == "evil.com" };'
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    assert isinstance(office.check(ada, "network.egress", f"network:{host}"), Deny)
    assert isinstance(office.check(ada, "network.egress", "network:good.com"), Allow)


BAD: list[tuple[object, object]] = [([], SANDBOX), (None, SANDBOX), ("x" * 201, SANDBOX), (READ, []), (READ, "x" * 2_049), (READ, "\ud800"), (READ, b"x")]  # fmt: skip


@pytest.mark.parametrize(("action", "resource"), BAD)
@pytest.mark.parametrize("counted", [False, True])
async def test_what_is_no_name_is_refused(tmp_path: Path, action: object, resource: object, counted: bool) -> None:
    store = open_store(f"sqlite:///{tmp_path}/office.db", parts=PARTS)
    office = Office(store, quota=Quota(limit=9) if counted else None)
    ada = await office.hire("Ada", "operator")
    with pytest.raises(InvalidInput, match="PL-400"):
        office.authz.check(ada.nhi, action, resource, tenant=TENANT)  # type: ignore[arg-type]
    store.close()


async def test_roles_and_attributes_follow_the_line(office: Office) -> None:
    """given a role and a group of an identity / when its key is rotated / then the successor has both, and loses them by either key's name."""
    ada = await office.hire("Ada", "developer")
    heir = Person(key(4_000_001))
    old_proof, new_proof = rotation_proofs(ada.key, heir.key, tenant=TENANT)
    proofs = {"old_proof": old_proof, "new_proof": new_proof}
    await office.town.nhi.rotate(TENANT, ada.nhi, heir.key.public, **proofs)
    assert isinstance(office.check(heir, "sandbox.spawn"), Allow)
    assert await office.authz.roles(TENANT, heir.nhi) == ("developer",)
    assert [m.agent for m in (await office.authz.members(TENANT, "developer")).items] == [ada.nhi]

    await office.authz.unassign_role(TENANT, ada.nhi, "developer", actor=ada.nhi)
    assert isinstance(office.check(heir, "sandbox.spawn"), Deny)
    await office.authz.assign_role(TENANT, heir.nhi, "developer", actor=ada.nhi)
    assert isinstance(office.check(ada, "sandbox.spawn"), Allow)
    assert isinstance(office.check(heir, "sandbox.spawn"), Allow)
    await office.authz.unassign_role(TENANT, heir.nhi, "developer", actor=ada.nhi)
    assert isinstance(office.check(ada, "sandbox.spawn"), Deny)

    text = 'permit (principal in Group::"night", action, resource);'
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    await office.authz.put_entity(TENANT, ada.nhi, {}, [Uid("Group", "night")], actor=ada.nhi)
    assert isinstance(office.check(heir), Allow)


async def test_nobody_unknown_gets_a_role(office: Office) -> None:
    stranger = Person(key(4_000_002)).nhi
    for act in (office.authz.assign_role, office.authz.unassign_role):
        with pytest.raises(NotFound, match="PL-102"):
            await act(TENANT, stranger, "operator", actor=stranger)
    with pytest.raises(NotFound, match="PL-102"):
        await office.authz.roles(TENANT, stranger)
