"""A process of its own that keeps asking; run by `test_revocation.py`.

It reads agents, one a line. For each it says `ready` once it is allowed and the decision is remembered, asks on until it is denied, and then
tells when its last allowed question began and when it was denied, in nanoseconds of the monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import sys
import time

from creto.common.ids import AgentId
from creto.security.authz import Allow
from creto.store import open_store
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.office import PARTS, READ, SANDBOX, Office


def main(url: str) -> None:
    office = Office(open_store(url, parts=PARTS))
    asyncio.run(office.authz.start())
    check = office.authz.tenant(TENANT).check
    print("up", flush=True)
    for line in sys.stdin:
        agent = AgentId(line.strip())
        assert isinstance(check(agent, READ, SANDBOX), Allow)
        print("ready", flush=True)
        began = accepted = time.monotonic_ns()
        while isinstance(check(agent, READ, SANDBOX), Allow):
            accepted = began
            began = time.monotonic_ns()
        print(accepted, time.monotonic_ns(), flush=True)
    office.authz.close()
    office.store.close()


if __name__ == "__main__":
    main(sys.argv[1])
