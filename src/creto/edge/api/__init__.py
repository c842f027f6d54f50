"""What can be asked of the layer: the table that REST, gRPC, the SDK and the command line share.

from creto.edge.api import ENDPOINTS

for endpoint in ENDPOINTS:
    print(endpoint.method, endpoint.path, endpoint.summary)
"""

from creto.edge.api import (
    agents,
    approvals,
    approvers,
    archive,
    attention,
    audit,
    bus,
    credits,
    entities,
    invoices,
    keys,
    memory,
    needs,
    objects,
    overrides,
    passkeys,
    plans,
    policies,
    quotas,
    stripe,
    subscriptions,
    system,
    thresholds,
    time,
    uploads,
    usage,
    votes,
    webhooks,
)
from creto.edge.api.authentication import Authenticator
from creto.edge.api.dispatch import Call, Dispatcher
from creto.edge.api.endpoint import Blob, Endpoint, Nothing
from creto.edge.api.parts import Parts

ENDPOINTS = (
    *agents.ENDPOINTS,
    *policies.ENDPOINTS,
    *entities.ENDPOINTS,
    *overrides.ENDPOINTS,
    *audit.ENDPOINTS,
    *memory.ENDPOINTS,
    *objects.ENDPOINTS,
    *uploads.ENDPOINTS,
    *approvals.ENDPOINTS,
    *needs.ENDPOINTS,
    *votes.ENDPOINTS,
    *passkeys.ENDPOINTS,
    *approvers.ENDPOINTS,
    *usage.ENDPOINTS,
    *attention.ENDPOINTS,
    *archive.ENDPOINTS,
    *quotas.ENDPOINTS,
    *thresholds.ENDPOINTS,
    *plans.ENDPOINTS,
    *subscriptions.ENDPOINTS,
    *invoices.ENDPOINTS,
    *credits.ENDPOINTS,
    *stripe.ENDPOINTS,
    *keys.ENDPOINTS,
    *webhooks.ENDPOINTS,
    *bus.ENDPOINTS,
    *time.ENDPOINTS,
    *system.ENDPOINTS,
)

__all__ = ["ENDPOINTS", "Authenticator", "Blob", "Call", "Dispatcher", "Endpoint", "Nothing", "Parts"]
