"""The console in a browser: silent on its console, nothing from elsewhere, no scrolling sideways on a small screen, both themes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from creto.sdk import Creto
from tests.browser import Page, browser
from tests.layers import Layer

# Pages look alike on every engine.
pytestmark = pytest.mark.parametrize("served", ["sqlite"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as found:
        yield found


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_pages_are_quiet_and_fit(served: Layer, page: Page, width: int, scheme: str) -> None:
    app = served.app
    if width == 320 and scheme == "light":
        with Creto.connect(served.rest, token=served.token) as creto:
            bot = creto.register("an-agent-with-a-name-that-is-rather-long-" + "x" * 60)
            creto.memory.store_context(agent=bot.nhi, kind="note", content="something")
            creto.audit.checkpoint()
    secret = served.run(app.parts.nhi.login_token(app.tenant, app.operator, scopes=("*",)))
    page.said.clear()
    page.requested.clear()
    for name, path in (("login", "/login"), ("link", f"/login?link={secret}")):
        page.open(served.rest + path, width=width, scheme=scheme)
        fits(page, width)
        page.screenshot(f"{name}-{width}-{scheme}.png")
    page.evaluate("document.querySelector('form button').focus()")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    issued = served.run(app.parts.nhi.exchange_login(secret))
    page.call("Network.setCookie", name="creto_session", value=issued.token, url=served.rest, httpOnly=True)
    page.open(served.rest + "/", width=width, scheme=scheme)
    assert page.evaluate("document.querySelector('h1').textContent") == "Overview"
    fits(page, width)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 21, 28)"
    assert dark == (scheme == "dark")
    page.screenshot(f"home-{width}-{scheme}.png")
    assert page.said == []
    assert all(url.startswith(served.rest) for url in page.requested)


def fits(page: Page, width: int) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        "[...document.querySelectorAll('button, a.brand')].filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 24).length"
    )
    assert small == 0
