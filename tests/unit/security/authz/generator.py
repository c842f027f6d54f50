"""Random entities, policies and requests from a seed: well-formed Cedar, typed or not, with every operator and extension."""

from __future__ import annotations

import json
import random
from typing import Any

USERS, GROUPS, DOCS, FOLDERS = 6, 4, 6, 4
NUMBERS = (0, 1, -1, 2, 7, 2**63 - 1, -(2**63) + 1, 2**62, -(2**62), 3037000500)
TEXTS = ("", "a", "ab", "abc", "a*b", "aXbXc", "ü", 'q"q', "back\\slash", "line\nbreak", "2024-01-01")
IPS = (
    "127.0.0.1",
    "10.0.0.0/8",
    "10.1.2.3",
    "::1",
    "ff00::2",
    "::/0",
    "192.168.0.1/24",
    "0.0.0.0/0",
    "fe80::1/64",
    "224.0.0.1",
)
BAD_IPS = ("", "1.2.3", "1.2.3.4/33", "1.2.3.04", "::ffff:1.2.3.4", "1.2.3.4/08", "::1%lo", " 1.2.3.4")
DECIMALS = ("0.0", "1.5", "-1.5", "922337203685477.5807", "-922337203685477.5808", "0.0001", "12.34")
BAD_DECIMALS = ("1", "1.", ".5", "1.23456", "922337203685477.5808", "+1.0", "1e5", "")
DATES = ("2024-01-01", "1969-12-31T23:59:59Z", "2024-02-29T12:30:00.500Z", "2024-01-01T00:00:00+0530", "2024-01-01T00:00:00.123-0800", "0000-01-01", "9999-12-31")  # fmt: skip
BAD_DATES = ("2024-13-01", "2023-02-29", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00:00+2400", "24-01-01", "")  # fmt: skip
DURATIONS = (
    "1d",
    "2h30m",
    "-1d2h",
    "5ms",
    "0s",
    "1d2h3m4s5ms",
    "106751991167d",
    "-106751991167d",
    "-9223372036854775808ms",
)
BAD_DURATIONS = ("", "1", "1h1d", "1.5h", "106751991168d", "--1d", "9223372036854775808ms", "d")
ATTRS = ("n", "s", "b", "set", "rec", "friend", "ip", "dec", "missing", "odd name")
EXTENSIONS = {
    "ip": (IPS, BAD_IPS),
    "decimal": (DECIMALS, BAD_DECIMALS),
    "datetime": (DATES, BAD_DATES),
    "duration": (DURATIONS, BAD_DURATIONS),
}


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


class Generator:
    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def pick(self, *options: Any) -> Any:
        return self.random.choice(options)

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def uid(self) -> tuple[str, str]:
        kind, count = self.pick(("User", USERS), ("Group", GROUPS), ("Doc", DOCS), ("NS::Folder", FOLDERS))
        return (
            kind,
            f"{kind[0].lower()}{self.random.randrange(count + 1)}",
        )  # one more than there are: it does not exist

    def uid_text(self) -> str:
        kind, id = self.uid()
        return f'{kind}::"{id}"'

    def value_json(self, depth: int = 0) -> Any:
        kind = self.random.randrange(8 if depth < 2 else 6)
        if kind == 0:
            return self.chance(0.5)
        if kind == 1:
            return self.pick(*NUMBERS)
        if kind in (2, 3):
            return self.pick(*TEXTS)
        if kind == 4:
            type, id = self.uid()
            return {"__entity": {"type": type, "id": id}}
        if kind == 5:
            name = self.pick(*EXTENSIONS)
            return {"__extn": {"fn": name, "arg": self.pick(*EXTENSIONS[name][0])}}
        if kind == 6:
            return [self.value_json(depth + 1) for _ in range(self.random.randrange(4))]
        return {name: self.value_json(depth + 1) for name in self.random.sample(ATTRS, self.random.randrange(4))}

    def attrs_json(self) -> dict[str, Any]:
        attrs: dict[str, Any] = {
            "n": self.pick(*NUMBERS),
            "s": self.pick(*TEXTS),
            "b": self.chance(0.5),
            "set": [self.value_json(1) for _ in range(self.random.randrange(4))],
            "rec": {"n": self.pick(*NUMBERS), "rec": {"s": self.pick(*TEXTS)}},
            "friend": {"__entity": dict(zip(("type", "id"), self.uid(), strict=True))},
            "ip": {"__extn": {"fn": "ip", "arg": self.pick(*IPS)}},
            "dec": {"__extn": {"fn": "decimal", "arg": self.pick(*DECIMALS)}},
            "odd name": self.value_json(),
        }
        return {name: value for name, value in attrs.items() if self.chance(0.8)}

    def entities_json(self) -> str:
        """Users in groups, documents in folders; groups and folders in groups and folders of a higher number: no circle."""
        found = []
        for kind, count in (("User", USERS), ("Group", GROUPS), ("Doc", DOCS), ("NS::Folder", FOLDERS)):
            container, places = ("Group", GROUPS) if kind in ("User", "Group") else ("NS::Folder", FOLDERS)
            for number in range(count):
                first = number + 1 if kind == container else 0
                above = [i for i in range(first, places) if self.chance(0.35)]
                found.append(
                    {
                        "uid": {"type": kind, "id": f"{kind[0].lower()}{number}"},
                        "attrs": self.attrs_json(),
                        "parents": [{"type": container, "id": f"{container[0].lower()}{i}"} for i in above],
                        "tags": {tag: self.value_json() for tag in ("t1", "t2") if self.chance(0.4)},
                    }
                )
        found.append({"uid": {"type": "Action", "id": "all"}, "attrs": {}, "parents": []})
        for name in ("read", "write"):
            found.append(
                {"uid": {"type": "Action", "id": name}, "attrs": {}, "parents": [{"type": "Action", "id": "all"}]}
            )
        return json.dumps(found)

    def request(self) -> dict[str, Any]:
        (p, pid), (r, rid) = self.uid(), self.uid()
        return {
            "principal": {"type": p, "id": pid},
            "action": {"type": "Action", "id": self.pick("read", "write", "other")},
            "resource": {"type": r, "id": rid},
            "context": self.attrs_json(),
        }

    def policies(self, count: int) -> str:
        return "\n".join(self.policy() for _ in range(count))

    def policy(self) -> str:
        scope = f"{self.scope('principal')}, {self.action()}, {self.scope('resource')}"
        bodies = [
            f"{self.pick('when', 'when', 'unless')} {{ {self.boolean(3)} }}" for _ in range(self.random.randrange(3))
        ]
        return f"{self.pick('permit', 'permit', 'forbid')} ({scope}) {' '.join(bodies)};"

    def scope(self, part: str) -> str:
        uid, type = self.uid_text(), self.uid()[0]
        return str(
            self.pick(
                part, part, f"{part} == {uid}", f"{part} in {uid}", f"{part} is {type}", f"{part} is {type} in {uid}"
            )
        )

    def action(self) -> str:
        one = f'Action::"{self.pick("read", "write", "all", "other")}"'
        many = ", ".join(f'Action::"{name}"' for name in self.random.sample(("read", "write", "all"), 2))
        return str(self.pick("action", f"action == {one}", f"action in {one}", f"action in [{many}]"))

    def any(self, depth: int) -> str:
        make = self.pick(
            self.boolean, self.number, self.text, self.entity, self.set, self.record, self.extension, self.path
        )
        return str(make(depth))

    def maybe(self, make: Any, depth: int) -> str:
        """Mostly what fits, now and then anything: an error at run time."""
        return self.any(depth) if self.chance(0.06) else str(make(depth))

    def path(self, depth: int) -> str:
        root = self.pick("principal", "resource", "context", "context", self.uid_text())
        for _ in range(self.pick(1, 1, 2, 3)):
            name = self.pick(*ATTRS)
            root += f"[{quoted(name)}]" if " " in name else f".{name}"
        return str(root)

    def boolean(self, depth: int) -> str:
        if depth <= 0:
            return str(self.pick("true", "false", "context.b", "principal.b", "resource.b"))
        d = depth - 1
        b, n, t, e, s = (
            lambda m=m: self.maybe(m, d) for m in (self.boolean, self.number, self.text, self.entity, self.set)
        )
        compare = self.pick("<", "<=", ">", ">=")
        if self.chance(0.15):
            return self.extension_test(d)
        return str(
            self.pick(
                lambda: f"({b()} && {b()})",
                lambda: f"({b()} || {b()})",
                lambda: f"({b()} && {b()} && {b()})",
                lambda: f"!({b()})",
                lambda: f"(if {b()} then {b()} else {b()})",
                lambda: f"({n()} {compare} {n()})",
                lambda: f"({self.any(d)} == {self.any(d)})",
                lambda: f"({n()} != {n()})",
                lambda: f"({e()} in {e()})",
                lambda: f"({e()} in [{e()}, {e()}])",
                lambda: f"({e()} is {self.uid()[0]})",
                lambda: f"({e()} is {self.uid()[0]} in {e()})",
                lambda: f"({self.pick('principal', 'resource', 'context', self.path(d))} has {self.pick(*ATTRS[:-1])})",
                lambda: f"(context has rec.{self.pick('n', 'rec.s', 'rec', 's')})",
                lambda: f"{s()}.contains({self.any(d)})",
                lambda: f"{s()}.containsAll({s()})",
                lambda: f"{s()}.containsAny({s()})",
                lambda: f"{s()}.isEmpty()",
                lambda: f"({t()} like {self.pattern()})",
                lambda: f"{e()}.hasTag({t()})",
                lambda: f"({e()}.hasTag({quoted('t1')}) && {e()}.getTag({quoted('t1')}) == {self.any(d)})",
                lambda: self.path(d),
            )()
        )

    def pattern(self) -> str:
        return '"' + "".join(self.pick("*", "*", "a", "b", "X", "\\*", "ü", "c", "") for _ in range(5)) + '"'

    def number(self, depth: int) -> str:
        if depth <= 0:
            return str(self.pick(*map(str, NUMBERS), "context.n", "principal.n", "resource.n"))
        a, b = self.maybe(self.number, depth - 1), self.maybe(self.number, depth - 1)
        return str(
            self.pick(f"({a} + {b})", f"({a} - {b})", f"({a} * {b})", f"(-({a}))", self.number(0), "context.rec.n")
        )

    def text(self, depth: int) -> str:
        return str(self.pick(quoted(self.pick(*TEXTS)), "context.s", "principal.s", "resource.s", "context.rec.rec.s"))

    def entity(self, depth: int) -> str:
        return str(self.pick("principal", "resource", "action", self.uid_text(), self.uid_text(), "principal.friend"))

    def set(self, depth: int) -> str:
        items = ", ".join(self.any(depth - 2) for _ in range(self.random.randrange(1, 4)))
        return str(self.pick(f"[{items}]", "[]", "principal.set", "context.set", "resource.set"))

    def record(self, depth: int) -> str:
        names = self.random.sample(ATTRS, self.random.randrange(3))
        return "{" + ", ".join(f"{quoted(name)}: {self.any(depth - 2)}" for name in names) + "}"

    def extension(self, depth: int, name: str | None = None) -> str:
        name = name or self.pick(*EXTENSIONS)
        good, bad = EXTENSIONS[name]
        return f"{name}({quoted(self.pick(*bad) if self.chance(0.1) else self.pick(*good))})"

    def extension_test(self, d: int) -> str:
        def ext(name: str) -> str:
            return self.maybe(lambda depth: self.extension(depth, name), d)

        span = self.pick("toMilliseconds", "toSeconds", "toMinutes", "toHours", "toDays")
        comparison = self.pick("lessThan", "lessThanOrEqual", "greaterThan", "greaterThanOrEqual")
        return str(
            self.pick(
                lambda: f"{ext('decimal')}.{comparison}({ext('decimal')})",
                lambda: f"{ext('ip')}.{self.pick('isIpv4', 'isIpv6', 'isLoopback', 'isMulticast')}()",
                lambda: f"{ext('ip')}.isInRange({ext('ip')})",
                lambda: f"({ext('ip')} == {ext('ip')})",
                lambda: f"({ext('datetime')} {self.pick('<', '<=', '>', '>=')} {ext('datetime')})",
                lambda: f"({ext('duration')} {self.pick('<', '<=', '>', '>=')} {ext('duration')})",
                lambda: f"({ext('datetime')}.offset({ext('duration')}) > {ext('datetime')})",
                lambda: f"({ext('datetime')}.durationSince({ext('datetime')}) > {ext('duration')})",
                lambda: f"({ext('datetime')}.toDate() == {ext('datetime')})",
                lambda: f"({ext('datetime')}.toTime() < {ext('duration')})",
                lambda: f"({ext('duration')}.{span}() < {self.number(1)})",
            )()
        )
