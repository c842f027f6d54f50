"""The tutorial, played from its first line to its last beside a running layer."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Block, blocks
from tests.e2e.cli.transcripts import Step, parse, play

TUTORIAL = ROOT / "docs" / "tutorial.md"
REST = "http://127.0.0.1:8081"

FREE_PORTS = " ".join(f"CRETO_SERVER__{name}_PORT=0" for name in ("REST", "GRPC", "METRICS", "HEALTH"))
START = f"""
{FREE_PORTS} creto --json dev > server.json 2> server.log &
wait_for server.json
at() {{ python -c 'import json, sys; print(json.load(open("server.json"))[sys.argv[1]])' "$1"; }}
"""
STOP = "kill %1 && wait %1; tail -n 1 server.log"

SIGN_IN = """
import json, urllib.error, urllib.parse, urllib.request

link = json.load(open("server.json"))["login"]
page, _, query = link.partition("?")
form = urllib.parse.urlencode({"link": urllib.parse.parse_qs(query)["link"][0]}).encode()

class Stay(urllib.request.HTTPRedirectHandler):
    def http_error_303(self, request, answer, code, message, headers):
        return answer

print(urllib.request.urlopen(link).status)                       # the link shows a button and changes nothing
print("creto_session=" in urllib.request.build_opener(Stay).open(page, form).headers["Set-Cookie"])
try:
    urllib.request.urlopen(page, form)                           # the button works once
except urllib.error.HTTPError as again:
    print(again.code)
"""


def played(page: list[Block], number: int) -> list[Step]:
    """What a reader does with a block. Behind a program a `text` block is what it prints."""
    block = page[number]
    if block.mark.startswith("file: "):
        return [Step(0, f"printf %s {shlex.quote(block.text)} > {block.mark.removeprefix('file: ')}")]
    if block.language == "python" and block.mark == "runnable":
        behind = page[number + 1]
        expected = behind.text.splitlines() if behind.language == "text" else ["…"]
        written = f'printf %s {shlex.quote(block.text)} | sed "s|{REST}|$(at rest)|" > program.py'
        return [Step(0, written), Step(0, "python -W error program.py", expected)]
    return parse(block.text) if block.language == "sh" and block.text.startswith("$ ") else []


def test_the_tutorial_is_true(tmp_path: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", shell["PATH"])
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    page = list(blocks(TUTORIAL))
    steps = [
        Step(0, START),
        Step(0, "mv ../examples ."),
        Step(0, f"python -c {shlex.quote(SIGN_IN)}", ["200", "True", "401"]),
    ]
    steps += [step for number in range(len(page)) for step in played(page, number)]
    steps += [Step(0, STOP, ["Draining; what was accepted is answered."])]
    assert len(steps) > 30

    wrong = [str(done) for done in play(steps, tmp_path) if not done.fits]
    assert not wrong, "\n\n".join(wrong)


def test_the_walk_from_a_plan_to_an_invoice_is_true(
    tmp_path: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", shell["PATH"])
    monkeypatch.setenv("COLUMNS", "200")
    page = list(blocks(ROOT / "docs" / "tutorial-billing.md"))
    steps = [step for number in range(len(page)) for step in played(page, number)]
    assert len(steps) > 20

    wrong = [str(done) for done in play(steps, tmp_path) if not done.fits]
    assert not wrong, "\n\n".join(wrong)
