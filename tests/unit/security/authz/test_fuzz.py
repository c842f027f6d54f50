"""Any text, JSON or token gives an answer or one of the documented errors."""

from __future__ import annotations

import json
import random
from typing import Any

import cedarpy
import pytest

from creto.common.errors import EnablementError, InvalidInput, Unauthorized
from creto.security.authz import OverrideToken
from creto.security.authz.cedar import Request, Uid, compile_policies, context_from_json, entities_from_json
from creto.security.authz.faults import statements
from creto.security.authz.texts import action_entities, compiled, parsed_schema, shipped_policies
from creto.security.authz.tokens import opened, signed
from tests.unit.platform.nhi.town import TENANT
from tests.unit.security.authz.generator import Generator
from tests.unit.security.authz.office import SIGNER

WORDS = ["permit", "forbid", "(", ")", ";", "principal", "==", "in", "[", "]", "{", "}", "when", "unless", '"', "\\", "@id", "//", "\n", "::", "Agent", "?principal", ".", "has", "like", "*", "9223372036854775808", "ip(", "\x00", "ü", "𝔘", "&&", "||", "!", "-"]  # fmt: skip


def mangled(random_: random.Random, text: str) -> str:
    """The text with a few pieces cut, doubled, swapped or put in."""
    for _ in range(random_.randrange(1, 6)):
        at = random_.randrange(len(text) + 1)
        end = min(len(text), at + random_.randrange(12))
        text = random_.choice(
            [text[:at] + text[end:], text[:end] + text[at:], text[:at] + random_.choice(WORDS) + text[at:], text[:at]]
        )
    return text


def test_policy_texts(deep: bool) -> None:
    random_ = random.Random(3)
    refused = 0
    for seed in range(4_000 if deep else 150):
        text = random_.choice(
            [shipped_policies()[:1500], Generator(seed).policies(3), " ".join(random_.choices(WORDS, k=20))]
        )
        text = mangled(random_, text)
        list(statements(text))
        try:
            compile_policies(text)
            compiled(text)
        except InvalidInput as error:
            refused += 1
            assert error.code == "PL-701"
    assert refused > 50


@pytest.mark.parametrize("opening", ["!", "-", "(", "[", "{a:", "if true then true else ", "ip("])
def test_deep_nesting_ends_in_an_error_or_a_value(opening: str) -> None:
    closing = {"(": ")", "[": "]", "{a:": "}", "ip(": ")"}.get(opening, "")
    for depth in (3, 50, 300, 5_000):
        text = f"permit (principal, action, resource) when {{ {opening * depth}true{closing * depth} == true }};"
        try:
            policies = compile_policies(text)
        except InvalidInput as error:
            assert error.code == "PL-701"
            continue
        policies.evaluate(Request(Uid("A", "a"), Uid("Action", "x"), Uid("B", "b"), {}, {}))


def test_long_chains_are_no_deep_nesting() -> None:
    body = " || ".join(["context has a"] * 2_000)
    try:
        policies = compile_policies(f"permit (principal, action, resource) when {{ {body} }};")
    except InvalidInput as error:
        assert error.code == "PL-701"  # the parser's own limit
        return
    assert not policies.evaluate(Request(Uid("A", "a"), Uid("Action", "x"), Uid("B", "b"), {}, {})).permitting


@pytest.mark.parametrize(
    "link",
    ["true && ", "true || ", "1 + ", "2 * ", "1 - ", "principal is Agent && ", '"a" == "a" || '],
)
@pytest.mark.parametrize("links", [20_000, 100_000])
def test_a_chain_as_long_as_the_limit_on_text_ends_in_an_error(link: str, links: int) -> None:
    """The engine's parser nests what is written flat: without a bound this ends the process."""
    with pytest.raises(InvalidInput, match="PL-701"):
        compiled(f"permit (principal, action, resource) when {{ {link * links}true }};")


def test_a_path_of_brackets_ends_in_an_error() -> None:
    steps = '["a"]' * 20_000
    with pytest.raises(InvalidInput, match="PL-701"):
        compiled(f"permit (principal, action, resource) when {{ context{steps} == 1 }};")


def test_a_square_of_action_groups_is_refused() -> None:
    chain = "action g0;" + "".join(f"action g{i} in [g{i - 1}];" for i in range(1, 1_500))
    with pytest.raises(InvalidInput, match="PL-702"):
        parsed_schema(chain)
    short = "action g0;" + "".join(f"action g{i} in [g{i - 1}];" for i in range(1, 100))
    groups = action_entities(parsed_schema(short))
    assert len(groups[Uid("Action", "g99")].ancestors) == 99


def test_what_the_engine_says_is_cut() -> None:
    record = ",".join(f"a{i}: 1" for i in range(1_000))
    with pytest.raises(InvalidInput) as refused:
        compiled(f"permit (principal, action, resource) when {{ {{{record}}} == 1 }};")
    assert len(refused.value.message) < 600


def test_entities_and_contexts_in_json(deep: bool) -> None:
    random_ = random.Random(5)
    odd: list[Any] = [None, 1.5, 2**70, [], {}, {"__entity": 1}, {"__extn": {"fn": "ip", "arg": "x"}}, {"__extn": {}}, "x", [[[]]], {"__entity": {"type": 1, "id": 2}}]  # fmt: skip
    refused = 0
    for seed in range(5_000 if deep else 300):
        text = Generator(seed % 50).entities_json()
        if seed % 2:
            data = json.loads(text)
            random_.choice(data)[random_.choice(["uid", "attrs", "parents", "tags"])] = random_.choice(odd)
            text = json.dumps(data)
        else:
            text = mangled(random_, text)
        try:
            entities_from_json(text)
            context_from_json({"a": random_.choice(odd)})
        except InvalidInput as error:
            refused += 1
            assert error.code == "PL-702"
    assert refused > 100


def test_a_circle_of_parents_is_refused_as_cedar_does() -> None:
    uid = [{"type": "G", "id": str(i)} for i in range(3)]
    circle = json.dumps([{"uid": uid[i], "attrs": {}, "parents": [uid[(i + 1) % 3]]} for i in range(3)])
    with pytest.raises(ValueError):
        cedarpy.Entities.from_json_str(circle)
    with pytest.raises(InvalidInput, match="PL-702"):
        entities_from_json(circle)


def test_a_value_nested_without_end() -> None:
    value: Any = 1
    for _ in range(5_000):
        value = [value]
    with pytest.raises(InvalidInput, match="PL-702"):
        context_from_json({"a": value})


def test_tokens(deep: bool) -> None:
    random_ = random.Random(9)
    token = OverrideToken(
        token_id="t", tenant=TENANT, agent="agent:nhi:ed25519:x", action="a", resource="r",  # type: ignore[arg-type]
        args_digest=b"d", policy_id="p", policy_version=0, issued_at=1, expires_at=2,  # type: ignore[arg-type]
    )  # fmt: skip
    text = signed(token, SIGNER)
    assert opened(text, SIGNER.public) == token
    for _ in range(20_000 if deep else 500):
        bad = mangled(random_, text)
        if bad == text:
            continue
        with pytest.raises(Unauthorized) as refused:
            opened(bad, SIGNER.public)
        assert isinstance(refused.value, EnablementError)
        assert refused.value.code == "PL-703"
