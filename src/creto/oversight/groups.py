"""Groups: through which of them a list names somebody. Groups may hold groups.

    for names, passed in ways(("group:ops", fay), groups):      # the list, then the members of each group, and through what one came there
        ...

A way ends at a group that it has passed. Ways to a group go on alike where it leads back to the same of what they have passed: from there
they are one, so a group that is in no circle is walked once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter

GROUP = "group:"
Groups = Mapping[str, tuple[str, ...]]
Way = tuple[str, frozenset[str]]  # a group, and those on the way to it to which it leads back


def bare(name: str) -> str:
    return name.removeprefix(GROUP)


def closure(names: Iterable[str], groups: Groups) -> frozenset[str]:
    """The names, and all that their groups lead to."""
    found, pending = set[str](), [*names]
    while pending:
        name = pending.pop()
        if name not in found:
            found.add(name)
            pending += groups.get(bare(name), ()) if name.startswith(GROUP) else ()
    return frozenset(found)


def ways(names: Sequence[str], groups: Groups) -> Iterator[tuple[Sequence[str], frozenset[str]]]:
    """The names, then the members of every group that they lead to, each with all groups on the ways to them.

    A group in a circle comes once for each way of going on.
    """
    yield names, frozenset()
    leading = [name for name in closure(names, groups) if name.startswith(GROUP)]
    inner = {bare(name): tuple(one for one in groups.get(bare(name), ()) if one.startswith(GROUP)) for name in leading}
    leads = {name: closure((name,), inner) for name in leading}
    pending: list[Way] = [(name, frozenset()) for name in names if name.startswith(GROUP)]
    before: dict[Way, list[Way]] = {way: [] for way in pending}
    while pending:
        way = group, behind = pending.pop()
        for name in inner[bare(group)]:
            if name == group or name in behind:
                continue  # a group within itself
            step = name, leads[name] & (behind | {group})
            if step not in before:
                pending.append(step)
            before.setdefault(step, []).append(way)
    passed: dict[Way, frozenset[str]] = {}
    for way in TopologicalSorter(before).static_order():
        group = bare(way[0])
        passed[way] = frozenset({group}).union(*(passed[one] for one in before[way]))
        yield groups.get(group, ()), passed[way]
