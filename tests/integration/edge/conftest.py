from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import httpx2
import pytest

from creto.sdk import Creto
from tests import engines
from tests.contract.stores import ENGINES
from tests.layers import Layer, layer


@pytest.fixture(scope="module", params=ENGINES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    """One layer for the module, on each engine: its tests keep to their own names."""
    with ExitStack() as stack:
        env = {}
        if request.param == "postgres":
            server: str = request.getfixturevalue("postgres_server")
            env["CRETO_STORE__URL"] = stack.enter_context(engines.database(server))
        yield stack.enter_context(layer(tmp_path_factory.mktemp("layer"), env))


@pytest.fixture(scope="module")
def http(served: Layer) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=served.rest, headers={"Authorization": f"Bearer {served.token}"}) as client:
        yield client


@pytest.fixture(scope="module")
def creto(served: Layer) -> Iterator[Creto]:
    with Creto.connect(served.rest, token=served.token) as client:
        yield client
