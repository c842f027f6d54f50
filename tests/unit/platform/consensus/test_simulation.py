"""Clusters with f lying, silent, equivocating, skewed, forging, replaying, slow or garbling nodes of 3f+1, partitions, pauses, steps."""

from __future__ import annotations

from tests.unit.platform.consensus.simulator import Fault, Simulation

SEEDS, SEEDS_DEEP = 200, 10_000


def test_no_seed_breaks_an_invariant(deep: bool) -> None:
    """Monotone, within 100 ms of an honest clock unless degraded, degraded without a quorum, recovering by itself."""
    vouched = looked = 0
    for seed in range(SEEDS_DEEP if deep else SEEDS):
        simulation = Simulation(seed).run()
        vouched += sum(client.vouched for client in simulation.clients)
        looked += sum(line.count(" now=") for line in simulation.trace)
    assert vouched > looked // 2, "the clocks hardly ever vouch: the simulation tests nothing"


def test_every_fault_is_met() -> None:
    met = {node.fault for seed in range(SEEDS) for node in Simulation(seed).nodes}
    assert met == set(Fault)


def test_a_seed_replays() -> None:
    assert Simulation(7).run().trace == Simulation(7).run().trace


def overrun(seed: int) -> None:
    """f+1 and more nodes that creep away together."""
    simulation = Simulation(seed)
    majority = len(simulation.nodes) // 2 + 1
    for node in simulation.nodes[:majority]:
        node.fault = Fault.CREEPING
    simulation.honest = simulation.nodes[majority:]
    simulation.run()


def test_more_than_f_liars_can_move_time() -> None:
    """The simulation can fail: beyond f the bound does not hold."""
    broken = 0
    for seed in range(20):
        try:
            overrun(seed)
        except AssertionError:
            broken += 1
    assert broken > 0
