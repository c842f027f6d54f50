"""HTTP around the books: keys, cursors, limits, faults, webhooks."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tests.local_stripe import forms
from tests.local_stripe.books import Books, Object, Refusal, invalid

KEY_S = 86_400  # how long it knows an idempotency key
PAGE_MAX = 100


class Fault(StrEnum):
    LIMITED = "limited"  # 429, with Retry-After; nothing is done
    DROPPED = "dropped"  # the connection is gone before anything is done
    CUT = "cut"  # it is done, and the connection is gone before the answer
    BROKEN = "broken"  # 500, kept under the key; nothing is done
    DONE_BUT_BROKEN = "done_but_broken"  # 500, kept under the key; it is done
    DOWN = "down"  # 503 from something in front of it, in no form of Stripe's
    IN_USE = "in_use"  # another request with this key is running


@dataclass
class Request:
    method: str
    path: str
    params: Object
    key: str | None
    account: str | None
    fault: Fault | None = None


@dataclass
class Kept:
    """An answer under an idempotency key."""

    asked: str
    status: int
    body: bytes
    at_s: int


@dataclass
class Planned:
    fault: Fault
    times: int
    matches: re.Pattern[str]


@dataclass
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


Route = Callable[[Books, tuple[str, ...], Object], Any]


def listed(of: Callable[[Books], Iterable[Object]]) -> Route:
    return lambda books, _, params: newest_first(of(books), params)


ROUTES: list[tuple[str, str, Route]] = [
    ("POST", r"/v1/customers", lambda b, _, p: b.create_customer(p)),
    ("GET", r"/v1/customers", listed(lambda b: b.customers.values())),
    ("POST", r"/v1/customers/(\w+)", lambda b, w, p: b.update_customer(w[0], p)),
    ("GET", r"/v1/customers/(\w+)", lambda b, w, _: b.customer(w[0])),
    ("POST", r"/v1/invoices", lambda b, _, p: b.create_invoice(p)),
    ("GET", r"/v1/invoices", listed(lambda b: [b.shown(one) for one in b.invoices.values()])),
    ("GET", r"/v1/invoices/(\w+)", lambda b, w, _: b.shown(b.invoice(w[0]))),
    ("DELETE", r"/v1/invoices/(\w+)", lambda b, w, _: b.delete_invoice(w[0])),
    ("POST", r"/v1/invoices/(\w+)/add_lines", lambda b, w, p: b.add_lines(w[0], p)),
    ("POST", r"/v1/invoices/(\w+)/finalize", lambda b, w, p: b.finalize_invoice(w[0], p)),
    ("POST", r"/v1/invoices/(\w+)/pay", lambda b, w, p: b.pay(w[0])),
    ("POST", r"/v1/invoices/(\w+)/void", lambda b, w, p: b.void_invoice(w[0], p)),
    ("GET", r"/v1/invoices/(\w+)/lines", lambda b, w, p: page(b.lines[b.invoice(w[0])["id"]], p)),
    ("POST", r"/v1/credit_notes", lambda b, _, p: b.create_credit_note(p)),
    ("GET", r"/v1/credit_notes", listed(lambda b: b.credit_notes.values())),
    ("GET", r"/v1/credit_notes/(\w+)", lambda b, w, _: b.credit_note(w[0])),
    ("POST", r"/v1/credit_notes/(\w+)/void", lambda b, w, p: b.void_credit_note(w[0], p)),
    ("POST", r"/v1/billing/meters", lambda b, _, p: b.create_meter(p)),
    ("GET", r"/v1/billing/meters", listed(lambda b: b.meters.values())),
    ("GET", r"/v1/billing/meters/(\w+)/event_summaries", lambda b, w, p: page(b.summaries(w[0], p), p)),
    ("POST", r"/v1/billing/meter_events", lambda b, _, p: b.create_meter_event(p)),
]


def newest_first(objects: Iterable[Object], params: Object) -> Object:
    """A list and its filters, as all of Stripe's lists have them."""
    since = int(params.get("created", {}).get("gte", 0))
    fits = [
        one
        for one in reversed(list(objects))
        if one["created"] >= since and all(params.get(name, one.get(name)) == one.get(name) for name in ("customer", "invoice", "status"))
    ]  # fmt: skip
    return page(fits, params)


def page(objects: list[Object], params: Object) -> Object:
    limit = int(params.get("limit", 10))
    if not 1 <= limit <= PAGE_MAX:
        raise invalid(f"The limit is 1 to {PAGE_MAX}.", "limit", "parameter_invalid_integer")
    ids = [one["id"] for one in objects]
    after = params.get("starting_after")
    if after is not None and after not in ids:
        raise Refusal(f"No such object: '{after}'", param="starting_after", code="resource_missing", begun=False)
    start = 0 if after is None else ids.index(after) + 1
    data = objects[start : start + limit]
    return {"object": "list", "has_more": start + limit < len(objects), "data": data}


