"""Fixtures: every backend of storage. S3 is moto's threaded server, started here on a free loopback port.

async def test_it(backend: Backend) -> None: ...
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from creto.security.storage import Backend, open_backend
from tests import engines

BACKENDS = ("file", "memory", "s3")
CREDENTIALS = {"access_key_id": "test", "secret_access_key": "test"}

_owners: dict[str, Any] = {}  # who makes the buckets of an endpoint: to begin one takes as long as ten tests


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        engines.missing("moto")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    import boto3

    _owners[address] = boto3.client(
        "s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t"
    )
    yield address
    _owners.pop(address).close()
    server.stop()


@pytest.fixture
def s3_url(s3_endpoint: str) -> str:
    """A fresh bucket."""
    bucket = f"t{uuid.uuid4().hex}"
    _owners[s3_endpoint].create_bucket(Bucket=bucket)
    return f"s3://{bucket}/some/prefix?endpoint={s3_endpoint}"


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "s3":
        return open_backend(request.getfixturevalue("s3_url"), CREDENTIALS)
    return open_backend({"file": f"file://{tmp_path}/objects", "memory": "memory://"}[request.param])
