"""One rule for the key beside a database, whoever opens it: never a second one in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from creto.app import create_kek
from creto.cli.init import ensure_kek
from creto.common.config import load
from creto.common.errors import CryptoError
from creto.sdk import Creto
from creto.sdk.local import beside


def test_what_the_sdk_made_creto_dev_opens_and_the_other_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Creto.local("creto.db") as creto:
        creto.objects.put(key="plan", content=b"x")
    dev = load(defaults=(), env={})
    assert ensure_kek(dev) is None
    with Creto.local(config=dev) as creto:
        assert creto.objects.get(key="plan").data == b"x"
    assert [p.name for p in tmp_path.glob("*.kek")] == ["creto.kek"]


def test_a_key_of_its_own_name_wins_and_a_common_one_is_accepted(tmp_path: Path) -> None:
    assert beside(tmp_path / "a.db").get("crypto.kek") == f"file:{tmp_path}/a.kek"
    (tmp_path / "creto.kek").write_text((tmp_path / "a.kek").read_text())
    assert beside(tmp_path / "a.db").get("crypto.kek") == f"file:{tmp_path}/a.kek"
    assert beside(tmp_path / "b.db").get("crypto.kek") == f"file:{tmp_path}/creto.kek"


def test_a_server_runs_with_the_old_key_and_the_new_one_while_keys_are_sealed_again(tmp_path: Path) -> None:
    """given keys sealed with one key / when the configuration names another and the one before / then all of them open, and new ones too."""
    with Creto.local(tmp_path / "creto.db") as creto:
        creto.objects.put(key="plan", content=b"x")
    both = {
        "CRETO_STORE__URL": f"sqlite:///{tmp_path}/creto.db",
        "CRETO_STORAGE__URL": f"file://{tmp_path}/creto-objects",
        "CRETO_CRYPTO__KEK": f"file:{tmp_path}/new.kek",
        "CRETO_CRYPTO__KEK_PREVIOUS": f"file:{tmp_path}/creto.kek",
    }
    create_kek(tmp_path / "new.kek")
    with Creto.local(config=load(defaults=(), env=both)) as creto:
        assert creto.objects.get(key="plan").data == b"x"
        creto.register("planner")
    del both["CRETO_CRYPTO__KEK_PREVIOUS"]
    with pytest.raises(CryptoError, match="PL-215"), Creto.local(config=load(defaults=(), env=both)):
        pass


def test_a_database_whose_key_is_lost_gets_no_second_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Creto.local("creto.db"):
        pass
    (tmp_path / "creto.kek").unlink()
    with pytest.raises(CryptoError, match="PL-215"):
        Creto.local("creto.db")
    with pytest.raises(CryptoError, match="PL-215"):
        ensure_kek(load(defaults=(), env={}))
    assert list(tmp_path.glob("*.kek")) == []
