"""Databases that are migrated already: made once per worker by the store itself, and copied for every test.

    with templates.used():                      # for the session, by conftest
        open_store(url, parts=parts)            # a new database of these parts is a copy, an old one is migrated

A test of migrations is marked `migrates`: nothing is copied for it. PostgreSQL copies a database only when it is made; so
`promised` gives an address at which there is none yet, and whoever opens it first makes it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import RLock

import pytest

from creto.common.fingerprint import fingerprint
from creto.store import schema, sqlite
from tests import engines

on = True  # as conftest sets it for each test

_lock = RLock()
_promises: dict[str, str] = {}  # the address of a database that nobody has made yet, and its server
_made: dict[tuple[str, str], str] = {}  # PostgreSQL's templates: server and key, and the template's name


@contextmanager
def used() -> Iterator[None]:
    """What opens a store in this process copies a template where it would have made a new database."""
    from creto.store import postgres

    folder = Path(tempfile.mkdtemp(prefix="creto-templates-"))
    on_sqlite, on_postgres = sqlite.migrate, postgres.migrate

    def migrate_sqlite(path: str, wanted: Sequence[schema.Migration], parts: Sequence[str]) -> None:
        with _lock:
            if on and os.path.getsize(path) == 0:
                template = folder / key(wanted)
                if not template.exists():
                    on_sqlite(str(template), wanted, parts)
                shutil.copyfile(template, path)
        on_sqlite(path, wanted, parts)

    def migrate_postgres(url: str, wanted: Sequence[schema.Migration], parts: Sequence[str]) -> None:
        with _lock:
            server = _promises.pop(url, None)
            if server is not None:
                template = _made.get((server, key(wanted)))
                if template is None:
                    template = _made[server, key(wanted)] = f"template_{key(wanted)}"
                    on_postgres(engines.created(server, template), wanted, parts)
                engines.created(server, url.rsplit("/", 1)[1], template)
        on_postgres(url, wanted, parts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite, "migrate", migrate_sqlite)
        patch.setattr(postgres, "migrate", migrate_postgres)
        yield
    shutil.rmtree(folder)


@contextmanager
def promised(server: str) -> Iterator[str]:
    """The address of a database that is made when the first store is opened there."""
    name = f"t{uuid.uuid4().hex}"
    url = engines.address(server, name)
    _promises[url] = server
    try:
        yield url
    finally:
        if _promises.pop(url, None) is None:
            engines.dropped(server, name)


def key(wanted: Sequence[schema.Migration]) -> str:
    """One for each set of migrations, whatever the order of their parts."""
    return fingerprint(b"".join(sorted(migration.checksum for migration in wanted))).hex()[-32:]
