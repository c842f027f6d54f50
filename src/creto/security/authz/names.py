"""From the layer's names to Cedar's entities.

agent:nhi:…                  Agent::"agent:nhi:…", or Human, Service: what the identity is registered as
agent:agent:nhi:…            the same
runtime:sandbox:sb-1         Sandbox::"sb-1"           the longest prefix of PREFIXES gives the type, the rest is the id
network:API.x.com.:443       Network::"api.x.com:443"
anything else                Resource::"<the whole uri>"
sandbox.spawn                Action::"sandbox.spawn"
spawn                        the same: see SYNONYMS
"""

from __future__ import annotations

from creto.common.ids import AGENT_PREFIX
from creto.platform.nhi import PrincipalKind
from creto.security.authz.cedar.values import Uid

PREFIXES: dict[str, str] = {
    "runtime:sandbox:": "Sandbox",
    "runtime:template:": "Template",
    "runtime:secret:": "Secret",
    "network:": "Network",
    "messaging:message:": "Message",
    "messaging:channel:": "Channel",
    "messaging:session:": "Session",
    "messaging:topic:": "Topic",
    "oversight:request:": "Request",
    "oversight:policy:": "OversightPolicy",
    "metering:subscription:": "Subscription",
    "metering:customer:": "Customer",
    "metering:plan:": "Plan",
    "metering:invoice:": "Invoice",
    "storage:object:": "Object",
    "object:": "Object",
    "memory:": "Memory",
    "lease:": "Lease",
    "key:": "Key",
    "role:": "Role",
    "tenant:": "Tenant",
}
SYNONYMS: dict[str, str] = {  # the client's documents name some acts twice; policies know the second name
    "spawn": "sandbox.spawn",
    "spawn_child": "sandbox.spawn",
    "spawn_sandbox": "sandbox.spawn",
    "egress": "network.egress",
    "egress_connect": "network.egress",
    "send_message": "messaging:send",
}
LONGEST_FIRST = tuple(sorted(PREFIXES.items(), key=lambda item: -len(item[0])))
RESOURCE = "Resource"
NETWORK = "network:"
URIS: dict[str, str] = {type: prefix for prefix, type in reversed(PREFIXES.items())} | {RESOURCE: ""}  # and back
PRINCIPALS: dict[PrincipalKind, str] = {
    PrincipalKind.AGENT: "Agent",
    PrincipalKind.HUMAN: "Human",
    PrincipalKind.SERVICE: "Service",
}
PRINCIPAL_TYPES = frozenset(PRINCIPALS.values())


def named_agent(uri: str) -> str | None:
    """The identity that a resource names, if it names one."""
    uri = uri.removeprefix("agent:") if uri.startswith("agent:agent:") else uri
    return uri if uri.startswith(AGENT_PREFIX) else None


def canonical(uri: str) -> str:
    """One spelling for one thing: host names differ neither by case nor by the dot of the root."""
    if not uri.startswith(NETWORK):
        return uri
    host, colon, port = uri[len(NETWORK) :].lower().rpartition(":")
    if not colon or not port.isdigit():
        host, colon, port = f"{host}{colon}{port}", "", ""
    return f"{NETWORK}{host.rstrip('.') or host}{colon}{port}"


def resource_uid(uri: str) -> Uid:
    """The entity of a resource that is no identity."""
    uri = canonical(uri)
    for prefix, type in LONGEST_FIRST:
        if uri.startswith(prefix) and len(uri) > len(prefix):
            return Uid(type, uri[len(prefix) :])
    return Uid(RESOURCE, uri)


def uri_of(uid: Uid) -> str:
    """The name that leads back to the entity."""
    return uid.id if uid.type in PRINCIPAL_TYPES else URIS.get(uid.type, "") + uid.id


def principal_uid(kind: PrincipalKind, agent: str) -> Uid:
    return Uid(PRINCIPALS[kind], agent)


def action_uid(action: str) -> Uid:
    return Uid("Action", SYNONYMS.get(action, action))


def role_uid(role: str) -> Uid:
    return Uid("Role", role)


def tenant_uid(tenant: str) -> Uid:
    return Uid("Tenant", tenant)
