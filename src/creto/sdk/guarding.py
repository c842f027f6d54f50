"""A human's yes around a function or a block, in both worlds.

    @require_approval(creto, "refunds")
    def refund(customer: str, amount: int) -> None: ...

    with approval(creto, "deploys", action="code.deploy", resource="service:web", arguments={"sha": "9f2c"}) as go:
        deploy(**go.arguments)

With an `AsyncCreto` the function is a coroutine and the block is `async with`. A denial raises `ApprovalDenied`, silence `ApprovalTimeout`.
What runs is what was approved: where a human changed the arguments, the function gets the changed ones.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from functools import wraps
from typing import Any, ParamSpec, TypeVar, overload

from creto.common.errors import EnablementError, InvalidInput
from creto.contracts import RiskFactor
from creto.edge.api.approvals import Item
from creto.sdk.asking import Accept, Granted, spelled
from creto.sdk.client import AsyncCreto, Creto
from creto.sdk.waiting import Answer, checked_timeout

P = ParamSpec("P")
R = TypeVar("R")
CALL = "tool.call"
VARIABLE: dict[Any, type] = {
    inspect.Parameter.VAR_POSITIONAL: list,
    inspect.Parameter.VAR_KEYWORD: dict,
}  # *args, **kwargs: as JSON has them


class Approval:
    """Asked for when the block is entered; used up before its first line runs. How the block ends is on record too."""

    def __init__(self, creto: Creto | AsyncCreto, terms: Mapping[str, Any]) -> None:
        self._creto = creto
        self._terms = terms
        self._go: Granted | None = None

    def __enter__(self) -> Granted:
        if not isinstance(self._creto, Creto):
            raise TypeError("an AsyncCreto is asked with `async with`")
        self._go = self._creto.approvals.granted(**self._terms)
        return self._go

    def __exit__(self, fault: type[BaseException] | None, *_: object) -> None:
        """What was approved has been done, or has failed: either way it was the one time."""
        with suppress(EnablementError):  # the act stands whether or not it can be told of
            if self._go is not None and isinstance(self._creto, Creto):
                self._creto.approvals.report(**ended(self._go, fault))

    async def __aenter__(self) -> Granted:
        if not isinstance(self._creto, AsyncCreto):
            raise TypeError("a Creto is asked with `with`")
        self._go = await self._creto.approvals.granted(**self._terms)
        return self._go

    async def __aexit__(self, fault: type[BaseException] | None, *_: object) -> None:
        with suppress(EnablementError):
            if self._go is not None and isinstance(self._creto, AsyncCreto):
                await self._creto.approvals.report(**ended(self._go, fault))


def ended(go: Granted, fault: type[BaseException] | None) -> dict[str, Any]:
    """The name of the fault and no more of it: what it says may hold secrets."""
    return {"request_id": go.request_id, "succeeded": fault is None, "detail": fault.__name__ if fault else ""}


def approval(
    creto: Creto | AsyncCreto,
    policy_id: str,
    *,
    action: str,
    resource: str,
    arguments: object = None,
    description: str = "",
    risk_factors: tuple[RiskFactor, ...] = (),
    items: tuple[Item, ...] = (),
    key: str | None = None,
    timeout_s: float | None = None,
    accept: Accept | None = None,
    answer: Answer | None = None,
) -> Approval:
    """A block that runs once a human has said yes. `accept` says of other arguments, which a human proposes instead, whether they will do."""
    return Approval(
        creto,
        {
            "policy_id": policy_id, "action": action, "resource": resource, "arguments": arguments, "description": description,
            "risk_factors": risk_factors, "items": items, "key": key, "timeout_s": timeout_s, "accept": accept, "answer": answer,
        },
    )  # fmt: skip


class Guard:
    """A decorator: `terms` are those of `approval`, but for the arguments, which are the call's."""

    def __init__(self, creto: Creto | AsyncCreto, policy_id: str, terms: Mapping[str, Any]) -> None:
        self._creto = creto
        self._policy_id = policy_id
        self._terms = terms

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Awaitable[R]]: ...

    @overload
    def __call__(self, fn: Callable[P, R]) -> Callable[P, R]: ...

    def __call__(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        return self.around(fn)

    def around(self, fn: Callable[..., Any]) -> Callable[..., Any]:
        check_world(self._creto, fn)
        signature, name = inspect.signature(fn), getattr(fn, "__name__", "call")
        own = receiver(fn, signature)

        def asking(bound: inspect.BoundArguments) -> Approval:
            terms = {"action": CALL, "resource": f"tool:{name}", "description": inspect.getdoc(fn) or ""}
            return approval(self._creto, self._policy_id, **{**terms, **self._terms, "arguments": given(bound, own)})

        @wraps(fn)
        def waited(*args: Any, **kwargs: Any) -> Any:
            bound = bound_to(signature, args, kwargs)
            asked = spelled(given(bound, own))
            with asking(bound) as go:
                changed(bound, go, own, asked)
                return fn(*bound.args, **bound.kwargs)

        @wraps(fn)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            bound = bound_to(signature, args, kwargs)
            asked = spelled(given(bound, own))
            async with asking(bound) as go:
                changed(bound, go, own, asked)
                return await fn(*bound.args, **bound.kwargs)

        return awaited if inspect.iscoroutinefunction(fn) else waited


def require_approval(
    creto: Creto | AsyncCreto,
    policy_id: str,
    *,
    action: str = CALL,
    resource: str | None = None,
    description: str | None = None,
    risk_factors: tuple[RiskFactor, ...] = (),
    timeout_s: float | None = None,
    accept: Accept | None = None,
    answer: Answer | None = None,
) -> Guard:
    """Before each call a human sees its arguments by name, positional ones too, and agrees; or proposes others, which `accept` looks at."""
    terms: dict[str, Any] = {
        "action": action,
        "risk_factors": risk_factors,
        "timeout_s": checked_timeout(timeout_s),
        "accept": accept,
        "answer": answer,
    }
    if resource is not None:
        terms["resource"] = resource
    if description is not None:
        terms["description"] = description
    return Guard(creto, policy_id, terms)


def check_world(creto: Creto | AsyncCreto, fn: Callable[..., Any]) -> None:
    """Said where it is written, not when it is called."""
    if isinstance(fn, classmethod | staticmethod) or not callable(fn):
        raise TypeError("require_approval goes beneath @classmethod and @staticmethod, on the function itself")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise TypeError("a generator runs after its call has ended: ask with `approval` around what it does")
    awaits, name = inspect.iscoroutinefunction(fn), getattr(fn, "__name__", "the function")
    if awaits and isinstance(creto, Creto):
        raise TypeError(f"{name} is `async def`: it needs an AsyncCreto, and this is a Creto")
    if not awaits and isinstance(creto, AsyncCreto):
        raise TypeError(f"{name} is a plain function: it needs a Creto, and this is an AsyncCreto")


def receiver(fn: Callable[..., Any], signature: inspect.Signature) -> str | None:
    """The parameter by which a method gets its object: that is whose method it is, and nothing that is asked about."""
    owner = getattr(fn, "__qualname__", "").rpartition(".")[0]
    first = next(iter(signature.parameters), None)
    return first if owner and not owner.endswith("<locals>") and first in ("self", "cls") else None


def bound_to(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    return bound


def given(bound: inspect.BoundArguments, own: str | None) -> dict[str, Any]:
    return {name: value for name, value in bound.arguments.items() if name != own}


def changed(bound: inspect.BoundArguments, go: Granted, own: str | None, asked: str) -> None:
    """What a human approved: as it was asked, or instead. What they took out is as if it had not been given."""
    if not go.changed:
        if spelled(given(bound, own)) != asked:  # a list, say, that somebody has filled meanwhile
            raise InvalidInput.of("arguments", got="others by now", expected="those that were approved", code="OV-400")
        return
    parameters = {name: one for name, one in bound.signature.parameters.items() if name != own}
    told = go.arguments if isinstance(go.arguments, dict) else {}
    needed = {name for name, one in parameters.items() if one.default is one.empty and one.kind not in VARIABLE}
    fits = needed <= told.keys() <= parameters.keys()
    if not fits or not all(isinstance(one, VARIABLE.get(parameters[name].kind, object)) for name, one in told.items()):
        names = ", ".join(told) or "no names"
        raise InvalidInput.of("arguments", got=f"approved with {names}", expected=f"what the function takes: {', '.join(parameters)}", code="OV-400")  # fmt: skip
    for name in parameters:
        bound.arguments.pop(name, None)
    for name, value in told.items():
        bound.arguments[name] = tuple(value) if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL else value
    bound.apply_defaults()
