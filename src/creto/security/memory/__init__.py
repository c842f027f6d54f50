"""Memory: what agents remember, sealed, searchable, erasable, and each agent's own.

memory = Memory(TenantKeys(keystore, "memory"), store, clock)

await memory.store_context("default", agent, "reasoning", "Invoice 17 was approved by the CFO", action="funds.transfer")
shown = await memory.fetch_reasoning_context("default", agent, "funds.transfer", 10)
found = await memory.search("default", agent, "approved invoices")
await memory.history.append("default", agent, "chat-1", [NewTurn(Role.USER, "Pay it.")])
entry = await memory.state.put("default", agent, "plan", b"step 2", expected=0)
await memory.erase_agent("default", agent, by=operator, reason="request 42")
"""

from creto.security.memory.history import History
from creto.security.memory.service import Memory, MemoryClient
from creto.security.memory.state import State
from creto.security.memory.types import (
    REASONING,
    Context,
    ContextPage,
    ConversationPage,
    Erasure,
    Match,
    Metric,
    NewTurn,
    Origin,
    Role,
    StateEntry,
    StateKey,
    StateKeys,
    Turn,
    TurnPage,
    Usage,
)
from creto.security.tenantkeys import TenantKeys

__all__ = [
    "REASONING",
    "Context",
    "ContextPage",
    "ConversationPage",
    "Erasure",
    "History",
    "Match",
    "Memory",
    "MemoryClient",
    "Metric",
    "NewTurn",
    "Origin",
    "Role",
    "State",
    "StateEntry",
    "StateKey",
    "StateKeys",
    "TenantKeys",
    "Turn",
    "TurnPage",
    "Usage",
]
