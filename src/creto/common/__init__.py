"""What every part shares and nothing depends on: errors, ids, money, time, envelopes, limits, configuration.

from creto.common.errors import InvalidInput
from creto.common.ids import AgentIdentity, new_uuid

raise InvalidInput.of("limit", got=-1, expected="an integer from 1 to 1000")
"""
