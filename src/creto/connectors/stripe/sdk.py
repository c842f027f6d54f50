"""Stripe's SDK behind one small face: our HTTP client, our breaker, our errors. Loaded when Stripe is configured, never before.

    api = StripeApi(config, CircuitBreaker("stripe"))
    made = await api.create_customer({"name": "ada"}, key="creto-customer-…", account=None)

The SDK never tries again by itself: whoever asks does, with the waits that the layer's retry keeps.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, TypeVar

import httpx2
import stripe

from creto.common.breaker import CircuitBreaker
from creto.common.limits import STRIPE_ANSWER_BYTES_MAX, STRIPE_PAGE_ITEMS, STRIPE_PAGES_MAX, STRIPE_S_MAX
from creto.common.redact import redacted_text
from creto.common.settings import StripeConfig
from creto.connectors.stripe.errors import StripeAway, StripeRefused
from creto.connectors.stripe.types import Params, StripeId

T = TypeVar("T")
Fetch = Callable[..., Awaitable[Any]]

UNAUTHENTICATED, IN_USE = 401, 409
REFUSALS = (stripe.InvalidRequestError, stripe.CardError, stripe.PermissionError)
TRY_AGAIN_S_MAX = 3600.0  # what a server may ask us to wait

stripe.enable_telemetry = False  # how long its last answer took is nobody's business but ours
logging.getLogger("stripe").setLevel(logging.WARNING)  # it logs each request, with its address


class Transport(stripe.HTTPClient):  # type: ignore[misc, unused-ignore]  # without the SDK its types are unknown
    """The SDK's requests over the layer's HTTP client, with a limit on what comes back."""

    name = "httpx2"

    def __init__(self, client: httpx2.AsyncClient) -> None:
        super().__init__()
        self._client = client

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            async with self._client.stream(method.upper(), url, headers=dict(headers), content=post_data) as answer:
                data = b""
                async for piece in answer.aiter_bytes():
                    data += piece
                    if len(data) > STRIPE_ANSWER_BYTES_MAX:
                        raise unreachable("the answer is too large")
                return data, answer.status_code, answer.headers
        except httpx2.TimeoutException as error:
            raise unreachable("it did not answer in time") from error
        except httpx2.HTTPError as error:
            raise unreachable(f"it cannot be reached ({type(error).__name__})") from error

    async def close_async(self) -> None:
        await self._client.aclose()


def unreachable(why: str) -> Exception:
    error: Exception = stripe.APIConnectionError(why)  # type: ignore[no-untyped-call, unused-ignore]
    return error


def http_transport(timeout_s: float = STRIPE_S_MAX) -> Transport:
    return Transport(httpx2.AsyncClient(timeout=timeout_s, follow_redirects=False))


class StripeApi:
    """Each method is one request; what makes or changes something takes the key under which it happens once."""

    def __init__(self, config: StripeConfig, breaker: CircuitBreaker, transport: Transport | None = None) -> None:
        assert config.api_key is not None
        self._transport = transport or http_transport()
        self._breaker = breaker
        self._v1 = stripe.StripeClient(
            config.api_key.reveal(),
            base_addresses={"api": config.url.rstrip("/"), "meter_events": config.url.rstrip("/")},
            max_network_retries=0,
            http_client=self._transport,
        ).v1

    async def close(self) -> None:
        await self._transport.close_async()

    # What is made

    async def create_customer(self, params: Params, *, key: str, account: str | None) -> Params:
        return await self._ask(self._v1.customers.create_async, params, options(key, account))

    async def update_customer(self, id: StripeId, params: Params, *, account: str | None) -> Params:
        """Twice is as good as once; a key would tie a repetition to what was true at first."""
        return await self._ask(self._v1.customers.update_async, id, params, options(None, account))

    async def create_invoice(self, params: Params, *, key: str, account: str | None) -> Params:
        return await self._ask(self._v1.invoices.create_async, params, options(key, account))

    async def add_lines(self, id: StripeId, params: Params, *, key: str, account: str | None) -> Params:
        return await self._ask(self._v1.invoices.add_lines_async, id, params, options(key, account))

    async def finalize_invoice(self, id: StripeId, params: Params, *, key: str, account: str | None) -> Params:
        return await self._ask(self._v1.invoices.finalize_invoice_async, id, params, options(key, account))

    async def void_invoice(self, id: StripeId, params: Params, *, key: str, account: str | None) -> Params:
        return await self._ask(self._v1.invoices.void_invoice_async, id, params, options(key, account))

    async def delete_invoice(self, id: StripeId, *, account: str | None) -> Params:
        """A draft; a second time there is none, and nothing more to do."""
        return await self._ask(self._v1.invoices.delete_async, id, {}, options(None, account))

    async def create_credit_note(self, params: Params, *, key: str, account: str | None) -> Params:
        return await self._ask(self._v1.credit_notes.create_async, params, options(key, account))

    async def void_credit_note(self, id: StripeId, params: Params, *, key: str, account: str | None) -> Params:
        return await self._ask(self._v1.credit_notes.void_credit_note_async, id, params, options(key, account))

    async def create_meter_event(self, params: Params, *, key: str, account: str | None) -> Params:
        return await self._ask(self._v1.billing.meter_events.create_async, params, options(key, account))

    # What is there

    async def invoice(self, id: StripeId, *, account: str | None) -> Params:
        return await self._ask(self._v1.invoices.retrieve_async, id, {}, options(None, account))

    async def credit_note(self, id: StripeId, *, account: str | None) -> Params:
        return await self._ask(self._v1.credit_notes.retrieve_async, id, {}, options(None, account))

    def customers(self, since_s: int, *, account: str | None) -> AsyncIterator[Params]:
        return self._pages(self._v1.customers.list_async, {"created": {"gte": since_s}}, account)

    def invoices(self, customer: StripeId, since_s: int, *, account: str | None) -> AsyncIterator[Params]:
        asked = {"customer": customer, "created": {"gte": since_s}}
        return self._pages(self._v1.invoices.list_async, asked, account)

    def lines(self, invoice: StripeId, *, account: str | None) -> AsyncIterator[Params]:
        return self._pages(self._v1.invoices.line_items.list_async, {}, account, invoice)

    def credit_notes(self, invoice: StripeId, *, account: str | None) -> AsyncIterator[Params]:
        return self._pages(self._v1.credit_notes.list_async, {"invoice": invoice}, account)

    async def meter_id(self, event_name: str, *, account: str | None) -> StripeId:
        async for meter in self._pages(self._v1.billing.meters.list_async, {}, account):
            if meter["event_name"] == event_name:
                return StripeId(meter["id"])
        raise StripeRefused("MT-424", f"Stripe has no meter for {event_name}", field="stripe.meters", got=event_name)

    def meter_summaries(
        self, meter: StripeId, customer: StripeId, start_s: int, end_s: int, *, account: str | None
    ) -> AsyncIterator[Params]:
        asked = {"customer": customer, "start_time": start_s, "end_time": end_s}
        return self._pages(self._v1.billing.meters.event_summaries.list_async, asked, account, meter)

    # How it is asked

    async def _pages(self, fetch: Fetch, asked: Params, account: str | None, *of: StripeId) -> AsyncIterator[Params]:
        """Everything in a list, page by page; a list longer than anybody's is an error, not a part of the answer."""
        after: Params = {}
        for _ in range(STRIPE_PAGES_MAX):
            page = await self._ask(fetch, *of, {**asked, "limit": STRIPE_PAGE_ITEMS, **after}, options(None, account))
            for item in page["data"]:
                yield item
            if not page["has_more"]:
                return
            after = {"starting_after": page["data"][-1]["id"]}
        raise StripeRefused("MT-424", "Stripe lists more than we look through", got=f"over {STRIPE_PAGES_MAX} pages")

    async def _ask(self, call: Fetch, *arguments: Any) -> Params:
        async def asked() -> Params:
            try:
                made: Params = (await call(*arguments)).to_dict()
            except stripe.StripeError as error:
                raise translated(error) from error
            return made

        return await self._breaker.call(asked)


