"""Attribution: who bears the cost, along the delegation chains behind the events.

An amount first falls on chains, by what each used; then the payer rule moves a chain's part to its root, its leaf, the nearest agent
with a wallet, or splits it. The cost tree shows the same parts from below: what each agent spent itself and with all beneath it.

INVARIANT: the shares of an amount sum to it exactly, over any tree and by any rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TypeVar

import msgspec

from creto.common.ids import AgentId
from creto.contracts import BillableEvent
from creto.metering.currencies import Currency
from creto.metering.rounding import ZERO, precise
from creto.metering.types import Payer, PayerRule, Share

Chain = tuple[AgentId, ...]  # from the root down to the agent itself
Key = TypeVar("Key", Chain, tuple[int, Chain])


def chain_of(event: BillableEvent) -> Chain:
    """The chain of an event, its agent last."""
    chain = event.delegation_chain
    return chain if chain and chain[-1] == event.agent_nhi else (*chain, event.agent_nhi)


@precise
def by_chain(amount: Decimal, uses: Iterable[tuple[Key, Decimal]], currency: Currency) -> dict[Key, Decimal]:
    """An amount over chains (of the first rule, of the second …), by what they used. Where nothing was used, all chains weigh the same."""
    weights: dict[Key, Decimal] = {}
    for chain, weight in uses:
        weights[chain] = weights.get(chain, ZERO) + weight
    chains = sorted(weights)
    positive = [max(weights[c], ZERO) for c in chains]
    if not any(positive):
        positive = [Decimal(1) for _ in chains]
    return dict(zip(chains, currency.split(amount, positive), strict=True)) if chains else {}


@precise
def borne(
    parts: Mapping[Chain, Decimal], payer: Payer, wallets: Collection[AgentId], currency: Currency
) -> tuple[Share, ...]:
    """Who pays for the parts of chains."""
    paid: dict[AgentId, Decimal] = {}
    for chain in sorted(parts):
        payers = payers_of(chain, payer, wallets)
        for (agent, _), part in zip(payers, currency.split(parts[chain], [w for _, w in payers]), strict=True):
            paid[agent] = paid.get(agent, ZERO) + part
    return tuple(Share(agent, paid[agent]) for agent in sorted(paid) if paid[agent])


def summed_shares(shares: Iterable[Share]) -> tuple[Share, ...]:
    sums: dict[AgentId, Decimal] = {}
    for share in shares:
        sums[share.agent] = sums.get(share.agent, ZERO) + share.amount
    return tuple(Share(agent, sums[agent]) for agent in sorted(sums) if sums[agent])


def payers_of(chain: Chain, payer: Payer, wallets: Collection[AgentId]) -> list[tuple[AgentId, Decimal]]:
    one = Decimal(1)
    match payer.rule:
        case PayerRule.ROOT:
            return [(chain[0], one)]
        case PayerRule.LEAF:
            return [(chain[-1], one)]
        case PayerRule.NEAREST_WITH_WALLET:
            # Nobody on the way has one: then the human or service behind it all pays.
            return [(next((a for a in reversed(chain) if a in wallets), chain[0]), one)]
        case PayerRule.SPLIT:
            return split_payers(chain, payer.split)


def split_payers(chain: Chain, split: Sequence[Decimal]) -> list[tuple[AgentId, Decimal]]:
    """Weights from the leaf upwards; the last of them is shared evenly by all who are left."""
    upwards = list(reversed(chain))
    head, rest = upwards[: len(split) - 1], upwards[len(split) - 1 :]
    weights = [*split[: len(head)], *(split[-1] / len(rest) for _ in rest)]
    if not any(weights):
        return [(chain[-1], Decimal(1))]
    return list(zip([*head, *rest], weights, strict=True))


class CostNode(msgspec.Struct, frozen=True):
    """What an agent spent itself, and with all to whom it delegated."""

    agent: AgentId
    own: Decimal
    total: Decimal
    children: tuple[CostNode, ...] = ()


@precise
def cost_tree(parts: Mapping[Chain, Decimal]) -> tuple[CostNode, ...]:
    """One tree for each root. An agent that acts for two parents stands under both, each with its own part."""
    below: dict[AgentId, dict[Chain, Decimal]] = {}
    for chain, amount in parts.items():
        if chain:
            rest = below.setdefault(chain[0], {})
            rest[chain[1:]] = rest.get(chain[1:], ZERO) + amount
    return tuple(
        CostNode(agent, rest.get((), ZERO), sum(rest.values(), ZERO), cost_tree(rest))
        for agent, rest in sorted(below.items())
    )
