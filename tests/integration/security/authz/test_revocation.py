"""A revocation in one process, seen by the checks of another, on every engine."""

from __future__ import annotations

import statistics
import time

import pytest

from tests.contract.processes import node_beside
from tests.contract.stores import MakeStore
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import PARTS, Office


@pytest.mark.usefixtures("patient")
async def test_a_revoke_that_has_returned_is_never_followed_by_an_allow(
    make_store: MakeStore, store_url: str, deep: bool
) -> None:
    office = Office(make_store(parts=PARTS))
    reached_ms: list[float] = []
    async with node_beside("tests.integration.security.authz.checking_node", store_url) as (tell, hear):
        assert await hear() == "up"
        await office.hire("who stays", "operator")  # the last one cannot be revoked
        for number in range(100 if deep else 11):
            person = await office.hire(f"person {number}", "operator")
            tell(person.nhi)
            assert await hear() == "ready"
            began = time.monotonic_ns()
            revocation = await office.town.nhi.revoke(TENANT, person.nhi)
            returned = time.monotonic_ns()
            accepted, denied = map(int, (await hear()).split())
            reached_ms.append((denied - began) / 1e6)
            if revocation.everywhere:  # then nothing that began after it returned was allowed
                assert accepted < returned
    print(f"reached in {statistics.median(reached_ms):.1f} ms, at most {max(reached_ms):.1f} ms")
