"""Versions of policies: validated, activated, rolled back, compared, tried out, explained; all of it in the ledger."""

from __future__ import annotations

import pytest

from creto.common.errors import EnablementError
from creto.common.wire import decode
from creto.security.authz import Allow, CheckRequest, Deny, RequiresOversight
from creto.security.authz.texts import shipped_policies
from creto.store.types import Entry, Position
from tests.unit.platform.nhi.town import TENANT, Person
from tests.unit.security.authz.office import READ, SANDBOX, Office

OPEN = '@id("open") permit (principal, action == Action::"sandbox.read", resource);'
CLOSED = '@id("closed") forbid (principal, action == Action::"sandbox.read", resource);'


@pytest.fixture
async def ada(office: Office) -> Person:
    return await office.hire("Ada")


REFUSED = [
    ("permit (principal, action, resource);\n\npermit (principl, action, resource);", 3, "PL-701"),
    ("permit (principal, action, resource);\n// note; this\npermit (principal,\naction,", 4, "PL-701"),
    ('permit (principal, action == Action::"no.such", resource);', 1, "PL-701"),
    ('permit (principal, action, resource)\nwhen { principal.name == "a;b\\"" };\npermit (principal, action, resource) when { principal.nam == "x" };', 3, "PL-701"),
    ('@id("x") permit (principal, action, resource);\n@id("x") forbid (principal, action, resource);', 2, "PL-701"),
    ('@id("creto.operator") permit (principal, action, resource);', None, "PL-701"),
    ('\n@oversight("p") permit (principal, action, resource);', 2, "PL-701"),
    ("\n@oversight forbid (principal, action, resource);", 2, "PL-701"),
    ("permit (principal == ?principal, action, resource);", None, "PL-701"),
    ("\ud800", None, "PL-701"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "code"), REFUSED)
async def test_what_is_not_valid_is_refused_with_its_line_and_changes_nothing(
    office: Office, ada: Person, text: str, line: int | None, code: str
) -> None:
    with pytest.raises(EnablementError) as refused:
        await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    assert refused.value.code == code
    if line is not None:
        assert refused.value.message.startswith(f"line {line}, column ")
    assert (await office.authz.versions(TENANT)).items == ()
    assert isinstance(office.check(ada), Deny)


async def test_activate_and_roll_back(office: Office, ada: Person) -> None:
    one = await office.authz.upload_policies(TENANT, OPEN, actor=ada.nhi, note="first")
    assert isinstance(office.check(ada), Deny)  # uploaded, not active
    await office.authz.activate(TENANT, one.version, actor=ada.nhi)
    assert office.check(ada) == Allow(("open",))
    two = await office.authz.upload_policies(TENANT, OPEN + CLOSED, actor=ada.nhi, activate=True)
    assert office.check(ada) == Deny("a policy forbids it", ("closed",))
    assert await office.authz.rollback(TENANT, one.version, actor=ada.nhi)
    assert office.check(ada) == Allow(("open",))
    assert [(v.version, v.active) for v in (await office.authz.versions(TENANT)).items] == [(2, False), (1, True)]
    assert "+" + OPEN + CLOSED in await office.authz.diff(TENANT, one.version, two.version)
    await office.authz.activate(TENANT, 0, actor=ada.nhi)
    assert isinstance(office.check(ada), Deny)
    assert (await office.authz.policies(TENANT)).text == shipped_policies()


async def test_a_version_that_does_not_exist(office: Office, ada: Person) -> None:
    with pytest.raises(EnablementError, match="PL-404"):
        await office.authz.activate(TENANT, 9, actor=ada.nhi)


async def test_a_tenant_adds_types_and_actions_and_leaves_out_the_shipped_policies(office: Office, ada: Person) -> None:
    schema = 'entity Kettle;\naction "brew" in ["business"] appliesTo { principal: [Human], resource: [Resource], context: { cups: Long } };'
    text = 'permit (principal, action in Action::"business", resource) when { context has cups && context.cups < 3 };'
    with pytest.raises(EnablementError, match="PL-702"):
        await office.authz.upload_policies(TENANT, OPEN, schema="entity Human;", actor=ada.nhi)
    schema_only_for_brew = text.replace('action in Action::"business"', 'action == Action::"brew"')
    await office.authz.upload_policies(
        TENANT, schema_only_for_brew, schema=schema, with_defaults=False, actor=ada.nhi, activate=True
    )
    assert isinstance(office.check(ada, "brew", "kettle:1", cups=2), Allow)
    assert isinstance(office.check(ada, "brew", "kettle:1", cups=3), Deny)
    assert isinstance(office.check(ada, "time:read", "tenant:acme"), Deny)


async def test_a_dry_run_changes_nothing(office: Office, ada: Person) -> None:
    requests = [CheckRequest(ada.nhi, READ, SANDBOX), CheckRequest(ada.nhi, "time:read", "tenant:acme")]
    opened, time = office.authz.dry_run(TENANT, OPEN, requests)
    assert opened.changed
    assert opened.then == Allow(("open",))
    assert not time.changed
    assert isinstance(office.check(ada), Deny)


async def test_why(office: Office, ada: Person) -> None:
    text = (
        OPEN
        + '@id("ask") @oversight("o") @owner("sec") forbid (principal, action == Action::"sandbox.read", resource) when { context has risk };'
    )
    text += '@id("broken") permit (principal, action == Action::"sandbox.read", resource) when { principal.name.contains("x") || true };'.replace('principal.name.contains("x") || true', "9223372036854775807 + (if context has risk then 1 else 0) > 0")  # fmt: skip
    await office.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    told = office.authz.why(ada.nhi, READ, SANDBOX, {"risk": 9}, tenant=TENANT)
    assert told.decision == RequiresOversight("o", ("ask",))
    assert told.permits == ("open",)
    assert told.forbids == ("ask",)
    assert told.annotations["ask"]["owner"] == "sec"
    assert list(told.errors) == ["broken"]
    assert "overflow" in told.errors["broken"]
    assert told.version == 1
    assert not told.cacheable
    assert told.resource == 'Sandbox::"sb-1"'


async def test_every_change_is_in_the_ledger(office: Office, ada: Person) -> None:
    await office.authz.upload_policies(TENANT, OPEN, actor=ada.nhi, activate=True)
    await office.authz.assign_role(TENANT, ada.nhi, "developer", actor=ada.nhi)
    await office.authz.assign_role(TENANT, ada.nhi, "developer", actor=ada.nhi)  # no change
    await office.authz.unassign_role(TENANT, ada.nhi, "developer", actor=ada.nhi)
    await office.authz.put_entity(TENANT, SANDBOX, {"a": 1}, actor=ada.nhi)
    rows = await office.store.read(lambda tx: tx.ledger_tail(Position(), 100))
    events = [decode(row.body, Entry).event for row in rows]
    assert [event for event in events if not event.startswith("Identity")] == [
        "PoliciesUploaded", "PoliciesActivated", "RoleAssigned", "RoleUnassigned", "EntityChanged",
    ]  # fmt: skip
