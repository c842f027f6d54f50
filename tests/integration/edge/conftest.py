from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.layers import Layer, layer


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layer]:
    """One layer for the module: its tests keep to their own names."""
    with layer(tmp_path_factory.mktemp("layer")) as found:
        yield found
