"""The whole layer at mixed work until it is killed. It says on stdout what has been acknowledged, and what was delivered."""

from __future__ import annotations

import asyncio
import itertools
import random
import sys
from pathlib import Path

from creto.app import App, running
from creto.bus import Message
from creto.common.ids import new_id
from creto.platform.crypto import SigningKey
from creto.platform.nhi import PrincipalKind, nhi_of, registration_proof
from tests.crash.layer_config import TOPIC, layer


def tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def work(app: App, number: int, dice: random.Random) -> None:
    parts, tenant, me = app.parts, app.tenant, app.operator
    for turn in itertools.count():
        match dice.randrange(6):
            case 0:
                key = SigningKey.generate()
                proof = registration_proof(key, tenant=tenant, kind=PrincipalKind.AGENT, name=f"a{turn}")
                await parts.nhi.register(tenant, PrincipalKind.AGENT, key.public, f"a{turn}", proof=proof)
                tell(f"identity {nhi_of(key.public)}")
            case 1:
                item = await parts.memory.store_context(tenant, me, "note", f"item {turn}", written_by=me)
                tell(f"memory {item.id}")
            case 2:
                name = f"w{number}/{new_id()}"
                await parts.storage.put(tenant, name, name.encode(), agent=me)
                tell(f"object {name}")
            case 3:
                name = f"state-{number}-{dice.randrange(5)}"
                before = await parts.memory.state.get(tenant, me, name)
                version = before.version if before else 0
                kept = await parts.memory.state.put(tenant, me, name, b"v", expected=version, written_by=me)
                tell(f"state {name} {kept.version}")
            case _:
                message = new_id()
                await parts.bus.publish(TOPIC, message.encode(), tenant=tenant, agent=f"agent-{number}")
                tell(f"published {number} {message}")


async def main(store_url: str, folder: str, seed: str) -> None:
    async def consume(message: Message) -> None:
        tell(f"delivered {message.agent} {message.payload.decode()}")

    async with running(layer(store_url, Path(folder))) as app:
        await app.parts.bus.subscribe(TOPIC, "crash", consume)
        tell("ready")
        await asyncio.gather(*(work(app, n, random.Random(f"{seed}/{n}")) for n in range(4)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
