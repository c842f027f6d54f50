"""The root: quick, lazy, and with every command in its place."""

from __future__ import annotations

import shlex
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from creto.cli.context import Cli
from creto.cli.root import COMMANDS, Root, root, run

SERVER_LIBRARIES = {
    "grpc", "starlette", "uvicorn", "structlog", "rich", "psycopg", "httpx2", "nats", "redis", "opentelemetry",
    "prometheus_client", "jinja2", "cedarpy", "apsw", "obstore", "cryptography",
}  # fmt: skip


def test_help_loads_no_command_and_no_server_library() -> None:
    code = "import sys; from creto.cli.root import run; run(['--help']); print(' '.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert SERVER_LIBRARIES.isdisjoint(name.split(".")[0] for name in loaded)
    assert {name for name in loaded if name.startswith("creto.cli.")} == {
        "creto.cli.context",
        "creto.cli.exits",
        "creto.cli.output",
        "creto.cli.root",
    }


def test_help_names_every_command_and_every_exit_code() -> None:
    printed = CliRunner().invoke(root, ["--help"], obj=Cli()).output
    for name in COMMANDS:
        assert f"\n  {name} " in printed
    for line in ("0    done", "5    a human must approve it first", "130  interrupted by Ctrl-C"):
        assert line in printed


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((*path, name))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


def command_at(path: tuple[str, ...]) -> click.Command:
    command: click.Command = root
    for name in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    return command


@pytest.mark.parametrize("path", commands(root) if isinstance(root, Root) else [], ids=" ".join)
def test_every_command_says_what_it_is_and_takes_json(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(root, [*path, "--help"], obj=Cli())
    assert result.exit_code == 0, result.output
    command = command_at(path)
    assert command.help
    if not isinstance(command, click.Group):
        assert "--json" in result.output


def test_a_usage_error_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["agents", "show"]) == 2
    assert "Missing argument 'AGENT'" in capsys.readouterr().err


def test_a_fault_of_ours_shows_no_details(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(self: Cli) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.delenv("CRETO_TRACEBACK", raising=False)
    monkeypatch.setattr(Cli, "config", broken)
    assert run(["config", "check"]) == 1
    printed = capsys.readouterr()
    assert "PL-500  something failed inside: RuntimeError" in printed.err
    assert "hunter2" not in printed.err + printed.out


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Cli) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Cli, "config", interrupted)
    assert run(["config", "check"]) == 130


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_us(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    assert "_CRETO_COMPLETE" in capsys.readouterr().out


@pytest.mark.parametrize("path", [path for path in commands(root) if path[0] in ("approvals", "verify")], ids=" ".join)
def test_examples_are_lines_that_the_command_takes(path: tuple[str, ...]) -> None:
    """Of what a person is in a hurry about, each command shows how it is typed; within 80 columns."""
    command = command_at(path)
    if isinstance(command, click.Group):
        return
    example = getattr(command, "example", "")
    assert example
    for line in example.splitlines():
        assert len(f"  $ {line}") <= 80
        words = shlex.split(line)
        assert tuple(words[: len(path) + 1]) == ("creto", *path)
        given, rest, _ = command.make_parser(click.Context(command)).parse_args(words[len(path) + 1 :])
        assert not rest
        assert all(given.get(param.name or "") for param in command.params if param.required)


def test_a_group_is_not_emptied_by_a_slip() -> None:
    for words in (["put", "finance"], ["put", "finance", "--empty", "agent:nhi:x"]):
        done = CliRunner().invoke(command_at(("approvals", "groups")), words, obj=Cli())
        assert done.exit_code == 2
        assert "Name the members, or say --empty." in done.output
