"""A process that records, sequences and signs as fast as it can until it is killed. It says on stdout what is durable."""

from __future__ import annotations

import itertools
import sys
import threading

from creto.common.timestamps import MILLISECOND
from creto.platform.audit import Audit, Cadence, Checkpoint
from creto.platform.consensus.testing import ManualClock
from creto.store import open_store
from tests.unit.platform.audit.logs import KEY, ORIGIN, PARTS, START, entry

say = threading.Lock()


def tell(line: str) -> None:
    with say:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def main(url: str) -> None:
    store = open_store(url, parts=PARTS)
    clock = ManualClock(START)
    audit = Audit(store, clock, KEY, ORIGIN, cadence=Cadence(rest_ns=MILLISECOND, poll_ns=MILLISECOND, checkpoint_ns=0))

    def signed(checkpoint: Checkpoint) -> None:
        tell(f"signed {checkpoint.size} {checkpoint.root.hex()}")

    audit.sequencer.on_checkpoint(signed)
    audit.start()
    tell("ready")
    for round_number in itertools.count():
        entries = [entry(n) for n in range(1 + round_number % 40)]
        store.submit(lambda tx, entries=entries: [tx.record(e) for e in entries]).result()
        tell("stored " + " ".join(e.event_id for e in entries))


if __name__ == "__main__":
    main(sys.argv[1])
