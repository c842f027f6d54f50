"""Real engines for tests: started here on free loopback ports, stopped by pid.

An engine that is not installed skips its tests and says so; with CRETO_TEST_REQUIRE=1 (as in CI) it fails them.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from pathlib import Path

import pytest

REQUIRED = os.environ.get("CRETO_TEST_REQUIRE") == "1"
PORTS = range(12_000, 32_000)  # Linux gives clients those from 32,768
PORT_STRETCHES = 8
QUICK_BYTES_MIN = 2 << 30  # a server takes 200 MB, and as much again for what a test writes


def missing(what: str) -> None:
    """Say that an engine is not there: loudly, and as a failure where every suite is required."""
    message = f"skipped: no {what} on this machine"
    if REQUIRED:
        pytest.fail(message)
    pytest.skip(message)


def _ports() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % PORT_STRETCHES
    stretch = range(PORTS.start + worker, PORTS.stop, PORT_STRETCHES)
    start = int.from_bytes(os.urandom(4)) % len(stretch)
    yield from cycle([*stretch[start:], *stretch[:start]])


_next_port = _ports()


def free_port() -> int:
    """One that nobody takes before the engine does: no client's (those are higher), no other worker's, not given before."""
    while True:
        port = next(_next_port)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for_port(port: int, process: subprocess.Popen[bytes], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as s:
            s.settimeout(0.2)
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} did not open port {port} in {timeout_s} s")


def stop(process: subprocess.Popen[bytes], sig: int = signal.SIGTERM) -> None:
    if process.poll() is None:
        process.send_signal(sig)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def find(program: str, *folders: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([*folders, os.environ.get("PATH", ""), "/usr/sbin"]))


def postgres_bin() -> Path | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if versions:
        return versions[-1]
    found = shutil.which("postgres")
    return Path(found).parent if found else None


@contextmanager
def postgres(*settings: str, unix: bool = False, durable: bool = True) -> Iterator[str]:
    """A PostgreSQL of our own, with more settings (`max_wal_size=4GB`); yields its address, over TCP or a Unix socket.

    It will not run as root, so root lends it the postgres user.
    One that need not be durable loses nothing when its clients die, but may when it dies itself: for tests that let it live.
    """
    folder = postgres_bin()
    if folder is None:
        missing("PostgreSQL")
    assert folder is not None
    home = Path(tempfile.mkdtemp(prefix="creto-pg-", dir=None if durable else quick_folder()))
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(home, "postgres", "postgres")
    home.chmod(0o700)
    initdb = [
        *as_user,
        str(folder / "initdb"),
        "-D",
        str(home / "data"),
        "-U",
        "creto",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run(initdb, check=True, capture_output=True, cwd="/")
    port = free_port()
    options = [
        "-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={home}",
        "-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "log_min_messages=fatal",
    ]  # fmt: skip
    options += [word for one in settings for word in ("-c", one)]
    if not durable:
        options += ["-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_wal_size=128MB"]
    process = subprocess.Popen(
        [*as_user, str(folder / "postgres"), "-D", str(home / "data"), *options], stderr=subprocess.DEVNULL, cwd="/"
    )
    try:
        wait_for_port(port, process)
        wait_until_ready(folder, port, home)
        if unix:
            home.chmod(0o755)
            yield f"postgresql://creto@/postgres?host={home}&port={port}"
        else:
            yield f"postgresql://creto@127.0.0.1:{port}/postgres"
    finally:
        stop(process, signal.SIGINT)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def database(server: str) -> Iterator[str]:
    """A fresh, empty database on a server, as long as the block lasts."""
    name = f"t{uuid.uuid4().hex}"
    yield created(server, name)
    dropped(server, name)


def address(server: str, name: str) -> str:
    return server.rsplit("/", 1)[0] + "/" + name


def created(server: str, name: str, template: str = "template1") -> str:
    """Make a database; in memory the files of its template are copied, else what stands in them is logged."""
    strategy = "FILE_COPY" if quick_folder() else "WAL_LOG"
    _ask(server, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY {strategy}')
    return address(server, name)


def dropped(server: str, name: str) -> None:
    _ask(server, f'DROP DATABASE "{name}" WITH (FORCE)')


def _ask(server: str, question: str) -> None:
    import psycopg

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(question.encode())


@cache
def quick_folder() -> Path | None:
    """Memory, where there is enough, for what need not outlive a test: there a database is made in a tenth of the time."""
    folder = Path("/dev/shm")
    try:
        room = os.statvfs(folder)
    except OSError:
        return None
    return folder if room.f_bavail * room.f_frsize > QUICK_BYTES_MIN and os.access(folder, os.W_OK) else None


def wait_until_ready(folder: Path, port: int, home: Path) -> None:
    for _ in range(1_200):
        if (
            subprocess.run([folder / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode
            == 0
        ):
            return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL in {home} does not accept connections")


@contextmanager
def nats(store_dir: Path | None = None, port: int | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A NATS server with JetStream; yields its address and its process (tests kill it)."""
    program = find("nats-server")
    if program is None:
        missing("nats-server")
    assert program is not None
    folder = store_dir or Path(tempfile.mkdtemp(prefix="creto-nats-"))
    port = port or free_port()
    process = subprocess.Popen(
        [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port, process)
        yield f"nats://127.0.0.1:{port}", process
    finally:
        stop(process)
        if store_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def redis() -> Iterator[str]:
    program = find("redis-server")
    if program is None:
        missing("redis-server")
    assert program is not None
    port = free_port()
    process = subprocess.Popen(
        [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port, process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        stop(process)
