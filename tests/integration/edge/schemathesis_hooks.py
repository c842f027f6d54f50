"""What schemathesis is told about this API.

A request that fits the document may still be refused: a signature can be wrong, a cursor be of another list, a policy not compile. It may
not be refused for its form: then the document promises what the reader does not take. The stock check cannot tell the two apart, ours can.
"""

from __future__ import annotations

import re
from typing import Any

import schemathesis

FORM = re.compile(r"Expected `|JSON is malformed|an unknown field|an unknown query parameter")


@schemathesis.check
def refused_for_its_form(ctx: Any, response: Any, case: Any) -> None:
    mode = case.meta.generation.mode if case.meta else None
    if mode is None or mode.value != "positive" or response.status_code != 400:
        return
    error = response.json()["error"]
    if error["code"] != "PL-400" or error.get("field") in {
        "metadata",
        "bundle",
    }:  # text inside text, bytes inside bytes: not the document's business
        return
    if FORM.search(error["message"]):
        raise AssertionError(f"the document allows what the reader refuses: {error['message']}")
