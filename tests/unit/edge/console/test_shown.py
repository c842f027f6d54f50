"""The page itself: every argument of every hostile request stands on it, whole, in its place, and nothing of it runs."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from msgspec import structs

from creto.edge.console.cards import card
from creto.edge.console.editing import editable
from creto.edge.console.site import templates
from creto.oversight import Case, render
from creto.oversight.hostile import Trick
from creto.platform.consensus import PersonId
from tests.unit.edge.console.cases import LATER, NAMES, a_case, viewer
from tests.unit.oversight.test_spoofs import SPOOFS

TEMPLATES = templates()


class Read(HTMLParser):
    """The text of each element with a class or id, and every tag."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[tuple[int, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("input", "meta", "link", "img", "br"):
            return
        self.stack.append(tag)
        for name in (*str(dict(attrs).get("class") or "").split(), tag):
            self.open.append((len(self.stack), name))
            self.texts.setdefault(name, []).append("")

    def handle_endtag(self, tag: str) -> None:
        while self.stack and self.stack.pop() != tag:
            pass
        self.open = [(depth, name) for depth, name in self.open if depth <= len(self.stack)]

    def handle_data(self, data: str) -> None:
        for _, name in self.open:
            self.texts[name][-1] += data


def page(case: Case, **more: Any) -> str:
    shown = card(case, viewer(), now=LATER)
    values: dict[str, Any] = {
        "rows": [shown.row], "more": 0, "past": False, "now": LATER, "card": shown, "error": None, "arguments": editable(case.record.ask.arguments),
        "reason": "", "delivery": "d", "colleagues": (), "names": NAMES, "me": "Alice", "version": "0",
        "token": "t", "path": "/approvals/req-1", "act": "", "absences": (), "notices": (),
    }  # fmt: skip
    return TEMPLATES.get_template("approvals.html").render(**values | more)


def arguments(read: Read) -> list[tuple[str, str]]:
    """As they stand between action and resource and the next heading."""
    names, values = [text.strip() for text in read.texts["dt"]], [text.strip() for text in read.texts["dd"]]
    return [(n, v) for n, v in zip(names, values, strict=True)][2:]


@pytest.mark.parametrize(("text", "trick"), SPOOFS, ids=[ascii(text)[:40] for text, _ in SPOOFS])
def test_no_text_hides_an_argument(text: str, trick: Trick) -> None:
    for given in ({"drop": "secret-db", "z": text}, {"drop": "secret-db", text: 1}):
        case = a_case(json.dumps(given).encode(), description=text)
        read, shown = Read(page(case)), render(case.record.ask)
        found = arguments(read)[: len(shown.arguments)]
        assert found == [(line.name.strip(), line.value.strip()) for line in shown.arguments]
        assert ("drop", '"secret-db"') in found
        assert all(c.isprintable() or c == "\n" for _, value in found for c in value)
        assert read.texts["care"][0].strip()


@pytest.mark.parametrize(("text", "trick"), SPOOFS, ids=[ascii(text)[:40] for text, _ in SPOOFS])
def test_what_the_agent_says_stands_in_its_fence_alone(text: str, trick: Trick) -> None:
    word = "zzyzx "
    read = Read(page(a_case({"drop": "secret-db"}, description=word + text)))
    assert word.strip() in read.texts["says"][0]
    assert "not verified" in read.texts["says"][0]
    outside = Read(page(a_case({"drop": "secret-db"}, description="")))
    assert [tag for tag, _ in read.tags if tag in ("script", "form", "a", "button")] == [
        tag for tag, _ in outside.tags if tag in ("script", "form", "a", "button")
    ]
    assert sum(body.count("zzyzx") for body in read.texts["main"]) == read.texts["says"][0].count("zzyzx")


def test_the_order_on_the_card_is_fixed() -> None:
    html = page(a_case({"a": 1}, description="because"))
    places = [html.index(f'id="{name}"') for name in ("effect", "why-h", "args-h", "reach-h", "says-h", "votes-h", "time-h", "decide-h")]  # fmt: skip
    assert places == sorted(places)
    assert html.index("Since the last similar") < html.index('id="reach-h"')


def test_nothing_is_inline_and_nothing_is_from_elsewhere() -> None:
    read = Read(page(a_case({"a": 1})))
    for tag, attributes in read.tags:
        assert tag != "style"
        assert "style" not in attributes
        assert not any(name.startswith("on") for name in attributes)
        assert "autofocus" not in attributes
        if tag == "script":
            assert str(attributes["src"]).startswith("/static/")
        for name in ("src", "href", "action", "formaction"):
            assert str(attributes.get(name, "/")).startswith(("/", "#"))


def test_every_field_has_a_label_and_every_id_is_one() -> None:
    read = Read(page(a_case({"a": 1})))
    ids = [str(attributes["id"]) for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {attributes.get("for") for tag, attributes in read.tags if tag == "label"}
    for tag, attributes in read.tags:
        if tag in ("textarea", "select") or (tag == "input" and attributes.get("type") not in ("hidden", "checkbox")):
            assert attributes["id"] in labelled


def test_every_act_is_a_form_with_its_token() -> None:
    html = page(a_case({"a": 1}))
    forms = [part.split("</form>")[0] for part in html.split("<form ")[1:]]
    for form in forms:
        if 'action="/approvals/req-1/' in form:
            assert 'method="post"' in form
            assert 'name="token" value="t"' in form
    acts = {part.split('"')[0] for part in html.split('action="/approvals/req-1/')[1:]}
    assert acts == {"approve", "deny", "edit", "propose", "ask", "comment", "claim", "delegate", "extend", "snooze"}


def test_many_who_have_not_voted_are_one_line_and_all_in_it() -> None:
    case = a_case({}, waiting_for=("alice", "bob", "carol"))
    few = Read(page(case)).texts["waits"]
    assert [" ".join(line.split()) for line in few] == [
        "You have not voted",
        "Bob has not voted",
        "Carol has not voted",
    ]
    crowd = tuple(PersonId(f"person-{n:02}") for n in range(40))
    (line,) = Read(page(structs.replace(case, waiting_for=crowd))).texts["waits"]
    assert " ".join(line.split()) == f"{', '.join(crowd)} have not voted"
