"""Usage in columns: events to Parquet and back, and questions in SQL, by DuckDB.

    with Sheet(folder) as sheet:
        sheet.add("january", events)
        sheet.write("january", Path("january.parquet"))
    list(read_events([Path("january.parquet")])) == events
    answer(Path("january.parquet"), sql="SELECT agent, sum(numbers['tokens']) FROM counted GROUP BY agent")

A row holds the event as it came, exact to the last digit. `properties` is its JSON; beside it `texts` has every property as filters compare
them, and `numbers` those that are numbers, as DECIMAL(38, 18); one with more digits stands in `texts` alone.

`part` is the part of the archive that a row is in, 0 in an export; `again` says that an earlier part has the event too, in the state it had then.

INVARIANT: a question sees the files that it was given and nothing else: no other file, no network, no extension, no setting of its own.
Needs the extra `creto[analytics]`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import msgspec

from creto.common import wire
from creto.common.errors import InternalError, InvalidInput, NotFound
from creto.common.ids import AgentId, EventId, TenantId
from creto.common.limits import ANALYTICS_MEMORY_MIB, ANALYTICS_THREADS, PAGE_ITEMS_MAX, SQL_CHARS_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.metering.usage_types import EventForm, EventState, KeptEvent
from creto.store.types import EntryId

NUMBER: Final = r"-?\d{1,20}(\.\d{1,18})?"

_properties = msgspec.json.Decoder(dict[str, str | int | bool])


class Column(NamedTuple):
    name: str
    kind: str
    value: Callable[[KeptEvent], Any]


COLUMNS: Final = (
    Column("event_id", "VARCHAR", lambda k: k.event.event_id),
    Column("idempotency_key", "VARCHAR", lambda k: k.event.idempotency_key),
    Column("tenant", "VARCHAR", lambda k: k.event.tenant),
    Column("agent", "VARCHAR", lambda k: k.event.agent_nhi),
    Column("delegation_chain", "VARCHAR[]", lambda k: list(k.event.delegation_chain)),
    Column("event_type", "VARCHAR", lambda k: k.event.event_type),
    Column("timestamp", "BIGINT", lambda k: k.event.timestamp),
    Column("properties", "JSON", lambda k: wire.encode(k.event.properties).decode()),
    Column("signature", "BLOB", lambda k: k.event.signature),
    Column("form", "VARCHAR", lambda k: k.form.name.lower()),
    Column("state", "VARCHAR", lambda k: k.state.name.lower()),
    Column("came_at", "BIGINT", lambda k: k.came_at),
    Column("changed_at", "BIGINT", lambda k: k.changed_at),
    Column("batch", "BIGINT", lambda k: k.batch),
    Column("place", "BIGINT", lambda k: k.place),
    Column("entry_id", "VARCHAR", lambda k: k.entry_id),
)
NAMES: Final = ", ".join(f'"{column.name}"' for column in COLUMNS)
TEXTS = "CAST(properties AS MAP(VARCHAR, VARCHAR))"
TYPED: Final = (
    'make_timestamp_ns("timestamp") AS "time"',
    f"{TEXTS} AS texts",
    f"map_from_entries(list_transform(list_filter(map_entries({TEXTS}), lambda e: regexp_full_match(e.value, '{NUMBER}')),"
    " lambda e: {'key': e.key, 'value': CAST(e.value AS DECIMAL(38, 18))})) AS numbers",
)
ROW_GROUP = 30_720  # rows that are in memory at once while they are written


def installed() -> bool:
    return find_spec("duckdb") is not None


def engine() -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise InternalError("PL-501", "duckdb is not installed", hint="pip install 'creto[analytics]'") from error
    return duckdb


def connected(spill: Path | None, path: str = ":memory:") -> Any:
    """A connection that loads no extension and sees no variable of Python's; what does not fit into memory goes to `spill`."""
    return engine().connect(
        path,
        config={
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
            "memory_limit": f"{ANALYTICS_MEMORY_MIB}MiB",
            "threads": ANALYTICS_THREADS,
            "temp_directory": "" if spill is None else str(spill),
        },
    )


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def listed(paths: Sequence[Path]) -> str:
    return "[" + ", ".join(quoted(str(path)) for path in paths) + "]"


