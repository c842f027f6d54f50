"""Keeps secrets out of what people read: logs, errors, `config show`.

>>> redacted_text("postgresql://creto:hunter2@db/creto")
'postgresql://creto:***@db/creto'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "***"
DEPTH_MAX = 8  # deeper attributes are shown as text

SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.\-])(?:passwords?|passwd|secrets?|tokens?|api[_\-]?keys?|authorization|cookie|credentials?|private[_\-]?key|kek|seed"
    r"|webhook_url|otp)$"
)
# A count of tokens is what metering is about; it is not a secret.
COUNTED_TOKENS = re.compile(r"(?i)(?:input|output|total|max|cached?|reasoning|prompt|completion)_?tokens$")

SECRET_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"\b([a-z][a-z0-9+.\-]{1,20}://[^\s/:@]{0,200}):[^\s/@]{1,500}@"), rf"\1:{MASK}@"),
    (re.compile(r"https://hooks\.slack\.com/services/\S{1,200}"), f"https://hooks.slack.com/services/{MASK}"),
    (re.compile(r"\b(?:sk|pk|rk)[-_][A-Za-z0-9_\-]{16,}"), MASK),
    (re.compile(r"\bxox[abeoprs]-[A-Za-z0-9\-]{10,}"), MASK),
    (re.compile(r"\bwhsec_[A-Za-z0-9]{16,}"), MASK),
    (re.compile(r"\b(?:gh[opsur]|github_pat|glpat|npm|pypi|hf|dop_v1|shpat|SG)[_\-.][A-Za-z0-9_\-.]{16,}"), MASK),
    (re.compile(r"\bAIza[A-Za-z0-9_\-]{30,}"), MASK),
    (re.compile(r"\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*)?"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"), MASK),
    (re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----[\s\S]{0,20000}?-----END [A-Z ]{0,40}PRIVATE KEY-----"), MASK),
    (re.compile(r"(?i)\b(password|passwd|secret|api[_-]?key|token)(\s*[=:]\s*)[^\s,;&\"']{4,}"), rf"\1\2{MASK}"),
)


def is_secret_name(name: str) -> bool:
    return SECRET_NAME.search(name) is not None and COUNTED_TOKENS.search(name) is None


def redacted_text(text: str) -> str:
    """The text without what looks like a credential."""
    for pattern, mask in SECRET_TEXT:
        text = pattern.sub(mask, text)
    return text


def redacted(value: Any, depth: int = 0) -> Any:
    """The value without secrets: fields masked by their name, strings by what they look like."""
    if isinstance(value, str):
        return redacted_text(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if depth >= DEPTH_MAX:
        return redacted_text(str(value))
    if isinstance(value, Mapping):
        return {str(k): MASK if is_secret_name(str(k)) else redacted(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted(item, depth + 1) for item in value]
    return redacted_text(str(value))
