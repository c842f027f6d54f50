"""The call shapes of HumanLayer's SDK, over this layer: `require_approval` and `human_as_tool`.

    hl = HumanLayer(creto, "support")                  # instead of humanlayer.HumanLayer()

    @hl.require_approval()
    def send_mail(to: str, text: str) -> str: ...      # on a denial it returns a text for the model instead of raising

    tools = [send_mail, hl.human_as_tool()]

A `contact_channel` that is a text is the name of an oversight policy: it says who is asked, and how they are told. A `ContactChannel` of that
package is taken, and asks under the policy of the constructor: here no call chooses its approvers. `run_id`, `agent_name`, `verbose`,
`reject_options` and `response_options` are taken too, and mean nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec

from creto.common.errors import ApprovalDenied
from creto.common.ids import new_id
from creto.contracts import ApprovalResult, Approved, Denied
from creto.sdk.client import AsyncCreto, Creto
from creto.sdk.guarding import require_approval

P = ParamSpec("P")
CONTACT, ANSWER = "human.contact", "human:answer"


class HumanLayer:
    def __init__(
        self, creto: Creto, policy_id: str, *, timeout_s: float | None = None, run_id: str | None = None,
        agent_name: str | None = None, verbose: bool = False,
    ) -> None:  # fmt: skip
        self._creto = creto
        self._policy_id = policy_id
        self._timeout_s = timeout_s

    def require_approval(
        self, contact_channel: object = None, reject_options: object = None
    ) -> Callable[[Callable[P, Any]], Callable[P, Any]]:
        """A denial is a text for the model, as HumanLayer has it."""
        guard = require_approval(self._creto, policy_of(contact_channel, self._policy_id), timeout_s=self._timeout_s)

        def decorated(fn: Callable[P, Any]) -> Callable[P, Any]:
            guarded = guard.around(fn)

            @wraps(fn)
            def call(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    return guarded(*args, **kwargs)
                except ApprovalDenied as error:
                    return denial(fn.__name__, error)

            return call

        return decorated

    def human_as_tool(self, contact_channel: object = None, response_options: object = None) -> Callable[[str], str]:
        """A tool that asks a human; what they write with their decision is the answer."""

        def contact_human(message: str) -> str:
            """Ask a human a question and wait for the answer."""
            return said(
                self._creto.approvals.await_approval(
                    policy_id=policy_of(contact_channel, self._policy_id), action=CONTACT, resource=ANSWER,
                    arguments={"message": message}, key=new_id("ask-"), timeout_s=self._timeout_s,
                )
            )  # fmt: skip

        return contact_human


class AsyncHumanLayer:
    def __init__(
        self, creto: AsyncCreto, policy_id: str, *, timeout_s: float | None = None, run_id: str | None = None,
        agent_name: str | None = None, verbose: bool = False,
    ) -> None:  # fmt: skip
        self._creto = creto
        self._policy_id = policy_id
        self._timeout_s = timeout_s

    def require_approval(
        self, contact_channel: object = None, reject_options: object = None
    ) -> Callable[[Callable[P, Coroutine[Any, Any, Any]]], Callable[P, Awaitable[Any]]]:
        guard = require_approval(self._creto, policy_of(contact_channel, self._policy_id), timeout_s=self._timeout_s)

        def decorated(fn: Callable[P, Coroutine[Any, Any, Any]]) -> Callable[P, Awaitable[Any]]:
            guarded = guard.around(fn)

            @wraps(fn)
            async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
                try:
                    return await guarded(*args, **kwargs)
                except ApprovalDenied as error:
                    return denial(fn.__name__, error)

            return call

        return decorated

    def human_as_tool(
        self, contact_channel: object = None, response_options: object = None
    ) -> Callable[[str], Awaitable[str]]:
        async def contact_human(message: str) -> str:
            """Ask a human a question and wait for the answer."""
            return said(
                await self._creto.approvals.await_approval(
                    policy_id=policy_of(contact_channel, self._policy_id), action=CONTACT, resource=ANSWER,
                    arguments={"message": message}, key=new_id("ask-"), timeout_s=self._timeout_s,
                )
            )  # fmt: skip

        return contact_human


def policy_of(contact_channel: object, policy_id: str) -> str:
    return contact_channel if isinstance(contact_channel, str) and contact_channel else policy_id


def denial(name: str, error: ApprovalDenied) -> str:
    return f"User denied {name} with message: {error.reason}"


def said(result: ApprovalResult) -> str:
    match result:
        case Approved(notes=notes):
            return notes or "yes"
        case Denied(reason=reason):
            return reason or "no"
        case _:
            return "nobody answered"
