"""Signing in with a passkey, as it travels: two forms of one browser, a cookie between them, and a path of this site to go on to."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from creto.common.errors import QuotaExceeded
from creto.common.limits import SIGN_IN_TTL_S
from creto.edge.api.rate import CallerRate
from creto.oversight.passkeys import user_handle
from creto.platform.consensus import PersonId
from creto.platform.crypto.jose import b64url_decode, b64url_encode
from creto.platform.crypto.webauthn import registered
from tests.integration.edge.office import Office
from tests.layers import Layer
from tests.unit.platform.crypto.authenticator import Authenticator

# Pages look alike on every engine.
pytestmark = pytest.mark.parametrize("served", ["sqlite"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def office(served: Layer) -> Office:
    return Office(served)


@pytest.fixture
def key(office: Office) -> Iterator[Authenticator]:
    """A passkey of Alice's."""
    made = Authenticator("localhost", origin=office.url)
    passkey = registered(*made.make(b"c"), challenge=b"c")
    office.served.run(
        office.oversight.enrol_passkey(office.tenant, passkey, by=office.ids["alice"], name="phone", scopes=("*",))
    )
    yield made
    office.served.run(office.oversight.drop_passkey(office.tenant, made.credential_id, by=office.ids["alice"]))


def asked(browser: httpx2.Client) -> bytes:
    return b64url_decode(browser.post("/login/challenge").json()["challenge"])


def answer(office: Office, key: Authenticator, challenge: bytes, **more: str) -> dict[str, str]:
    signed = key.sign(challenge)
    return {
        "credential": b64url_encode(key.credential_id),
        "authenticator": b64url_encode(signed.authenticator_data),
        "client": b64url_encode(signed.client_data),
        "signature": b64url_encode(signed.signature),
        "user": b64url_encode(user_handle(office.tenant, PersonId(office.ids["alice"]))),
        **more,
    }


def test_a_session_as_by_a_link(office: Office, key: Authenticator) -> None:
    """given a challenge of this browser / when the passkey's answer comes / then there is a session, and the same answer makes no second."""
    with httpx2.Client(base_url=office.url) as browser:
        page = browser.post("/login/challenge")
        cookie = page.headers["set-cookie"].lower()
        assert all(
            word in cookie for word in ("httponly", "samesite=strict", "path=/login", f"max-age={SIGN_IN_TTL_S}")
        )
        assert page.headers["cache-control"] == "no-store"
        secret = browser.cookies["creto_sign_in"]
        form = answer(office, key, b64url_decode(page.json()["challenge"]), next="/approvals?decided=1")
        signed_in = browser.post("/login/passkey", data=form)
        assert (signed_in.status_code, signed_in.json()) == (200, {"to": "/approvals?decided=1"})
        session = next(line.lower() for line in signed_in.headers.get_list("set-cookie") if line.startswith("creto_session="))  # fmt: skip
        assert all(word in session for word in ("httponly", "samesite=strict", "path=/;"))
        assert "creto_sign_in" not in browser.cookies
        assert browser.get("/approvals").status_code == 200
    again = httpx2.post(f"{office.url}/login/passkey", data=form, headers={"Cookie": f"creto_sign_in={secret}"})
    assert (again.status_code, "set-cookie" in again.headers) == (401, False)


def test_only_in_the_browser_that_asked(office: Office, key: Authenticator) -> None:
    with httpx2.Client(base_url=office.url) as one, httpx2.Client(base_url=office.url) as other:
        form = answer(office, key, asked(one))
        assert httpx2.post(f"{office.url}/login/passkey", data=form).status_code == 401
        asked(other)
        assert other.post("/login/passkey", data=form).status_code == 401
        assert one.post("/login/passkey", data=form).status_code == 200


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "evil", "javascript:alert(1)", "/a\tb", ""],
)
def test_nobody_is_sent_elsewhere(office: Office, key: Authenticator, elsewhere: str) -> None:
    with httpx2.Client(base_url=office.url) as browser:
        form = answer(office, key, asked(browser), next=elsewhere)
        assert browser.post("/login/passkey", data=form).json() == {"to": "/"}


def test_another_site_asks_for_nothing(office: Office, key: Authenticator) -> None:
    with httpx2.Client(base_url=office.url) as browser:
        form = answer(office, key, asked(browser))
        for path in ("/login/challenge", "/login/passkey"):
            refused = browser.post(path, data=form, headers={"Sec-Fetch-Site": "cross-site"})
            assert (refused.status_code, "set-cookie" in refused.headers) == (403, False)
            assert browser.get(path).status_code == 405
        assert browser.post("/login/passkey", data=form).status_code == 200


def test_nobody_learns_whose_passkeys_there_are(office: Office, key: Authenticator) -> None:
    stranger, dropped = Authenticator("localhost", origin=office.url), key
    told = set()
    for one in (stranger, dropped):
        if one is dropped:
            office.served.run(office.oversight.drop_passkey(office.tenant, key.credential_id, by=office.ids["alice"]))
        with httpx2.Client(base_url=office.url) as browser:
            refused = browser.post("/login/passkey", data=answer(office, one, asked(browser)))
            told.add((refused.status_code, refused.text))
    assert len(told) == 1


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 400), ({"credential": "AA"}, 401), ({"credential": "!"}, 400), ({"user": ""}, 401), ({"client": "AA"}, 401), ({"x": "x" * 20_000}, 413)],
)  # fmt: skip
def test_forms_that_are_none(office: Office, key: Authenticator, fields: dict[str, str], status: int) -> None:
    with httpx2.Client(base_url=office.url) as browser:
        form = {**answer(office, key, asked(browser)), **fields} if fields else {}
        refused = browser.post("/login/passkey", data=form)
        assert (refused.status_code, "set-cookie" in refused.headers) == (status, False)
        assert refused.json()["error"]


def test_who_asks_too_often_waits(office: Office, key: Authenticator, monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx2.Client(base_url=office.url) as browser:
        form = answer(office, key, asked(browser))

        def refuse(*_: object) -> None:
            raise QuotaExceeded("PL-429")

        with monkeypatch.context() as busy:
            busy.setattr(CallerRate, "admit", refuse)
            for path in ("/login", "/login/challenge", "/login/passkey"):
                assert browser.post(path, data=form).status_code == 429
        assert browser.post("/login/passkey", data=form).status_code == 200
