"""From a URL to a backend. What is elsewhere stands behind a circuit breaker; a folder of ours answers or fails at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from creto.common.breaker import CircuitBreaker
from creto.common.errors import InvalidInput
from creto.security.storage.backends import Backend, open_file, open_memory, open_s3
from creto.security.storage.guarded import GuardedBackend

BREAKER = "object store"


def open_guarded_s3(url: str, credentials: Mapping[str, str]) -> Backend:
    return GuardedBackend(open_s3(url, credentials), CircuitBreaker(BREAKER))


SCHEMES: dict[str, Callable[[str, Mapping[str, str]], Backend]] = {
    "file": open_file,
    "memory": open_memory,
    "s3": open_guarded_s3,
}


def open_backend(url: str, credentials: Mapping[str, str] | None = None) -> Backend:
    """The backend of a URL. `credentials` are obstore's names: access_key_id, secret_access_key, session_token."""
    scheme = SCHEMES.get(urlsplit(url).scheme)
    if scheme is None:
        expected = ", ".join(f"{name}://" for name in SCHEMES)
        raise InvalidInput.of("storage.url", got=f"{urlsplit(url).scheme}://", expected=f"one of {expected}")
    return scheme(url, credentials or {})
