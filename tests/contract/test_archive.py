"""The archive on both engines and both kinds of storage: what is read from there again is what was kept."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound, OversightRequired
from creto.common.ids import PolicyId, TenantId, new_id
from creto.common.limits import INTEGER_MAX, PAGE_ITEMS_MAX
from creto.common.timestamps import DAY, HOUR, SECOND
from creto.contracts import BillableEvent
from creto.metering import Archive, ArchivePart, EventsQuery, EventState, KeptEvent, Metering, UnsafeTrustEverybody
from creto.metering.analytics import answer, read_events
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore, merkle, verify_digest
from creto.security.storage import Backend, Storage, TenantKeys, open_backend
from creto.store import Store
from creto.store.types import Entry, Position
from tests.contract.backends import CREDENTIALS, s3_endpoint, s3_url
from tests.contract.stores import MakeStore
from tests.unit.metering.examples import AGENT, CHILD, HUMAN, JANUARY, TENANT, event

__all__ = ["s3_endpoint", "s3_url"]  # fixtures

PARTS = ("creto.store", "creto.platform.crypto", "creto.security.storage", "creto.metering")
OTHER = TenantId("other")
NOON = JANUARY.start + 10 * DAY + 12 * HOUR
GRACE = DAY


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


class Desk:
    def __init__(self, store: Store, backend: Backend, clock: ManualClock | None = None) -> None:
        self.store = store
        self.clock = clock or ManualClock(NOON)
        self.storage = Storage(
            backend, TenantKeys(Keystore(self.store, Kek(bytes(range(32)))), "storage"), self.store, self.clock
        )
        self.usage = Metering(self.store, self.clock, UnsafeTrustEverybody())
        self.archive = Archive(self.store, self.clock, self.storage)

    async def take(self, *events: BillableEvent) -> None:
        for tenant in {one.tenant for one in events}:
            done = await self.usage.ingest_batch(tenant, [e for e in events if e.tenant == tenant], by=AGENT)
            assert done.rejected == 0, done

    async def run(self, grace_ns: int = GRACE) -> list[ArchivePart]:
        return await self.archive.run(grace_ns, by=HUMAN)

    async def kept(self, tenant: TenantId = TENANT, **asked: object) -> list[KeptEvent]:
        """What the database has, page by page."""
        found: list[KeptEvent] = []
        cursor = None
        while True:
            page = await self.usage.events(tenant, EventsQuery(**asked), cursor=cursor, limit=3)  # type: ignore[arg-type]
            found += page.items
            cursor = page.cursor
            if cursor is None:
                return found

    async def files(self, folder: Path, tenant: TenantId = TENANT) -> list[Path]:
        """The parts of the archive, as somebody who has nothing but its endpoints fetches them."""
        found = []
        for part in (await self.archive.parts(tenant, limit=PAGE_ITEMS_MAX)).items:
            data = await self.archive.read(tenant, part.day, part.part)
            verify_digest(data, part.digest)
            found.append(written(folder / f"{tenant}-{part.day}-{part.part}.parquet", data))
        return found

    async def again(self, folder: Path, tenant: TenantId = TENANT) -> list[KeptEvent]:
        """In the order in which they came, whatever day they are of."""
        found = read_events(await self.files(folder, tenant))
        return sorted(found, key=lambda kept: (kept.batch, kept.place))


@pytest.fixture(params=["file", "s3"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "s3":
        return open_backend(request.getfixturevalue("s3_url"), CREDENTIALS)
    return open_backend(f"file://{tmp_path}/objects")


@pytest.fixture
def desk(make_store: MakeStore, backend: Backend) -> Desk:
    return Desk(make_store(parts=PARTS), backend)


def used(value: int | str = 1, at: int = NOON, **more: object) -> BillableEvent:
    return event(at, **{"id": new_id(), "value": value, **more})  # type: ignore[arg-type]


async def test_a_day_is_archived_once_when_it_is_over_and_its_grace_has_passed(desk: Desk, tmp_path: Path) -> None:
    await desk.take(*(used(n) for n in range(5)))
    await desk.take(replace(used(7), tenant=OTHER))
    assert await desk.run() == []
    desk.clock.set(NOON + DAY)
    await desk.take(used(8, NOON - HOUR), *(used(n, NOON + DAY) for n in range(3)))
    desk.clock.set(JANUARY.start + 11 * DAY + GRACE - SECOND)
    assert await desk.run() == []
    desk.clock.set(JANUARY.start + 11 * DAY + GRACE)
    made = await desk.run()
    assert sorted((one.day, one.part, one.events) for one in made) == [("2024-01-11", 1, 1), ("2024-01-11", 1, 6)]
    assert await desk.run() == []
    desk.clock.advance(DAY)
    assert [(one.day, one.part, one.events) for one in await desk.run()] == [("2024-01-12", 1, 3)]
    assert await desk.again(tmp_path / "parts") == await desk.kept()
    assert await desk.again(tmp_path / "parts", OTHER) == await desk.kept(OTHER)
    assert len((await desk.storage.list(TENANT)).items) == 2


async def test_latecomers_make_one_further_part_after_a_grace_of_their_own(desk: Desk, tmp_path: Path) -> None:
    await desk.take(used())
    desk.clock.set(NOON + 3 * DAY)
    assert len(await desk.run()) == 1
    await desk.take(used(2), used(3))
    assert await desk.run() == []
    desk.clock.advance(GRACE - SECOND)
    await desk.take(used(4))
    assert await desk.run() == []
    desk.clock.advance(SECOND)
    (late,) = await desk.run()
    assert (late.day, late.part, late.events) == ("2024-01-11", 2, 3)
    assert await desk.again(tmp_path / "parts") == await desk.kept()


async def test_what_changes_after_a_part_is_in_a_later_one_and_the_last_state_holds(desk: Desk, tmp_path: Path) -> None:
    kept, gone, wrong, dear = used(), used(2), used(3), used(4)
    await desk.take(kept, gone, wrong)
    with pytest.raises(OversightRequired):
        await desk.usage.hold_event(TENANT, dear, PolicyId("cfo"), by=AGENT)
    desk.clock.set(NOON + 3 * DAY)
    assert [one.events for one in await desk.run()] == [4]
    await desk.usage.void_event(TENANT, gone.event_id, by=HUMAN, reason="twice")
    await desk.usage.correct_event(TENANT, replace(wrong, properties={"value": "3.5"}), by=HUMAN, reason="typo")
    await desk.usage.finalize_event(TENANT, dear.event_id, by=HUMAN)
    desk.clock.advance(GRACE)
    (second,) = await desk.run()
    assert second.events == 4  # the three whose state changed, and the correction
    assert await desk.run() == []
    found = await desk.again(tmp_path / "parts")
    assert found == await desk.kept()
    states = {(one.event.event_id, one.event.properties["value"]): one.state for one in found}
    assert states == {
        (kept.event_id, 1): EventState.COUNTED,
        (gone.event_id, 2): EventState.VOID,
        (wrong.event_id, 3): EventState.CORRECTED,
        (wrong.event_id, "3.5"): EventState.COUNTED,
        (dear.event_id, 4): EventState.COUNTED,
    }


async def test_what_changes_while_a_day_waits_is_archived_as_it_became(desk: Desk, tmp_path: Path) -> None:
    await desk.take(used())
    desk.clock.set(NOON + 3 * DAY)
    await desk.run()
    late = used(2)
    await desk.take(late)
    await desk.run()
    await desk.usage.void_event(TENANT, late.event_id, by=HUMAN, reason="twice")
    desk.clock.advance(GRACE)
    assert [one.events for one in await desk.run()] == [1]
    assert await desk.again(tmp_path / "parts") == await desk.kept()
    desk.clock.advance(GRACE)
    assert await desk.run() == []


async def test_the_ledger_holds_what_proves_a_part(desk: Desk, tmp_path: Path) -> None:
    signed = replace(used(), signature=b"\x00\xff" * 32)
    await desk.take(used(), signed)
    await desk.take(used())
    desk.clock.set(NOON + 3 * DAY)
    (part,) = await desk.run()
    entries = [wire.decode(row.body, Entry) for row in desk.store.read_now(lambda tx: tx.ledger_tail(Position(), 100))]
    (recorded,) = (entry for entry in entries if entry.event == "UsageArchived")
    assert wire.decode(recorded.metadata, ArchivePart) == part
    assert part.batches == 2
    found = await desk.again(tmp_path / "parts")
    leaves = [merkle.leaf_hash(wire.encode(replace(one.event, signature=None))) for one in found]
    assert merkle.root(leaves) == part.root
    assert [one.event.signature for one in found] == [None, signed.signature, None]
    assert {one.entry_id for one in found} <= {entry.event_id for entry in entries}


async def test_two_at_once_make_a_part_once(desk: Desk, tmp_path: Path) -> None:
    await desk.take(*(used(n) for n in range(9)))
    desk.clock.set(NOON + 3 * DAY)
    other = Archive(desk.store, desk.clock, desk.storage)
    made = await asyncio.gather(desk.run(), other.run(GRACE, by=HUMAN), desk.run())
    assert sum(len(one) for one in made) == 1
    assert await desk.again(tmp_path / "parts") == await desk.kept()
    assert len((await desk.storage.list(TENANT)).items) == 1
    assert await desk.run() == []


async def test_an_export_is_what_was_asked_for(desk: Desk) -> None:
    desk.clock.set(NOON + DAY)
    mine = [used(n, NOON + n * HOUR) for n in range(5)]
    childs = [used(n, NOON + n * HOUR, agent=CHILD, chain=(HUMAN, AGENT, CHILD), type="call") for n in range(5)]
    await desk.take(*mine, *childs)
    await desk.take(replace(used(), tenant=OTHER))

    async def ids(**asked: object) -> list[str]:
        return [one.event.event_id for one in await desk.kept(**asked)]

    assert await ids() == [one.event_id for one in (*mine, *childs)]
    assert await ids(start=NOON + HOUR, end=NOON + 3 * HOUR) == [e.event_id for e in (*mine[1:3], *childs[1:3])]
    assert await ids(agent=CHILD) == [one.event_id for one in childs]
    assert await ids(agent=AGENT, event_type="use") == [one.event_id for one in mine]
    assert await ids(start=NOON + DAY) == await ids(agent="nobody") == []


async def test_a_part_that_is_not_there(desk: Desk) -> None:
    with pytest.raises(NotFound, match="no part 1 of 2024-01-11"):
        await desk.archive.part(TENANT, "2024-01-11", 1)
    with pytest.raises(InvalidInput, match="day"):
        await desk.archive.part(TENANT, "2024-13-11", 1)


# Every event there can be

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs",)), max_size=20)
AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, places=18, min_value=-(10**19), max_value=10**19).map(str)
INTEGERS = st.integers(-INTEGER_MAX, INTEGER_MAX)
PROPERTIES = st.dictionaries(NAMES, TEXTS | AMOUNTS | INTEGERS | st.booleans(), max_size=6)
EVENTS = st.lists(st.tuples(NAMES, PROPERTIES, st.integers(0, 3 * DAY - 1), st.sampled_from("cvxh")), max_size=8)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=EVENTS)
@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("backend", ["file"], indirect=True)
async def test_any_event_is_read_again_as_it_was(
    desk: Desk, tmp_path: Path, some: Sequence[tuple[str, dict[str, str | int | bool], int, str]]
) -> None:
    desk.clock.set(JANUARY.start + 9 * DAY)
    for name, properties, at, _ in some:
        one = replace(event(JANUARY.start + at, id=new_id(), type=name), properties=properties)
        await desk.take(one)
    mine = (await desk.kept())[-len(some) :] if some else []
    await desk.run(0)
    for (_, _, _, act), one in zip(some, mine, strict=True):
        if act == "v":
            await desk.usage.void_event(TENANT, one.event.event_id, by=HUMAN, reason="v")
        elif act == "x":
            right = replace(one.event, properties={**one.event.properties, "right": True})
            await desk.usage.correct_event(TENANT, right, by=HUMAN, reason="x")
    desk.clock.advance(SECOND)
    await desk.run(0)
    assert await desk.run(0) == []
    assert await desk.again(tmp_path / "parts") == await desk.kept()


def test_numbers_are_exact_in_sql(tmp_path: Path) -> None:
    from creto.metering.analytics import Sheet
    from creto.metering.usage_types import EventForm
    from creto.store.types import EntryId

    values = ["0.1", "12345678901234567890.123456789012345678", str(INTEGER_MAX), "1e3", "007", "0.1234567890123456789"]
    events = [
        KeptEvent(
            event=used(value, n="ü☃", flag=True), form=EventForm.BILLABLE, state=EventState.COUNTED, batch=n, place=0,
            came_at=1, changed_at=1, entry_id=EntryId("e"),
        )
        for n, value in enumerate(values)
    ]  # fmt: skip
    with Sheet(tmp_path) as sheet:
        sheet.add("x", events)
        sheet.write("x", tmp_path / "x.parquet")
    sql = "SELECT texts['value'], numbers['value']::VARCHAR, texts['flag'], epoch_ns(time) FROM counted ORDER BY batch"
    (tmp_path / "spill").mkdir()
    with answer([tmp_path / "x.parquet"], sql, tmp_path / "spill") as found:
        rows = list(found.rows)
    assert [row[0] for row in rows] == values
    assert [row[1] for row in rows] == [
        "0.100000000000000000", "12345678901234567890.123456789012345678", f"{INTEGER_MAX}.000000000000000000", None,
        "7.000000000000000000", None,
    ]  # fmt: skip
    assert {row[2:] for row in rows} == {("true", NOON)}
    assert list(read_events([tmp_path / "x.parquet"])) == events


OUTSIDE = (
    "SELECT * FROM read_text('/etc/hostname')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM 'https://example.com/x.parquet'",
    "SELECT * FROM secret",
    "COPY (SELECT 1) TO '/tmp/never.csv'",
    "COPY (SELECT 1) TO '{path}'",
    "ATTACH '/tmp/never.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "RESET allowed_paths",
    "CREATE TABLE t (a INTEGER)",
    "DROP VIEW events",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{path}'",
    "PRAGMA database_list",
    "EXPORT DATABASE '/tmp/never'",
    "",
    "SELEKT",
    "SELECT nothing FROM events",
)


@pytest.mark.parametrize("sql", OUTSIDE)
def test_a_question_reads_its_files_and_nothing_else(sql: str, tmp_path: Path) -> None:
    from creto.metering.analytics import Sheet

    secret = [("a", 1)]  # a variable that DuckDB would find by its name
    path = tmp_path / "x.parquet"
    with Sheet(tmp_path) as sheet:
        sheet.write("x", path)
    before = path.read_bytes()
    (tmp_path / "spill").mkdir()
    with pytest.raises(InvalidInput), answer([path], sql.format(path=path), tmp_path / "spill") as found:
        list(found.rows)
    assert path.read_bytes() == before
    assert secret
