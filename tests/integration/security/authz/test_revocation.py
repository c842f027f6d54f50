"""A revocation in one process, seen by the checks of another, on every engine."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from pathlib import Path

import pytest

from tests.contract.stores import MakeStore
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import PARTS, Office

ROOT = Path(__file__).parents[4]


@pytest.mark.usefixtures("patient")
async def test_a_revoke_that_has_returned_is_never_followed_by_an_allow(
    make_store: MakeStore, store_url: str, deep: bool
) -> None:
    office = Office(make_store(parts=PARTS))
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.security.authz.checking_node", store_url,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
    )  # fmt: skip
    assert node.stdin
    assert node.stdout
    reached_ms: list[float] = []
    try:
        assert await node.stdout.readline() == b"up\n"
        await office.hire("who stays", "operator")  # the last one cannot be revoked
        for number in range(100 if deep else 11):
            person = await office.hire(f"person {number}", "operator")
            node.stdin.write(person.nhi.encode() + b"\n")
            assert await node.stdout.readline() == b"ready\n"
            began = time.monotonic_ns()
            revocation = await office.town.nhi.revoke(TENANT, person.nhi)
            returned = time.monotonic_ns()
            accepted, denied = map(int, (await node.stdout.readline()).split())
            reached_ms.append((denied - began) / 1e6)
            if revocation.everywhere:  # then nothing that began after it returned was allowed
                assert accepted < returned
        node.stdin.close()
        assert await node.wait() == 0
    finally:
        if node.returncode is None:
            node.kill()
            await node.wait()
    print(f"reached in {statistics.median(reached_ms):.1f} ms, at most {max(reached_ms):.1f} ms")
