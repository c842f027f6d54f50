"""A first agent: it gets an identity, remembers why it acts, and leaves an entry that anybody can check.

    python examples/first_agent.py

Everything lies in a folder that is gone afterwards. The last line is what a stranger runs, with the proof and the log's public keys.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from creto import Creto
from creto.store.types import Outcome

VERIFIER = Path(__file__).with_name("verify_audit_proof.py")


def story(folder: Path) -> None:
    with Creto.local(folder / "creto.db") as creto:
        bot = creto.register("billing-bot")
        print("registered", bot.nhi)

        creto.memory.store_context(
            agent=bot.nhi, kind="reasoning", action="payment.approve", content="Invoice 17 fits purchase order 9"
        )
        for why in creto.memory.fetch_reasoning_context(agent=bot.nhi, action="payment.approve").items:
            print("remembers:", why.content.decode())

        done = creto.audit.append(action="payment.approve", resource="invoice:17", outcome=Outcome.SUCCESS)
        proof = folder / "proof.json"
        proof.write_bytes(creto.audit.prove(event_id=done.event_id, fresh=True).file)
        for entry in creto.audit.query().items:
            print(f"log {entry.index}: {entry.action} {entry.outcome}")
        vkeys = creto.audit.keys().vkeys

    # The layer is closed now. The proof and the public keys are all that is needed.
    sys.stdout.flush()
    subprocess.run([sys.executable, VERIFIER, proof, *vkeys], check=True)  # noqa: S603 - our own program


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        story(Path(folder))
