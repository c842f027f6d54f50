"""The link of a mail, as scanners, scripts and servers on the way see it: scenarios of vectors/oversight.json, named by their number."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx2
import pytest

from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.oversight import Record, RequestState
from creto.platform.consensus import PersonId
from tests.browser import Page, browser
from tests.integration.edge.office import Office
from tests.layers import Layer

# Pages look alike on every engine.
pytestmark = pytest.mark.parametrize("served", ["sqlite"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def office(served: Layer) -> Office:
    return Office(served)


@pytest.fixture
def page() -> Iterator[Page]:
    with browser() as found:
        yield found


def code_of(office: Office, record: Record) -> str:
    """What stands behind the # of the link that Alice is sent."""
    parts = office.served.app.parts
    until = ConsensusTimestamp(parts.clock.now() + 3_600 * SECOND)
    return parts.channels.links.token(office.tenant, record.ask.request_id, PersonId(office.ids["alice"]), until)


def undecided(office: Office, record: Record) -> bool:
    now = office.now(record).progress
    return now.state is RequestState.PENDING and now.settles_at is None


@pytest.mark.parametrize("signed_in", [False, True])
def test_ov_090_looking_changes_nothing(office: Office, signed_in: bool) -> None:
    """given a link / when scanners GET, HEAD and OPTIONS it from everywhere / then nothing is decided, and the link still opens the request."""
    record = office.ask()
    code = code_of(office, record)
    cookies = {"creto_session": office.session("alice")} if signed_in else {}
    for scanner in range(3):
        address = {"X-Forwarded-For": f"192.0.2.{scanner}", "User-Agent": "scanner"}
        with httpx2.Client(cookies=cookies, headers=address, follow_redirects=True) as client:
            for path in (office.at(record), f"{office.at(record)}?approve=true", f"{office.at(record)}/approve"):
                for method in ("GET", "GET", "GET", "HEAD", "OPTIONS"):
                    assert client.request(method, path).status_code < 500
    assert undecided(office, record)
    opened = httpx2.post(f"{office.url}/login", data={"link": code})
    assert opened.status_code == 200
    assert "wants to transfer money" in opened.text


@pytest.mark.parametrize("signed_in", [False, True])
def test_ov_091_scripts_that_run_by_themselves_decide_nothing(office: Office, page: Page, signed_in: bool) -> None:
    """given a scanner that runs the page's scripts for ten seconds and clicks nothing / then the request is as it was."""
    record = office.ask()
    if signed_in:
        office.sign_in(page, "alice")
    page.open(f"{office.at(record)}#{code_of(office, record)}")
    page.until("document.querySelector('#approve')" if signed_in else "document.title.includes('transfer money')")
    page.pass_s(10)
    assert undecided(office, record)
    assert not [sent for sent in page.sent if sent.startswith("POST ") and not sent.endswith("/login")]


def test_ov_095_the_code_of_a_link_is_in_no_log_no_referrer_and_no_history(office: Office, page: Page) -> None:
    """given a link / when it is opened and followed on / then its code was in the body of one request, and nowhere that is kept."""
    record = office.ask()
    code = code_of(office, record)
    kept: list[str] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda line: kept.append(f"{line.getMessage()} {vars(line)}")  # type: ignore[method-assign]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        page.open(f"{office.at(record)}#{code}")
        page.until("document.title.includes('transfer money')")
        assert code not in page.evaluate("location.href")
        page.click(".notice a")
        page.until("location.pathname === '/login'")
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    steps = page.call("Page.getNavigationHistory")["entries"]
    assert not [step["url"] for step in steps if code in step["url"]]
    assert not [url for url in page.requested if code in url.split("#")[0]]
    assert not [sent for sent in page.referrers if sent]
    assert not [line for line in kept if code in line]
    assert httpx2.get(office.at(record)).headers["referrer-policy"] == "no-referrer"
