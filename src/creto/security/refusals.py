"""Refusals in the log, bounded: whoever is refused a thousand times a minute must not fill it.

    await refusals.record(entry)          # at once, as long as its caller is within REFUSALS_PER_MINUTE_MAX
    await refusals.flush(now)             # what was only counted, as one entry per caller, action and code

INVARIANT: no refusal is lost: each stands in the log itself or in a count there; what a process that dies has counted is lost with it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.ids import new_id
from creto.common.limits import REFUSAL_KINDS_MAX, REFUSALS_CALLERS_MAX, REFUSALS_PER_MINUTE_MAX
from creto.common.timestamps import SECOND
from creto.store.types import UNRECORDED, Entry, EntryId, Store

WINDOW_NS = 60 * SECOND
Caller = tuple[str, str]  # tenant, agent
Kind = tuple[str, str | None]  # action, code
OTHER: Kind = ("*", None)


class RefusalsCounted(msgspec.Struct, frozen=True):
    """How many more there were like the one that stands in the entry, which is the newest of them."""

    count: int
    since: int
    until: int


class Counted(msgspec.Struct):
    newest: Entry
    since: int
    count: int = 1


class Window(msgspec.Struct):
    """A caller's minute."""

    opened_at: int
    recorded: int = 0
    counted: dict[Kind, Counted] = {}

    def count(self, entry: Entry) -> None:
        kind: Kind = (entry.action, entry.code)
        if kind not in self.counted and len(self.counted) >= REFUSAL_KINDS_MAX:
            kind, entry = OTHER, replace(entry, action="*", resource="*", code=None)
        known = self.counted.get(kind)
        if known is None:
            self.counted[kind] = Counted(entry, entry.timestamp)
        else:
            known.newest, known.count = entry, known.count + 1


class Refusals:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._windows: OrderedDict[Caller, Window] = OrderedDict()
        self._lock = threading.Lock()

    async def record(self, entry: Entry) -> None:
        """Write it now, or count it; with it goes what its caller's minute before has counted."""
        due = self._due(entry)
        if due:
            await self._store.write(lambda tx: [tx.record(each) for each in due])

    async def flush(self, now: int, *, everything: bool = False) -> int:
        """Write the counts of all minutes that are over, or of all; how many entries that made."""
        with self._lock:
            over = [c for c, w in self._windows.items() if everything or now - w.opened_at >= WINDOW_NS]
            due = [each for caller in over for each in summaries(self._windows.pop(caller))]
        if due:
            await self._store.write(lambda tx: [tx.record(each) for each in due])
        return len(due)

    def _due(self, entry: Entry) -> list[Entry]:
        caller = (entry.tenant, entry.agent_nhi)
        with self._lock:
            due: list[Entry] = []
            window = self._windows.get(caller)
            if window is not None and entry.timestamp - window.opened_at >= WINDOW_NS:
                due += summaries(self._windows.pop(caller))
                window = None
            if window is None:
                if len(self._windows) >= REFUSALS_CALLERS_MAX:
                    due += summaries(self._windows.popitem(last=False)[1])
                window = self._windows[caller] = Window(entry.timestamp)
            if window.recorded < REFUSALS_PER_MINUTE_MAX:
                window.recorded += 1
                due.append(entry)
            else:
                window.count(entry)
            return due


def summaries(window: Window) -> list[Entry]:
    return [
        replace(
            each.newest,
            event_id=EntryId(new_id()),
            event=RefusalsCounted.__name__,
            metadata=msgspec.Raw(wire.encode(RefusalsCounted(each.count, each.since, each.newest.timestamp))),
            context=UNRECORDED,
        )
        for each in window.counted.values()
    ]
