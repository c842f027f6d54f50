"""Edits: a human approves something other than what was asked: changed arguments, bounds, or a part of a batch.

    edited(ask, b'{"amount": 40}')                   # the next round: earlier votes are stale
    within((Bound(path="amount", at_most="40"),), b'{"amount": 39}')
    counter(b'{"amount": 50}', b'{"amount": 40}')    # the bounds by which the second differs from the first
    proposed(b'{"amount": 50, "to": "ann"}', bounds) # the call that a counter-proposal asks for
    composed(ask, approved_items)                    # the batch with the approved items alone

INVARIANT: after an edit nobody's earlier vote counts, and what is executed is what the last round showed.
INVARIANT: a counter-proposal changes values and nothing else: every argument that it does not name stays as it was asked.
INVARIANT: decisions on a batch are matched by item id, never by place; an item is left out with what it is pointless without.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from creto.common.errors import InvalidInput
from creto.common.limits import INTEGER_MAX, OVERSIGHT_ITEMS_MAX
from creto.oversight.arguments import Number, Value, args_hash, batch_hash, leaves, number, parsed, spelled, step_to
from creto.oversight.risks import rejudged
from creto.oversight.types import Ask, BatchItem, Bound, ItemHash

WHOLE = re.compile(r"-?\d{1,19}")


def edited(ask: Ask, arguments: bytes) -> Ask:
    """The request with other arguments."""
    if ask.items:
        raise InvalidInput.of("arguments", got="an edit of a batch", expected="a decision on each item", code="OV-400")
    if ask.fixed:
        raise InvalidInput.of(
            "arguments", got="an edit of its terms", expected="a yes or a no: propose it anew", code="OV-400"
        )
    if spelled(parsed(arguments)) == spelled(parsed(ask.arguments)):
        raise InvalidInput.of("arguments", got="the same arguments", expected="changed ones", code="OV-400")
    asked = ask.arguments if ask.asked is None else ask.asked
    return rejudged(replace(ask, arguments=arguments, asked=asked, round=ask.round + 1))


def within(bounds: Sequence[Bound], arguments: bytes) -> bool:
    """Whether the arguments keep every bound; a bounded argument that is missing does not."""
    found = dict(leaves(parsed(arguments)))
    return all(bound.path in found and kept(bound, found[bound.path]) for bound in bounds)


def kept(bound: Bound, value: Value) -> bool:
    if bound.equal is not None and spelled(value) != spelled(parsed(bound.equal.encode())):
        return False
    if bound.at_most is None:
        return True
    amount, limit = number(value), number(Number(bound.at_most))
    if amount is None or limit is None:
        return False
    return amount <= limit and (amount >= 0 or limit < 0)  # up to 40 is not 1,000,000 the other way


def check_bounds(bounds: Sequence[Bound]) -> None:
    for bound in bounds:
        if bound.equal is None and bound.at_most is None:
            raise InvalidInput.of(f"bounds.{bound.path}", got="no limit", expected="equal or at_most", code="OV-400")
        if bound.equal is not None:
            parsed(bound.equal.encode())
        if bound.at_most is not None and number(Number(bound.at_most)) is None:
            raise InvalidInput.of(f"bounds.{bound.path}", got=bound.at_most, expected="a number", code="OV-400")


def check_known(arguments: bytes, bounds: Sequence[Bound]) -> None:
    """What is not among the arguments cannot be bounded: no call would ever be within."""
    unknown = {one.path for one in bounds} - {path for path, _ in leaves(parsed(arguments))} if bounds else ()
    if unknown:
        raise InvalidInput.of("counter", got=", ".join(sorted(unknown)), expected="arguments that were asked for", code="OV-400")  # fmt: skip


def counter(asked: bytes, wanted: bytes) -> tuple[Bound, ...]:
    """What a human proposes instead, from the arguments as they changed them: a smaller number is a limit, all else is exact."""
    before, after = dict(leaves(parsed(asked))), dict(leaves(parsed(wanted)))
    if before.keys() != after.keys():
        raise InvalidInput.of(
            "arguments", got="an argument more or less", expected="other values of the same arguments", code="OV-400"
        )
    bounds = tuple(bound(path, before[path], new) for path, new in after.items() if differ(before[path], new))
    if not bounds:
        raise InvalidInput.of("arguments", got="the same arguments", expected="changed ones", code="OV-400")
    return bounds


def differ(one: Value, other: Value) -> bool:
    return type(one) is not type(other) or spelled(one) != spelled(other)


def bound(path: str, before: Value, new: Value) -> Bound:
    old_amount, amount = number(before), number(new)
    if old_amount is not None and amount is not None and 0 <= amount < old_amount:
        return Bound(path=path, at_most=str.__str__(new))
    return Bound(path=path, equal=spelled(new).decode())


def proposed(arguments: bytes, bounds: Sequence[Bound]) -> bytes:
    """The arguments with every bound kept: what is bounded has the value that was proposed, what is below a limit stays."""
    check_known(arguments, bounds)
    known, value = {one.path: one for one in bounds}, parsed(arguments)
    return spelled(mapped(value, "", lambda path, leaf: moved(known[path], leaf) if path in known else leaf))


def moved(bound: Bound, leaf: Value) -> Value:
    if kept(bound, leaf):
        return leaf
    return parsed(bound.equal.encode()) if bound.equal is not None else Number(bound.at_most or "")


def rest(bounds: Sequence[Bound], arguments: bytes) -> bytes:
    """The arguments without the bounded values: what a counter-proposal leaves as it was asked."""
    paths = {one.path for one in bounds}
    return spelled(mapped(parsed(arguments), "", lambda path, leaf: None if path in paths else leaf))


def mapped(value: Value, path: str, change: Callable[[str, Value], Value]) -> Value:
    """The value with each of its leaves changed, or left."""
    if isinstance(value, dict) and value:
        return {key: mapped(item, step_to(path, key), change) for key, item in value.items()}
    if isinstance(value, list) and value:
        return [mapped(item, f"{path}[{index}]", change) for index, item in enumerate(value)]
    return change(path, value)


def as_context(arguments: bytes) -> dict[str, object]:
    """The arguments as policies see them. Cedar knows no null, and no fractions: these are texts, so that a policy that compares one as a
    number cannot be evaluated, which a forbid takes for the worst and a permit for nothing."""
    value = parsed(arguments)
    return {key: plain(item) for key, item in value.items() if is_plain(item)} if isinstance(value, dict) else {}


def hidden(asked: bytes, edited: bytes) -> tuple[str, ...]:
    """The arguments that policies saw as they were asked, and cannot see as they are edited."""
    there, seen = parsed(edited), as_context(edited)
    return tuple(key for key in as_context(asked) if isinstance(there, dict) and key in there and key not in seen)


def is_plain(value: Value) -> bool:
    if isinstance(value, list):
        return all(is_plain(item) for item in value)
    if isinstance(value, dict):
        return all(is_plain(item) for item in value.values())
    return value is not None


def plain(value: Value) -> object:
    if isinstance(value, Number):
        whole = WHOLE.fullmatch(value) is not None and abs(int(value)) <= INTEGER_MAX
        return int(value) if whole else str.__str__(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {key: plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def check_items(items: Sequence[BatchItem]) -> None:
    """Distinct ids, and what an item comes after stands before it: so there is no circle."""
    if len(items) > OVERSIGHT_ITEMS_MAX:
        raise InvalidInput.of("items", got=len(items), expected=f"{OVERSIGHT_ITEMS_MAX} at most", code="OV-400")
    seen: set[str] = set()
    for item in items:
        if not item.item_id or item.item_id in seen:
            raise InvalidInput.of("items", got=f"the item id {item.item_id!r} twice or empty", expected="distinct ids", code="OV-400")  # fmt: skip
        unknown = [other for other in item.after if other not in seen]
        if unknown:
            raise InvalidInput.of(
                f"items.{item.item_id}.after", got=unknown[0], expected="an item before it", code="OV-400"
            )
        parsed(item.arguments)
        seen.add(item.item_id)


def batch_arguments(items: Sequence[BatchItem]) -> bytes:
    """The whole batch as the arguments of one act: what an item comes after is part of what is asked."""
    return spelled({"items": [as_argument(item) for item in items]})


def as_argument(item: BatchItem) -> Value:
    said: dict[str, Value] = {"id": item.item_id, "arguments": parsed(item.arguments)}
    return {**said, "after": [*item.after]} if item.after else said


def kept_items(items: Sequence[BatchItem], approved: Iterable[str]) -> tuple[str, ...]:
    """The approved items that are not pointless: in the order of the batch."""
    wanted, left = set(approved), []
    for item in items:
        if item.item_id in wanted and all(other in left for other in item.after):
            left.append(item.item_id)
    return tuple(left)


def composed(ask: Ask, approved: Sequence[str]) -> bytes:
    """The arguments that may be executed."""
    if not ask.items:
        return ask.arguments
    return batch_arguments([item for item in ask.items if item.item_id in approved])


def item_hashes(ask: Ask) -> tuple[ItemHash, ...]:
    return tuple(
        ItemHash(item_id=item.item_id, args_hash=args_hash(ask.action, ask.resource, item.arguments), after=item.after)
        for item in ask.items
    )


def bound_hash(ask: Ask) -> bytes:
    """What a vote on this request is bound to."""
    if ask.items:
        return batch_hash(ask.action, ask.resource, item_hashes(ask))
    return args_hash(ask.action, ask.resource, ask.arguments)


def approved_hash(
    action: str, resource: str, whole: bytes, items: Sequence[ItemHash], approved: Sequence[str]
) -> bytes:
    """Of what may be executed: the whole, or the approved part of a batch."""
    return batch_hash(action, resource, [one for one in items if one.item_id in approved]) if items else whole


def check_verdicts(ask: Ask, items: Iterable[str]) -> None:
    """OV-400 for an item that the request does not have, with those that it has: a slip of the pen decides nothing."""
    known = [item.item_id for item in ask.items]
    unknown = next((item_id for item_id in items if item_id not in known), None)
    if unknown is not None:
        ids = f"of {', '.join(known)}" if known else "none: it is decided as a whole"
        raise InvalidInput.of("items", got=unknown, expected=ids, code="OV-400")
