"""A revocation in one process, seen from another, on every engine."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import pytest

from creto.common.errors import EnablementError
from tests.contract.stores import MakeStore
from tests.unit.platform.nhi.town import PARTS, TENANT, Town, chain_of

ROOT = Path(__file__).parents[4]


@pytest.mark.usefixtures("patient")
async def test_a_revocation_reaches_another_process(make_store: MakeStore, store_url: str, deep: bool) -> None:
    town = Town(make_store(parts=PARTS))
    people = await town.line(1)
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.platform.nhi.validating_node", store_url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert node.stdin
    assert node.stdout
    reached_ms: list[float] = []
    try:
        assert await node.stdout.readline() == b"up\n"
        for number in range(100 if deep else 11):
            leaf = await town.agent(f"leaf {number}")
            chain = chain_of([*people, leaf])
            node.stdin.write(chain.to_bytes().hex().encode() + b"\n")
            assert await node.stdout.readline() == b"ready\n"
            began = time.monotonic_ns()
            revocation = await town.nhi.revoke(TENANT, leaf.nhi)
            returned = time.monotonic_ns()
            code, accepted, refused = (await node.stdout.readline()).split()
            assert code == b"PL-124"
            reached_ms.append((int(refused) - began) / 1e6)
            if revocation.everywhere:  # then nothing that began after it returned was accepted
                assert int(accepted) < returned
        node.stdin.close()
        assert await node.wait() == 0
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
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
