"""Another process on the same store: says what it hears, until its input ends.

python -m tests.contract.store_node URL
"""

from __future__ import annotations

import sys

from creto.store import open_store


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    store = open_store(sys.argv[1], node="other")
    store.on_signal("thing", lambda payload: say(f"heard {payload}"))
    store.on_signal_lost(lambda: say("lost"))
    say("ready")
    for line in sys.stdin:
        store.submit(lambda tx, line=line: tx.signal("thing", line.strip())).result(30)
        say("sent")
    store.close()


if __name__ == "__main__":
    main()
