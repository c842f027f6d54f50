"""Slack's web API through its own SDK: each call once, its troubles as ours.

    api = SlackApi("xoxb-…")
    answer = await api.call("chat.postMessage", channel="U024BE7LH", text="…", blocks=[…])

The SDK's client is synchronous and without dependencies; each call has a thread of ours for its time. It does not try again by itself: the outbox
does, which knows what was tried and lasts longer than this process. After a 429 nothing is called before the time that Slack named.
"""

from __future__ import annotations

import asyncio
import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from creto.common.errors import ConnectionFailed, EnablementError, InvalidInput, NotFound, QuotaExceeded
from creto.common.limits import OVERSIGHT_RESEND_S_MAX, SLACK_CALL_S_MAX, SLACK_CALLS_MAX
from creto.connectors.destinations import retry_after_s

if TYPE_CHECKING:
    from slack_sdk import WebClient
    from slack_sdk.errors import SlackApiError

T = TypeVar("T")
API = "https://slack.com/api/"
RESPONSES = "https://hooks.slack.com/"
# Whom or what the message was for is not there any more; trying again finds nobody either.
ABSENT = frozenset(
    {"channel_not_found", "user_not_found", "users_not_found", "user_disabled", "user_not_visible", "is_archived", "cannot_dm_bot", "not_in_channel", "message_not_found",
     "cant_update_message", "edit_window_closed", "messages_tab_disabled", "expired_trigger_id", "exchanged_trigger_id"}
)  # fmt: skip
# What we sent is at fault.
WRONG = frozenset(
    {"invalid_blocks", "invalid_blocks_format", "msg_too_long", "msg_blocks_too_long", "no_text", "invalid_arguments", "invalid_metadata_format"}
)  # fmt: skip


class SlackApi:
    """`base_url` and `responses` are Slack's own; a test has its server there. `monotonic` is the clock of the pauses that Slack asks for."""

    def __init__(
        self,
        token: str,
        *,
        base_url: str = API,
        responses: str = RESPONSES,
        timeout_s: int = SLACK_CALL_S_MAX,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token = token
        self._base_url = base_url
        self._responses = responses
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._quiet_until_s = 0.0
        self._threads = ThreadPoolExecutor(
            SLACK_CALLS_MAX, "creto-slack"
        )  # its own: a slow Slack holds up nothing else

    async def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """The answer's fields. PL-429 while Slack wants quiet, PL-503 if it is away, PL-404 and PL-400 for what will not get better."""
        left_s = self._quiet_until_s - self._monotonic()
        if left_s > 0:
            raise quiet(left_s)
        return await self._beside(self._call, method, arguments)

    def close(self) -> None:
        """What is on its way is left to its time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _beside(self, fn: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, fn, *arguments)

    def _client(self) -> WebClient:
        from slack_sdk import WebClient

        return WebClient(self._token, base_url=self._base_url, timeout=self._timeout_s, retry_handlers=[])

    def _call(self, method: str, arguments: dict[str, Any]) -> dict[str, Any]:
        from slack_sdk.errors import SlackApiError, SlackClientError

        try:
            answer = self._client().api_call(method, json=arguments)
        except SlackApiError as error:
            raise self._trouble(error) from None  # its text holds the whole answer
        except (SlackClientError, OSError, http.client.HTTPException, ValueError) as error:
            raise ConnectionFailed("PL-503", f"Slack cannot be reached: {type(error).__name__}") from error
        return answer.data if isinstance(answer.data, dict) else {}

    def _trouble(self, error: SlackApiError) -> EnablementError:
        answer = error.response
        status = int(getattr(answer, "status_code", 0) or 0)
        said = (
            str(answer.get("error") or "no reason")[:100]
            if isinstance(getattr(answer, "data", None), dict)
            else f"status {status}"
        )
        if status == 429 or said in ("ratelimited", "rate_limited"):
            headers = {str(name).lower(): value for name, value in (answer.headers or {}).items()}
            wait_s = retry_after_s(str(headers.get("retry-after", "1")), time.time_ns(), OVERSIGHT_RESEND_S_MAX) or 1.0
            self._quiet_until_s = self._monotonic() + wait_s
            return quiet(wait_s)
        if said in ABSENT:
            return NotFound("PL-404", f"Slack: {said}")
        if said in WRONG:
            return InvalidInput("PL-400", f"Slack: {said}")
        return ConnectionFailed("PL-503", f"Slack: {said}")

    async def respond(self, url: str, text: str, *, replace: bool = False) -> None:
        """A word to the human alone, by the address that came with their click: five times within half an hour, Slack's limit."""
        if not url.startswith(self._responses):
            raise InvalidInput.of("response_url", got=url, expected=f"an address under {self._responses}")
        fields = {"text": text, "response_type": "ephemeral", "replace_original": replace, "mrkdwn": False}
        await self._beside(self._post, url, fields)

    async def post_incoming(self, url: str, text: str, blocks: list[dict[str, Any]]) -> None:
        """Into the conversation that an incoming webhook belongs to."""
        await self._beside(self._post, url, {"text": text, "blocks": blocks})

    def _post(self, url: str, body: dict[str, Any]) -> None:
        from slack_sdk.webhook import WebhookClient

        client = WebhookClient(url, timeout=self._timeout_s, retry_handlers=[])
        try:
            answer = client.send_dict(body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ConnectionFailed("PL-503", f"Slack cannot be reached: {type(error).__name__}") from error
        if answer.status_code == 429:
            raise quiet(retry_after_s(answer.headers.get("retry-after"), time.time_ns(), OVERSIGHT_RESEND_S_MAX) or 1.0)
        if answer.status_code in (403, 404, 410):
            raise NotFound("PL-404", f"Slack: the address is gone ({answer.status_code})")
        if answer.status_code != 200:
            raise ConnectionFailed("PL-503", f"Slack answered {answer.status_code}")


def quiet(wait_s: float) -> QuotaExceeded:
    return QuotaExceeded("PL-429", "Slack asks for a pause", retry_after_s=wait_s)
