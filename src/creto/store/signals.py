"""Signals: "look again", from the process that changed something to every process that shares the store.

An engine carries them (`deliver`); this says whom they reach and when everybody has them. A barrier is itself a signal:
whoever handles it has handled all before it, and says so with an acknowledgement, which is a signal too.

INVARIANT: who may have missed a signal is told so (`lost`); a cache that listens to both never serves what was revoked.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

log = logging.getLogger("creto.store")

BARRIER = "store.barrier"
ACK = "store.ack"


class Signals:
    """Who listens in this process."""

    def __init__(self, instance: str, acknowledge: Callable[[str], None]) -> None:
        self.alive = True
        self._instance = instance
        self._acknowledge = acknowledge
        self._callbacks: dict[str, tuple[Callable[[str], None], ...]] = {}
        self._lost: tuple[Callable[[], None], ...] = ()
        self._turn = threading.RLock()  # one callback at a time, whatever thread brings the signal
        self._barriers: dict[str, tuple[set[str], Callable[[], None]]] = {}

    def on(self, channel: str, fn: Callable[[str], None]) -> None:
        with self._turn:
            self._callbacks[channel] = (*self._callbacks.get(channel, ()), fn)

    def on_lost(self, fn: Callable[[], None]) -> None:
        with self._turn:
            self._lost = (*self._lost, fn)

    def handle(self, signals: Iterable[tuple[str, str]]) -> None:
        """Run the callbacks of this process."""
        with self._turn:
            for channel, payload in signals:
                for fn in self._callbacks.get(channel, ()):
                    self._call(fn, payload)

    def _call(self, fn: Callable[[str], None], payload: str) -> None:
        try:
            fn(payload)
        except Exception:
            log.exception("a signal's callback failed: every cache is told to start afresh")
            self.tell_lost()

    def deliver(self, origin: str, channel: str, payload: str) -> None:
        """What the engine heard. Our own signals were handled before `write` returned; a barrier asks the others."""
        if channel == ACK:
            self._acknowledged(payload, origin)
        elif origin == self._instance:
            return
        elif channel == BARRIER:
            self._acknowledge(payload)
        else:
            self.handle([(channel, payload)])

    def tell_lost(self) -> None:
        with self._turn:
            for fn in self._lost:
                try:
                    fn()
                except Exception:
                    log.exception("a callback for lost signals failed")

    def broke(self) -> None:
        """Signals do not flow any more."""
        if self.alive:
            self.alive = False
            log.warning("signals do not flow: caches read through")
            self.tell_lost()

    def flows(self) -> None:
        """Signals flow again; what was cached in between may be old."""
        if not self.alive:
            self.alive = True
            self.tell_lost()

    def expect(self, barrier: str, nodes: set[str], done: Callable[[], None]) -> None:
        """Call `done` once each of these has acknowledged the barrier."""
        with self._turn:
            self._barriers[barrier] = (nodes, done)

    def forget(self, barrier: str) -> None:
        with self._turn:
            self._barriers.pop(barrier, None)

    def _acknowledged(self, barrier: str, node: str) -> None:
        with self._turn:
            waiting, done = self._barriers.get(barrier, (None, None))
            if waiting is None or done is None:
                return
            waiting.discard(node)
            if not waiting:
                del self._barriers[barrier]
                done()
