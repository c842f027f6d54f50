"""A bell between the processes on one database file: rung after a commit, heard by who sleeps.

    bell = Bell(path)
    bell.ring()           # in any process, after its commit
    bell.wait(1.0)        # in the others: True at once

SQLite has no push. Who has committed touches the file's times, and Linux (inotify) wakes who watches them. Watching the write-ahead log
itself tells too early: its frames are written, and synced, before the commit can be seen; and it may be removed and made anew.

INVARIANT: the file is never opened here: closing it again would let go of the locks that SQLite holds on it, which are the process's.
"""

from __future__ import annotations

import ctypes
import os
import select
from contextlib import suppress

IN_ATTRIB = 0x4  # times, owner and mode; what is written to the file itself is of no interest
EVENTS_BYTES = 4096
HOLDING = ctypes.PyDLL(None)


class Bell:
    def __init__(self, path: str) -> None:
        self._path = path
        self._events = watched(path)
        self._poll = select.poll()
        if self._events is not None:
            self._poll.register(self._events, select.POLLIN)

    @property
    def heard(self) -> bool:
        """Whether ringing wakes who waits; else they look by themselves."""
        return self._events is not None

    def ring(self) -> None:
        with suppress(OSError):  # nobody is woken: they look now and then all the same
            os.utime(self._path)

    def wait(self, timeout_s: float) -> bool:
        """Sleep until it rings, or no longer than that. What rang since the last wait counts."""
        if self._events is None or not self._poll.poll(timeout_s * 1000):
            return False
        self.forget()
        return True

    def forget(self) -> None:
        """What has rung so far. It never blocks, so it keeps the interpreter's lock: behind a busy thread that takes milliseconds to get back."""
        if self._events is not None:
            HOLDING.read(self._events, ctypes.create_string_buffer(EVENTS_BYTES), EVENTS_BYTES)

    def close(self) -> None:
        if self._events is not None:
            os.close(self._events)
            self._events = None


def watched(path: str) -> int | None:
    """Where the kernel tells of the file; None on other systems, and where it takes no more watches."""
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        init, add = libc.inotify_init1, libc.inotify_add_watch
    except AttributeError:
        return None
    events = int(init(os.O_NONBLOCK | os.O_CLOEXEC))
    if events < 0:
        return None
    if add(events, os.fsencode(path), IN_ATTRIB) < 0:
        os.close(events)
        return None
    return events
