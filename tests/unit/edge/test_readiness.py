"""What is away is said to be away, one row of the table of degraded modes after the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from creto import app as layer
from creto.app import App, running
from creto.common.errors import AuditError, ConnectionFailed, EnablementError, NotFound
from creto.common.limits import AUDIT_LATE_S
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.edge.api.readiness import STARTUP_TIMEOUT_S, Dependency, readiness
from creto.store import Store
from tests.layers import settings


async def told(app: App, name: str) -> Dependency:
    return next(d for d in (await readiness(app.parts)).dependencies if d.name == name)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running(settings(tmp_path), work=False) as found:
        yield found


async def test_everything_is_up(app: App) -> None:
    assert {d.condition for d in (await readiness(app.parts)).dependencies} == {"up"}


async def test_a_broker_that_is_away_makes_the_bus_down_and_the_layer_ready(tmp_path: Path) -> None:
    async with running(settings(tmp_path, CRETO_BUS__URL="nats://127.0.0.1:1"), work=False) as app:
        found = await told(app, "bus")
        assert (found.condition, found.required, (found.error or "")[:6]) == ("down", False, "PL-503")
        assert (await readiness(app.parts)).ready
        await app.parts.nhi.issue_token(app.tenant, app.operator, scopes=("*",))  # what it publishes waits


async def test_a_log_that_cannot_go_on_is_down(app: App) -> None:
    app.parts.audit.sequencer.failure = AuditError("PL-604", "the database was put back")
    found = await told(app, "audit")
    assert (found.condition, found.error) == ("down", "PL-604 the database was put back")
    app.parts.audit.sequencer.failure = None
    app.parts.audit.witnessing.failure = ConnectionFailed("PL-503", "a witness is away")
    assert (await told(app, "audit")).condition == "degraded"


async def test_entries_that_nobody_signs_are_noticed_where_nobody_sequences(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """given a process that only serves / when its entries wait in the ledger or in an unsigned tree / then audit is down there too."""
    later = ConsensusTimestamp(app.parts.clock.now() + (AUDIT_LATE_S + 60) * SECOND)
    assert (await told(app, "audit")).condition == "up"
    with monkeypatch.context() as patched:
        patched.setattr(app.parts.clock, "now", lambda: later)
        found = await told(app, "audit")
    assert (found.condition, (found.error or "")[:6]) == ("down", "PL-609")
    await app.parts.audit.sequence_once()
    with monkeypatch.context() as patched:
        patched.setattr(app.parts.clock, "now", lambda: later)
        assert (await told(app, "audit")).condition == "down"
    await app.parts.audit.checkpoint()
    with monkeypatch.context() as patched:
        patched.setattr(app.parts.clock, "now", lambda: later)
        assert (await told(app, "audit")).condition == "up"


async def test_a_store_that_reads_but_takes_no_writes_is_down(app: App) -> None:
    app.parts.store.queue.limit = 0
    found = await told(app, "store")
    assert (found.condition, found.required) == ("down", True)
    await app.parts.store.read(lambda tx: tx.value("SELECT 1"))


@pytest.mark.parametrize("name", ["memory", "storage"])
async def test_a_key_that_does_not_open_is_noticed(app: App, name: str) -> None:
    keys = (app.parts.memory if name == "memory" else app.parts.storage)._core.keys
    await (keys._keys if name == "memory" else keys).current(app.tenant)  # type: ignore[union-attr]
    assert (await told(app, name)).condition == "up"
    await app.parts.store.write(lambda tx: tx.run("UPDATE crypto_key SET sealed = ? WHERE key_id = ?", b"x" * 60, name))
    found = await told(app, name)
    assert (found.condition, (found.error or "")[:6], found.required) == ("down", "PL-215", False)
    assert (await readiness(app.parts)).ready


async def test_a_place_of_blobs_that_is_away_makes_storage_down(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: str) -> int:
        raise ConnectionFailed("PL-503", "the bucket does not answer")

    monkeypatch.setattr(app.parts.storage._core.backend, "size", away)
    assert (await told(app, "storage")).condition == "down"
    assert (await readiness(app.parts)).ready


# --- start-up ---


async def test_a_database_that_comes_late_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, tries = layer.open_configured_store, []

    def late(config: Any) -> Store:
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionFailed("PL-503", "PostgreSQL is not reachable")
        return real(config)

    monkeypatch.setattr(layer, "open_configured_store", late)
    async with running(settings(tmp_path), work=False):
        assert len(tries) == 3


async def test_a_database_that_never_comes_ends_the_start_with_its_error_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STARTUP_TIMEOUT_S, "store", 1)
    config = settings(tmp_path, CRETO_STORE__URL="postgresql://nobody@127.0.0.1:1/none")
    async with asyncio.timeout(20):
        with pytest.raises(EnablementError) as caught:
            async with running(config, work=False):
                pass
    assert caught.value.code == "PL-503"
    assert "until the deadline" in str(caught.value.context)


async def test_what_does_not_get_better_is_not_waited_for(tmp_path: Path) -> None:
    tries = []

    async def refused() -> None:
        tries.append(1)
        raise NotFound("PL-404")

    with pytest.raises(NotFound):
        await layer.awaited("store", refused)
    assert len(tries) == 1


async def test_a_deadline_that_nobody_notices_makes_oversight_degraded(tmp_path: Path) -> None:
    """given a request and no worker / when its time has passed / then the layer says so, and is ready still."""
    from creto.oversight.delivery import Standing

    async with running(settings(tmp_path), work=False) as app:
        assert (await told(app, "oversight")).condition == "up"

        async def late() -> Standing:
            return Standing(pending=1, queued=0, late_s=31.0)

        app.parts.oversight.standing = late  # type: ignore[method-assign]
        assert (await told(app, "oversight")).condition == "degraded"
        assert (await readiness(app.parts)).ready
