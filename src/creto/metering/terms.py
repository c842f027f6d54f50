"""What may change while metering runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from creto.common.settings import ArchiveMode, MeteringConfig
from creto.metering import analytics


@dataclass
class MeteringTerms:
    """`lease_s` is how long a node keeps quota that it does not spend, `interval_s` how often credits, invoices and the archive are looked at.

    `archives` says whether closed days are archived by themselves, `archive_grace_s` how long they wait for late events.
    """

    lease_s: int
    interval_s: int
    archives: bool
    archive_grace_s: int

    @classmethod
    def of(cls, config: MeteringConfig) -> Self:
        """PL-501 for an archive that was asked for and cannot be written."""
        if config.archive is ArchiveMode.ON:
            analytics.engine()
        return cls(
            lease_s=config.quota_cache_ttl_seconds,
            interval_s=config.aggregation_interval_seconds,
            archives=config.archive is ArchiveMode.ON or (config.archive is ArchiveMode.AUTO and analytics.installed()),
            archive_grace_s=config.archive_grace_seconds,
        )

    def follow(self, other: MeteringTerms) -> None:
        vars(self).update(vars(other))
