"""A Slack on this machine that keeps Slack's contract as far as an approval needs it; the real SDK talks to it.

    with SlackServer() as slack:
        api = slack.api()                                # a SlackApi that talks to it
        slack.troubles.append(Trouble(status=429, retry_after=3))
        headers, body = slack.click(slack.cards[-1], "creto_approve", user="U1")

It refuses blocks that Slack would refuse, knows its users, forgets a response_url after five uses, and can be busy, broken, slow, or cut the line
after it has done what it was asked.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode

from creto.connectors.slack_api import SlackApi
from creto.connectors.slack_signing import signature

TOKEN, SECRET, TEAM, APP = "xoxb-valid", "8f742231b10e8888abcd99yyyzzz85a5", "T1", "A1"
TEXT_MAX = {
    "section": 3_000,
    "header": 150,
    "button": 75,
    "value": 2_000,
    "url": 3_000,
    "action_id": 255,
    "block_id": 255,
}
Headers = list[tuple[bytes, bytes]]


@dataclass
class Trouble:
    """What goes wrong with one call. `cut` breaks the line off after the call has been done; nothing is said until `silent` is set."""

    status: int = 0
    retry_after: int = 0
    error: str = ""
    cut: bool = False
    silent: threading.Event | None = None


@dataclass
class Card:
    """A message as it stands now."""

    conversation: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    updates: int = 0

    @property
    def buttons(self) -> dict[str, dict[str, Any]]:
        found = [one for block in self.blocks if block["type"] == "actions" for one in block["elements"]]
        return {one["action_id"]: one for one in found}

    @property
    def words(self) -> str:
        """Everything that a human reads on it."""
        return " ".join([self.text, *texts(self.blocks)])


@dataclass
class SlackServer:
    users: set[str] = field(default_factory=lambda: {"U1", "U2", "U3"})
    troubles: list[Trouble] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    responses: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    now_s: int = 1_767_225_600
    numbers: int = 0
    _http: ThreadingHTTPServer | None = None

    def __enter__(self) -> SlackServer:
        server = self
        self.lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                server._serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._http is not None
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}" if self._http is not None else "http://slack.invalid"

    def api(self, token: str = TOKEN, **options: Any) -> SlackApi:
        return SlackApi(token, base_url=f"{self.base}/api/", responses=f"{self.base}/respond/", **options)

    # What it answers

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length", "0")))
        method = request.path.removeprefix("/api/").strip("/")
        with self.lock:
            self.calls.append(method)
            trouble = self.troubles.pop(0) if self.troubles else Trouble()
        if trouble.silent is not None:
            trouble.silent.wait()
        if trouble.status:
            headers = {"Retry-After": str(trouble.retry_after)} if trouble.retry_after else {}
            said = (
                {"ok": False, "error": "ratelimited"}
                if trouble.status == 429
                else {"ok": False, "error": "internal_error"}
            )
            return self._say(request, said, trouble.status, headers)
        with self.lock:
            said = {"ok": False, "error": trouble.error} if trouble.error else self._do(request, method, body)
        if trouble.cut:
            request.close_connection = True
            request.connection.close()
            return None
        return self._say(request, said)

    def _say(
        self, request: BaseHTTPRequestHandler, said: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        data = json.dumps(said).encode() if isinstance(said, dict) else said
        status = 404 if said == b"used_url" else status
        try:
            request.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **(headers or {}),
            }.items():
                request.send_header(name, value)
            request.end_headers()
            request.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _do(self, request: BaseHTTPRequestHandler, method: str, body: bytes) -> Any:
        if request.path.startswith(("/respond/", "/services/")):
            return self._respond(request.path, json.loads(body))
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        json_body = "json" in (request.headers.get("content-type") or "")
        fields = json.loads(body) if json_body else {k: v[0] for k, v in parse_qs(body.decode()).items()}
        known = {
            "auth.test": lambda: {"ok": True, "team_id": TEAM, "user_id": "UBOT", "bot_id": "B1"},
            "chat.postMessage": lambda: self._post(fields),
            "chat.update": lambda: self._update(fields),
            "views.open": lambda: self._open(fields),
            "conversations.open": lambda: {"ok": True, "channel": {"id": f"D{fields.get('users')}"}},
            "users.info": lambda: self._user(fields),
        }
        return known[method]() if method in known else {"ok": False, "error": "unknown_method"}

    def _user(self, fields: dict[str, Any]) -> dict[str, Any]:
        user = fields.get("user")
        return (
            {"ok": True, "user": {"id": user, "deleted": False}}
            if user in self.users
            else {"ok": False, "error": "user_not_found"}
        )

    def _post(self, fields: dict[str, Any]) -> dict[str, Any]:
        to, blocks = fields.get("channel", ""), fields.get("blocks", [])
        if to not in self.users and not to.startswith(("C", "D")):
            return {"ok": False, "error": "channel_not_found"}
        if problem := refused_blocks(blocks):
            return {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [problem]}}
        if not fields.get("text") and not blocks:
            return {"ok": False, "error": "no_text"}
        self.numbers += 1
        card = Card(
            f"D{to}" if to in self.users else to, f"{self.now_s}.{self.numbers:06d}", fields.get("text", ""), blocks
        )
        self.cards.append(card)
        return {"ok": True, "channel": card.conversation, "ts": card.ts, "message": {"text": card.text}}

    def _update(self, fields: dict[str, Any]) -> dict[str, Any]:
        card = next(
            (c for c in self.cards if (c.conversation, c.ts) == (fields.get("channel"), fields.get("ts"))), None
        )
        if card is None:
            return {"ok": False, "error": "message_not_found"}
        if problem := refused_blocks(fields.get("blocks", [])):
            return {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [problem]}}
        card.text, card.blocks = fields.get("text", ""), fields.get("blocks", [])
        card.updates += 1
        return {"ok": True, "channel": card.conversation, "ts": card.ts, "text": card.text}

    def _open(self, fields: dict[str, Any]) -> dict[str, Any]:
        view = fields.get("view", {})
        titles = [view.get(name, {}).get("text", "") for name in ("title", "submit", "close")]
        if any(len(text) > 24 for text in titles) or not view.get("blocks"):
            return {"ok": False, "error": "invalid_arguments"}
        if problem := refused_blocks(view["blocks"], most=100):
            return {"ok": False, "error": "invalid_blocks", "response_metadata": {"messages": [problem]}}
        self.views.append(view)
        return {"ok": True, "view": {"id": f"V{len(self.views)}", **view}}

    def _respond(self, path: str, said: dict[str, Any]) -> Any:
        if sum(known == path for known, _ in self.responses) >= 5 and path.startswith("/respond/"):
            return b"used_url"
        self.responses.append((path, said))
        return b"ok"

    # What it sends

    def signed(
        self, body: bytes, *, now_s: int | None = None, secret: str = SECRET, retry: int = 0
    ) -> tuple[Headers, bytes]:
        timestamp = str(now_s or self.now_s).encode()
        headers = [
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"x-slack-request-timestamp", timestamp),
            (b"x-slack-signature", signature(secret, timestamp, body)),
        ]
        if retry:
            headers += [(b"x-slack-retry-num", str(retry).encode()), (b"x-slack-retry-reason", b"http_timeout")]
        return headers, body

    def click(
        self, card: Card, action_id: str, *, user: str = "U1", changes: dict[str, Any] | None = None, **options: Any
    ) -> tuple[Headers, bytes]:
        """A human presses a button; each press has its own trigger."""
        self.numbers += 1
        button = card.buttons.get(action_id, {"value": ""})
        payload = {
            "type": "block_actions", "team": {"id": TEAM, "domain": "corp"}, "user": {"id": user, "name": "x"}, "api_app_id": APP,
            "token": "deprecated", "container": {"type": "message", "message_ts": card.ts, "channel_id": card.conversation},
            "trigger_id": f"{self.numbers}.trigger", "channel": {"id": card.conversation}, "message": {"ts": card.ts},
            "response_url": f"{self.base}/respond/{self.numbers}",
            "actions": [{"action_id": action_id, "block_id": "creto", "value": button.get("value", ""), "type": "button", "action_ts": f"{self.numbers}"}],
        }  # fmt: skip
        return self.signed(urlencode({"payload": json.dumps(payload | (changes or {}))}).encode(), **options)

    def submit(
        self, view: dict[str, Any], reason: str, *, user: str = "U1", kind: str = "view_submission", **options: Any
    ) -> tuple[Headers, bytes]:
        self.numbers += 1
        block = next(one["block_id"] for one in view["blocks"] if one["type"] == "input")
        payload = {
            "type": kind, "team": {"id": TEAM}, "user": {"id": user}, "api_app_id": APP, "trigger_id": f"{self.numbers}.trigger",
            "view": {**view, "id": "V1", "hash": f"{self.numbers}", "state": {"values": {block: {block: {"type": "plain_text_input", "value": reason or None}}}}},
        }  # fmt: skip
        return self.signed(urlencode({"payload": json.dumps(payload)}).encode(), **options)

    def command(
        self, text: str, *, user: str = "U1", changes: dict[str, str] | None = None, **options: Any
    ) -> tuple[Headers, bytes]:
        self.numbers += 1
        fields = {
            "token": "deprecated", "team_id": TEAM, "api_app_id": APP, "channel_id": "C1", "user_id": user, "command": "/creto",
            "text": text, "response_url": f"{self.base}/respond/{self.numbers}", "trigger_id": f"{self.numbers}.trigger",
        }  # fmt: skip
        return self.signed(urlencode(fields | (changes or {})).encode(), **options)


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) else []
        return own + [text for one in value.values() for text in texts(one)]
    return [text for one in value for text in texts(one)] if isinstance(value, list) else []


def refused_blocks(blocks: list[dict[str, Any]], most: int = 50) -> str:
    """Why Slack would refuse these blocks."""
    if len(blocks) > most:
        return "too many blocks"
    for block in blocks:
        if block["type"] not in ("header", "section", "rich_text", "actions", "context", "divider", "input"):
            return f"unknown type {block['type']}"
        elements = block.get("elements", []) if block["type"] == "actions" else []
        ids = [one.get("action_id") for one in elements]
        if len(set(ids)) != len(ids) or len(ids) > 25 or (block["type"] == "actions" and not ids):
            return "action ids must be unique"
        for one in elements:
            if (
                any(len(one.get(name, "")) > TEXT_MAX[name] for name in ("value", "url", "action_id"))
                or len(one["text"]["text"]) > 75
            ):
                return "a button is too long"
            if "url" in one and not one["url"].startswith(("http://", "https://")):
                return "invalid url"
        limit = TEXT_MAX.get(block["type"], 3_000)
        if any(not text or len(text) > limit for text in texts(block)):
            return "a text is empty or too long"
    return ""
