"""A layer for crash tests: its key and objects in one folder, its database anywhere."""

from __future__ import annotations

from pathlib import Path

from creto.app import create_kek
from creto.common.config import Config, load

TOPIC = "crash.work"


def layer(store_url: str, folder: Path) -> Config:
    create_kek(folder / "kek")
    return load(
        defaults=(),
        env={
            "CRETO_STORE__URL": store_url,
            "CRETO_CRYPTO__KEK": f"file:{folder / 'kek'}",
            "CRETO_STORAGE__URL": f"file://{folder / 'objects'}",
        },
    )
