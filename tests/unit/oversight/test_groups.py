"""Groups within groups: who a list names, and through which of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hypothesis import given
from hypothesis import strategies as st

from creto.oversight.eligibility import Directory
from creto.platform.consensus import PersonId

PEOPLE = {name: PersonId(name) for name in ("ann", "ben", "cid")}
NAMES = ("a", "b", "c", "d", "e")
MEMBERS = st.sampled_from([*PEOPLE, "nobody", *(f"group:{name}" for name in NAMES)])


def by_every_way(approvers: list[str], groups: Mapping[str, tuple[str, ...]]) -> dict[PersonId, frozenset[str]]:
    """The rule, as it is said: along each way, which ends at a group that it has passed."""
    found: dict[PersonId, frozenset[str]] = {}

    def walk(name: str, path: tuple[str, ...]) -> None:
        if not name.startswith("group:"):
            if name in PEOPLE:
                found[PEOPLE[name]] = found.get(PEOPLE[name], frozenset()).union(path)
            return
        group = name.removeprefix("group:")
        if group not in path:
            for member in groups.get(group, ()):
                walk(member, (*path, group))

    for approver in approvers:
        walk(approver, ())
    return found


@given(st.lists(MEMBERS, max_size=3), st.dictionaries(st.sampled_from(NAMES), st.lists(MEMBERS, max_size=4).map(tuple)))
def test_people_are_named_through_every_group_on_a_way_to_them(
    approvers: list[str], groups: dict[str, tuple[str, ...]]
) -> None:
    assert Directory(groups=groups, people=PEOPLE).seats(approvers) == by_every_way(approvers, groups)


class Counted(Mapping[str, tuple[str, ...]]):
    """Groups that count how often they are looked into."""

    def __init__(self, groups: dict[str, tuple[str, ...]]) -> None:
        self.groups = groups
        self.looks = 0

    def __getitem__(self, name: str) -> tuple[str, ...]:
        self.looks += 1
        return self.groups[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)


def test_a_group_is_walked_once_however_many_ways_lead_to_it() -> None:
    layers = 12
    groups = Counted(
        {
            f"{side}{n}": (f"group:left{n + 1}", f"group:right{n + 1}")
            for side in ("left", "right")
            for n in range(layers)
        }
        | {f"{side}{layers}": ("ann",) for side in ("left", "right")}
    )
    found = Directory(groups=groups, people=PEOPLE).seats(["group:left0"])
    assert len(found[PEOPLE["ann"]]) == 2 * layers + 1
    assert groups.looks <= 3 * len(groups)
