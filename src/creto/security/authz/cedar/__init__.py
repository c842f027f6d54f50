"""An evaluator of Cedar policies: compiled once, sliced by scope, so that a decision costs the same among 10 policies or 10,000.

policies = compile_policies('permit(principal == Agent::"a", action, resource) unless { resource.sealed };')
answer = policies.evaluate(Request(Uid("Agent", "a"), Uid("Action", "read"), Uid("Object", "o"), {}, entities))
assert answer.permits == ("policy0",)

`cedarpy` parses, validates and formats; this part only evaluates, with Cedar's semantics, errors included.
"""

from creto.security.authz.cedar.entities import context_from_json, entities_from_json
from creto.security.authz.cedar.expressions import Request
from creto.security.authz.cedar.policies import Answer, Policies, Policy, compile_policies
from creto.security.authz.cedar.values import CedarSet, Entity, EvaluationError, Uid

__all__ = [
    "Answer",
    "CedarSet",
    "Entity",
    "EvaluationError",
    "Policies",
    "Policy",
    "Request",
    "Uid",
    "compile_policies",
    "context_from_json",
    "entities_from_json",
]
