"""What `creto doctor` finds out about this machine and this installation. Looking changes nothing; judging is for `checks`."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import os
import platform
import shutil
import socket
import stat
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from creto.cli.context import Cli
from creto.cli.local import migrated_parts, time_nodes
from creto.common.config import Config
from creto.common.errors import EnablementError
from creto.common.ids import TenantId
from creto.common.settings import (
    CommonConfig,
    CryptoConfig,
    ServerConfig,
    StorageConfig,
    StoreConfig,
)

ENGINES = {
    "PostgreSQL": ("postgres", "/usr/lib/postgresql/*/bin/postgres"),
    "NATS": ("nats-server",),
    "Redis": ("redis-server",),
    "Chromium": ("chromium", "chromium-browser", "google-chrome"),
    "gVisor": ("runsc",),
    "QEMU": ("qemu-system-x86_64", "qemu-system-aarch64"),
}
PACKAGES = ("creto", "apsw", "cryptography", "cedarpy", "obstore")
EXTRAS = {"server": "uvicorn", "postgres": "psycopg", "nats": "nats-py", "redis": "redis"}
TIME_ERROR = 5  # what adjtimex(2) answers while nobody disciplines the clock


class Port(msgspec.Struct, frozen=True):
    name: str
    number: int
    free: bool
    ours: bool = False


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """None means that it could not be found out."""

    python: tuple[int, ...]
    packages: dict[str, str | None]
    extras: dict[str, str | None]
    sqlite: tuple[int, ...]
    engines: dict[str, str | None]  # where each was found
    config_error: str | None = None
    store_url: str = ""
    store_made: bool = False
    store_error: str | None = None
    pending: int = 0
    tenant_made: bool = False
    operators: int = 0  # who can act
    unwatched: tuple[str, ...] = ()  # quotas that tell humans of what goes on beyond them, where none is to be asked
    kek_source: str = ""
    kek_exists: bool = False
    kek_mode: int = 0
    kek_error: str | None = None
    ports: tuple[Port, ...] = ()
    disk_free_bytes: int | None = None
    wall_s: float = 0.0
    clock_disciplined: bool | None = None
    nodes: int = 0
    quorum_error: str | None = None
    quorum_offset_ms: float | None = None
    user_namespaces: bool = False
    kvm: bool = False
    cgroups_v2: bool = False
    seccomp: bool = False


async def gathered(cli: Cli) -> Facts:
    found = {**machine(), **sandbox()}
    try:
        config = cli.config()
    except EnablementError as error:
        return Facts(**found, config_error=f"{error.code} {error.message}")
    return Facts(**found, **installation(config), **await quorum(config))


def machine() -> dict[str, Any]:
    import apsw

    return {
        "python": tuple(int(part) for part in platform.python_version_tuple() if part.isdigit()),
        "packages": {name: version_of(name) for name in PACKAGES},
        "extras": {extra: version_of(package) for extra, package in EXTRAS.items()},
        "sqlite": tuple(int(part) for part in apsw.sqlite_lib_version().split(".")),
        "engines": {name: where(programs) for name, programs in ENGINES.items()},
        "wall_s": time.time(),
        "clock_disciplined": disciplined(),
    }


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def where(programs: tuple[str, ...]) -> str | None:
    for program in programs:
        if program.startswith("/"):
            found = sorted(Path("/").glob(program[1:]), reverse=True)
            if found:
                return str(found[0])
        elif path := shutil.which(program):
            return path
    return None


def disciplined() -> bool | None:
    """Whether the kernel knows of somebody (NTP) who keeps its clock right."""
    try:
        libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        state = int(libc.adjtimex(ctypes.create_string_buffer(512)))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR


def installation(config: Config) -> dict[str, Any]:
    return {**store(config), **kek(config), "ports": ports(config[ServerConfig]), "disk_free_bytes": disk(config)}


def store(config: Config) -> dict[str, Any]:
    from creto.store import migration_status
    from creto.store.schema import MigrationState, check

    url = config[StoreConfig].url
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        return {"store_url": url, "store_made": False}
    try:
        statuses = migration_status(url, parts=migrated_parts())
        check(statuses, pending_allowed=True)
    except EnablementError as error:
        return {"store_url": url, "store_made": True, "store_error": f"{error.code} {error.message}"}
    pending = sum(status.state is MigrationState.PENDING for status in statuses)
    found: dict[str, Any] = {"store_url": url, "store_made": True, "pending": pending}
    return found if pending else {**found, **operators(config)}


def operators(config: Config) -> dict[str, Any]:
    from creto import tenants
    from creto.metering import AllowWithNotification
    from creto.metering.quota_store import quotas
    from creto.oversight.sources import QUOTA_POLICY
    from creto.oversight.store_people import policy
    from creto.store import open_store

    tenant = TenantId(config[CommonConfig].tenant)
    store = open_store(config[StoreConfig].url, parts=migrated_parts(), migrate=False)
    try:
        made, count = store.read_now(lambda tx: tenants.found(tx, tenant))
        telling = store.read_now(
            lambda tx: [q for q in quotas(tx, tenant) if isinstance(q.overflow, AllowWithNotification)]
        )
        asked = store.read_now(lambda tx: policy(tx, tenant, QUOTA_POLICY))
    finally:
        store.close()
    unwatched = tuple(quota.quota_id for quota in telling) if asked is None else ()
    return {"tenant_made": made, "operators": count, "unwatched": unwatched}


def kek(config: Config) -> dict[str, Any]:
    from creto.platform.crypto import KekSource

    source, previous = config[CryptoConfig].kek, config[CryptoConfig].kek_previous
    scheme, _, name = source.partition(":")
    exists = scheme != "file" or Path(name).exists()
    found: dict[str, Any] = {"kek_source": source if scheme == "file" else f"{scheme}:…", "kek_exists": exists}
    if not exists:
        return found
    if scheme == "file":
        found["kek_mode"] = stat.S_IMODE(Path(name).stat().st_mode)
    try:
        for uri in (source, *previous):
            KekSource.parse(uri).load()
    except EnablementError as error:
        found["kek_error"] = error.message
    return found


def ports(server: ServerConfig) -> tuple[Port, ...]:
    named = (
        ("REST", server.rest_port),
        ("gRPC", server.grpc_port),
        ("metrics", server.metrics_port),
        ("health", server.health_port),
    )
    running = is_creto(server)
    return tuple(Port(name, number, is_free(server.host, number), ours=running) for name, number in named if number)


def is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def is_creto(server: ServerConfig) -> bool:
    """Whether what holds the health port is one of us."""
    import http.client

    connection = http.client.HTTPConnection(server.host, server.health_port, timeout=0.5)
    try:
        connection.request("GET", "/live")
        return connection.getresponse().read(16) == b"live\n"
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def disk(config: Config) -> int | None:
    """The least of what is free where data is written."""
    folders = [
        Path(url.removeprefix(scheme)).absolute()
        for url, scheme in ((config[StoreConfig].url, "sqlite:///"), (config[StorageConfig].url, "file://"))
        if url.startswith(scheme)
    ]
    found = []
    for folder in folders:
        there = next(path for path in (folder, *folder.parents) if path.exists())
        found.append(shutil.disk_usage(there).free)
    return min(found, default=None)


async def quorum(config: Config) -> dict[str, Any]:
    nodes = time_nodes(config)
    if not nodes:
        return {}
    from creto.platform.consensus import QuorumClock
    from creto.platform.consensus.transport import TcpTransport

    clock, transport = QuorumClock(nodes), TcpTransport()
    try:
        async with asyncio.timeout(5):
            agreed = await clock.ask_once(transport)
    except (EnablementError, TimeoutError) as error:
        return {"nodes": len(nodes), "quorum_error": str(error) or "no answer in 5 s"}
    finally:
        await transport.close()
    if not agreed:
        faults = "; ".join(f"{node.address}: {node.fault}" for node in clock.state().nodes if node.fault)
        return {"nodes": len(nodes), "quorum_error": faults or "the nodes do not agree"}
    return {"nodes": len(nodes), "quorum_offset_ms": (time.time_ns() - clock.state().reading) / 1e6}


def sandbox() -> dict[str, Any]:
    return {
        "user_namespaces": number("/proc/sys/user/max_user_namespaces") > 0
        and number("/proc/sys/kernel/unprivileged_userns_clone", 1) > 0,
        "kvm": os.access("/dev/kvm", os.R_OK | os.W_OK),
        "cgroups_v2": Path("/sys/fs/cgroup/cgroup.controllers").exists(),
        "seccomp": Path("/proc/sys/kernel/seccomp/actions_avail").exists(),
    }


def number(path: str, otherwise: int = 0) -> int:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return otherwise
