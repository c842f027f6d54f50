"""What SIGHUP changes: exactly the keys that are marked live, in the parts that read them."""

from __future__ import annotations

import logging
from pathlib import Path

from creto.app import running
from creto.common.config import Reload, Reloader, declared, load
from creto.common.logs import JsonFormatter
from creto.edge.live import following
from creto.sdk.local import beside

PRODUCTS = {"metering", "runtime", "messaging"}
FRESH = {
    "CRETO_STORE__QUEUE_MAX": "123",
    "CRETO_BUS__RETENTION_SECONDS": "60",
    "CRETO_BUS__BUFFER_MAX": "77",
    "CRETO_OVERSIGHT__DEFAULT_TIMEOUT_SECONDS": "900",
    "CRETO_LOG__LEVEL": "error",
    "CRETO_LOG__FORMAT": "text",
    "CRETO_SERVER__REST_PORT": "1",
}


async def test_every_live_key_is_taken_up_and_no_other(tmp_path: Path) -> None:
    before = beside(tmp_path / "creto.db")
    env: dict[str, str] = {
        f"CRETO_{k.upper().replace('.', '__')}": str(before.get(k)) for k in ("store.url", "crypto.kek", "storage.url")
    }
    reports: list[Reload] = []
    root = logging.getLogger("creto")
    kept = root.level, root.propagate, list(root.handlers)
    try:
        async with running(before, work=False) as app:
            reloader = Reloader(before, lambda: load(defaults=(), env=env | FRESH), reports.append)
            reloader.on_change(following(app.parts))
            reloader.reload()
            assert app.parts.store.queue.limit == 123
            assert app.parts.bus.retention_s == 60  # type: ignore[attr-defined]
            assert app.parts.oversight.default_timeout_s == 900
            assert root.level == logging.ERROR
            assert not any(type(handler.formatter) is JsonFormatter for handler in root.handlers)
    finally:
        for handler in list(root.handlers):
            root.removeHandler(handler)
        for handler in kept[2]:
            root.addHandler(handler)
        root.setLevel(kept[0])
        root.propagate = kept[1]
    live = {field.key for field in declared() if field.live and field.key.partition(".")[0] not in PRODUCTS}
    assert set(reports[0].applied) == live
    assert reports[0].needs_restart == ("server.rest_port",)
