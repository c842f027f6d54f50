"""What a person sees who uses the command line: every session in this folder, played with the real `creto`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.cli.transcripts import line_matches, matches, parse, play

SESSIONS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("session", SESSIONS, ids=[path.stem for path in SESSIONS])
def test_session(session: Path, tmp_path: Path) -> None:
    steps = parse(session.read_text())
    assert steps
    wrong = [str(played) for played in play(steps, tmp_path) if not played.fits]
    assert not wrong, "\n\n".join(wrong)


def test_the_player_tells_right_from_wrong(tmp_path: Path) -> None:
    text = "$ echo one; echo two\none\n…\n$ false\n[1]\n$ echo three\nfour\n"
    played = play(parse(text), tmp_path)
    assert [p.fits for p in played] == [True, True, False]


def test_wildcards() -> None:
    assert line_matches("Made … in …ms", "Made it in 3ms")
    assert not line_matches("Made …", "Unmade it")
    assert matches(["a", "…", "z"], ["a", "z"])
    assert matches(["…"], [])
    assert not matches(["a", "…", "z"], ["a", "b"])
