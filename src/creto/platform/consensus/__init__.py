"""Consensus: whose time it is, who decided, and who may act alone."""

from creto.platform.consensus.client import ConsensusClient

__all__ = ["ConsensusClient"]
