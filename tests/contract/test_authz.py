"""Authorization over every engine, with nodes that share one database: what depends on SQL, locks and signals."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

from creto.common.errors import EnablementError
from creto.security.authz import Allow, Deny
from creto.security.authz.cedar import Uid
from tests.contract.stores import MakeStore
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import PARTS, SANDBOX, Office

MakeOffice = Callable[[], Office]
OPEN = '@id("open") permit (principal, action == Action::"sandbox.read", resource);'


@pytest.fixture
def make_office(make_store: MakeStore) -> MakeOffice:
    """Offices that share one database: nodes of one deployment."""
    return lambda: Office(make_store(parts=PARTS))


async def known_everywhere(office: Office) -> None:
    """A use case waits 50 ms for the other nodes; a test on a busy machine waits longer."""
    assert await office.town.store.settled(30)


async def test_policies_roles_and_entities_hold_on_every_node(make_office: MakeOffice) -> None:
    here, there = make_office(), make_office()
    olive = await here.hire("Olive", "operator")
    ada = await here.hire("Ada")
    await known_everywhere(here)
    assert isinstance(there.check(ada), Deny)
    version = await here.authz.upload_policies(TENANT, OPEN, actor=ada.nhi)
    await here.authz.activate(TENANT, version.version, actor=ada.nhi)
    await known_everywhere(here)
    assert there.check(ada) == Allow(("open",))
    await here.authz.activate(TENANT, 0, actor=ada.nhi)
    await known_everywhere(here)
    assert isinstance(there.check(ada), Deny)
    await here.authz.assign_role(TENANT, ada.nhi, "operator", actor=ada.nhi)
    await known_everywhere(here)
    assert await there.authz.roles(TENANT, ada.nhi) == ("operator",)
    assert {m.agent for m in (await there.authz.members(TENANT, "operator")).items} == {ada.nhi, olive.nhi}
    assert isinstance(there.check(ada), Allow)
    await here.authz.unassign_role(TENANT, ada.nhi, "operator", actor=ada.nhi)
    await known_everywhere(here)
    assert isinstance(there.check(ada), Deny)
    text = 'permit (principal, action, resource in Group::"shared");'
    await there.authz.upload_policies(TENANT, text, actor=ada.nhi, activate=True)
    await known_everywhere(there)
    assert isinstance(here.check(ada), Deny)
    await there.authz.put_entity(TENANT, SANDBOX, {"level": 3}, [Uid("Group", "shared")], actor=ada.nhi)
    await known_everywhere(there)
    assert isinstance(here.check(ada), Allow)


async def test_uploads_at_once_get_numbers_of_their_own(make_office: MakeOffice) -> None:
    here, there = make_office(), make_office()
    uploads = [node.authz.upload_policies(TENANT, OPEN, actor="ada") for node in (here, there) * 4]
    assert sorted(v.version for v in await asyncio.gather(*uploads)) == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_a_revocation_here_ends_what_is_remembered_there(make_office: MakeOffice) -> None:
    here, there = make_office(), make_office()
    await here.hire("Olive", "operator")
    ada = await here.hire("Ada", "operator")
    assert isinstance(there.check(ada), Allow)
    assert len(there.authz._hits) == 1
    await here.town.nhi.revoke(TENANT, ada.nhi)
    await known_everywhere(here)
    assert there.check(ada) == Deny("the identity is revoked")


async def test_a_token_is_used_once_over_all_nodes(make_office: MakeOffice) -> None:
    here, there = make_office(), make_office()
    await here.hire("Olive", "operator")
    ada = await here.hire("Ada")
    act = {"tenant": TENANT, "agent": ada.nhi, "action": "a", "resource": "r", "args_digest": b"d", "policy_id": "p"}
    for _ in range(3):
        text = await here.authz.issue_override(**act, actor=ada.nhi)
        tries = [node.authz.consume_durable(text, **act) for node in (here, there) * 8]
        tries += [node.authz.admit(text, tenant=TENANT) for node in (here, there) * 8]
        results = await asyncio.gather(*tries, return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        assert len(errors) == 31
        assert {error.code for error in errors if isinstance(error, EnablementError)} == {"PL-704"}


async def test_threads_never_see_an_allow_after_a_revocation_returned(make_office: MakeOffice, deep: bool) -> None:
    office = make_office()
    await office.hire("Olive", "operator")
    rounds = 200 if deep else 10
    people = [await office.hire(f"person {i}", "operator") for i in range(rounds)]
    returned: set[str] = set()
    wrong: list[str] = []
    current = [people[0].nhi]
    done = threading.Event()
    view = office.authz.tenant(TENANT)

    def ask() -> None:
        while not done.is_set():
            agent = current[0]
            late = agent in returned
            if isinstance(view.check(agent, "sandbox.read", "runtime:sandbox:1"), Allow) and late:
                wrong.append(agent)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for person in people:
        current[0] = person.nhi
        view.check(person.nhi, "sandbox.read", "runtime:sandbox:1")
        await office.town.nhi.revoke(TENANT, person.nhi)
        returned.add(person.nhi)
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_entities_and_versions_in_pages(make_office: MakeOffice) -> None:
    """given more than a page of each / when they are listed page by page / then each comes once, in order, and a group has its own."""
    office = make_office()
    group = Uid("Group", "night")
    for number in range(5):
        await office.authz.put_entity(TENANT, f"object:{number}", {}, [group] if number % 2 else [], actor="ada")
        await office.authz.upload_policies(TENANT, OPEN, actor="ada")
    listed, cursor = [], None
    while True:
        page = await office.authz.entities(TENANT, cursor=cursor, limit=2)
        listed += [entity.id for entity in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert listed == ["0", "1", "2", "3", "4"]
    first = await office.authz.entities(TENANT, group=group, limit=1)
    rest = await office.authz.entities(TENANT, group=group, limit=9, cursor=first.cursor)
    assert [entity.uri for entity in (*first.items, *rest.items)] == ["storage:object:1", "storage:object:3"]
    assert rest.cursor is None
    newest = await office.authz.versions(TENANT, limit=3)
    older = await office.authz.versions(TENANT, limit=3, cursor=newest.cursor)
    assert [[v.version for v in page.items] for page in (newest, older)] == [[5, 4, 3], [2, 1]]
