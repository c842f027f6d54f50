"""The console: a link that works once, a GET that changes nothing, a cookie that stays where it belongs, pages with no scripts but ours."""

from __future__ import annotations

import httpx2
import pytest

from creto.common.errors import ConnectionFailed, InternalError
from creto.platform.nhi import Nhi
from tests.layers import Layer

# Pages look alike on every engine.
pytestmark = pytest.mark.parametrize("served", ["sqlite"], indirect=True, scope="module")


def link(served: Layer) -> str:
    app = served.app
    return served.run(app.parts.nhi.login_token(app.tenant, app.operator, scopes=("*",)))


def test_a_link_signs_in_once(served: Layer) -> None:
    secret = link(served)
    with httpx2.Client(base_url=served.rest) as browser:
        assert browser.get("/").headers["location"] == "/login"
        for _ in range(3):  # looking at the link, as previews do, uses nothing up
            page = browser.get("/login", params={"link": secret})
            assert page.status_code == 200
            assert secret in page.text
            assert "set-cookie" not in page.headers
        signed_in = browser.post("/login", data={"link": secret})
        assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/")
        cookie = signed_in.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "path=/" in cookie
        home = browser.get("/")
        assert home.status_code == 200
        assert "operator" in home.text
        assert "Dependencies" in home.text
        assert browser.post("/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
        assert browser.get("/").status_code == 200
        assert browser.post("/logout").status_code == 303
        assert browser.get("/").headers["location"] == "/login"
    again = httpx2.post(f"{served.rest}/login", data={"link": secret})
    assert again.status_code == 401
    assert "set-cookie" not in again.headers


def test_pages_run_and_load_nothing_of_others(served: Layer) -> None:
    page = httpx2.get(f"{served.rest}/login")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.text.count("<script") == page.text.count('<script src="/static/') == 3
    assert "style=" not in page.text
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert httpx2.get(f"{served.rest}/static/style.css").headers["content-type"].startswith("text/css")
    assert httpx2.get(f"{served.rest}/static/../pages.py").status_code == 404


def test_the_cookie_alone_asks_nothing_of_the_api(served: Layer) -> None:
    """A page of another site can send a cookie along, but not our header."""
    with httpx2.Client(base_url=served.rest) as browser:
        browser.post("/login", data={"link": link(served)})
        assert browser.get("/v1/time").status_code == 401
        assert browser.get("/v1/time", headers={"X-Creto-Console": "1"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 401),
        (b"link=", 401),
        (b"link=%00%ff", 401),
        (b"link=" + b"x" * 10_000, 413),
        (b"&".join(b"a=1" for _ in range(500)), 400),
        (b"\xff\xfe\x00", 401),
    ],
)
def test_forms_that_are_none(served: Layer, body: bytes, status: int) -> None:
    chunked = httpx2.post(f"{served.rest}/login", content=iter([body]))
    for page in (httpx2.post(f"{served.rest}/login", content=body), chunked):
        assert page.status_code == status
        assert page.headers["content-type"].startswith("text/html")
        assert "set-cookie" not in page.headers


@pytest.mark.parametrize("cookie", ["", "x", "creto1.x", "creto1." + "A" * 9_000])
def test_a_cookie_that_is_none_leads_to_the_sign_in(served: Layer, cookie: str) -> None:
    page = httpx2.get(f"{served.rest}/", headers={"Cookie": f"creto_session={cookie}"})
    assert (page.status_code, page.headers["location"]) == (303, "/login")


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/approvals"), ("GET", "/grants"), ("POST", "/grants"), ("GET", "/passkeys"), ("POST", "/passkeys")],
)  # fmt: skip
def test_a_moment_without_the_store_signs_nobody_out(
    served: Layer, monkeypatch: pytest.MonkeyPatch, method: str, path: str
) -> None:
    """given a session / when nobody can say whether it holds / then a page says so and when to come again; and it is there still."""
    with httpx2.Client(base_url=served.rest) as browser:
        browser.post("/login", data={"link": link(served)})

        def away(*_: object) -> object:
            raise ConnectionFailed("PL-503", "the store is away")

        def broken(*_: object) -> object:
            raise InternalError("PL-500")

        monkeypatch.setattr(Nhi, "verify_token", away)
        page = browser.request(method, path)
        assert (page.status_code, page.headers["retry-after"]) == (503, "1")
        assert "the store is away" in page.text
        monkeypatch.setattr(Nhi, "verify_token", broken)
        page = browser.request(method, path)
        assert (page.status_code, "retry-after" in page.headers) == (500, False)
        monkeypatch.undo()
        assert browser.get("/").status_code == 200


def test_what_is_named_is_shown_and_not_run(served: Layer) -> None:
    """given an identity with markup for a name / when the page lists it / then it is text."""
    from creto.sdk import Creto

    with Creto.connect(served.rest, token=served.token) as creto:
        creto.register("<script>alert(1)</script>")
    with httpx2.Client(base_url=served.rest) as browser:
        browser.post("/login", data={"link": link(served)})
        home = browser.get("/").text
    assert "<script" not in home
    assert "&lt;script&gt;" in home
