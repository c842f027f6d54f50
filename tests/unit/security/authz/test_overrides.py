"""Override tokens: bound, in time, once; over threads, and over processes in `tests/contract/test_authz.py`."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from creto.common.errors import EnablementError, Unauthorized
from creto.common.ids import PolicyId
from creto.security.authz import Authz
from creto.security.authz.tokens import b64url_encode, signed
from tests.unit.platform.nhi.town import TENANT, Person, key
from tests.unit.security.authz.office import Office, Ticks

ACT = ("funds.transfer", "bank:acme", b"d" * 32, PolicyId("large-transfer"))


@pytest.fixture
async def ada(office: Office) -> Person:
    return await office.hire("Ada", "operator")


async def token(office: Office, who: Person, **changes: Any) -> str:
    given: dict[str, Any] = {
        "action": ACT[0],
        "resource": ACT[1],
        "args_digest": ACT[2],
        "policy_id": ACT[3],
        "ttl_s": 60,
    } | changes
    return await office.authz.issue_override(tenant=TENANT, agent=who.nhi, actor=who.nhi, **given)


async def use(office: Office, text: str, who: Person, **changes: Any) -> None:
    given: dict[str, Any] = {
        "tenant": TENANT, "agent": who.nhi, "action": ACT[0], "resource": ACT[1], "args_digest": ACT[2],
        "policy_id": ACT[3],
    } | changes  # fmt: skip
    await office.authz.consume_durable(text, **given)


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "other"},
        {"agent": "somebody"},
        {"action": "a"},
        {"resource": "r"},
        {"args_digest": b"e" * 32},
        {"policy_id": "weak"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_try_with_anything_else_is_refused_and_does_not_use_it_up(
    office: Office, ada: Person, change: dict[str, Any]
) -> None:
    text = await token(office, ada)
    with pytest.raises(Unauthorized, match="PL-706"):
        await use(office, text, ada, **change)
    await use(office, text, ada)
    with pytest.raises(Unauthorized, match="PL-704"):
        await use(office, text, ada)


async def test_an_expired_token(office: Office, ada: Person) -> None:
    text = await token(office, ada)
    office.town.clock.move(60 * 10**9)
    with pytest.raises(Unauthorized, match="PL-705"):
        await use(office, text, ada)


async def test_other_policies_void_it(office: Office, ada: Person) -> None:
    text, admitted = await token(office, ada), await office.authz.admit(await token(office, ada), tenant=TENANT)
    await office.authz.upload_policies(TENANT, "", actor=ada.nhi, activate=True)
    with pytest.raises(Unauthorized, match="PL-706"):
        await use(office, text, ada)
    with pytest.raises(Unauthorized, match="PL-704"):
        office.authz.consume(admitted.token_id, ada.nhi, *ACT, tenant=TENANT)


async def test_a_revoked_agent_has_no_override(office: Office, ada: Person) -> None:
    await office.hire("Olive", "operator")
    text, admitted = await token(office, ada), await office.authz.admit(await token(office, ada), tenant=TENANT)
    await office.town.nhi.revoke(TENANT, ada.nhi)
    with pytest.raises(Unauthorized, match="PL-703"):
        await use(office, text, ada)
    with pytest.raises(Unauthorized, match="PL-704"):
        office.authz.consume(admitted.token_id, ada.nhi, *ACT, tenant=TENANT)


async def test_a_revoked_token(office: Office, ada: Person) -> None:
    text = await token(office, ada)
    opened = office.authz.validate_override_token(text, tenant=TENANT)
    assert await office.authz.revoke_override(opened.token_id, tenant=TENANT, actor=ada.nhi)
    with pytest.raises(Unauthorized, match="PL-703"):
        await use(office, text, ada)


async def test_an_admitted_token_is_consumed_once_and_only_as_bound(office: Office, ada: Person, ticks: Ticks) -> None:
    admitted = await office.authz.admit(await token(office, ada), tenant=TENANT)
    for wrong in ((ada.nhi, "a", *ACT[1:]), ("x", *ACT), (ada.nhi, *ACT[:2], b"", ACT[3]), (ada.nhi, *ACT[:3], "weak")):
        with pytest.raises(Unauthorized, match="PL-706"):
            office.authz.consume(admitted.token_id, *wrong, tenant=TENANT)
    with pytest.raises(Unauthorized, match="PL-703"):
        office.authz.consume("guess", ada.nhi, *ACT, tenant=TENANT)
    with pytest.raises(Unauthorized, match="PL-703"):
        office.authz.consume(admitted.token_id, ada.nhi, *ACT, tenant="other")
    office.authz.consume(admitted.token_id, ada.nhi, *ACT, tenant=TENANT)
    with pytest.raises(Unauthorized, match="PL-704"):
        office.authz.consume(admitted.token_id, ada.nhi, *ACT, tenant=TENANT)
    late = await office.authz.admit(await token(office, ada), tenant=TENANT)
    ticks.move_s(61)
    with pytest.raises(Unauthorized, match="PL-705"):
        office.authz.consume(late.token_id, ada.nhi, *ACT, tenant=TENANT)


async def test_exactly_once_under_64_threads(office: Office, ada: Person) -> None:
    admitted = await office.authz.admit(await token(office, ada), tenant=TENANT)
    barrier, won, lost = threading.Barrier(64), [], []

    def consume() -> None:
        barrier.wait()
        try:
            office.authz.consume(admitted.token_id, ada.nhi, *ACT, tenant=TENANT)
            won.append(1)
        except Unauthorized as error:
            lost.append(error.code)

    threads = [threading.Thread(target=consume) for _ in range(64)]
    for thread in threads:
        thread.start()
    await asyncio.to_thread(lambda: [thread.join() for thread in threads])
    assert len(won) == 1
    assert lost == ["PL-704"] * 63


async def test_exactly_once_over_64_tasks(office: Office, ada: Person) -> None:
    text = await token(office, ada)
    results = await asyncio.gather(*(use(office, text, ada) for _ in range(64)), return_exceptions=True)
    assert results.count(None) == 1
    assert {error.code for error in results if isinstance(error, EnablementError)} == {"PL-704"}


async def test_a_token_of_another_signer_or_spelling(office: Office, ada: Person) -> None:
    text = await token(office, ada)
    opened = office.authz.validate_override_token(text, tenant=TENANT)
    body, _, signature = text.partition(".")
    forged = [
        signed(opened, key(99)),
        body,
        f"{body}.",
        f".{signature}",
        f"{body[:-4]}.{signature}",
        f"{body}.{signature[:-4]}",
        text + "=",
        "",
        "ü" * 10,
        "x" * 100_000,
        f"{b64url_encode(b'{}')}.{signature}",
    ]
    for bad in forged:
        with pytest.raises(Unauthorized, match="PL-703"):
            office.authz.validate_override_token(bad, tenant=TENANT)


async def test_without_a_signer_there_are_no_tokens(office: Office, ada: Person) -> None:
    plain = Authz(office.store, office.town.clock, office.town.nhi)
    with pytest.raises(EnablementError, match="PL-501"):
        plain.validate_override_token("x.y", tenant=TENANT)


async def test_what_has_expired_long_ago_is_pruned(office: Office, ada: Person) -> None:
    await use(office, await token(office, ada), ada)
    office.town.clock.move(2 * 86_400 * 10**9)
    await token(office, ada)
    left = await office.store.read(lambda tx: (
        tx.value("SELECT COUNT(*) FROM authz_override"), tx.value("SELECT COUNT(*) FROM authz_override_used")
    ))  # fmt: skip
    assert left == (1, 0)
