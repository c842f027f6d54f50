"""What is refused is refused with every fault at its place: line and column in the text as it was uploaded."""

from __future__ import annotations

import random

import pytest

from creto.common.errors import InvalidInput
from creto.common.limits import AUTHZ_FAULTS_MAX
from creto.security.authz.faults import statements
from creto.security.authz.texts import compiled

FINE = "permit (principal, action, resource);"
PLACES = [
    ("a scope that is no variable", f"{FINE}\n\n  permit (principl, action, resource);", ["3:11"]),
    ("a missing comma", f"{FINE}\npermit (principal action, resource);", ["2:19"]),
    ("an end that is missing", f"{FINE}\n// note; this\npermit (principal,\naction,", ["4:7"]),
    ("a string without an end", f'{FINE}\npermit (principal, action, resource) when {{ "x }};', ["2:45"]),
    ("no token at all", "permit (principal, action, resource) when { 1 $ 2 };", ["1:47"]),
    ("an operator of one half", "permit (principal, action, resource) when { 1 = 1 };", ["1:47"]),
    ("no such method", 'permit (principal, action, resource) when { "a".foo(1) };', ["1:49"]),
    ("no such effect", f"{FINE}\n\tpermt (principal, action, resource);", ["2:2"]),
    ("after CR LF", f"{FINE}\r\n// x\r\n  permit (principal, actin, resource);\r\n", ["3:22"]),
    ("after CR alone", f"{FINE}\r// permit (;\r  permit (principal, actin, resource);\r", ["3:22"]),
    ("after wide characters", '@note("𝔘ü;") permit (principal, action, resource); permit (principl, action, resource);', ["1:60"]),
    ("a name behind a comment", "/* no comment */", ["1:1"]),
    ("two policies, each with a fault", f"permit (a, action, resource);\n{FINE}\npermit (principal, action, b);", ["1:9", "3:28"]),
    ("an unknown action", 'permit (\n  principal,\n  action == Action::"no.such",\n  resource\n);', ["3:13", "1:1"]),
    ("an unknown attribute", f'{FINE}\n// ;\n\npermit (principal, action, resource) when {{ principal.nam == "x" }};', ["4:55"] * 3),
    ("two that do not fit", f'permit (principal is Foo, action, resource);\n{FINE}\r\npermit (principal, action, resource is Bar);', ["1:22", "1:1", "3:40", "3:1"]),
    ("a name taken", '@id("x") permit (principal, action, resource);\n  @id("x") forbid (principal, action, resource);', ["2:3"]),
    ("the name of a shipped policy", f'{FINE}\n@id("creto.operator") permit (principal, action, resource);', ["2:1"]),
    ("oversight on a permit", '\n@oversight("p") permit (principal, action, resource);', ["2:1"]),
    ("oversight without a policy", f"{FINE}\n@oversight forbid (principal, action, resource);", ["2:1"]),
    ("approvers who are nobody", '@oversight("p") @approvers(" ,") forbid (principal, action, resource);', ["1:1"]),
    ("a quorum of none", '@oversight("p") @approvers("a") @quorum("0") forbid (principal, action, resource);', ["1:1"]),
    ("an unknown end", '@oversight("p") @approvers("a") @timeout_action("shrug") forbid (principal, action, resource);', ["1:1"]),
    ("one oversight, two demands", '@oversight("p") @approvers("a") @quorum("2") forbid (principal, action, resource);\n@oversight("p") forbid (principal, action, resource);\n@oversight("p") @approvers("a") forbid (principal, action, resource);', ["3:1"]),
    ("a template", f"{FINE}\npermit (principal == ?principal, action, resource);", ["2:22"]),
    ("a type and a name", '@id("a") permit (principal is Foo, action, resource);\n@id("a") permit (principal, action, resource);', ["1:31", "1:1", "2:1"]),
]  # fmt: skip


def told(text: str, **options: bool) -> list[str]:
    """The places of all faults, as line:column."""
    with pytest.raises(InvalidInput) as refused:
        compiled(text, **options)
    error = refused.value
    assert error.code == "PL-701"
    lines = [line.split(": ")[0].split() for line in error.message.splitlines() if line.startswith("line ")]
    places = [f"{line.rstrip(',')}:{column}" for _, line, _, column in lines]
    assert error.got == "line {}, column {}".format(*places[0].split(":"))
    return places


@pytest.mark.parametrize(("text", "places"), [case[1:] for case in PLACES], ids=[case[0] for case in PLACES])
def test_every_fault_is_told_at_its_place(text: str, places: list[str]) -> None:
    assert told(text) == places


def test_a_name_is_free_where_the_shipped_policies_do_not_hold() -> None:
    text = '@id("creto.operator") permit (principal, action, resource);'
    assert told(text) == ["1:1"]
    assert [policy.name for policy in compiled(text, with_defaults=False).all] == ["creto.operator"]


def test_so_many_are_told_and_the_rest_is_counted() -> None:
    with pytest.raises(InvalidInput) as refused:
        compiled("\n".join(["permit (a, action, resource);"] * (AUTHZ_FAULTS_MAX + 7)))
    lines = refused.value.message.splitlines()
    assert len(lines) == AUTHZ_FAULTS_MAX + 1
    assert lines[-1] == "and 7 more"


GOOD = [
    FINE, f"// note; with a semicolon\n{FINE}", '@id("ü;𝔘") forbid (principal, action, resource) when { "//;\\"" == ";" };',
    'permit (\r\n  principal, // who;\r\n  action,\r\n  resource\r\n);',
]  # fmt: skip


def test_the_place_of_a_bad_policy_among_good_ones_is_its_own(deep: bool) -> None:
    """Any mix of good policies, blanks, comments and line endings before it."""
    for seed in range(2_000 if deep else 100):
        pick = random.Random(seed)
        ending = pick.choice(["\n", "\r\n", "\r"])
        parts = []
        for number in range(pick.randrange(6)):
            good = pick.choice(GOOD).replace("ü;", f"{number};").replace("\r\n", ending)
            parts.append(good + pick.choice(["", " ", ending, f"{ending}{ending}", f" // bad;{ending}"]))
        before = "".join(parts).replace("\n" if ending == "\r" else "\0", ending)
        indent = " " * pick.randrange(4)
        text = f"{before}{ending}{indent}permit (principl, action, resource);{ending}{FINE}"
        line = before.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 2
        assert told(text) == [f"{line}:{len(indent) + 9}"], text


def test_statements_are_cut_outside_strings_and_comments() -> None:
    text = '// a;\npermit (principal, action, resource)\n when { ";\\";" == "//" }; forbid\n(principal, action, resource);\n// end'
    assert [str(statement.fault("x").place) for statement in statements(text)] == [
        "line 2, column 1",
        "line 3, column 27",
    ]
    assert next(iter(statements(text))).body.startswith("permit")


def test_a_comment_that_ends_in_cr_hides_no_deep_nesting() -> None:
    """Cedar's comments end at CR; a bound that reads on would let text through that takes the parser down."""
    deep_text = f"permit (principal, action, resource) when {{ {'(' * 5_000}true{')' * 5_000} }};"
    with pytest.raises(InvalidInput, match="nested deeper"):
        compiled(f"//\r{deep_text}")
