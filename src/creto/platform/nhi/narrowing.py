"""The rules a delegation chain must keep before any signature is looked at. Each broken rule has its own code.

    shape        PL-110 empty   PL-111 too long   PL-129 malformed
    path         PL-115 tenants   PL-113 gap or splice   PL-114 cycle   PL-128 replayed nonce   PL-127 wrong leaf
    narrowing    PL-117 actions   PL-118 resources   PL-119 budget   PL-120 depth   PL-121 time
    time         PL-122 not yet   PL-123 expired

Pure functions over a chain; `validation` adds what needs the registry (PL-112, 124, 125, 126, 133) and the signatures (PL-116).

INVARIANT: the work is bounded by CHAIN_LINKS_MAX × SCOPE_PATTERNS_MAX, whatever the chain says.
"""

from __future__ import annotations

from creto.common.errors import EnablementError, InvalidInput, Unauthorized
from creto.common.ids import AgentId, TenantId, agent_key
from creto.common.limits import CHAIN_LINKS_MAX, INTEGER_MAX, SIGNATURE_BYTES_MAX, TENANT_CHARS_MAX
from creto.platform.nhi import scope
from creto.platform.nhi.chain import NONCE_BYTES, Budget, DelegationChain, DelegationLink

HASH_BYTES_MAX = 65  # the longest digest with its suite byte


def check_chain(chain: DelegationChain, tenant: TenantId, agent: AgentId | None) -> None:
    """Everything that depends on neither time nor registry. `agent` None accepts whichever leaf the chain has."""
    check_shape(chain)
    check_path(chain, tenant, agent)
    for parent, child in zip(chain.links, chain.links[1:], strict=False):
        check_narrower(parent, child)


def check_shape(chain: DelegationChain) -> None:
    if not chain.links:
        raise Unauthorized("PL-110", got="no links", expected="at least one link")
    if len(chain.links) > CHAIN_LINKS_MAX:
        raise refusal("PL-111", len(chain.links), f"at most {CHAIN_LINKS_MAX} links")
    for link in chain.links:
        check_link(link)


def check_link(link: DelegationLink) -> None:
    """The bounds of one link on its own."""
    for name, agent in (("parent", link.parent), ("child", link.child)):
        try:
            agent_key(agent)
        except InvalidInput as error:
            raise malformed(name, agent, "an agent id") from error
    if not 0 < len(link.tenant) <= TENANT_CHARS_MAX:
        raise malformed("tenant", link.tenant, f"1 to {TENANT_CHARS_MAX} characters")
    scope.checked_patterns(link.actions, "actions", code="PL-129")
    scope.checked_patterns(link.resources, "resources", code="PL-129")
    if not 0 <= link.depth_left < CHAIN_LINKS_MAX:
        raise malformed("depth_left", link.depth_left, f"0 to {CHAIN_LINKS_MAX - 1}")
    if not 0 <= link.not_before < link.not_after <= INTEGER_MAX:
        raise malformed("not_after", f"{link.not_before} to {link.not_after}", "a window that ends after it begins")
    if len(link.nonce) != NONCE_BYTES:
        raise malformed("nonce", f"{len(link.nonce)} bytes", f"{NONCE_BYTES} bytes")
    if len(link.parent_link) > HASH_BYTES_MAX:
        raise malformed("parent_link", f"{len(link.parent_link)} bytes", f"at most {HASH_BYTES_MAX}")
    if len(link.signature) > SIGNATURE_BYTES_MAX:
        raise malformed("signature", f"{len(link.signature)} bytes", f"at most {SIGNATURE_BYTES_MAX}")
    if link.budget is not None:
        check_budget(link.budget)


def check_budget(budget: Budget) -> None:
    if not 0 <= budget.micros <= INTEGER_MAX:
        raise malformed("budget.micros", budget.micros, f"0 to {INTEGER_MAX}")
    if len(budget.currency) != 3 or not budget.currency.isascii() or not budget.currency.isupper():
        raise malformed("budget.currency", budget.currency, "an ISO 4217 code, as USD")


def check_path(chain: DelegationChain, tenant: TenantId, agent: AgentId | None) -> None:
    """One tenant, no gap, no cycle, no replay, and the caller at the end."""
    for link in chain.links:
        if link.tenant != tenant:
            raise refusal("PL-115", link.tenant, tenant)
    above = b""
    for index, link in enumerate(chain.links):
        if index and link.parent != chain.links[index - 1].child:
            raise refusal("PL-113", link.parent, chain.links[index - 1].child)
        if link.parent_link != above:
            raise refusal("PL-113", "the hash of another parent link", "the hash of the link above")
        above = link.hash
    if len(set(chain.agents)) != len(chain.agents):
        raise refusal("PL-114", next(a for a in chain.agents if chain.agents.count(a) > 1), "each identity once")
    if len({link.nonce for link in chain.links}) != len(chain.links):
        raise refusal("PL-128", "the same nonce twice", "a fresh nonce in each link")
    if agent is not None and chain.agents[-1] != agent:
        raise refusal("PL-127", chain.agents[-1], agent)


def check_narrower(parent: DelegationLink, child: DelegationLink) -> None:
    """Whether `child`, granted under `parent`, stays within it in every respect."""
    if (action := scope.uncovered(parent.actions, child.actions)) is not None:
        raise refusal("PL-117", action, " or ".join(parent.actions))
    if (resource := scope.uncovered(parent.resources, child.resources)) is not None:
        raise refusal("PL-118", resource, " or ".join(parent.resources))
    check_budget_narrower(parent.budget, child.budget)
    if child.depth_left >= parent.depth_left:
        raise refusal("PL-120", child.depth_left, f"less than {parent.depth_left}")
    if child.not_before < parent.not_before or child.not_after > parent.not_after:
        window = f"{parent.not_before} to {parent.not_after}"
        raise refusal("PL-121", f"{child.not_before} to {child.not_after}", f"within {window}")


def check_budget_narrower(parent: Budget | None, child: Budget | None) -> None:
    if parent is None:
        return
    if child is None:
        raise refusal("PL-119", "no bound", f"at most {parent.micros} micros {parent.currency}")
    if child.currency != parent.currency or child.micros > parent.micros:
        expected = f"at most {parent.micros} micros {parent.currency}"
        raise refusal("PL-119", f"{child.micros} micros {child.currency}", expected)


def check_window(not_before: int, not_after: int, now: int) -> None:
    """`not_before` is inclusive, `not_after` exclusive: at that nanosecond it is over."""
    if now < not_before:
        raise refusal("PL-122", now, f"{not_before} or later")
    if now >= not_after:
        raise refusal("PL-123", now, f"before {not_after}")


def refusal(code: str, got: object, expected: object) -> EnablementError:
    return Unauthorized(code, field="chain", got=got, expected=expected)


def malformed(field: str, got: object, expected: object) -> InvalidInput:
    return InvalidInput.of(f"chain.{field}", got=got, expected=expected, code="PL-129")
