"""The README's program runs as printed, and what it proves is verified by a program that imports nothing of creto."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

from tests.docs.pages import ROOT, blocks

VERIFIER = ROOT / "examples" / "verify_audit_proof.py"
LINES = 12


def test_the_program_of_twelve_lines(tmp_path: Path, shell: dict[str, str]) -> None:
    (program,) = [b.text for b in blocks(ROOT / "README.md") if b.mark == "runnable"]
    assert program.count("\n") == LINES
    folder = tmp_path / "home"

    done = run(["python", "-W", "error", "-c", program], folder, shell)
    assert done.returncode == 0, done.stderr
    assert "payment.approve invoice:17 success" in done.stdout

    # Without creto on the path, as on a machine that has never seen it.
    alone = {**shell, "PYTHONPATH": ""}
    vkeys = (folder / "vkeys.txt").read_text().split()
    checked = run(["python", str(VERIFIER), "proof.json", *vkeys], folder, alone)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout.startswith("ok: entry ")

    forged = (folder / "proof.json").read_text().replace("invoice:17", "invoice:18")
    (folder / "proof.json").write_text(forged)
    refused = run(["python", str(VERIFIER), "proof.json", *vkeys], folder, alone)
    assert refused.returncode == 1
    assert "NOT VERIFIED" in refused.stderr


def test_the_verifier_is_short_and_stands_alone() -> None:
    text = VERIFIER.read_text()
    assert text.count("\n") <= 100
    imported = {n.split(".")[0] for node in ast.walk(ast.parse(text)) for n in names(node)}
    assert "creto" not in imported
    assert f"{text.count(chr(10))} lines" in (ROOT / "README.md").read_text()


def names(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def run(command: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    found = next(p for p in (Path(d) / command[0] for d in env["PATH"].split(":")) if p.exists())
    return subprocess.run(
        [str(found), *command[1:]], cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False
    )
