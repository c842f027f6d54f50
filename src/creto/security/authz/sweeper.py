"""Two threads that end what has expired: one sweeps, the other watches the first. Both sleep while nothing is kept.

The sweeper wakes when the oldest decision is due, at most every 20 ms; the watchdog 40 ms after that, when nothing of it ought to be left. So an
expired decision is gone within 50 ms also where the sweeper is dead or stuck: then the watchdog forgets everything, and nothing is kept
until the sweeper is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from creto.security.authz.hits import Hits


class Sweeper:
    def __init__(self, hits: Hits) -> None:
        self._hits = hits
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self._hits.begin_sweeping()
        for name, run in (("authz-sweep", self._sweep), ("authz-watch", self._watch)):
            thread = threading.Thread(target=run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _sweep(self) -> None:
        while self._slept(self._hits.sweep_pause_s):
            self._hits.begin_sweeping()
            self._hits.sweep()

    def _watch(self) -> None:
        while self._slept(self._hits.watch_pause_s):
            self._hits.watch()

    def _slept(self, pause_s: Callable[[], float | None]) -> bool:
        """Whether there is still something to do after the pause."""
        with self._hits.stirred:
            if not self._stopping:
                self._hits.stirred.wait(pause_s())
            return not self._stopping

    def stop(self) -> None:
        with self._hits.stirred:
            self._stopping = True
            self._hits.stirred.notify_all()
        for thread in self._threads:
            thread.join()
        self._hits.end_sweeping()
