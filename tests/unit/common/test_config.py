"""Configuration: layers, origins, refusals, secrets, reload."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from creto.common import config as config_module
from creto.common.config import Config, Reload, Reloader, Secret, load, section
from creto.common.errors import AlreadyExists, InvalidInput
from creto.common.settings import (
    AuditConfig,
    BusConfig,
    LogConfig,
    LogLevel,
    MeteringConfig,
    OversightConfig,
    RedisConfig,
    ServerConfig,
    StoreConfig,
    TenantMode,
)

SPEC = """
[common]
authz_endpoint = "grpc://authz.creto.local:50051"
audit_endpoint = "grpc://audit.creto.local:50052"

[metering]
quota_cache_ttl_seconds = 60
aggregation_interval_seconds = 300

[oversight]
default_timeout_seconds = 3600
slack_webhook_url = "${SLACK_WEBHOOK_URL}"
email_smtp_host = "smtp.creto.local"

[runtime]
default_backend = "gvisor"
warm_pool_min_size = 10
warm_pool_max_size = 100

[messaging]
delivery_timeout_seconds = 30
max_message_size_bytes = 1048576
"""


def read(tmp_path: Path, text: str = "", **env: str) -> Config:
    path = tmp_path / "creto.toml"
    path.write_text(text)
    return load([path], env=env, defaults=())


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_module, "_fields", dict(config_module._fields))


def test_the_clients_file_is_read_as_it_stands(tmp_path: Path) -> None:
    config = read(tmp_path, SPEC, SLACK_WEBHOOK_URL="https://hooks.slack.com/services/T/B/x")
    assert config[MeteringConfig].aggregation_interval_seconds == 300
    url = config[OversightConfig].slack_webhook_url
    assert url is not None
    assert url.reveal().endswith("/T/B/x")
    assert config.origin("messaging.delivery_timeout_seconds") == f"file {tmp_path}/creto.toml:21"


def test_environment_beats_file_beats_default_and_each_value_says_so(tmp_path: Path) -> None:
    text = "[store]\nurl = 'sqlite:///a.db'\n\n[server] # ports\nrest_port = 1\ngrpc_port = 2\n"
    config = read(tmp_path, text, CRETO_SERVER__REST_PORT="7", CRETO_TEST_REQUIRE="1", HOME="/")
    assert (config[ServerConfig].rest_port, config[ServerConfig].grpc_port, config[ServerConfig].health_port) == (
        7,
        2,
        9091,
    )
    assert config.origin("server.rest_port") == "env CRETO_SERVER__REST_PORT"
    assert config.origin("server.grpc_port").endswith("creto.toml:6")
    assert config.origin("server.health_port") == "default"


def test_later_files_win(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[server]\nrest_port = 1\ngrpc_port = 1\n")
    (tmp_path / "b.toml").write_text("[server]\nrest_port = 2\n")
    config = load([tmp_path / "b.toml"], env={}, defaults=[tmp_path / "a.toml", tmp_path / "none.toml"])
    assert (config[ServerConfig].rest_port, config[ServerConfig].grpc_port) == (2, 1)


@pytest.mark.parametrize(
    ("text", "env", "near"),
    [
        ("[store]\nulr = 'x'\n", {}, "store.url"),
        ("[sever]\nrest_port = 1\n", {}, "server.rest_port"),
        ("", {"CRETO_METERING__QUOTA_CACHE_TTL": "5"}, "metering.quota_cache_ttl_seconds"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_name(
    tmp_path: Path, text: str, env: dict[str, str], near: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text, **env)
    assert caught.value.code == "PL-920"
    assert near.split(".")[0] in (caught.value.expected or "")


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("[server]\nrest_port = 'x'\n", "server.rest_port", "int"),
        ("[server]\nrest_port = 70000\n", "server.rest_port", "int <= 65535"),
        ("[server]\nrest_port = '8081'\n", "server.rest_port", "int"),
        ("[log]\nlevel = 'loud'\n", "log.level", None),
        ("[store]\nurl = 'mysql://root:hunter2@db/x'\n", "store.url", "sqlite://… or postgresql://… or postgres://…"),
        ("[runtime]\nwarm_pool_min_size = 101\n", "runtime.warm_pool_min_size", "at most warm_pool_max_size (100)"),
        ("[server]\ntls_cert = 'a.pem'\n", "server.tls_cert", "tls_cert and tls_key together"),
        ("[redis]\nurl = 5\n", "redis.url", None),
        ("store = 5\n", "store", None),
    ],
)
def test_a_value_that_does_not_fit_names_field_got_and_expected(
    tmp_path: Path, text: str, field: str, expected: str | None
) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text)
    assert caught.value.code in ("PL-921", "PL-920")
    assert caught.value.field == field
    assert expected is None or caught.value.expected == expected
    assert "hunter2" not in caught.value.rendered()


def test_variables_fill_files_and_a_missing_one_is_named(tmp_path: Path) -> None:
    config = read(
        tmp_path, "[store]\nurl='sqlite:///${DIR}/$${x}.db'\n[server]\nrest_port='${PORT}'\n", DIR="d", PORT="99"
    )
    assert config[StoreConfig].url == "sqlite:///d/${x}.db"
    assert config[ServerConfig].rest_port == 99
    with pytest.raises(InvalidInput, match="NOT_THERE is not set"):
        read(tmp_path, "[redis]\nurl='redis://${NOT_THERE}'\n")


def test_lists_and_enums_come_from_the_environment_too(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        CRETO_AUDIT__WITNESSES="http://a:1=w/1+00000001+A, https://b=w/2+00000002+B",
        CRETO_AUDIT__WITNESSES_MIN="2",
        CRETO_LOG__LEVEL="debug",
        CRETO_COMMON__TENANT_MODE="multi",
        CRETO_SERVER__TLS_CERT="",
    )
    assert config[AuditConfig].witnesses == ("http://a:1=w/1+00000001+A", "https://b=w/2+00000002+B")
    assert config[LogConfig].level is LogLevel.DEBUG
    assert config.get("common.tenant_mode") is TenantMode.MULTI
    assert config[ServerConfig].tls_cert is None


@pytest.mark.parametrize("witness", ["w1", "ftp://a=w/1+00000001+A", "http://[::1=w/1+00000001+A", "http://a"])
def test_a_witness_is_an_address_and_a_key(witness: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"audit\.witnesses"):
        read(tmp_path, CRETO_AUDIT__WITNESSES=witness)


def test_secrets_and_passwords_are_never_shown(tmp_path: Path) -> None:
    text = "[store]\nurl='postgresql://creto:hunter2@db/creto'\n[redis]\nurl='redis://:hunter2@r'\n[bus]\ntoken='hunter2'\n"
    config = read(tmp_path, text)
    shown = repr(list(config.settings())) + repr(config[RedisConfig]) + repr(config[BusConfig])
    assert "hunter2" not in shown
    assert "creto:***@db" in shown
    assert config[BusConfig].token == Secret("hunter2")
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, "[bus]\ntoken=['hunter2']\n")
    assert "hunter2" not in caught.value.rendered() + repr(caught.value.body())


@pytest.mark.parametrize("text", ["[store", "\x00", "a = ", "[[store]]\nurl='x'\n", "[store.url]\nx=1\n"])
def test_a_file_that_is_no_configuration_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, text)
    assert caught.value.code in ("PL-920", "PL-921")


def test_a_file_asked_for_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        load([tmp_path / "none.toml"], env={})


@pytest.mark.usefixtures("own_registry")
def test_a_product_adds_its_own_keys_to_a_section(tmp_path: Path) -> None:
    @section("metering")
    class LeaseConfig(msgspec.Struct, frozen=True):
        lease_seconds: Annotated[int, Meta(ge=1)] = 5

    config = read(tmp_path, "[metering]\nlease_seconds = 9\nquota_cache_ttl_seconds = 1\n")
    assert config[LeaseConfig].lease_seconds == 9
    assert config[MeteringConfig].quota_cache_ttl_seconds == 1


@pytest.mark.usefixtures("own_registry")
def test_a_key_is_declared_once() -> None:
    with pytest.raises(AlreadyExists, match="declared twice"):

        @section("metering")
        class Again(msgspec.Struct, frozen=True):
            quota_cache_ttl_seconds: int = 5


class Live:
    """A configuration file, its reloader, and what the reloads reported."""

    def __init__(self, tmp_path: Path) -> None:
        self.path = tmp_path / "creto.toml"
        self.path.write_text("")
        self.reports: list[Reload] = []
        self.reloader = Reloader(self.read(), self.read, self.reports.append)

    def read(self) -> Config:
        return load([self.path], env={}, defaults=())

    def write(self, text: str) -> Reload:
        self.path.write_text(text)
        return self.reloader.reload()


def test_a_reload_applies_what_is_live_and_names_what_needs_a_restart(tmp_path: Path) -> None:
    live = Live(tmp_path)
    seen: list[LogLevel] = []
    live.reloader.on_change(lambda config: seen.append(config[LogConfig].level))
    result = live.write("[log]\nlevel='debug'\n[server]\nrest_port=1\n")
    assert result == Reload(("log.level",), ("server.rest_port",))
    assert live.reports == [result]
    assert seen == [LogLevel.DEBUG]
    assert live.reloader.current[ServerConfig].rest_port == 8081
    assert live.reloader.current.origin("log.level").endswith("creto.toml:2")


def test_a_bad_reload_changes_nothing_and_says_why(tmp_path: Path) -> None:
    live = Live(tmp_path)
    before = live.reloader.current
    result = live.write("[log]\nlevel='debug'\n[metering]\nquota_cache_ttl_seconds=-1\n")
    assert result.refused is not None
    assert result.refused.field == "metering.quota_cache_ttl_seconds"
    assert live.reloader.current is before


def test_a_follower_that_refuses_rolls_the_others_back(tmp_path: Path) -> None:
    live = Live(tmp_path)
    levels: list[LogLevel] = []
    live.reloader.on_change(lambda config: levels.append(config[LogConfig].level))

    def refuse(config: Config) -> None:
        if config[LogConfig].level is LogLevel.DEBUG:
            raise InvalidInput("PL-921", "not now")

    live.reloader.on_change(refuse)
    assert live.write("[log]\nlevel='debug'\n").refused is not None
    assert levels == [LogLevel.DEBUG, LogLevel.INFO]
    assert live.reloader.current[LogConfig].level is LogLevel.INFO


async def test_sighup_reloads(tmp_path: Path) -> None:
    live = Live(tmp_path)
    reloaded = asyncio.Event()
    live.reloader.on_change(lambda config: reloaded.set())
    live.reloader.listen(asyncio.get_running_loop())
    live.path.write_text("[log]\nlevel='error'\n")
    os.kill(os.getpid(), signal.SIGHUP)
    async with asyncio.timeout(30):
        await reloaded.wait()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
    assert live.reloader.current[LogConfig].level is LogLevel.ERROR
