"""Delegation: a human lets an agent act for her, the agent lets another do less, and a revocation ends both.

python examples/delegation.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from creto import AgentKey, Creto
from creto.common.errors import EnablementError
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.platform.nhi import DelegationChain, PrincipalKind


def story(folder: Path) -> None:
    with Creto.local(folder / "creto.db") as creto:
        ada = creto.register("Ada", kind=PrincipalKind.HUMAN)
        planner, worker = creto.register("planner"), creto.register("worker")
        now = creto.time.get_timestamp().timestamps[0]
        until = ConsensusTimestamp(now + HOUR)

        # Ada signs with her own key: the server sees the link, never the key.
        to_planner = ada.delegate(
            planner.nhi,
            tenant=creto.tenant,
            actions=["runtime:*", "funds.transfer"],
            resources=["*"],
            not_before=now,
            not_after=until,
            depth_left=1,
        )
        # The planner hands on a part of it, without asking anybody.
        to_worker = planner.delegate(
            worker.nhi,
            chain=to_planner,
            actions=["runtime:exec"],
            resources=["runtime:sandbox:*"],
            not_before=now,
            not_after=until,
        )
        print(
            "worker acts for", creto.delegations.validate(chain=to_worker.to_bytes(), agent=worker.nhi).root == ada.nhi
        )
        ask(creto, to_worker, worker, "runtime:exec", "runtime:sandbox:1")
        ask(creto, to_worker, worker, "funds.transfer", "bank:acme")

        # A link that widens is not even signed; one that was signed elsewhere is refused wherever the chain is shown.
        try:
            planner.delegate(
                worker.nhi, chain=to_planner, actions=["*"], resources=["*"], not_before=now, not_after=until
            )
        except EnablementError as refused:
            print(f"everything: {refused.code} {refused.message}")

        creto.delegations.revoke(chain=to_planner.to_bytes(), reason="the project has ended")
        ask(creto, to_worker, worker, "runtime:exec", "runtime:sandbox:1")


def ask(creto: Creto, chain: DelegationChain, agent: AgentKey, action: str, resource: str) -> None:
    try:
        creto.delegations.validate(chain=chain.to_bytes(), agent=agent.nhi, action=action, resource=resource)
        print(f"{action} on {resource}: the chain holds")
    except EnablementError as refused:
        print(f"{action} on {resource}: {refused.code} {refused.message}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        story(Path(folder))
