"""What a running process takes up from a configuration that was read again.

    reloader.on_change(following(parts))

Everything else waits for a restart: addresses, ports, keys and certificates are what a process is made of.
"""

from __future__ import annotations

from collections.abc import Callable

from creto.common.config import Config
from creto.common.settings import BusConfig, MeteringConfig, OversightConfig, StoreConfig
from creto.edge.api.parts import Parts
from creto.edge.telemetry import log_as_configured
from creto.metering import tokens
from creto.metering.terms import MeteringTerms


def following(parts: Parts, *, for_people: bool = False) -> Callable[[Config], None]:
    def follow(config: Config) -> None:
        metering = config[MeteringConfig]
        terms, prices = MeteringTerms.of(metering), tokens.configured(metering.llm_prices_file)  # may refuse
        log_as_configured(config, for_people=for_people)
        parts.store.queue.limit = config[StoreConfig].queue_max
        parts.metering_terms.follow(terms)
        tokens.use(prices, metering.llm_prices_file or "")
        bus = config[BusConfig]
        parts.oversight.default_timeout_s = config[OversightConfig].default_timeout_seconds
        parts.bus.configure(retention_s=bus.retention_seconds, buffer_max=bus.buffer_max)

    return follow
