"""creto: the enablement layer for AI agents. It meters, asks humans, contains code and carries messages, and proves every act.

from creto import Creto

with Creto.local("creto.db") as creto:
    bot = creto.register("billing-bot")
    print(creto.agents.get(agent=bot.nhi).name)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from creto.sdk import AgentKey, AsyncCreto, Creto

__all__ = ["AgentKey", "AsyncCreto", "Creto"]


def __getattr__(name: str) -> Any:
    """The SDK is loaded when it is first named, so that `import creto` costs next to nothing."""
    if name in __all__:
        import creto.sdk

        return getattr(creto.sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