class Listening(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked may be dead, which is what many tests are about."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class LocalStripe:
    """`now_s` is its clock."""

    def __init__(
        self, now_s: Callable[[], int], *, key: str = "sk_test_local", webhook_secret: str = "whsec_local"
    ) -> None:
        self.now_s = now_s
        self.key = key
        self.webhook_secret = webhook_secret
        self.accounts: dict[str | None, Books] = {}
        self.requests: list[Request] = []
        self.misused: list[tuple[str, str]] = []  # what a key was used for first, and then
        self._kept: dict[tuple[str | None, str], Kept] = {}
        self._planned: list[Planned] = []
        self._lock = threading.Lock()
        self._server = Listening(("127.0.0.1", 0), handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> LocalStripe:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def books(self) -> Books:
        """Those of the account that the key belongs to."""
        return self.books_of(None)

    def books_of(self, account: str | None) -> Books:
        return self.accounts.setdefault(account, Books(self.now_s, "_live_" in self.key))

    def plan(self, fault: Fault, times: int = 1, matches: str = "POST .*") -> None:
        """The next requests that match `METHOD PATH` meet this."""
        self._planned.append(Planned(fault, times, re.compile(matches)))

    def calm(self) -> None:
        """What was planned and did not happen yet, will not."""
        self._planned.clear()

    def asked(self, matches: str) -> list[Request]:
        return [r for r in self.requests if re.fullmatch(matches, f"{r.method} {r.path}")]

    def webhook(
        self, event: Object, *, at_s: int | None = None, secret: str | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body, signed as Stripe signs."""
        body = json.dumps(event, indent=2).encode()
        at_s = self.now_s() if at_s is None else at_s
        signature = hmac.new((secret or self.webhook_secret).encode(), f"{at_s}.".encode() + body, hashlib.sha256)
        return {"Stripe-Signature": f"t={at_s},v1={signature.hexdigest()},v0={'0' * 64}"}, body

    # One request

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """None: the connection goes without one."""
        with self._lock:
            url = urlsplit(target)
            params = forms.read(body.decode() if method == "POST" else url.query)
            key = headers.get("Idempotency-Key") if method == "POST" else None
            request = Request(method, url.path, params, key, headers.get("Stripe-Account"))
            request.fault = self._met(f"{method} {url.path}")
            self.requests.append(request)
            if headers.get("Authorization") != f"Bearer {self.key}":
                return failed(Refusal("Invalid API Key provided: sk_t****", status=401))
            return self._faulty(request)

    def _met(self, what: str) -> Fault | None:
        for planned in self._planned:
            if planned.times and planned.matches.fullmatch(what):
                planned.times -= 1
                return planned.fault
        return None

    def _faulty(self, request: Request) -> Answer | None:
        match request.fault:
            case Fault.LIMITED:
                refusal = Refusal("Too many requests.", code="rate_limit", status=429)
                return failed(refusal, {"Retry-After": "1", "Stripe-Rate-Limited-Reason": "global-rate"})
            case Fault.DROPPED:
                return None
            case Fault.DOWN:
                return Answer(503, b"<html>upstream connect error</html>", {"Content-Type": "text/html"})
            case Fault.IN_USE:
                return failed(Refusal("Another request with this key runs.", code="idempotency_key_in_use", status=409))
        answer = self._once(request)
        return None if request.fault is Fault.CUT else answer

    def _once(self, request: Request) -> Answer:
        """The answer that its key has, or a new one."""
        asked = json.dumps([request.method, request.path, request.params], sort_keys=True)
        place = (request.account, request.key or "")
        kept = self._kept.get(place) if request.key else None
        if kept is not None and kept.at_s > self.now_s() - KEY_S:
            if kept.asked != asked:
                self.misused.append((kept.asked, asked))
                text = (
                    "Keys for idempotent requests can only be used with the same parameters they were first used with."
                )
                return failed(Refusal(text, type="idempotency_error"))
            return Answer(kept.status, kept.body, {"Idempotent-Replayed": "true"})
        answer, begun = self._done(request)
        if request.key and begun:
            self._kept[place] = Kept(asked, answer.status, answer.body, self.now_s())
        return answer

    def _done(self, request: Request) -> tuple[Answer, bool]:
        broken = failed(Refusal("An unknown error occurred.", type="api_error", status=500))
        if request.fault is Fault.BROKEN:
            return broken, True
        try:
            made = self._routed(request)
        except Refusal as refusal:
            return failed(refusal), refusal.begun
        if request.fault is Fault.DONE_BUT_BROKEN:
            return broken, True
        return Answer(200, json.dumps(made).encode()), True

    def _routed(self, request: Request) -> Object:
        for method, path, route in ROUTES:
            match = re.fullmatch(path, request.path)
            if method == request.method and match:
                made: Object = route(self.books_of(request.account), match.groups(), request.params)
                return made | {"url": request.path} if made["object"] == "list" else made
        raise Refusal(f"Unrecognized request URL ({request.method}: {request.path}).", status=404, begun=False)


def failed(refusal: Refusal, headers: dict[str, str] | None = None) -> Answer:
    return Answer(refusal.status, json.dumps({"error": refusal.error}).encode(), headers or {})


def handler_of(there: LocalStripe) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            self._do()

        def do_POST(self) -> None:
            self._do()

        def do_DELETE(self) -> None:
            self._do()

        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            whole = len(body) == length  # who asked may have died in the middle of a word
            answer = there.answer(self.command, self.path, self.headers, body) if whole else None  # type: ignore[arg-type]
            self.close_connection = answer is None
            if answer is None:
                return
            with suppress(ConnectionError):  # who asked may be dead
                self.send_response(answer.status)
                known = {"Content-Type": "application/json", "Request-Id": f"req_{len(there.requests)}"}
                for name, value in (known | answer.headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

    return Handler
