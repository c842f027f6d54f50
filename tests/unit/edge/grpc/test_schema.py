"""The written contract: up to date, never broken, and what protoc reads is what the server speaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from google.protobuf import descriptor_pb2
from scripts.protos import FILE, broken, contract

from creto.edge.api import ENDPOINTS
from creto.edge.grpc.schema import Schema


def test_the_committed_contract_is_the_servers() -> None:
    assert FILE.read_text() == contract(), "run python -m scripts.protos"


def test_fields_are_only_ever_added() -> None:
    text = contract()
    assert broken(text, text) == []
    added = text.replace("message GetAgent {\n", "message GetAgent {\n  string more = 9;\n")
    assert broken(text, added) == []
    assert broken(text, text.replace("string agent = 1;", "string agent = 2;"))
    assert broken(text, text.replace("int64 limit", "string limit"))


def test_protoc_reads_it_as_the_server_speaks_it(tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{FILE.parents[2]}", f"--descriptor_set_out={out}", "creto/v1/creto.proto"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    (file,) = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes()).file
    ours = Schema(ENDPOINTS).file
    assert {s.name: [m.name for m in s.method] for s in file.service} == {
        s.name: [m.name for m in s.method] for s in ours.service
    }
    theirs = {m.name: {(f.name, f.number, f.type, f.label, f.type_name) for f in m.field} for m in file.message_type}
    assert theirs == {
        m.name: {(f.name, f.number, f.type, f.label, f.type_name) for f in m.field} for m in ours.message_type
    }
