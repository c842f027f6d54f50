"""A revocation in one process, seen from another, on every engine."""

from __future__ import annotations

import statistics
import time

import pytest

from creto.common.errors import EnablementError
from tests.contract.processes import node_beside
from tests.contract.stores import MakeStore
from tests.unit.platform.nhi.town import PARTS, TENANT, Town, chain_of


@pytest.mark.usefixtures("patient")
async def test_a_revocation_reaches_another_process(make_store: MakeStore, store_url: str, deep: bool) -> None:
    town = Town(make_store(parts=PARTS))
    people = await town.line(1)
    reached_ms: list[float] = []
    async with node_beside("tests.integration.platform.nhi.validating_node", store_url) as (tell, hear):
        assert await hear() == "up"
        for number in range(100 if deep else 11):
            leaf = await town.agent(f"leaf {number}")
            chain = chain_of([*people, leaf])
            tell(chain.to_bytes().hex())
            assert await hear() == "ready"
            began = time.monotonic_ns()
            revocation = await town.nhi.revoke(TENANT, leaf.nhi)
            returned = time.monotonic_ns()
            code, accepted, refused = (await hear()).split()
            assert code == "PL-124"
            reached_ms.append((int(refused) - began) / 1e6)
            if revocation.everywhere:  # then nothing that began after it returned was accepted
                assert int(accepted) < returned
    print(f"reached in {statistics.median(reached_ms):.1f} ms, at most {max(reached_ms):.1f} ms")


async def test_a_revoked_token_ends_on_the_other_node(make_store: MakeStore) -> None:
    """Two nodes on one store: the second has the token in memory as good."""
    here, there = Town(make_store(parts=PARTS)), Town(make_store(parts=PARTS))
    bot = await here.agent()
    for _ in range(5):
        issued = await here.nhi.issue_token(TENANT, bot.nhi, scopes=("*",))
        await there.nhi.start()
        assert there.nhi.verify_token(issued.token).agent == bot.nhi
        done = await here.nhi.revoke_token(TENANT, issued.caller.credential, actor=bot.nhi)
        if not done.everywhere:  # a slow machine: it must hold all the same, a moment later
            assert await here.store.settled(30)
        with pytest.raises(EnablementError, match="PL-136"):
            there.nhi.verify_token(issued.token)
