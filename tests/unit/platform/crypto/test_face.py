"""The part's face: its example runs, its names exist, and it loads nothing of the server's."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from creto.platform import crypto


def test_the_example_runs() -> None:
    code = [line for line in (crypto.__doc__ or "").splitlines() if line.startswith("    ")]
    assert len(code) >= 5
    exec(textwrap.dedent("\n".join(code)), {})


def test_every_name_is_there() -> None:
    assert [name for name in crypto.__all__ if not hasattr(crypto, name)] == []
    assert len(set(crypto.__all__)) == len(crypto.__all__)


def test_suite_ids_never_repeat() -> None:
    kinds = (crypto.HashSuite, crypto.MacSuite, crypto.AeadSuite, crypto.KemSuite, crypto.SignatureSuite)
    ids = [suite.value for kind in kinds for suite in kind]
    assert len(ids) == len(set(ids)) == 16
    assert [crypto.any_suite(id).value for id in ids] == ids


def test_ids_are_fixed() -> None:
    """What is on disk somewhere: a change here makes old signatures unreadable."""
    assert (crypto.SignatureSuite.ED25519, crypto.SignatureSuite.ML_DSA_65, crypto.SignatureSuite.HYBRID) == (
        65,
        66,
        67,
    )
    assert (crypto.AeadSuite.AES_256_GCM, crypto.AeadSuite.CHACHA20_POLY1305) == (33, 34)
    assert (crypto.KemSuite.X25519, crypto.KemSuite.ML_KEM_768, crypto.KemSuite.HYBRID) == (49, 50, 51)
    assert crypto.HashSuite.SHA256 == 1


def test_it_loads_no_server_library() -> None:
    banned = [
        "grpc",
        "starlette",
        "structlog",
        "rich",
        "psycopg",
        "nats",
        "redis",
        "opentelemetry",
        "prometheus_client",
    ]
    code = f"import sys, creto.platform.crypto; print([name for name in {banned!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
