"""What the facts mean: each check says what was found and, where something is amiss, what to do about it.

    checks(facts)      pure: the same facts give the same checks

INVARIANT: `missing` is only what creto cannot run without here; whatever is optional, or will be made by itself, is a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from creto.cli.facts import EXTRAS, Facts
from creto.cli.output import size

PYTHON_MIN = (3, 11)
SQLITE_FIXED = (3, 51, 3)  # before it, two writers at the same moment could damage a WAL database
DISK_NOTE_BYTES, DISK_MISSING_BYTES = 2 * 1024**3, 256 * 1024**2
WALL_S_MIN = 1_735_689_600  # 2025: a clock before that was never set
OFFSET_MS_MAX = 100.0

WHAT_FOR = {
    "PostgreSQL": ("apt-get install postgresql", "a store for several nodes"),
    "NATS": ("apt-get install nats-server", "a bus between nodes"),
    "Redis": ("apt-get install redis-server", "a shared cache"),
    "Chromium": ("apt-get install chromium", "browser tests and pages in sandboxes"),
    "gVisor": ("install runsc (gvisor.dev)", "sandboxes by gVisor"),
    "QEMU": ("apt-get install qemu-system-x86", "sandboxes by virtual machines"),
}


class State(StrEnum):
    OK = "ok"
    NOTE = "note"
    MISSING = "missing"


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    state: State
    found: str
    remedy: str | None = None


def ok(name: str, found: str) -> Check:
    return Check(name, State.OK, found)


def note(name: str, found: str, remedy: str) -> Check:
    return Check(name, State.NOTE, found, remedy)


def missing(name: str, found: str, remedy: str) -> Check:
    return Check(name, State.MISSING, found, remedy)


def checks(facts: Facts) -> list[Check]:
    found = [*versions(facts), *engines(facts), configuration(facts)]
    if facts.config_error is None:
        found += [store(facts), kek(facts), *operator(facts), *quotas(facts), *ports(facts), *disk(facts)]
    return [*found, *clock(facts), *sandbox(facts)]


def dotted(parts: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in parts)


def versions(facts: Facts) -> Iterator[Check]:
    if facts.python[:2] >= PYTHON_MIN:
        yield ok("Python", dotted(facts.python))
    else:
        yield missing("Python", dotted(facts.python), f"creto needs Python {dotted(PYTHON_MIN)} or newer.")
    for name, found in facts.packages.items():
        if found is None:
            yield missing(name, "not installed", f"pip install {name}")
        else:
            yield ok(name, found)
    if facts.sqlite >= SQLITE_FIXED:
        yield ok("SQLite", f"{dotted(facts.sqlite)}, with the fix of the WAL-reset damage ({dotted(SQLITE_FIXED)})")
    else:
        remedy = "pip install --upgrade apsw: before 3.51.3 two connections could damage a database."
        yield missing("SQLite", dotted(facts.sqlite), remedy)
    for extra, found in facts.extras.items():
        if found is not None:
            yield ok(f"creto[{extra}]", f"{EXTRAS[extra]} {found}")
        elif extra == "postgres" and facts.store_url.startswith("postgres"):
            yield missing(f"creto[{extra}]", "not installed", f"pip install 'creto[{extra}]': store.url needs it.")
        else:
            yield note(f"creto[{extra}]", "not installed", f"pip install 'creto[{extra}]', if you need it.")


def engines(facts: Facts) -> Iterator[Check]:
    for name, found in facts.engines.items():
        how, what_for = WHAT_FOR[name]
        yield ok(name, found) if found else note(name, f"not here; {what_for}", f"{how}, if you need it.")


def configuration(facts: Facts) -> Check:
    if facts.config_error is None:
        return ok("configuration", "valid")
    return missing("configuration", facts.config_error, "Correct it; `creto config check` says the same.")


def store(facts: Facts) -> Check:
    engine = facts.store_url.partition(":")[0]
    if facts.store_error is not None:
        return missing(
            "store", facts.store_error, "Start the database, or correct store.url; see `creto migrate status`."
        )
    if not facts.store_made:
        return note("store", f"{engine}, not made yet", "The first start makes it.")
    if facts.pending:
        return note("store", f"{engine}, {facts.pending} migrations pending", "creto migrate, or the next start.")
    return ok("store", f"{engine}, reachable and migrated")


def operator(facts: Facts) -> Iterator[Check]:
    """Who may do everything. Without one nobody can give roles any more."""
    if facts.operators:
        yield ok("operator", f"{facts.operators} active")
    elif facts.tenant_made:
        yield missing("operator", "nobody active has the role", "creto init --recover-operator makes a new one.")


def quotas(facts: Facts) -> Iterator[Check]:
    """Of quotas that let acts go on and tell humans: whether there is anybody to tell."""
    if facts.unwatched:
        yield note(
            "quotas", f"nobody is asked beyond {', '.join(facts.unwatched)}; notices wait in `creto quotas notices`",
            "Say who decides: an oversight policy named quota_notification_policy (`creto approvals policies put`).",
        )  # fmt: skip


def kek(facts: Facts) -> Check:
    name = "key-encryption key"
    if not facts.kek_exists:
        if facts.store_made:
            remedy = "Bring back the file: what is sealed cannot be opened without it."
            return missing(name, f"{facts.kek_source} is not there", remedy)
        return note(name, "not made yet", "creto init makes it; creto dev too.")
    if facts.kek_mode & 0o077:
        file = facts.kek_source.removeprefix("file:")
        return missing(name, f"{file} can be read by others (mode {facts.kek_mode:03o})", f"chmod 600 {file}")
    if facts.kek_error is not None:
        return missing(name, facts.kek_error, "Correct crypto.kek.")
    return ok(name, f"{facts.kek_source}, for its owner alone" if facts.kek_mode else facts.kek_source)


def ports(facts: Facts) -> Iterator[Check]:
    for port in facts.ports:
        name = f"port {port.number}"
        if port.free:
            yield ok(name, f"free, for {port.name}")
        elif port.ours:
            yield ok(name, f"{port.name} of a creto that runs, this one or another")
        else:
            key = f"server.{port.name.lower()}_port"
            yield note(name, f"held by another program; {port.name} would use it", f"Stop that, or set {key}.")


def disk(facts: Facts) -> Iterator[Check]:
    if facts.disk_free_bytes is None:
        return
    free = f"{size(facts.disk_free_bytes)} free"
    if facts.disk_free_bytes < DISK_MISSING_BYTES:
        yield missing("disk", free, "Make room: writes will fail.")
    elif facts.disk_free_bytes < DISK_NOTE_BYTES:
        yield note("disk", free, "Make room soon.")
    else:
        yield ok("disk", free)


def clock(facts: Facts) -> Iterator[Check]:
    remedy = "Set it and run an NTP client (apt-get install chrony)."
    if facts.wall_s < WALL_S_MIN:
        yield missing("clock", "was never set", remedy)
    elif facts.nodes and facts.quorum_error is not None:
        said = f"no quorum of {facts.nodes} time nodes: {facts.quorum_error}"
        yield missing("clock", said, "Start the time nodes; see `creto time-node status`.")
    elif facts.quorum_offset_ms is not None:
        said = f"{facts.quorum_offset_ms:+.1f} ms from the quorum of {facts.nodes} time nodes"
        yield ok("clock", said) if abs(facts.quorum_offset_ms) <= OFFSET_MS_MAX else note("clock", said, remedy)
    elif facts.clock_disciplined is False:
        yield note("clock", "set, but nobody keeps it right", "Run an NTP client (apt-get install chrony).")
    else:
        yield ok("clock", "kept right by NTP" if facts.clock_disciplined else "set")


def sandbox(facts: Facts) -> Iterator[Check]:
    for name, there, remedy in (
        (
            "user namespaces",
            facts.user_namespaces,
            "sysctl kernel.unprivileged_userns_clone=1, for sandboxes without root.",
        ),
        ("KVM", facts.kvm, "Give this user /dev/kvm (group kvm), for sandboxes by virtual machines."),
        ("cgroups v2", facts.cgroups_v2, "Boot with the unified hierarchy, to bound what sandboxes use."),
        ("seccomp", facts.seccomp, "Use a kernel with CONFIG_SECCOMP_FILTER, to bound what sandboxes call."),
    ):
        yield ok(name, "available") if there else note(name, "not available here", remedy)
