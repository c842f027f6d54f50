"""An address to which nothing would ever be sent is refused when it is named, not when it is needed."""

from __future__ import annotations

import pytest

from creto.common.errors import Unauthorized
from creto.connectors.destinations import Destinations

LITERALS = (
    "http://169.254.169.254/latest", "https://127.0.0.1/", "https://[::1]/", "https://10.0.0.7/", "https://[::ffff:127.0.0.1]/",
    "http://93.184.216.34/",
)  # fmt: skip


@pytest.mark.parametrize("url", LITERALS)
def test_a_literal_address_within_is_refused_at_once(url: str) -> None:
    with pytest.raises(Unauthorized, match="PL-940"):
        Destinations().check(url)


def test_what_may_be_sent_to_is_taken() -> None:
    Destinations().check("https://93.184.216.34/")
    Destinations().check("https://hooks.example.com/creto")  # whether its name is allowed is looked at for each message
    Destinations(allowed_networks=("10.0.0.0/8",)).check("http://10.0.0.7/")
