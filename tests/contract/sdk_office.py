"""An office for programs that ask humans: the same in this process and over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from creto.common.timestamps import HOUR
from creto.edge.api.approval_views import ApprovalView
from creto.edge.api.approvers import TierTerms
from creto.oversight import Verdict
from creto.platform.nhi import DelegationChain, PrincipalKind
from creto.sdk import AgentKey, Creto
from tests.layers import Layer, layer

WAIT_S = 30


class Office:
    """An operator who decides by his `policy`, and a bot that acts for Ada."""

    def __init__(
        self, operator: Creto, bot: Creto, policy: str, key: AgentKey, chain: DelegationChain, url: str | None = None
    ) -> None:
        self.url = url
        self.operator, self.bot, self.policy, self.key, self.chain = operator, bot, policy, key, chain

    @contextmanager
    def acting(self, key: AgentKey, chain: DelegationChain) -> Iterator[Creto]:
        """Another agent, on a line of its own."""
        if self.url is None:
            yield self.operator.acting(chain)
        else:
            with Creto.connect(self.url, key=key, chain=chain) as found:
                yield found

    def chain_to(self, key: AgentKey) -> DelegationChain:
        """From a human of its own, for an hour."""
        root, now = (
            self.operator.register("root", kind=PrincipalKind.HUMAN),
            self.operator.time.get_timestamp().timestamps[0],
        )
        return root.delegate(key.nhi, actions=("*",), not_before=now, not_after=type(now)(now + HOUR), tenant=self.operator.tenant)  # fmt: skip

    def open(self) -> list[ApprovalView]:
        return [one for one in self.operator.approvals.list(limit=1_000).items if one.agent == self.key.nhi]

    def decide(self, verdict: Verdict = Verdict.APPROVE, **terms: Any) -> str:
        """As soon as the bot has asked."""
        for _ in range(WAIT_S * 100):
            found = self.open()
            if found:
                one = found[0]
                self.operator.approvals.decide(request_id=one.request_id, verdict=verdict, round=one.round, **terms)
                return one.request_id
            threading.Event().wait(0.01)
        raise AssertionError("nobody asked")


@contextmanager
def working(work: Callable[[], Any]) -> Iterator[list[Any]]:
    """Runs beside the block; what it gives, or raises, is in the list at the end."""
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001 - the test looks at it
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    with layer(tmp_path_factory.mktemp("layer")) as found:
        yield found


@pytest.fixture(params=["local", "remote"])
def office(request: pytest.FixtureRequest, served: Layer, tmp_path: Path) -> Iterator[Office]:
    world, policy = request.param, f"p{abs(hash(request.node.name))}"
    with (
        Creto.local(tmp_path / "creto.db") if world == "local" else Creto.connect(served.rest, token=served.token)
    ) as operator:
        ada = operator.register("ada", kind=PrincipalKind.HUMAN)
        bot = operator.register(f"bot-{world}")
        now = operator.time.get_timestamp().timestamps[0]
        chain = ada.delegate(bot.nhi, actions=("*",), not_before=now, not_after=type(now)(now + HOUR), tenant=operator.tenant)  # fmt: skip
        tier = TierTerms(name="all", approvers=(operator.auth.whoami().agent,))
        operator.approvals.put_policy(policy_id=policy, tiers=(tier,))
        if world == "local":
            yield Office(operator, operator.acting(chain), policy, bot, chain)
        else:
            with Creto.connect(served.rest, key=bot, chain=chain) as mine:
                yield Office(operator, mine, policy, bot, chain, served.rest)
