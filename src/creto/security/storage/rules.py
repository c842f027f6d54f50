"""What may be asked of storage, and when an object may change."""

from __future__ import annotations

from collections.abc import Mapping

from creto.common.errors import AlreadyExists, InvalidInput, Unauthorized
from creto.common.ids import checked_name
from creto.common.limits import OBJECT_KEY_CHARS_MAX, OBJECT_METADATA_BYTES_MAX
from creto.common.timestamps import iso

ANY = ""  # no condition
ABSENT = "absent"  # a version is a UUID, so it never reads like this


def checked_key(key: str) -> str:
    """Any printable name: it is a row's key and never a path."""
    return checked_name(key, "key", chars_max=OBJECT_KEY_CHARS_MAX)


def checked_metadata(metadata: Mapping[str, str], content_type: str) -> dict[str, str]:
    checked_name(content_type, "content_type")
    for name, value in metadata.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidInput.of("metadata", got=type(value).__name__, expected="strings")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size > OBJECT_METADATA_BYTES_MAX:
        raise InvalidInput.of(
            "metadata", got=f"{size} bytes", expected=f"at most {OBJECT_METADATA_BYTES_MAX} bytes", code="PL-413"
        )
    return dict(metadata)


def version_of(if_match: str) -> str:
    """A version or the etag made of it."""
    return if_match.strip('"') or "none"


def admit(key: str, condition: str, current: str | None) -> None:
    """Whether a conditional put meets the object that it expects."""
    if condition == ABSENT and current is not None:
        raise AlreadyExists("PL-409", f"object {key} exists already", got=current, expected="no object")
    if condition not in (ANY, ABSENT) and condition != current:
        raise AlreadyExists(
            "PL-412", f"object {key} changed in the meantime", got=current or "no object", expected=condition
        )


def release(key: str, retain_until: int, legal_hold: bool, now: int) -> None:
    """Whether an object may be overwritten or deleted now."""
    if legal_hold:
        raise Unauthorized("PL-803", f"object {key} is under legal hold")
    if retain_until > now:
        raise Unauthorized("PL-802", f"object {key} is under retention until {iso(retain_until)}")


def checked_retention(key: str, old: int, new: int | None, now: int) -> int:
    """Retention can be set and lengthened; nobody can shorten it."""
    if new is None:
        return old
    if new <= now:
        raise InvalidInput.of("retain_until", got=iso(new), expected=f"a time after {iso(now)}")
    if new < old:
        raise Unauthorized("PL-802", f"object {key} is under retention until {iso(old)}, which can only be lengthened")
    return new
