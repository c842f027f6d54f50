"""The key-encryption key: where it comes from, and that it never shows."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import CryptoError
from creto.platform.crypto import Kek, KekSource
from creto.platform.crypto.kek import CommandKek, decoded

VALUE = bytes(range(32))
ID = Kek(VALUE).id


def why(source: str | KekSource) -> str:
    with pytest.raises(CryptoError) as caught:
        (KekSource.parse(source) if isinstance(source, str) else source).load()
    assert caught.value.code == "PL-215"
    assert VALUE.hex()[:16] not in str(caught.value.body())
    return caught.value.message


@pytest.fixture
def kek_file(tmp_path: Path) -> Path:
    path = tmp_path / "kek"
    path.write_text(VALUE.hex() + "\n")
    path.chmod(0o600)
    return path


def test_from_a_file(kek_file: Path) -> None:
    assert KekSource.parse(f"file:{kek_file}").load().id == ID
    kek_file.write_bytes(VALUE)
    assert KekSource.parse(f"file:{kek_file}").load().id == ID


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_file_that_others_can_read_is_refused(kek_file: Path, mode: int) -> None:
    kek_file.chmod(mode)
    assert "chmod 600" in why(f"file:{kek_file}")


def test_a_file_that_is_not_there_or_not_a_file(tmp_path: Path) -> None:
    assert "No such file" in why(f"file:{tmp_path}/none")
    assert "directory" in why(f"file:{tmp_path}")


@pytest.mark.parametrize("content", ["", "abc", VALUE.hex()[:-1], VALUE.hex() + "00", "z" * 64, "a" * 100_000])
def test_a_value_that_is_no_key(kek_file: Path, content: str) -> None:
    kek_file.write_text(content)
    assert "64 hex digits" in why(f"file:{kek_file}")


def test_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRETO_TEST_KEK", VALUE.hex())
    assert KekSource.parse("env:CRETO_TEST_KEK").load().id == ID
    monkeypatch.delenv("CRETO_TEST_KEK")
    assert "CRETO_TEST_KEK" in why("env:CRETO_TEST_KEK")


def test_from_a_command() -> None:
    assert KekSource.parse(f"command:{sys.executable} -c 'print(\"{VALUE.hex()}\")'").load().id == ID


def test_a_command_meets_no_shell(tmp_path: Path) -> None:
    """Words stay words: what a shell would run is an argument here."""
    marker = tmp_path / "ran"
    script = "import sys; print(sys.argv[1] == '$(touch' and len(sys.argv[2:]) == 3)"
    why(f'command:{sys.executable} -c "{script}" $(touch {marker}) ; true')
    assert not marker.exists()


def test_a_command_that_fails() -> None:
    assert "ended with 3" in why(f"command:{sys.executable} -c 'raise SystemExit(3)'")
    assert "No such file" in why("command:/nowhere/at-all")
    assert "quotes" in why("command:'")


def test_a_command_that_hangs_is_ended_with_what_it_started() -> None:
    """The child leaves a grandchild that holds the pipe open."""
    script = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); time.sleep(60)"
    started = time.monotonic()
    assert "longer than" in why(CommandKek(f'{sys.executable} -c "{script}"', timeout_s=0.3))
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("uri", ["", "file:", "vault:x", "/etc/kek", "command:", "env:"])
def test_a_source_that_is_none(uri: str) -> None:
    assert "file:…" in why(uri)


def test_it_shows_nowhere() -> None:
    kek = Kek(VALUE)
    assert VALUE.hex() not in repr(kek)
    assert not hasattr(kek, "__dict__")
    with pytest.raises(TypeError):
        pickle.dumps(kek)
    assert Kek.generate().id != Kek.generate().id


@given(st.binary(max_size=80))
def test_any_value_gives_a_key_or_pl_215(value: bytes) -> None:
    try:
        assert len(decoded(value)) == 32
    except CryptoError as error:
        if error.code != "PL-215":
            raise


def test_links_are_followed_and_the_target_is_judged(kek_file: Path, tmp_path: Path) -> None:
    """Orchestrators mount secrets as links."""
    link = tmp_path / "link"
    os.symlink(kek_file, link)
    assert KekSource.parse(f"file:{link}").load().id == ID
    kek_file.chmod(0o644)
    assert "chmod 600" in why(f"file:{link}")
