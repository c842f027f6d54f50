"""The evaluator against Cedar's own engine: decision, determining policies and failing policies of random requests agree."""

from __future__ import annotations

import json
import re
from typing import Any

import cedarpy

from creto.security.authz.cedar import Request, Uid, compile_policies, context_from_json, entities_from_json
from tests.unit.security.authz.generator import Generator

FAILED = re.compile(r"(?:evaluating policy|policy) `(policy\d+)`")
WORLD_REQUESTS = 40
POLICIES = 25


def uid(json: dict[str, str]) -> Uid:
    return Uid(json["type"], json["id"])


def engine_answer(result: Any) -> tuple[bool, set[str], set[str]]:
    failed = {match[1] for error in result.diagnostics.errors if (match := FAILED.search(str(error)))}
    assert len(failed) == len(result.diagnostics.errors), result.diagnostics.errors
    return result.allowed, set(result.diagnostics.reasons), failed


def test_random_requests_agree_with_the_engine(deep: bool) -> None:
    seen = errors = allowed = 0
    for seed in range(2_500 if deep else 50):
        generator = Generator(seed)
        raw, text = generator.entities_json(), generator.policies(POLICIES)
        requests = [generator.request() for _ in range(WORLD_REQUESTS)]
        engine = cedarpy.is_authorized_batch(
            requests, cedarpy.PolicySet.from_str(text), cedarpy.Entities.from_json_str(raw)
        )
        policies, entities = compile_policies(text), entities_from_json(raw)
        for request, result in zip(requests, engine, strict=True):
            parts = uid(request["principal"]), uid(request["action"]), uid(request["resource"])
            answer = policies.evaluate(Request(*parts, context_from_json(request["context"]), entities))
            ours = (
                answer.allowed,
                set(answer.permits if answer.allowed else answer.forbids),
                {policy.id for policy, _ in answer.errors},
            )
            theirs = engine_answer(result)
            assert ours == theirs, difference(seed, text, request, answer.errors, result, ours, theirs)
            seen, errors, allowed = seen + 1, errors + bool(theirs[2]), allowed + theirs[0]
    assert seen >= (100_000 if deep else 2_000)
    assert errors > seen / 20  # the generator reaches what it is for
    assert allowed > seen / 50


def difference(seed: int, text: str, request: Any, mine: Any, result: Any, ours: Any, theirs: Any) -> str:
    lines = text.splitlines()
    odd = {id for a, b in zip(ours[1:], theirs[1:], strict=True) for id in a ^ b}
    shown = "\n".join(lines[int(id.removeprefix("policy"))] for id in odd) if len(lines) == POLICIES else text
    told = [(policy.id, message) for policy, message in mine if policy.id in odd]
    return f"seed {seed}\n{shown}\n{json.dumps(request)}\nours {ours}\ntheirs {theirs}\n{told}\n{[str(e) for e in result.diagnostics.errors if any(id in str(e) for id in odd)]}"
