"""What a connection has prepared at the server, by the text of a statement and the types of its values."""

from __future__ import annotations

PREPARED_MAX = 500  # of a connection; the oldest goes
PREPARED_EVERY = 5  # uses it is tried: what is asked once is not worth a name
SEEN_MAX = 5_000

Key = tuple[str, tuple[int, ...]]


class Statements:
    def __init__(self) -> None:
        self.names: dict[Key, bytes] = {}
        self.pending: set[Key] = set()  # asked for in this transaction, which may fail before the server comes to it
        self._seen: dict[Key, int] = {}
        self._count = 0

    def worth_a_name(self, key: Key) -> bool:
        if len(self._seen) > SEEN_MAX:
            self._seen.clear()
        self._seen[key] = self._seen.get(key, 0) + 1
        if self._seen[key] % PREPARED_EVERY or key in self.pending:
            return False
        self.pending.add(key)
        return True

    def new_name(self) -> bytes:
        self._count += 1
        return b"creto_%d" % self._count

    def prepared(self, key: Key, name: bytes) -> None:
        """The server has it: from now on the name can be relied on."""
        self.names[key] = name

    def too_many(self) -> bytes | None:
        """The name that makes room for another."""
        return self.names.pop(next(iter(self.names))) if len(self.names) >= PREPARED_MAX else None
