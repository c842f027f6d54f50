"""kill -9 of the sequencing process at random moments: the log verifies, nothing is lost, nothing is doubled, nothing signed is taken back."""

from __future__ import annotations

import random
from functools import partial

from creto.platform.audit import Checkpoint, Trust, verify_database
from creto.platform.audit.keys import log_signers
from creto.platform.audit.store import leaf_rows
from creto.store import open_store
from tests.crash.killing import run_and_kill
from tests.unit.platform.audit.logs import KEY, ORIGIN, PARTS, log

TRUST = Trust.of(*(signer.key for signer in log_signers(ORIGIN, KEY)))
SEEDS, SEEDS_DEEP = 4, 200


async def test_killed_at_any_moment_the_log_is_whole(store_url: str, deep: bool) -> None:
    moments = random.Random(20260131)
    seeds = SEEDS_DEEP if deep else SEEDS
    seen: set[str] = set()
    signed: dict[int, bytes] = {}
    size = 0
    for seed in range(seeds):
        stored: set[str] = set()
        for line in run_and_kill("tests.crash.audit_child", store_url, after_s=moments.uniform(0, 0.25)):
            kind, *words = line.split(" ")
            if kind == "stored":
                stored.update(words)
            elif kind == "signed":
                root = bytes.fromhex(words[1])
                assert signed.setdefault(int(words[0]), root) == root, f"seed {seed}: two roots at size {words[0]}"

        store = open_store(store_url, parts=PARTS)
        try:
            audit = log(store)
            await audit.sequence_once()
            newest = await audit.checkpoint()
            assert newest.size >= max([size, *signed]), f"seed {seed}: the log has shrunk"
            ids = [leaf.event_id for leaf in await store.read(partial(leaf_rows, low=size, high=newest.size))]
            assert len(ids) == newest.size - size
            assert not seen & set(ids), f"seed {seed}: an entry is in the log twice"
            assert len(set(ids)) == len(ids), f"seed {seed}: an entry is in the log twice"
            assert stored <= set(ids), f"seed {seed}: entries that were durable are not in the log"
            if seed % 20 == 3 or seed == seeds - 1:
                trusted = [Checkpoint(ORIGIN, s, root) for s, root in signed.items()]
                await store.read(partial(verify_database, trust=TRUST, trusted=trusted))
            seen.update(ids)
            size = newest.size
        finally:
            store.close()
    assert seen
    assert signed
