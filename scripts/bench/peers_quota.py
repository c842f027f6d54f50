"""Quotas beside ours: LiteLLM's session budget and `limits`, each in memory, as their own packages use them."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

CALLS = 500
CENTS, CAP = 30, 100  # a call, and what there is


def p99(taken: list[float]) -> float:
    ordered = sorted(taken)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]


def limits_memory(seconds: float) -> dict[str, float]:
    """A fixed window with a cost for each hit; 500 threads against a cap."""
    from limits.storage import MemoryStorage
    from limits.strategies import FixedWindowRateLimiter

    from limits import RateLimitItemPerDay

    limiter = FixedWindowRateLimiter(MemoryStorage())
    wide, cap = RateLimitItemPerDay(1 << 60), RateLimitItemPerDay(CAP)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 100:
        started = time.perf_counter_ns()
        limiter.hit(wide, "agent", cost=1)
        taken.append((time.perf_counter_ns() - started) / 1000)
    with ThreadPoolExecutor(100) as pool:
        passed = sum(pool.map(lambda _: limiter.hit(cap, "capped", cost=CENTS), range(CALLS)))
    name = f"limits {version('limits')}, in memory"
    return {name: p99(taken), f"{name}, {CALLS} calls on threads, overspend": passed * CENTS / CAP}


def litellm_session(seconds: float) -> dict[str, float]:
    """Its pre-call hook, and the spend that it books after the call: 500 calls that take a while, at once."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    from litellm import DualCache
    from litellm.proxy._types import UserAPIKeyAuth
    from litellm.proxy.agent_endpoints.agent_registry import global_agent_registry
    from litellm.proxy.hooks.max_budget_per_session_limiter import _PROXY_MaxBudgetPerSessionHandler
    from litellm.proxy.utils import InternalUsageCache
    from litellm.types.agents import AgentResponse

    cache = DualCache()
    hook = _PROXY_MaxBudgetPerSessionHandler(InternalUsageCache(cache))
    for name, budget in (("wide", 1e12), ("capped", CAP / 100)):
        global_agent_registry.register_agent(
            AgentResponse(
                agent_id=name, agent_name=name, agent_card_params={}, litellm_params={"max_budget_per_session": budget}
            )
        )
    wide, capped = (UserAPIKeyAuth(agent_id=name) for name in ("wide", "capped"))

    async def ask(user: Any, session: str) -> None:
        await hook.async_pre_call_hook(user, cache, {"metadata": {"session_id": session}}, "completion")

    async def spend() -> bool:
        try:
            await ask(capped, "capped")
        except Exception:  # noqa: BLE001 - its refusal, whatever its class
            return False
        await asyncio.sleep(0.02)
        kwargs = {
            "litellm_params": {"metadata": {"session_id": "capped", "agent_id": "capped"}},
            "response_cost": CENTS / 100,
        }
        await hook.async_log_success_event(kwargs, None, None, None)
        return True

    async def measured() -> tuple[list[float], int]:
        taken: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(taken) < 100:
            started = time.perf_counter_ns()
            await ask(wide, "wide")
            taken.append((time.perf_counter_ns() - started) / 1000)
        return taken, sum(await asyncio.gather(*(spend() for _ in range(CALLS))))

    taken, passed = asyncio.run(measured())
    name = f"LiteLLM {version('litellm')}'s session budget, in memory"
    return {name: p99(taken), f"{name}, {CALLS} tasks, overspend": passed * CENTS / CAP}