def options(key: str | None, account: str | None) -> dict[str, str]:
    said = {"idempotency_key": key, "stripe_account": account}
    return {name: value for name, value in said.items() if value is not None}


def translated(error: stripe.StripeError) -> StripeAway | StripeRefused:
    """What Stripe says, as ours. 401 is an outage: nothing is wrong with what was asked, and the key will be put right."""
    status, headers = error.http_status, error.headers or {}
    said = redacted_text(error.user_message or "it gave no reason")[:500]
    details = {"stripe_code": error.code, "stripe_request": error.request_id, "stripe_type": type(error).__name__}
    told = {name: value for name, value in details.items() if value}
    if isinstance(error, REFUSALS):
        return StripeRefused("MT-424", f"Stripe refused: {said}", field=getattr(error, "param", None), details=told)
    hint = "Check stripe.api_key." if status == UNAUTHENTICATED else None
    away = StripeAway(
        "MT-503", f"Stripe is not available: {said}", retry_after_s=wait_s(headers), details=told, hint=hint
    )
    away.limited = isinstance(error, stripe.RateLimitError) or status == IN_USE
    replayed = status is not None and status >= 500 and headers.get("idempotent-replayed") == "true"
    away.burnt = replayed or isinstance(error, stripe.IdempotencyError)
    return away


def wait_s(headers: Mapping[str, str]) -> float | None:
    """Retry-After in seconds, if it is a number that makes sense."""
    said = headers.get("retry-after", "")
    return min(float(said), TRY_AGAIN_S_MAX) if said.isascii() and said.isdecimal() else None
