"""What an agent imports: the layer in this process or over HTTP, synchronous or awaited, one interface.

    with Creto.local("creto.db") as creto:                     # or Creto.connect("http://127.0.0.1:8081", token=…)
        bot = creto.register("billing-bot")
        creto.memory.store_context(agent=bot.nhi, kind="reasoning", content="Invoice 17 is due", action="payment.approve")
        print(creto.audit.query(agent=bot.nhi).items)

    async with AsyncCreto.local("creto.db") as creto:
        bot = await creto.register("billing-bot")

Every method takes the fields of its endpoint's request and returns its answer; a refusal raises an `EnablementError`.
"""

from creto.edge.api.approvals import Item
from creto.sdk.asking import Granted
from creto.sdk.client import AsyncCreto, Creto
from creto.sdk.guarding import approval, require_approval
from creto.sdk.humanlayer import AsyncHumanLayer, HumanLayer
from creto.sdk.keys import AgentKey

__all__ = [
    "AgentKey",
    "AsyncCreto",
    "AsyncHumanLayer",
    "Creto",
    "Granted",
    "HumanLayer",
    "Item",
    "approval",
    "require_approval",
]
