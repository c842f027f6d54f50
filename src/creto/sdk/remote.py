"""The layer over HTTP: requests as the OpenAPI has them, errors as the server raised them, tokens fetched and renewed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from copy import copy
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
import msgspec

from creto.common import wire
from creto.common.errors import ConnectionFailed, EnablementError, InternalError, Timeout, Unauthorized
from creto.common.ids import TenantId, new_id
from creto.common.limits import DEADLINE_S_DEFAULT
from creto.common.retry import retry
from creto.common.telemetry import inject
from creto.edge.api import agents
from creto.edge.api.endpoint import Blob, Endpoint, Nothing
from creto.edge.rest.problem import Problem
from creto.platform.crypto.jose import b64url_encode
from creto.platform.nhi import DelegationChain
from creto.sdk.keys import AgentKey
from creto.sdk.line import written

R = TypeVar("R")


class HttpLine:
    """One connection pool. A request that changes something carries an Idempotency-Key, so that trying again is safe."""

    def __init__(
        self,
        url: str,
        token: str | None = None,
        key: AgentKey | None = None,
        chain: DelegationChain | None = None,
        tenant: TenantId | None = None,
    ) -> None:
        limits = httpx2.Limits(
            max_connections=None, max_keepalive_connections=20
        )  # who waits for humans holds a connection each
        self._http = httpx2.AsyncClient(base_url=url.rstrip("/"), timeout=DEADLINE_S_DEFAULT, limits=limits)
        self._token = token
        self._key = key
        self._tenant = tenant
        self._signing = asyncio.Lock()
        self._chain = b64url_encode(chain.to_bytes()) if chain else None
        self._override: str | None = None

    def acting(self, chain: DelegationChain) -> HttpLine:
        line = copy(self)
        line._chain = b64url_encode(chain.to_bytes())
        return line

    def with_override(self, token: str) -> HttpLine:
        line = copy(self)
        line._override = token
        return line

    async def call(self, endpoint: Endpoint[..., R], request: Any) -> R:
        headers = inject({})
        if endpoint.takes_key:
            headers["Idempotency-Key"] = new_id()
        if self._chain is not None:
            headers["Creto-Delegation"] = self._chain
        if self._override is not None:
            headers["Creto-Override"] = self._override
        with written(endpoint):
            return await retry(lambda: self._once(endpoint, request, headers))

    async def _once(self, endpoint: Endpoint[..., R], request: Any, headers: dict[str, str]) -> R:
        try:
            return await self._send(endpoint, request, headers | await self._authorization(endpoint))
        except Unauthorized as error:
            if self._key is None or error.code not in ("PL-107", "PL-108", "PL-136") or endpoint.open:
                raise
            self._token = None  # it has ended: sign a new challenge, once
            return await self._send(endpoint, request, headers | await self._authorization(endpoint))

    async def _authorization(self, endpoint: Endpoint[..., Any]) -> dict[str, str]:
        if self._token is None and self._key is not None and not endpoint.open:
            async with self._signing:
                self._token = self._token or await self._signed_in(self._key)
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    async def _signed_in(self, key: AgentKey) -> str:
        challenge = await self._send(agents.CHALLENGE, agents.AskChallenge(agent=key.nhi, tenant=self._tenant), {})
        answer = agents.ExchangeChallenge(challenge=challenge, signature=key.answer(challenge))
        return (await self._send(agents.TOKEN, answer, {})).token

    async def _send(self, endpoint: Endpoint[..., R], request: Any, headers: Mapping[str, str]) -> R:
        path = endpoint.path
        for name in endpoint.path_fields:
            path = path.replace(f"{{{name}}}", segment(str(getattr(request, name))))
        content: bytes | None = None
        sent = dict(headers)
        if endpoint.raw_body:
            content, sent["Content-Type"] = getattr(request, endpoint.raw_body), "application/octet-stream"
        elif endpoint.body_fields:
            body = {name: getattr(request, name) for name in endpoint.body_fields}
            content, sent["Content-Type"] = msgspec.json.encode(body), "application/json"
        query = {n: text(getattr(request, n)) for n in endpoint.query_fields if getattr(request, n) is not None}
        try:
            response = await self._http.request(endpoint.method, path, params=query, content=content, headers=sent)
        except httpx2.TimeoutException as error:
            raise Timeout("PL-504", f"{endpoint.name}: no answer in {DEADLINE_S_DEFAULT} s") from error
        except httpx2.HTTPError as error:
            raise ConnectionFailed("PL-503", f"{self._http.base_url} does not answer: {error}") from error
        result: R = answered(endpoint, response)
        return result

    async def close(self) -> None:
        await self._http.aclose()


def segment(name: str) -> str:
    """A name as one segment of a path; `.` and `..` would be steps."""
    return name.replace(".", "%2E") if name in (".", "..") else quote(name, safe="")


def text(value: Any) -> str:
    plain = msgspec.to_builtins(value)
    return plain if isinstance(plain, str) else json.dumps(plain)


def answered(endpoint: Endpoint[..., Any], response: httpx2.Response) -> Any:
    if response.status_code >= 400 or response.headers.get("content-type") == "application/problem+json":
        raise refused(response)
    result: Any
    if endpoint.response is Nothing:
        result = Nothing()
    elif endpoint.response is Blob:
        result = Blob(response.content, response.headers.get("content-type", "application/octet-stream"))
    else:
        result = wire.decode(response.content, endpoint.response, what="answer")
    return result


def refused(response: httpx2.Response) -> EnablementError:
    try:
        return EnablementError.from_body(wire.decode(response.content, Problem).error)
    except EnablementError:
        return InternalError("PL-500", f"the server answered {response.status_code} without an explanation")
