"""Small charts in a line of text: how much, beside one another and over time."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

BAR_CHARS = 24
SPARK_CHARS = 48
EIGHTHS = " ▏▎▍▌▋▊▉"
LEVELS = "▁▂▃▄▅▆▇█"
NOTHING = "·"


def bar(value: Decimal, largest: Decimal, chars: int = BAR_CHARS) -> str:
    """As long as its share of the largest, in eighths of a character; whatever is more than nothing can be seen."""
    if largest <= 0 or value <= 0:
        return ""
    whole, rest = divmod(max(1, int(value * chars * 8 / largest)), 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def spark(values: Sequence[Decimal], chars: int = SPARK_CHARS) -> str:
    """A series as a row of columns. What is longer than the row is summed in equal steps, of which the last may be shorter."""
    step = -(-len(values) // chars) or 1
    steps = [sum(values[n : n + step], Decimal()) for n in range(0, len(values), step)]
    largest = max(steps, default=Decimal())
    return "".join(level(value, largest) for value in steps)


def level(value: Decimal, largest: Decimal) -> str:
    return NOTHING if value <= 0 else LEVELS[min(7, int(value * 8 / largest))]
