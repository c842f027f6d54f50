"""Authorization: a remembered decision, one computed among 10 to 10,000 policies, an override token used; Cedar's engine beside it."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Iterator
from itertools import repeat

import cedarpy
import msgspec

from creto.common.ids import AgentId, TenantId
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import SigningKey
from creto.platform.nhi import Nhi, PrincipalKind, registration_proof
from creto.security.authz import Authz
from creto.security.authz.texts import parsed_schema, whole_text
from creto.store import open_store
from scripts.bench.measure import Row, amortised, each, latency, percentile

PARTS = ("creto.platform.nhi", "creto.security.authz")
TENANT = TenantId("bench")
ACTIONS = (
    "sandbox.read",
    "sandbox.exec",
    "sandbox.write",
    "sandbox.spawn",
    "network.egress",
    "tool.call",
    "secret.read",
)
PEOPLE = 20
SIZES = (10, 100, 1_000, 10_000)
REQUESTS = 4_000
Request = tuple[AgentId, str, str]


def policies(count: int, people: list[AgentId]) -> str:
    """What tenants write: grants to people and roles, to single resources, a few bans and a few that ask a human."""
    chance = random.Random(5)  # noqa: S311
    found = []
    for number in range(count):
        person, action, sandbox = chance.choice(people), chance.choice(ACTIONS), chance.randrange(count)
        kind = chance.choices(range(5), (4, 2, 2, 1, 1))[0]
        found.append(
            (
                f'permit (principal == Human::"{person}", action == Action::"{action}", resource);',
                f'permit (principal in Role::"role-{number % PEOPLE}", action == Action::"{action}", resource is Sandbox);',
                f'permit (principal, action == Action::"{action}", resource == Sandbox::"sb-{sandbox}") when {{ principal.kind == "human" }};',
                f'forbid (principal == Human::"{person}", action == Action::"{action}", resource in Group::"g-{sandbox}");',
                f'@oversight("o-{number}") forbid (principal, action == Action::"{action}", resource == Sandbox::"sb-{sandbox}") '
                "when { context has amount && context.amount > 100 };",
            )[kind]
        )
    return "\n".join(found)


def requests(count: int, people: list[AgentId]) -> list[Request]:
    chance = random.Random(7)  # noqa: S311
    return [
        (chance.choice(people), chance.choice(ACTIONS), f"runtime:sandbox:sb-{chance.randrange(count)}")
        for _ in range(REQUESTS)
    ]


async def opened(folder: str, count: int) -> tuple[Authz, list[AgentId], str]:
    clock = ManualClock()
    store = open_store(f"sqlite:///{folder}/bench.db", parts=PARTS)
    nhi = Nhi(store, clock)
    authz = Authz(store, clock, nhi, signer=SigningKey.generate())
    people = []
    for number in range(PEOPLE):
        key, kind = SigningKey.generate(), PrincipalKind.HUMAN
        proof = registration_proof(key, tenant=TENANT, kind=kind, name=f"p{number}", owner=None)
        person = (await nhi.register(TENANT, kind, key.public, f"p{number}", proof=proof)).nhi
        await authz.assign_role(TENANT, person, f"role-{number}", actor=person)
        people.append(person)
    text = policies(count, people)
    if count <= 1_000:
        await authz.upload_policies(TENANT, text, actor="bench", activate=True)
    else:  # validating so many takes half a minute, and is not what is measured
        put_unvalidated(authz, text)
    return authz, people, text


def put_unvalidated(authz: Authz, text: str) -> None:
    from creto.security.authz.cedar import compile_policies

    held = authz.holding(TENANT)
    authz._holdings[TENANT] = msgspec.structs.replace(held, policies=compile_policies(whole_text(text, True)))


def engine_us(people: list[AgentId], text: str, asked: list[Request]) -> float:
    """The 99th percentile of Cedar's engine with everything parsed ahead: the fastest way to call it."""
    entities = [
        {
            "uid": {"type": "Human", "id": person},
            "attrs": {"nhi": person, "name": f"p{number}", "kind": "human"},
            "parents": [{"type": "Role", "id": f"role-{number}"}],
        }
        for number, person in enumerate(people)
    ]
    known = cedarpy.Entities.from_json_str(msgspec.json.encode(entities).decode(), parsed_schema())
    parsed = cedarpy.PolicySet.from_str(whole_text(text, True))
    turns = iter(
        {
            "principal": {"type": "Human", "id": agent},
            "action": {"type": "Action", "id": action},
            "resource": {"type": "Sandbox", "id": resource.rpartition(":")[2]},
            "context": {},
        }
        for agent, action, resource in asked
    )
    return percentile(each(lambda: cedarpy.is_authorized(next(turns), parsed, known), min(200, len(asked))), 0.99)


def misses(count: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        authz, people, text = asyncio.run(opened(folder, count))
        asked = requests(count, people)
        view = authz.tenant(TENANT)
        for request in asked[:200]:
            view.check(*request)
        turns = iter(asked)  # nothing is remembered before `start`: every check is a miss
        row = latency(f"check, miss, {count:,} policies", each(lambda: view.check(*next(turns)), REQUESTS), must=1_000, aim=250)  # fmt: skip
        yield row.with_peer("cedarpy, handles", engine_us(people, text, asked))
        if count == 1_000:
            yield from hot(authz, people)
        authz._store.close()


def hot(authz: Authz, people: list[AgentId]) -> Iterator[Row]:
    asyncio.run(authz.start())
    check, agent = authz.tenant(TENANT).check, people[0]
    check(agent, "time:read", "tenant:bench")

    def hits(count: int) -> None:
        for _ in repeat(None, count):
            check(agent, "time:read", "tenant:bench")

    taken = min(amortised(hits, 20_000, rounds=5) for _ in range(3))
    yield Row(name="check, hit, amortised", value=taken, p50=taken, rate=1e6 / taken, must=0.168, aim=0.120)
    names = [f"{number:032}" for number in range(500)]
    digest = bytes(32)

    def consumed(count: int) -> None:
        for name in names[:count]:
            authz.consume(name, agent, "funds.transfer", "bank:acme", digest, tenant=TENANT)

    samples = []
    for _ in range(200):
        authz._admitted.update({(TENANT, n, agent, "funds.transfer", "bank:acme", digest): 2**62 for n in names})
        samples += [each(lambda: consumed(500), 1)[0] / 500]
    taken = percentile(samples, 0.5)
    yield Row(
        name="override token, consumed with binding", value=taken, p50=taken, rate=1e6 / taken, must=0.5, aim=0.45
    )
    authz.close()


def rows() -> Iterator[Row]:
    for count in SIZES:
        yield from misses(count)
