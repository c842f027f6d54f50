"""What SIGHUP changes: exactly the keys that are marked live, in the parts that read them."""

from __future__ import annotations

import logging
from pathlib import Path

from creto.app import running
from creto.common.config import Reload, Reloader, declared, load
from creto.common.logs import JsonFormatter
from creto.edge.live import following
from creto.metering import tokens
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

TABLE = (
    '{"version": "%s", "currency": "USD", "prices": [{"provider": "p", "model": "m", "per_million": {"input": "%s"}}]}'
)


async def test_prices_are_read_again_and_a_bad_table_changes_nothing(tmp_path: Path) -> None:
    before, table = beside(tmp_path / "creto.db"), tmp_path / "prices.json"
    names = ("store.url", "crypto.kek", "storage.url")
    env = {f"CRETO_{k.upper().replace('.', '__')}": str(before.get(k)) for k in names}
    reports: list[Reload] = []
    table.write_text(TABLE % ("first", "1"))
    try:
        async with running(before, work=False) as app:
            reloader = Reloader(before, lambda: load(defaults=(), env=env), reports.append)
            reloader.on_change(following(app.parts))
            assert tokens.origin() == "package"
            env["CRETO_METERING__LLM_PRICES_FILE"] = str(table)
            assert reloader.reload().applied == ("metering.llm_prices_file",)
            assert (tokens.in_use().version, tokens.origin()) == ("first", str(table))
            table.write_text(TABLE % ("second", "2"))
            assert reloader.reload() == Reload()
            assert tokens.in_use().version == "second"
            table.write_text(TABLE % ("third", "free"))
            env["CRETO_METERING__AGGREGATION_INTERVAL_SECONDS"] = "7"
            refused = reloader.reload().refused
            assert refused is not None
            assert str(table) in refused.message
            assert "per_million" in refused.message
            assert tokens.in_use().version == "second"
            assert app.parts.metering_terms.interval_s == 300
            table.unlink()
            assert reloader.reload().refused is not None
            assert tokens.in_use().version == "second"
            del env["CRETO_METERING__LLM_PRICES_FILE"]
            env["CRETO_METERING__ARCHIVE"] = "off"
            assert reloader.reload().refused is None
            assert (tokens.origin(), app.parts.metering_terms.archives) == ("package", False)
            assert app.parts.metering_terms.interval_s == 7
    finally:
        tokens.use(None)


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
