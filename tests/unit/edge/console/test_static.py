"""What others wrote is served as they published it, with its licence beside it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import creto.edge.console

STATIC = Path(creto.edge.console.__file__).parent / "static"
HTMX_2_0_11 = (
    "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"  # dist/htmx.min.js of the npm package htmx.org
)


def test_htmx_is_the_published_one() -> None:
    assert sha256((STATIC / "htmx.min.js").read_bytes()).hexdigest() == HTMX_2_0_11
    assert (STATIC / "htmx.LICENSE").read_text().startswith("Zero-Clause BSD")


def test_nothing_else_is_of_others() -> None:
    assert {path.name for path in STATIC.iterdir()} == {
        "approvals.js", "enrol.js", "htmx.LICENSE", "htmx.min.js", "icon.svg", "passkeys.js", "sign-in.js", "signing.js", "style.css",
    }  # fmt: skip
