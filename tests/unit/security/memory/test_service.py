"""What agents remember, over both engines."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from creto.common.errors import AlreadyExists, EnablementError
from creto.common.ids import AgentId, TenantId
from creto.common.limits import CONTEXT_BYTES_MAX
from creto.common.timestamps import SECOND
from creto.security.memory import Context, Metric, NewTurn, Role
from creto.security.memory.types import BINARY, TEXT
from tests.unit.security.memory.conftest import ALICE, BOB, OPERATOR, OTHER, TENANT, World


async def refused(code: str, act: Any) -> EnablementError:
    with pytest.raises(EnablementError) as caught:
        await act
    assert caught.value.code == code, caught.value
    return caught.value


def texts(found: list[Context]) -> list[str]:
    return [context.text for context in found]


async def test_a_memory_comes_back_with_its_provenance(world: World) -> None:
    stored = await world.memory.store_context(
        TENANT,
        ALICE,
        "reasoning",
        "Invoice approved",
        action="funds.transfer",
        written_by=BOB,
        trace_id="t-1",
        ttl_s=60,
    )
    found = await world.twin().get(TENANT, ALICE, stored.id)

    assert found == stored
    assert (found.tenant, found.agent, found.kind, found.action) == (TENANT, ALICE, "reasoning", "funds.transfer")
    assert (found.origin.written_by, found.origin.trace_id) == (BOB, "t-1")
    assert found.origin.expires_at == found.origin.written_at + 60 * SECOND
    assert (found.text, found.content_type) == ("Invoice approved", TEXT)


async def test_bytes_are_kept_as_they_are(world: World) -> None:
    stored = await world.memory.store_context(TENANT, ALICE, "sandbox_state", bytes(range(256)))
    found = await world.memory.get(TENANT, ALICE, stored.id)

    assert (found.content, found.content_type, found.text) == (bytes(range(256)), BINARY, "[256 bytes]")


async def test_an_approver_reads_the_relevant_first_and_the_newest_of_each(world: World) -> None:
    async def store(text: str, **options: Any) -> None:
        await world.memory.store_context(TENANT, ALICE, options.pop("kind", "reasoning"), text, **options)

    await store("Due date: 2024-12-31", action="funds.transfer")
    await store("Weather is fine")
    await store("The transfer goes to a known vendor")
    await store("Invoice approved", action="funds.transfer")
    await store("About deleting files", action="files.delete")
    await store("a checkpoint", kind="sandbox_state")
    await world.memory.store_context(TENANT, BOB, "reasoning", "Bob's transfer", action="funds.transfer")

    found = await world.memory.fetch_reasoning_context(TENANT, ALICE, "funds.transfer", 10)
    assert texts(found) == [
        "Invoice approved",
        "Due date: 2024-12-31",
        "The transfer goes to a known vendor",
        "About deleting files",
        "Weather is fine",
    ]
    assert texts(await world.memory.fetch_reasoning_context(TENANT, ALICE, "funds.transfer", 2)) == texts(found)[:2]
    assert texts(await world.memory.fetch_reasoning_context(TENANT, ALICE, "sandbox_state", 1)) == ["a checkpoint"]
    assert await world.memory.fetch_reasoning_context(OTHER, ALICE, "funds.transfer", 10) == []


async def test_full_text_finds_any_word_and_ranks_by_how_many(world: World) -> None:
    for text in ("the CFO approved invoices", "invoice from ACME", "lunch at noon", "ACME invoice approved by CFO"):
        await world.memory.store_context(TENANT, ALICE, "note", text)

    assert (
        texts(await world.memory.search(TENANT, ALICE, "CFO approved ACME invoice"))[0]
        == "ACME invoice approved by CFO"
    )
    assert set(texts(await world.memory.search(TENANT, ALICE, "Invoice?"))) == {
        "the CFO approved invoices", "invoice from ACME", "ACME invoice approved by CFO",
    }  # fmt: skip
    assert texts(await world.memory.search(TENANT, ALICE, "LUNCH")) == ["lunch at noon"]
    assert await world.memory.search(TENANT, ALICE, "nothing") == []
    assert await world.memory.search(TENANT, ALICE, "the and of") == []
    assert await world.memory.search(TENANT, ALICE, "invoice", kind="other") == []
    assert len(await world.memory.search(TENANT, ALICE, "invoice", limit=2)) == 2


@pytest.mark.parametrize(
    "query", ['"', "a OR b", "NEAR(x y)", "col:x", "x*", "'; DROP TABLE memory_item; --", "a & b | !c", "\0", "%", ""]
)
async def test_a_query_has_no_syntax(world: World, query: str) -> None:
    await world.memory.store_context(TENANT, ALICE, "note", "something else entirely")

    assert await world.memory.search(TENANT, ALICE, query) == []


async def test_search_fills_its_page_past_what_has_expired(world: World) -> None:
    for n in range(60):
        await world.memory.store_context(TENANT, ALICE, "note", f"apple {n}", ttl_s=10 if n < 55 else None)
    world.clock.advance(11 * SECOND)

    assert len(await world.memory.search(TENANT, ALICE, "apple", limit=5)) == 5


async def test_the_nearest_are_exact_and_follow_writes_and_erasures_of_others(world: World) -> None:
    twin = world.twin()
    stored = {}
    for name, vector in {"east": [1, 0], "north": [0, 1], "northeast": [0.9, 1], "long east": [10, 0.5]}.items():
        stored[name] = await world.memory.store_context(TENANT, ALICE, "note", name, vector=vector)
    await world.memory.store_context(TENANT, ALICE, "note", "no vector")

    found = await twin.nearest(TENANT, ALICE, [1, 0], limit=2)
    assert [match.context.text for match in found] == ["east", "long east"]
    assert found[0].score == pytest.approx(1.0)
    assert (await twin.nearest(TENANT, ALICE, [1, 0], limit=1, metric=Metric.DOT))[0].context.text == "long east"
    await world.memory.erase(TENANT, ALICE, stored["east"].id, by=OPERATOR)
    assert [m.context.text for m in await twin.nearest(TENANT, ALICE, [1, 0], limit=1)] == ["long east"]
    await world.memory.store_context(TENANT, ALICE, "note", "new east", vector=[2, 0])
    assert [m.context.text for m in await twin.nearest(TENANT, ALICE, [1, 0], limit=1)] == ["new east"]
    await refused("PL-821", twin.nearest(TENANT, ALICE, [1, 0, 0]))
    await refused("PL-821", world.memory.store_context(TENANT, ALICE, "note", "x", vector=[1, 0, 0]))
    assert await twin.nearest(TENANT, BOB, [1, 0]) == []


async def test_everything_newest_first_in_pages(world: World) -> None:
    for n in range(7):
        await world.memory.store_context(TENANT, ALICE, "even" if n % 2 == 0 else "odd", str(n))
    seen: list[str] = []
    cursor = None
    while True:
        page = await world.memory.recent(TENANT, ALICE, cursor=cursor, limit=3)
        seen += texts(list(page.items))
        cursor = page.cursor
        if cursor is None:
            break

    assert seen == list("6543210")
    assert texts(list((await world.memory.recent(TENANT, ALICE, kind="odd")).items)) == ["5", "3", "1"]
    await refused("PL-400", world.memory.recent(TENANT, ALICE, cursor="x"))


async def test_conversations(world: World) -> None:
    said = [NewTurn(Role.USER, "Pay it."), NewTurn(Role.ASSISTANT, "Shall I?"), NewTurn(Role.TOOL, "paid")]
    await world.memory.history.append(TENANT, ALICE, "chat", said[:2])
    await world.memory.history.append(TENANT, ALICE, "aside", [NewTurn(Role.SYSTEM, "hm")])
    last = await world.memory.history.append(TENANT, ALICE, "chat", said[2:], trace_id="t")

    page = await world.memory.history.page(TENANT, ALICE, "chat", limit=2)
    rest = await world.memory.history.page(TENANT, ALICE, "chat", limit=2, cursor=page.cursor)
    assert [(t.role, t.content) for t in (*page.items, *rest.items)] == [(t.role, t.content) for t in said]
    assert rest.items == last
    assert rest.cursor is None
    back = await world.memory.history.page(TENANT, ALICE, "chat", newest_first=True, limit=1)
    assert back.items == last
    assert list((await world.memory.history.conversations(TENANT, ALICE)).items) == ["aside", "chat"]
    assert (await world.memory.history.page(TENANT, BOB, "chat")).items == ()
    await world.memory.history.erase(TENANT, ALICE, "chat", by=OPERATOR)
    assert (await world.memory.history.page(TENANT, ALICE, "chat")).items == ()
    assert list((await world.memory.history.conversations(TENANT, ALICE)).items) == ["aside"]
    await refused("PL-404", world.memory.history.erase(TENANT, ALICE, "chat", by=OPERATOR))
    await refused("PL-400", world.memory.history.append(TENANT, ALICE, "chat", []))


async def test_state_is_changed_by_compare_and_set(world: World) -> None:
    state = world.memory.state
    first = await state.put(TENANT, ALICE, "plan", b"1", expected=0)
    await refused("PL-412", state.put(TENANT, ALICE, "plan", b"x", expected=0))
    second = await state.put(TENANT, ALICE, "plan", b"2", expected=first.version)
    await refused("PL-412", state.put(TENANT, ALICE, "plan", b"x", expected=first.version))
    await refused("PL-412", state.erase(TENANT, ALICE, "plan", by=ALICE, expected=first.version))
    assert await state.get(TENANT, ALICE, "plan") == second
    assert await state.get(TENANT, BOB, "plan") is None
    await state.erase(TENANT, ALICE, "plan", by=ALICE, expected=second.version)
    third = await state.put(TENANT, ALICE, "plan", b"1", expected=0)

    assert len({first.version, second.version, third.version}) == 3
    await refused("PL-412", state.put(TENANT, ALICE, "plan", b"x", expected=first.version))


async def test_of_many_setters_each_sees_the_one_before(world: World) -> None:
    async def add() -> None:
        while True:
            entry = await world.memory.state.get(TENANT, ALICE, "n")
            value, version = (int(entry.value), entry.version) if entry else (0, 0)
            try:
                await world.memory.state.put(TENANT, ALICE, "n", b"%d" % (value + 1), expected=version)
                return
            except AlreadyExists:
                continue

    await world.memory.state.put(TENANT, ALICE, "n", b"0", expected=0)
    await asyncio.gather(*(add() for _ in range(10)))
    entry = await world.memory.state.get(TENANT, ALICE, "n")
    assert entry is not None
    assert entry.value == b"10"


async def test_state_keys_in_pages(world: World) -> None:
    for key in ("a/1", "a/2", "b", "a/10", "A"):
        await world.memory.state.put(TENANT, ALICE, key, b"")
    first = await world.memory.state.keys(TENANT, ALICE, limit=3)
    rest = await world.memory.state.keys(TENANT, ALICE, cursor=first.cursor, limit=3)

    assert [kept.key for kept in (*first.items, *rest.items)] == ["A", "a/1", "a/10", "a/2", "b"]
    assert [kept.key for kept in (await world.memory.state.keys(TENANT, ALICE, "a/")).items] == ["a/1", "a/10", "a/2"]


async def test_what_has_expired_is_gone_before_and_after_the_sweep(world: World) -> None:
    item = await world.memory.store_context(TENANT, ALICE, "note", "apple", vector=[1.0], ttl_s=10)
    await world.memory.history.append(TENANT, ALICE, "chat", [NewTurn(Role.USER, "x")], ttl_s=10)
    await world.memory.state.put(TENANT, ALICE, "plan", b"x", ttl_s=10)
    await world.memory.store_context(TENANT, ALICE, "note", "pear", vector=[1.0])
    assert (await world.memory.usage(TENANT, ALICE)).items == 2
    world.clock.advance(10 * SECOND)

    for swept in (False, True):
        if swept:
            assert await world.memory.sweep(agent=OPERATOR) == 3
            assert await world.memory.sweep(agent=OPERATOR) == 0
        await refused("PL-404", world.memory.get(TENANT, ALICE, item.id))
        assert await world.memory.search(TENANT, ALICE, "apple") == []
        assert [m.context.text for m in await world.memory.nearest(TENANT, ALICE, [1.0])] == ["pear"]
        assert (await world.memory.history.page(TENANT, ALICE, "chat")).items == ()
        assert await world.memory.state.get(TENANT, ALICE, "plan") is None
    used = await world.memory.usage(TENANT, ALICE)
    assert (used.items, used.turns, used.states) == (1, 0, 0)
    await refused("PL-400", world.memory.store_context(TENANT, ALICE, "note", "x", ttl_s=0))


async def test_an_expired_state_can_be_set_anew(world: World) -> None:
    await world.memory.state.put(TENANT, ALICE, "plan", b"old", ttl_s=10)
    world.clock.advance(10 * SECOND)
    await world.memory.state.put(TENANT, ALICE, "plan", b"new", expected=0)

    assert (await world.memory.usage(TENANT, ALICE)).states == 1


async def test_erasing_an_item_leaves_a_proof_and_nothing_else(world: World) -> None:
    kept = await world.memory.store_context(TENANT, ALICE, "note", "apple pie", vector=[1.0, 0.0])
    gone = await world.memory.store_context(TENANT, ALICE, "note", "apple secret", vector=[1.0, 0.0])
    erasure = await world.memory.erase(TENANT, ALICE, gone.id, by=OPERATOR, reason="request 42")

    assert await world.memory.search(TENANT, ALICE, "secret") == []
    assert texts(await world.memory.search(TENANT, ALICE, "apple")) == ["apple pie"]
    assert [m.context.id for m in await world.memory.nearest(TENANT, ALICE, [1.0, 0.0])] == [kept.id]
    entry = (await world.entries())[-1]
    assert (entry.event_id, entry.event, entry.agent_nhi) == (erasure.entry, "MemoryErased", OPERATOR)
    assert gone.id in bytes(entry.metadata).decode()
    await refused("PL-404", world.memory.erase(TENANT, ALICE, gone.id, by=OPERATOR))
    await refused("PL-404", world.memory.erase(TENANT, BOB, kept.id, by=OPERATOR))
    await refused("PL-404", world.memory.erase(TENANT, AgentId("nobody"), kept.id, by=OPERATOR))


TABLES = ("memory_agent", "memory_item", "memory_vector", "memory_turn", "memory_state", "memory_erasing")


async def count(world: World, table: str) -> int:
    return int(await world.store.read(lambda tx: tx.value(f"SELECT COUNT(*) FROM {table}")))  # type: ignore[arg-type]


async def test_erasing_an_agent_takes_key_and_rows(world: World) -> None:
    for agent in (ALICE, BOB):
        await world.memory.store_context(TENANT, agent, "reasoning", "apple", vector=[1.0])
        await world.memory.history.append(TENANT, agent, "chat", [NewTurn(Role.USER, "x")])
        await world.memory.state.put(TENANT, agent, "plan", b"x")
    twin = world.twin()
    await twin.nearest(TENANT, ALICE, [1.0])
    erasure = await world.memory.erase_agent(TENANT, ALICE, by=OPERATOR, reason="request 42")

    assert (erasure.items, erasure.turns, erasure.states, erasure.key_destroyed) == (1, 1, 1, True)
    for memory in (world.memory, twin):
        assert (await memory.recent(TENANT, ALICE)).items == ()
        assert await memory.search(TENANT, ALICE, "apple") == []
        assert await memory.nearest(TENANT, ALICE, [1.0]) == []
        assert texts(await memory.search(TENANT, BOB, "apple")) == ["apple"]
    for table in TABLES:
        assert await count(world, table) == (0 if table == "memory_erasing" else 1), table
    await refused("PL-404", world.memory.erase_agent(TENANT, ALICE, by=OPERATOR))
    await twin.store_context(TENANT, ALICE, "note", "a new life", vector=[1.0, 2.0])
    assert texts(await world.memory.search(TENANT, ALICE, "life")) == ["a new life"]


async def test_an_erasure_cut_short_is_invisible_and_finished_by_the_sweep(world: World) -> None:
    from creto.security.memory import removal

    await world.memory.store_context(TENANT, ALICE, "note", "apple", vector=[1.0])
    row = await world.store.read(lambda tx: tx.one("SELECT tenant, agent, generation FROM memory_agent"))
    assert row is not None
    await world.store.write(lambda tx: removal.destroy_key(tx, (row[0], row[1], row[2])))  # and then the process died

    assert await world.twin().search(TENANT, ALICE, "apple") == []
    assert (await world.twin().recent(TENANT, ALICE)).items == ()
    assert await world.twin().sweep(agent=OPERATOR) == 2
    for table in TABLES:
        assert await count(world, table) == 0, table


async def test_nothing_is_readable_at_rest_or_in_the_ledger(world: World) -> None:
    await world.memory.store_context(TENANT, ALICE, "note", "SECRETWORD one", vector=[1.0])
    await world.memory.history.append(TENANT, ALICE, "chat", [NewTurn(Role.USER, "SECRETWORD two")])
    await world.memory.state.put(TENANT, ALICE, "plan", b"SECRETWORD three")
    dump = []
    for table in ("memory_item", "memory_turn", "memory_state", "memory_vector", "memory_agent"):
        rows = await world.store.read(lambda tx, t=table: tx.all(f"SELECT * FROM {t}"))  # type: ignore[misc]
        dump += [bytes(v) if isinstance(v, bytes | memoryview) else str(v).encode() for row in rows for v in row]

    assert b"secretword" not in b"|".join(dump).lower()
    assert all(b"secretword" not in entry.body().lower() for entry in await world.entries())
    assert [e.event for e in await world.entries()] == ["ContextStored", "TurnsAppended", "StateChanged"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE memory_item SET kind = 'other' WHERE kind = 'a'",
        "UPDATE memory_item SET content = (SELECT content FROM memory_item i WHERE i.kind = 'b') WHERE kind = 'a'",
        "UPDATE memory_agent SET sealed_key = (SELECT sealed_key FROM memory_agent o WHERE o.agent = 'BOB')",
    ],
)
async def test_rows_that_were_edited_do_not_open(world: World, change: str) -> None:
    await world.memory.store_context(TENANT, ALICE, "a", "1")
    await world.memory.store_context(TENANT, ALICE, "b", "2")
    await world.memory.store_context(TENANT, BOB, "c", "3")
    await world.store.write(lambda tx: tx.run(change.replace("BOB", BOB)))  # type: ignore[arg-type]

    await refused("PL-801", world.twin().recent(TENANT, ALICE))


async def test_the_tenant_key_can_be_rotated(world: World) -> None:
    for agent in (ALICE, BOB):
        await world.memory.store_context(TENANT, agent, "note", "apple")
    await world.memory.store_context(OTHER, ALICE, "note", "apple")

    assert await world.memory.rotate_key(TENANT) == 2
    await world.keystore.remove(TENANT, "memory", 1)
    for tenant, agent in ((TENANT, ALICE), (TENANT, BOB), (OTHER, ALICE)):
        assert texts(await world.twin().search(tenant, agent, "apple")) == ["apple"]


async def test_there_are_limits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("creto.security.memory.store.CONTEXT_ITEMS_MAX", 2)
    for _ in range(2):
        await world.memory.store_context(TENANT, ALICE, "note", "x")
        await world.memory.state.put(TENANT, ALICE, "k", b"")
    await refused("PL-413", world.memory.store_context(TENANT, ALICE, "note", "x"))
    await refused("PL-413", world.memory.store_context(TENANT, BOB, "note", "x" * (CONTEXT_BYTES_MAX + 1)))
    await refused("PL-413", world.memory.history.append(TENANT, ALICE, "c", [NewTurn(Role.USER, "x")] * 3))
    await refused("PL-400", world.memory.search(TENANT, ALICE, "x", limit=0))
    await refused("PL-400", world.memory.store_context(TENANT, ALICE, "note", "\ud800"))

    assert (await world.memory.usage(TENANT, ALICE)).items == 2


@pytest.mark.parametrize(
    ("tenant", "agent"), [("", ALICE), (TENANT, ""), (None, ALICE), (TENANT, None), (TENANT, " x")]
)
async def test_a_missing_tenant_or_agent_is_an_error_and_never_everybody(world: World, tenant: Any, agent: Any) -> None:
    await world.memory.store_context(TENANT, ALICE, "note", "apple")
    for act in (
        world.memory.search(tenant, agent, "apple"),
        world.memory.recent(tenant, agent),
        world.memory.nearest(tenant, agent, [1.0]),
        world.memory.fetch_reasoning_context(tenant, agent, "a"),
        world.memory.history.page(tenant, agent, "c"),
        world.memory.state.get(tenant, agent, "k"),
        world.memory.erase_agent(tenant, agent, by=OPERATOR),
        world.memory.store_context(TenantId(tenant), agent, "note", "x"),
    ):
        await refused("PL-400", act)
