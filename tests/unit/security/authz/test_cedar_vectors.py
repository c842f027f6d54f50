"""The public corpus of hand-written requests: decision, reasons and errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cedarpy

from creto.security.authz.cedar import Request, Uid, compile_policies, entities_from_json
from creto.security.authz.cedar.entities import context_from_json


def requests(root: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for file in sorted((root / "cedar" / "tests").rglob("*.json")):
        case = json.loads(file.read_text())
        for request in case["requests"]:
            yield f"{file.stem} {request['description']}", case, request


def uid(value: dict[str, str]) -> Uid:
    return Uid(value["type"], value["id"])


def test_every_hand_written_request_agrees(vectors: Path) -> None:
    root = vectors / "cedar"
    count = 0
    for name, case, request in requests(vectors):
        policies = compile_policies((root / case["policies"]).read_text())
        schema = (root / case["schema"]).read_text()
        raw = (root / case["entities"]).read_text()
        entities = entities_from_json(str(cedarpy.Entities.from_json_str(raw, schema)))
        answer = policies.evaluate(
            Request(
                uid(request["principal"]),
                uid(request["action"]),
                uid(request["resource"]),
                context_from_json(request["context"]),
                entities,
            )
        )
        reasons = answer.permits if answer.allowed else answer.forbids
        assert ("allow" if answer.allowed else "deny") == request["decision"], name
        assert sorted(reasons) == sorted(request["reason"]), name
        assert sorted(policy.id for policy, _ in answer.errors) == sorted(request["errors"]), name
        count += 1
    assert count == 74


def test_no_file_of_the_corpus_is_left_unread(vectors: Path) -> None:
    root = vectors / "cedar"
    read = {root / case[part] for _, case, _ in requests(vectors) for part in ("policies", "schema", "entities")}
    found = {path for folder in ("tests", "sample-data") for path in (root / folder).rglob("*.*")}
    assert found == read | set((root / "tests").rglob("*.json"))
