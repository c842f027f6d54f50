"""The examples, each as its reader starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT
from tests.docs.test_readme import run

EXAMPLES = ROOT / "examples"
SAYS = {
    "first_agent.py": ["remembers: Invoice 17", "payment.approve success", "ok: entry "],
    "delegation.py": [
        "worker acts for True",
        "runtime:exec on runtime:sandbox:1: the chain holds",
        "funds.transfer on bank:acme: PL-134",
        "everything: PL-117",
        "runtime:exec on runtime:sandbox:1: PL-124",
    ],
    "policy_and_oversight.py": [
        'transferred: {"amount": 500, "to": "acme"}\n',
        "PL-202 asks under the policy two-eyes",
        "bot wants to transfer money: bank:acme",
        "approved by Ann",
        "60000: PL-706",
        'transferred: {"amount": 50000, "to": "acme"}\n',
        "50000: PL-704",
        "intent",
        "pending",
    ],
    "sealed_objects.py": ["readable on disk: False", "bytes 4 to 11: parties", "delete: PL-803", "left: []"],
}


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs(name: str, tmp_path: Path, shell: dict[str, str]) -> None:
    done = run(["python", "-W", "error", str(EXAMPLES / name)], tmp_path / "home", shell)
    assert done.returncode == 0, done.stderr
    place = 0
    for words in SAYS[name]:
        place = done.stdout.find(words, place)
        assert place >= 0, (words, done.stdout)
    assert list((tmp_path / "home").iterdir()) == []


def test_every_example_is_run() -> None:
    assert {p.name for p in EXAMPLES.glob("*.py")} == {*SAYS, "verify_audit_proof.py"}
