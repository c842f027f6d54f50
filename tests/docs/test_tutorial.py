"""The tutorial, played from its first line to its last beside a running layer."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from tests.docs.pages import ROOT, Block, blocks
from tests.docs.transcript import Step, fits, play, steps

TUTORIAL = ROOT / "docs" / "tutorial.md"


REST = "http://127.0.0.1:8081"


def played(page: list[Block], number: int, folder: Path, rest: str) -> list[Step]:
    """What a reader does with a block; `text` behind a program is what it prints."""
    block = page[number]
    if block.mark.startswith("file: "):
        (folder / block.mark.removeprefix("file: ")).write_text(block.text)
    if block.language == "python" and block.mark == "runnable":
        (folder / f"program_{number}.py").write_text(block.text.replace(REST, rest))
        behind = page[number + 1]
        return [Step(f"python program_{number}.py", behind.text if behind.language == "text" else "…\n")]
    return steps(block.text) if block.language == "sh" and block.text.startswith("$ ") else []


@contextmanager
def running(folder: Path, env: dict[str, str]) -> Iterator[dict[str, str]]:
    """`creto dev`, and the addresses that it prints."""
    server = subprocess.Popen(["creto", "--json", "dev"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        yield json.loads(server.stdout.readline())
    finally:
        server.send_signal(signal.SIGTERM)
        rest, _ = server.communicate(timeout=30)
    assert server.returncode == 0, rest


def test_the_tutorial_is_true(tmp_path: Path, shell: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", shell["PATH"])
    folder = tmp_path / "home"
    shutil.copytree(ROOT / "examples", folder / "examples")
    with running(folder, shell) as addresses:
        sign_in(addresses["login"])
        page = list(blocks(TUTORIAL))
        wanted = [step for n in range(len(page)) for step in played(page, n, folder, addresses["rest"])]
        assert len(wanted) > 30
        play(wanted, folder, shell)


def sign_in(link: str) -> None:
    """The link shows a button and changes nothing; the button works once."""
    secret = parse_qs(urlsplit(link).query)["link"][0]
    form = urlencode({"link": secret}).encode()
    login = link.partition("?")[0]
    with urllib.request.urlopen(link) as page:
        assert page.status == 200
    with urllib.request.build_opener(NoRedirect).open(login, form) as answer:
        assert answer.status == 303
        assert "creto_session=" in answer.headers["Set-Cookie"]
    with pytest.raises(HTTPError, match="401"):
        urllib.request.urlopen(login, form)


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def http_error_303(self, req, fp, code, msg, headers):  # type: ignore[no-untyped-def]
        fp.status = code
        return fp


@pytest.mark.parametrize(
    ("expected", "output", "does"),
    [
        ("allow …\n", "allow by x\n", True),
        ("allow …\n", "deny\n", False),
        ("a\n…\nz\n", "a\nb\nc\nz\n", True),
        ("a\n…\nz\n", "a\nz\n", True),
        ("a\n", "a\nb\n", False),
        ("", "surprise\n", False),
    ],
)
def test_what_a_transcript_accepts(expected: str, output: str, does: bool) -> None:
    assert fits(expected, output) is does


def test_a_failure_nobody_mentions_fails_the_transcript(tmp_path: Path, shell: dict[str, str]) -> None:
    play(steps("$ false\n$ echo $?\n1\n"), tmp_path, shell)
    with pytest.raises(AssertionError, match="ended with 1"):
        play(steps("$ false\n$ echo next\nnext\n"), tmp_path, shell)
    with pytest.raises(AssertionError, match="expected"):
        play(steps("$ echo one\ntwo\n"), tmp_path, shell)
