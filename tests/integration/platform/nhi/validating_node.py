"""A process of its own that keeps asking about chains; run by `test_revocation.py`.

It reads chains as hexadecimal lines. For each it says `ready` once it accepts it, asks on until it is refused, and then tells when its last
accepted question began and when it was refused, in nanoseconds of the monotonic clock that all processes of a machine share.
"""

from __future__ import annotations

import sys
import time

from creto.common.errors import EnablementError
from creto.platform.nhi import DelegationChain
from creto.store import open_store
from tests.unit.platform.nhi.town import PARTS, TENANT, Town


def main(url: str) -> None:
    town = Town(open_store(url, parts=PARTS))
    print("up", flush=True)
    for line in sys.stdin:
        chain = DelegationChain.from_bytes(bytes.fromhex(line))
        town.nhi.validate(chain, tenant=TENANT)
        print("ready", flush=True)
        began = accepted = time.monotonic_ns()
        try:
            while True:
                began = time.monotonic_ns()
                town.nhi.validate(chain, tenant=TENANT)
                accepted = began
        except EnablementError as error:
            print(error.code, accepted, time.monotonic_ns(), flush=True)
    town.store.close()


if __name__ == "__main__":
    main(sys.argv[1])
