"""`creto doctor`: what facts mean. Only what is required is missing; all else is a note, and each has its remedy."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from creto.cli.checks import Check, State, checks
from creto.cli.facts import ENGINES, EXTRAS, PACKAGES, Facts, Port, is_free, where

GOOD = Facts(
    python=(3, 11, 2),
    packages=dict.fromkeys(PACKAGES, "1.0"),
    extras=dict.fromkeys(EXTRAS, "1.0"),
    sqlite=(3, 54, 1),
    engines=dict.fromkeys(ENGINES, "/usr/bin/it"),
    store_url="sqlite:///data/creto.db",
    store_made=True,
    tenant_made=True,
    operators=1,
    kek_source="file:creto.kek",
    kek_exists=True,
    kek_mode=0o600,
    ports=(Port("REST", 8081, free=True),),
    disk_free_bytes=10**12,
    wall_s=2e9,
    clock_disciplined=True,
    user_namespaces=True,
    kvm=True,
    cgroups_v2=True,
    seccomp=True,
)


def of(state: State, facts: Facts) -> list[Check]:
    return [check for check in checks(facts) if check.state is state]


def test_all_is_well() -> None:
    assert of(State.MISSING, GOOD) == of(State.NOTE, GOOD) == []


def test_quotas_that_nobody_watches_are_named() -> None:
    (found,) = of(State.NOTE, replace(GOOD, unwatched=("tokens", "calls")))
    assert "tokens, calls" in found.found
    assert "quota_notification_policy" in str(found.remedy)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(GOOD, python=(3, 10, 9)), "Python"),
        (replace(GOOD, packages={**GOOD.packages, "cryptography": None}), "cryptography"),
        (replace(GOOD, sqlite=(3, 40, 1)), "SQLite"),
        (replace(GOOD, config_error="PL-920 unknown key"), "configuration"),
        (replace(GOOD, store_error="PL-841 newer"), "store"),
        (replace(GOOD, operators=0), "operator"),
        (replace(GOOD, kek_mode=0o644), "key-encryption key"),
        (replace(GOOD, kek_exists=False), "key-encryption key"),
        (replace(GOOD, kek_error="it has 3 bytes"), "key-encryption key"),
        (replace(GOOD, disk_free_bytes=10**6), "disk"),
        (replace(GOOD, wall_s=0.0), "clock"),
        (replace(GOOD, nodes=4, quorum_error="no answer"), "clock"),
        (replace(GOOD, store_url="postgresql://db/creto", extras={**GOOD.extras, "postgres": None}), "creto[postgres]"),
    ],
)
def test_what_is_required_is_missing_with_a_remedy(facts: Facts, name: str) -> None:
    found = of(State.MISSING, facts)
    assert [check.name for check in found] == [name]
    assert found[0].remedy


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (replace(GOOD, engines={**GOOD.engines, "NATS": None}), "NATS"),
        (replace(GOOD, extras={**GOOD.extras, "redis": None}), "creto[redis]"),
        (replace(GOOD, store_made=False), "store"),
        (replace(GOOD, pending=2), "store"),
        (replace(GOOD, store_made=True, ports=(Port("gRPC", 8080, free=False),)), "port 8080"),
        (replace(GOOD, disk_free_bytes=10**9), "disk"),
        (replace(GOOD, clock_disciplined=False), "clock"),
        (replace(GOOD, nodes=4, quorum_offset_ms=250.0), "clock"),
        (replace(GOOD, kvm=False), "KVM"),
        (replace(GOOD, user_namespaces=False), "user namespaces"),
    ],
)
def test_what_is_optional_is_a_note_with_a_remedy(facts: Facts, name: str) -> None:
    assert of(State.MISSING, facts) == []
    found = of(State.NOTE, facts)
    assert [check.name for check in found] == [name]
    assert found[0].remedy


def test_a_new_folder_lacks_nothing() -> None:
    fresh = replace(GOOD, store_made=False, kek_exists=False, kek_mode=0)
    assert of(State.MISSING, fresh) == []
    assert [check.name for check in of(State.NOTE, fresh)] == ["store", "key-encryption key"]


def test_a_port_of_a_running_creto_is_well() -> None:
    assert of(State.NOTE, replace(GOOD, ports=(Port("REST", 8081, free=False, ours=True),))) == []


def test_ports_and_programs_are_looked_for() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as held:
        assert not is_free("127.0.0.1", held.getsockname()[1])
    assert where(("no-such-program", "sh")) is not None
    assert where(("/no/such/*/program",)) is None
