"""Slashes in names: `%2F` in a path belongs to the name it stands in, wherever in the path that is.

Routes match decoded paths, in which it could not be told from one that separates; so it travels through routing as a character that no
name has.
"""

from __future__ import annotations

from urllib.parse import unquote

from starlette.types import ASGIApp, Receive, Scope, Send

SLASH = "\0"


class SlashesInNames:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") or b""
        if scope["type"] == "http" and b"%2f" in raw.lower() and SLASH not in scope["path"]:
            names = [unquote(name) for name in raw.decode("ascii", "replace").split("/")]
            scope = {**scope, "path": "/".join(name.replace("/", SLASH) for name in names)}
        await self._app(scope, receive, send)


def name_in(part: str) -> str:
    """A part of a path as its client wrote it."""
    return part.replace(SLASH, "/")
