"""What stands beside our figures: other packages, each used as its own README does, in an environment of their own.

    .venv-peers/bin/python scripts/bench/peers.py        one JSON line for each: {"name": …, "us": …} or {"name": …, "error": …}

Nothing of creto is imported here. `us` is the 99th percentile where ours is one, else the median; the name says of what.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BLOCKS = 8
RULES = 1_000


def samples(fn: Callable[[], Any], seconds: float, least: int = 20) -> list[float]:
    """Microseconds of single calls, for about so long."""
    fn()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < least or time.perf_counter() < end:
        started = time.perf_counter_ns()
        fn()
        taken.append((time.perf_counter_ns() - started) / 1000)
    return taken


def p99(taken: list[float]) -> float:
    ordered = sorted(taken)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def cedarpy_plain(count: int, seconds: float) -> dict[str, float]:
    """Text policies and dictionaries of entities, as the quick start of cedarpy shows."""
    import cedarpy

    policies = "\n".join(
        f'permit(principal == User::"u{n}", action == Action::"read", resource == Doc::"d{n}");' for n in range(count)
    )
    entities = [{"uid": {"type": "User", "id": "u3"}, "attrs": {}, "parents": []}]
    request = {"principal": 'User::"u3"', "action": 'Action::"read"', "resource": 'Doc::"d3"', "context": {}}

    def decide() -> None:
        assert cedarpy.is_authorized(request, policies, entities).allowed

    return {f"cedarpy, {count} policies as text": p99(samples(decide, seconds))}


def casbin_rules(count: int, seconds: float) -> dict[str, float]:
    """The basic ACL model; the rule that matches is the last."""
    import casbin

    with tempfile.TemporaryDirectory() as folder:
        model, rules = Path(folder, "model.conf"), Path(folder, "policy.csv")
        model.write_text(
            "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n"
            "[policy_effect]\ne = some(where (p.eft == allow))\n"
            "[matchers]\nm = r.sub == p.sub && r.obj == p.obj && r.act == p.act\n"
        )
        rules.write_text("\n".join(f"p, u{n}, d{n}, read" for n in range(count)) + "\n")
        enforcer = casbin.Enforcer(str(model), str(rules))
    last = count - 1

    def decide() -> None:
        assert enforcer.enforce(f"u{last}", f"d{last}", "read")

    return {f"casbin, {count} rules": p99(samples(decide, seconds))}


def biscuit_chain(blocks: int, seconds: float) -> dict[str, float]:
    """An authority block and `blocks` that narrow it: read, verified (Ed25519), authorized."""
    from datetime import timedelta

    from biscuit_auth import AuthorizerBuilder, Biscuit, BiscuitBuilder, BlockBuilder, KeyPair

    root = KeyPair()
    token = BiscuitBuilder('user("agent"); right("doc", "read");').build(root.private_key)
    for n in range(blocks):
        token = token.append(BlockBuilder(f"check if depth($d), $d <= {100 - n};"))
    data = bytes(token.to_bytes())

    def verify() -> None:
        found = Biscuit.from_bytes(data, root.public_key)
        builder = AuthorizerBuilder('depth(1); allow if right("doc", "read");')
        limits = builder.limits()
        limits.max_time = timedelta(seconds=1)  # its default of 1 ms fails on a busy machine
        builder.set_limits(limits)
        builder.build(found).authorize()

    return {f"biscuit-python, {blocks} blocks (Ed25519)": p99(samples(verify, seconds))}


def agt_policy(count: int, seconds: float) -> dict[str, float]:
    from agent_os.policies import PolicyDocument, PolicyEvaluator
    from agent_os.policies.schema import PolicyAction, PolicyCondition, PolicyOperator, PolicyRule

    rules = [
        PolicyRule(
            name=f"r{n}",
            condition=PolicyCondition(field="tool_name", operator=PolicyOperator.EQ, value=f"tool{n}"),
            action=PolicyAction.ALLOW,
            priority=count - n,
        )
        for n in range(count)
    ]
    evaluator = PolicyEvaluator(policies=[PolicyDocument(name="bench", version="1.0", rules=rules)])
    context = {"tool_name": f"tool{count - 1}", "agent_id": "a"}

    def decide() -> None:
        assert evaluator.evaluate(context).allowed

    return {f"agent-governance-toolkit, {count} rules": p99(samples(decide, seconds))}


def agt_delegation(length: int, seconds: float) -> dict[str, float]:
    """A chain whose parents are all known, so that its optional signatures (Ed25519) are checked."""
    from agentmesh.identity.agent_id import AgentIdentity
    from agentmesh.identity.delegation import DelegationLink, ScopeChain

    people = [
        AgentIdentity.create(name=f"a{n}", sponsor="ada@example.com", capabilities=["read:doc"])
        for n in range(length + 1)
    ]
    chain = ScopeChain(
        chain_id="c",
        max_depth=length,
        root_sponsor_email="ada@example.com",
        root_capabilities=["read:doc"],
        known_identities={str(one.did): one for one in people},
        leaf_did=str(people[0].did),
        leaf_capabilities=["read:doc"],
    )
    previous = None
    for depth in range(length):
        parent, child = people[depth], people[depth + 1]
        link = DelegationLink(
            link_id=f"l{depth}",
            depth=depth,
            parent_did=str(parent.did),
            child_did=str(child.did),
            parent_capabilities=["read:doc"],
            delegated_capabilities=["read:doc"],
            parent_signature=parent.sign(f"{parent.did}:{child.did}:read:doc".encode()),
            link_hash="",
            previous_link_hash=previous,
        )
        link.link_hash = previous = link.compute_hash()
        chain.add_link(link)

    def verify() -> None:
        good, why = chain.verify()
        assert good, why

    return {f"agent-governance-toolkit, {length} links (Ed25519)": p99(samples(verify, seconds))}


def agt_audit(count: int, seconds: float) -> dict[str, float]:
    """Its log is in memory: what it costs to append to one of `count` entries, and to verify the whole."""
    from agentmesh.governance.audit import AuditLog

    log = AuditLog()

    def append() -> None:
        log.log("tool_invocation", "did:mesh:a", "read", resource="doc", outcome="success")

    for _ in range(count):
        append()
    taken = samples(append, seconds)

    def verify() -> None:
        good, why = log.verify_integrity()
        assert good, why

    whole = samples(verify, 0, 3)
    entry = log.query()[0]

    def prove() -> None:
        assert log.get_proof(entry.entry_id)

    return {
        f"agent-governance-toolkit, in memory, {count} entries": p99(taken),
        f"agent-governance-toolkit, verify all of {count}": statistics.median(whole),
        f"agent-governance-toolkit, proof in {count}": p99(samples(prove, seconds)),
    }


def dbos_approvals(seconds: float) -> dict[str, float]:
    """Durable workflows on SQLite, as the quick start shows: one with one step, and one that waits for a message and goes on."""
    from dbos import DBOS

    folder = tempfile.mkdtemp()
    url = f"sqlite:///{folder}/dbos.sqlite"
    dbos = DBOS(
        config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "CRITICAL"}
    )

    @DBOS.step()  # type: ignore[untyped-decorator]
    def decide() -> bool:
        return True

    @DBOS.workflow()  # type: ignore[untyped-decorator]
    def transition() -> None:
        decide()

    @DBOS.workflow()  # type: ignore[untyped-decorator]
    def waiting() -> int:
        DBOS.recv("decision", timeout_seconds=60)
        return time.perf_counter_ns()

    DBOS.launch()
    try:
        steps = samples(transition, seconds)
        wakes: list[float] = []
        end = time.perf_counter() + max(2.0, seconds)
        while len(wakes) < 5 or time.perf_counter() < end:
            handle = DBOS.start_workflow(waiting)
            time.sleep(0.05)  # until it waits
            clicked = time.perf_counter_ns()
            DBOS.send(handle.workflow_id, "yes", "decision")
            wakes.append((handle.get_result() - clicked) / 1000)
    finally:
        DBOS.destroy()
    del dbos
    return {"DBOS on SQLite, a workflow of one step": p99(steps), "DBOS on SQLite, click to running": p99(wakes)}


def main(seconds: float) -> None:
    wanted: list[tuple[str, Callable[[], dict[str, float]]]] = [
        ("cedarpy 10", lambda: cedarpy_plain(10, seconds)),
        ("cedarpy 1000", lambda: cedarpy_plain(RULES, seconds)),
        ("casbin", lambda: casbin_rules(RULES, seconds)),
        ("biscuit", lambda: biscuit_chain(BLOCKS, seconds)),
        ("agt policy", lambda: agt_policy(RULES, seconds)),
        ("agt delegation", lambda: agt_delegation(BLOCKS, seconds)),
        ("agt audit", lambda: agt_audit(3_000, seconds)),
        ("dbos", lambda: dbos_approvals(seconds)),
    ]
    for key, measure in wanted:
        try:
            for name, value in measure().items():
                told = next((f"{key} {word}" for word in ("proof", "verify", "click") if word in name), key)
                print(json.dumps({"key": told, "name": name, "us": value}), flush=True)
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is said in its place
            print(json.dumps({"key": key, "name": key, "error": f"{type(error).__name__}: {error}"}), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0)