class Sheet:
    """Events on their way to Parquet: taken in groups, kept on disk in a folder of the caller's."""

    def __init__(self, folder: Path) -> None:
        self._connection = connected(folder, str(folder / "sheet.duckdb"))
        fields = ", ".join(f'"{column.name}" {column.kind}' for column in COLUMNS)
        self._connection.execute(f"CREATE TABLE sheet (sheet VARCHAR, {fields}, part INTEGER, again BOOLEAN)")

    def add(self, group: str, events: Sequence[KeptEvent], part: int = 0, *, again: Sequence[bool] = ()) -> None:
        """`again` says of each event whether an earlier part has it; of none, if nothing is said."""
        values = ", ".join(f"unnest(?::{column.kind}[])" for column in COLUMNS)
        columns: list[list[Any]] = [[column.value(event) for event in events] for column in COLUMNS]
        columns.append(list(again) or [False] * len(events))
        self._connection.execute(
            f"INSERT INTO sheet SELECT {quoted(group)}, {values}, {part}, unnest(?::BOOLEAN[])", columns
        )

    def write(self, group: str, path: Path) -> None:
        """The events of a group in the order in which they were added."""
        self._connection.execute(
            f"COPY (SELECT {NAMES}, {', '.join(TYPED)}, part, again FROM sheet WHERE sheet = {quoted(group)})"
            f" TO {quoted(str(path))} (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(paths: Sequence[Path]) -> Iterator[KeptEvent]:
    """The events of these files, each once and in its last state, in the order of the files and their rows."""
    if not paths:
        return
    connection = connected(None)
    try:
        found = connection.execute(f"SELECT {NAMES} FROM {last_of(paths)}")
        while rows := found.fetchmany(PAGE_ITEMS_MAX):
            yield from map(kept_event, rows)
    finally:
        connection.close()


def kept_event(row: Sequence[Any]) -> KeptEvent:
    (event_id, key, tenant, agent, chain, event_type, timestamp, properties, signature, form, state, came_at, changed_at, batch, place, entry) = row  # fmt: skip
    event = BillableEvent(
        event_id=EventId(event_id), tenant=TenantId(tenant), agent_nhi=AgentId(agent),
        delegation_chain=tuple(AgentId(one) for one in chain), event_type=event_type, timestamp=ConsensusTimestamp(timestamp),
        idempotency_key=key, properties=_properties.decode(properties), signature=signature,
    )  # fmt: skip
    return KeptEvent(
        event=event, form=EventForm[form.upper()], state=EventState[state.upper()], batch=batch, place=place,
        came_at=came_at, changed_at=changed_at, entry_id=EntryId(entry),
    )  # fmt: skip


class Answer(NamedTuple):
    columns: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


@contextmanager
def answer(paths: Sequence[Path], sql: str, folder: Path) -> Iterator[Answer]:
    """What a SELECT says of these files: `events` are all of them in their last state, `counted` those that count.

    What does not fit into memory goes through `folder`, which is the caller's and empty.
    """
    duckdb = engine()
    if len(sql) > SQL_CHARS_MAX:
        raise InvalidInput.of("sql", got=f"{len(sql)} characters", expected=f"at most {SQL_CHARS_MAX}", code="MT-400")
    if not paths:
        raise NotFound("MT-404", "there is no file to ask", hint="Archive some days first, or name an export.")
    connection = connected(folder)
    try:
        lock_down(connection, [path.resolve() for path in paths])
        try:
            check_reads_only(duckdb, sql)
            found = connection.execute(sql)
            columns = tuple(str(column[0]) for column in found.description or ())
            yield Answer(columns, fetched(found))
        except duckdb.Error as error:
            said = str(error).strip()
            raise InvalidInput("MT-400", f"sql: {said}", field="sql", got=sql[:200], expected="a SELECT") from error
    finally:
        connection.close()


def last_of(paths: Sequence[Path]) -> str:
    """The rows that no later part has again: those are few, so that nothing but them is kept in memory."""
    read = f"read_parquet({listed(paths)}, union_by_name = true)"
    later = f"SELECT tenant, batch, place, part FROM {read} WHERE again"
    same = "later.tenant = kept.tenant AND later.batch = kept.batch AND later.place = kept.place"
    return f"{read} AS kept WHERE NOT EXISTS (FROM ({later}) AS later WHERE {same} AND later.part > kept.part)"


def lock_down(connection: Any, files: Sequence[Path]) -> None:
    connection.execute(f"SET allowed_paths = {listed(files)}")
    connection.execute(f"CREATE VIEW events AS SELECT * FROM {last_of(files)}")
    connection.execute("CREATE VIEW counted AS SELECT * FROM events WHERE state = 'counted'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def check_reads_only(duckdb: Any, sql: str) -> None:
    kinds = [statement.type for statement in duckdb.extract_statements(sql)]
    if len(kinds) != 1 or kinds[0] not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        got = ", ".join(kind.name for kind in kinds) or "nothing"
        raise InvalidInput.of("sql", got=got, expected="one SELECT", code="MT-400")


def fetched(found: Any) -> Iterator[tuple[Any, ...]]:
    while rows := found.fetchmany(PAGE_ITEMS_MAX):
        yield from rows
