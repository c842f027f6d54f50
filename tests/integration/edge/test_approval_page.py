"""The approval page in a browser: how it looks, the keyboard, without scripts, with a passkey, for assistive technology, against spoofs."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from creto.common.limits import OVERSIGHT_TEXT_CHARS_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.contracts import RiskLevel
from creto.edge.console.site import HERE
from creto.oversight import (
    BatchItem,
    Bound,
    Channel,
    Contact,
    DecisionFile,
    Quorum,
    RequestState,
    Verdict,
    render,
)
from creto.oversight.core import MOVED
from creto.oversight.types import NoteKind
from creto.platform.audit import Keys, Principal, verify_file
from creto.platform.consensus import PersonId
from creto.platform.nhi import PrincipalKind
from creto.sdk import Creto
from tests import engines, fuzz
from tests.browser import Page, browser
from tests.integration.edge.office import Office
from tests.layers import Layer
from tests.unit.oversight.test_spoofs import SPOOFS

# Pages look alike on every engine.
pytestmark = pytest.mark.parametrize("served", ["sqlite"], indirect=True, scope="module")

WEB = Path(__file__).parents[2] / "web"
PAGE_BYTES_MAX = 100_000
READY = "document.querySelector('#help-open:not([hidden])')"  # the page's own script has run
RISKY = """@id("some") @oversight("%s") forbid (principal, action == Action::"code.deploy", resource);
@id("much") @oversight("%s") @risk("high")
forbid (principal, action == Action::"code.deploy", resource) when { context has amount && context.amount > 1000 };"""
ARGUMENTS = {"to": "DE89 3704 0044 0532 0130 00", "amount": 25_000, "currency": "EUR", "password": "hunter2hunter2", "memo": "Invoice\u202e17", "cc": ["a", "b"]}  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def office(served: Layer) -> Office:
    return Office(served)


@pytest.fixture(autouse=True)
def fresh(office: Office, page: Page) -> Iterator[None]:
    """Nothing waits, Alice is signed in, and the page had nothing to complain about at the end."""
    office.clear()
    page.scripts(True)
    page.said.clear()
    page.requested.clear()
    office.sign_in(page, "alice")
    yield
    refused = [line for line in page.said if "status of 4" not in line]  # what the test asked to be refused
    assert refused == []
    assert all(url.startswith(office.url) for url in page.requested)


def furnished(office: Office) -> dict[str, str]:
    """A request of each kind; where their cards are."""
    last = office.ask({"to": "ann", "amount": 40, "currency": "EUR"})
    office.vote(last, "alice", reason="As agreed.")
    high = office.ask(ARGUMENTS, office.two, risk=RiskLevel.HIGH, description="SYSTEM: pre-approved by CFO, click Approve\nPlease be quick.")  # fmt: skip
    office.vote(high, "bob", reason="Known invoice.")
    office.served.run(
        office.oversight.ask(office.tenant, high.ask.request_id, "Which contract?", by=office.ids["carol"])
    )
    office.served.run(office.oversight.answer(office.tenant, high.ask.request_id, "Number 17.", by=office.bot))
    batch = office.ask(items=tuple(BatchItem(item_id=f"mail-{n}", arguments=b'{"to":"ann"}') for n in "123"))
    own, low = office.ask({"n": 1}, office.own_key), office.ask({"n": 2}, risk=RiskLevel.LOW)
    cards = {"high": high, "batch": batch, "own-key": own, "low": low, "ended": last}
    return {"decided": f"{office.url}/approvals?decided=1", **{name: office.at(one) for name, one in cards.items()}}


# How it looks


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_it_fits_and_is_quiet(office: Office, page: Page, width: int, scheme: str) -> None:
    pages = {
        "inbox": f"{office.url}/approvals",
        **furnished(office),
        "passkeys": f"{office.url}/passkeys",
        "grants": f"{office.url}/grants",
    }
    for name, url in pages.items():
        page.open(url, width=width, scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        small = "[...document.querySelectorAll('button, .button, a.brand, input:not([type=hidden])')].filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)"
        assert page.evaluate(small) == [], name
        page.screenshot(f"approvals-{name}-{width}-{scheme}.png", whole=True)
    page.open(pages["low"], width=width, scheme=scheme)
    for act in ("deny", "edit", "propose", "approve-for", "ask", "delegate"):
        page.evaluate(f"document.getElementById('{act}').open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(f"approvals-open-{width}-{scheme}.png", whole=True)


def test_nothing_is_focused_before_one_has_looked(office: Office, page: Page) -> None:
    page.open(office.at(office.ask()))
    assert page.evaluate("document.activeElement.tagName") == "BODY"
    page.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"


@pytest.mark.parametrize("requests", [1, 60])
def test_it_is_light(office: Office, requests: int) -> None:
    """Everything that a first look loads, as it travels; with one request even as it is read."""
    for number in range(requests):
        record = office.ask({**ARGUMENTS, "number": number}, risk=RiskLevel.MEDIUM, action="light.act")
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        html = client.get(f"/approvals/{record.ask.request_id}")
        assets = {part.split('"')[0] for part in html.text.replace("src=", "href=").split('href="')[1:] if part.startswith("/static/")}  # fmt: skip
        found = [html, *(client.get(asset) for asset in assets)]
    assert len(found) == 6
    assert sum(one.num_bytes_downloaded for one in found) < PAGE_BYTES_MAX
    assert requests > 1 or sum(len(one.content) for one in found) < PAGE_BYTES_MAX


def test_the_headers_let_nothing_else_in(office: Office) -> None:
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        for path in ("/approvals", f"/approvals/{office.ask().ask.request_id}", "/passkeys", "/approvals/req-none"):
            headers = client.get(path).headers
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy == {
                "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
                "form-action": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'",
            }  # fmt: skip
            assert headers["referrer-policy"] == "no-referrer"
            assert headers["cache-control"] == "no-store"


# Deciding


def test_a_click_can_be_undone_and_then_takes_effect(office: Office, page: Page) -> None:
    record = office.ask()
    page.open(office.at(record), width=768)
    page.until(READY)
    page.click("#approve")
    page.until("document.querySelector('#undo')")
    assert page.evaluate("document.activeElement.id") == "undo"
    page.screenshot("approvals-undo.png", whole=True)
    assert office.state(record) is RequestState.PENDING
    page.click("#undo")
    page.until("document.querySelector('#approve')")
    assert office.now(record).progress.settles_at is None
    page.click("#approve")
    page.until("document.querySelector('.outcome-line')")
    assert page.evaluate("document.querySelector('.outcome-line').innerText").startswith("Approved by alice.")
    assert office.state(record) is RequestState.APPROVED
    page.click("#revoke")
    page.until("document.querySelector('.outcome-line').innerText.includes('taken back by alice')")
    office.served.run(office.oversight.cancel(office.tenant, (other := office.ask(policy=office.two)).ask.request_id, by=office.bot, reason="paid already"))  # fmt: skip
    page.open(office.at(other))
    assert page.evaluate("document.querySelector('.outcome-line').innerText").startswith("Cancelled: paid already. 20")


def test_news_do_not_swap_what_is_being_pressed(office: Office, page: Page) -> None:
    """given a button that is held down / when a colleague votes / then the release still clicks it, and what was missed is there at once."""
    record = office.ask(policy=office.two)
    page.open(office.at(record), width=768)
    page.until(f"{READY} && document.querySelector('[data-live]')")
    page.evaluate("document.addEventListener('htmx:beforeSwap', () => { window.news = (window.news || 0) + 1; })")
    release = page.pressed("#effect")
    office.vote(record, "bob")
    page.until("window.news")
    assert not page.evaluate("document.querySelector('#card').innerText.includes('bob approved')")
    release()
    page.until("document.querySelector('#card').innerText.includes('bob approved')")
    page.evaluate("window.news = 0")
    release = page.pressed("#approve")
    office.served.run(office.oversight.claim(office.tenant, record.ask.request_id, by=office.ids["carol"], ttl_s=60))
    page.until("window.news")
    release()
    page.until("document.querySelector('#undo')")


def test_the_keyboard_alone(office: Office, page: Page) -> None:
    """J and K move, X ticks, R denies with a reason, A approves, ? explains, Esc goes back."""
    first, second = office.ask({"n": 1}, risk=RiskLevel.MEDIUM), office.ask({"n": 2})
    page.open(f"{office.url}/approvals")
    page.until(READY)
    here = "document.querySelector('article#card')?.dataset.request"
    page.press("?")
    page.until("document.getElementById('help').open")
    page.press("Escape")
    page.until("!document.getElementById('help').open")
    page.press("j")
    page.until(f"{here} === {json.dumps(first.ask.request_id)}")
    assert page.evaluate("document.activeElement.id") == "effect"
    assert page.evaluate("location.pathname").endswith(first.ask.request_id)
    page.press("x")
    page.until("document.querySelector('.row.here input').checked")
    page.press("x")
    page.press("j")
    page.until(f"{here} === {json.dumps(second.ask.request_id)}")
    page.press("k")
    page.until(f"{here} === {json.dumps(first.ask.request_id)}")
    page.press("r")
    page.until("document.activeElement.id === 'reason'")
    page.type("not today")
    page.press("Escape")
    page.until("!document.getElementById('deny').open")
    assert office.now(first).progress.settles_at is None
    page.press("a")
    page.until("document.querySelector('#undo')")
    assert office.now(first).progress.settles_at is not None
    page.press("Escape")
    page.until("!document.querySelector('article#card')")


def test_a_step_while_news_is_on_its_way_is_taken(office: Office, page: Page) -> None:
    """given news that is slow to come / when one goes on to the next request meanwhile / then that is what is shown, under its own address."""
    first, second = office.ask({"n": 1}, office.two, risk=RiskLevel.MEDIUM), office.ask({"n": 2}, office.two)
    page.open(office.at(first))
    page.until(READY)
    page.evaluate(
        "(() => { const send = XMLHttpRequest.prototype.send; window.under_way = 0;"
        " XMLHttpRequest.prototype.send = function (...all) { window.under_way += 1; setTimeout(() => send.apply(this, all), 300); }; })()"
    )
    office.vote(first, "bob")
    page.until("window.under_way")
    page.press("j")
    here = "document.querySelector('article#card')?.dataset.request"
    page.until(f"{here} === {json.dumps(second.ask.request_id)} && location.pathname.endsWith({here})")


def test_what_is_begun_while_news_is_on_its_way_stays(office: Office, page: Page) -> None:
    """given news that is slow to come / when one opens a form meanwhile / then it stays open, and the page says that something has changed."""
    record = office.ask(policy=office.two)
    page.open(office.at(record))
    page.until(f"{READY} && document.querySelector('[data-live]')")
    page.evaluate(
        "(() => { const send = XMLHttpRequest.prototype.send; window.held = []; window.swaps = 0;"
        " document.addEventListener('htmx:beforeSwap', () => { window.swaps += 1; });"
        " XMLHttpRequest.prototype.send = function (...all) { window.held.push(() => send.apply(this, all)); }; })()"
    )
    office.vote(record, "bob")
    page.until("window.held.length")
    page.click("#delegate summary")
    page.until("document.getElementById('delegate').open")
    page.evaluate("window.held.shift()()")
    page.until("window.swaps && !document.getElementById('changed').hidden")
    assert page.evaluate("document.getElementById('delegate').open")


def test_shortcuts_can_be_turned_off(office: Office, page: Page) -> None:
    record = office.ask()
    page.open(office.at(record))
    page.until(READY)
    page.evaluate("localStorage.setItem('creto-shortcuts', 'off')")
    page.press("a")
    page.press("r")
    assert not page.evaluate("document.getElementById('deny').open")
    page.evaluate("localStorage.clear()")
    assert office.now(record).progress.settles_at is None


def test_what_is_serious_is_held_down(office: Office, page: Page) -> None:
    record = office.ask(ARGUMENTS, risk=RiskLevel.HIGH)
    page.open(office.at(record))
    page.until(READY)
    assert page.evaluate("document.getElementById('approve').textContent") == "Hold to approve"
    page.click("#approve")
    page.press("a")
    assert page.evaluate("document.activeElement.id") == "approve"
    assert "Hold" in page.evaluate("document.getElementById('told').textContent")
    assert office.now(record).progress.settles_at is None
    page.press(" ", held_ms=1_400)
    page.until("document.querySelector('#undo')")
    assert office.now(record).progress.settles_at is not None


def test_without_scripts_everything_is_a_form(office: Office, page: Page) -> None:
    record = office.ask({"amount": 50, "password": "hunter2hunter2"}, office.two)
    page.scripts(False)
    page.open(office.at(record))
    submit(page, "ask", text="Why now?")
    page.until("document.querySelector('.notes')")
    submit(page, "claim")
    page.until("document.body.innerText.includes('claimed by alice')")
    page.evaluate("document.querySelector('#approve').click()")
    page.until("document.querySelector('.votes .approve')")
    page.evaluate("document.querySelector('#undo').click()")
    page.until("document.querySelector('#approve') && !document.querySelector('#undo')")
    page.evaluate(
        "document.querySelector('#arguments').value = document.querySelector('#arguments').value.replace('50', '40')"
    )
    submit(page, "edit")
    page.until("document.body.innerText.includes('round 2')")
    assert json.loads(office.now(record).ask.arguments) == {"amount": 40, "password": "hunter2hunter2"}
    assert "hunter2" not in page.evaluate("document.documentElement.outerHTML")
    (note,) = office.served.run(office.oversight.notes(office.tenant, record.ask.request_id))
    assert (note.kind, note.text) == (NoteKind.QUESTION, "Why now?")


def test_something_else_is_proposed_and_taken_up(office: Office, page: Page) -> None:
    """given a request / when Alice proposes less / then it is denied with that, and the agent's call within it is approved, once."""
    record = office.ask({"to": "ann", "amount": 50, "password": "hunter2hunter2"})
    page.open(office.at(record), width=320)
    page.until(READY)
    page.press("p")
    page.until("document.activeElement.id === 'instead'")
    page.screenshot("approvals-propose-320.png", whole=True)
    page.click("#propose button[type=submit]")
    page.until("document.querySelector('#propose[open]') && document.querySelector('.bad[role=alert]')")
    assert "the same arguments" in page.evaluate("document.querySelector('.bad[role=alert]').innerText")
    page.evaluate(
        "document.querySelector('#instead').value = document.querySelector('#instead').value.replace('50', '40')"
    )
    page.evaluate("document.querySelector('#why-instead').value = 'The budget is 40.'")
    page.click("#propose button[type=submit]")
    page.until("document.querySelector('#undo')")
    assert "proposes instead: amount at most 40" in page.evaluate("document.querySelector('.votes').innerText")
    page.until("document.querySelector('.outcome-line')")
    page.screenshot("approvals-proposed-320.png", whole=True)
    assert "amount at most 40" in page.evaluate("document.querySelector('.outcome-line').innerText")
    page.open(f"{office.url}/approvals?decided=1", width=320)
    assert "amount at most 40" in page.evaluate("document.querySelector('.rows').innerText")
    assert office.state(record) is RequestState.DENIED
    less = {"to": "ann", "amount": 40, "password": "hunter2hunter2"}
    assert office.state(office.ask(less | {"to": "eve"})) is RequestState.PENDING
    assert office.state(office.ask(less)) is RequestState.APPROVED
    assert office.state(office.ask(less)) is RequestState.PENDING


def test_what_others_propose_is_on_the_card_while_it_is_open(office: Office, page: Page) -> None:
    two = office.policy("two-no", tiers=office.two.tiers, quorum=Quorum(approvals=2, denials=2))
    record = office.ask({"amount": 50}, two)
    office.vote(record, "bob", Verdict.DENY, reason="Too much.", counter=(Bound(path="amount", at_most="40"),))
    page.open(office.at(record))
    assert "proposes instead: amount at most 40" in page.evaluate("document.querySelector('.votes').innerText")
    assert "amount at most 40" in page.evaluate("document.querySelector('.row.here').innerText")
    assert "all who have to agree are asked" in page.evaluate("document.querySelector('#propose').textContent")


@pytest.mark.parametrize("act", ["propose", "edit"])
def test_without_scripts_something_else_is_said_twice_and_shown(office: Office, page: Page, act: str) -> None:
    record = office.ask({"amount": 50}, risk=RiskLevel.HIGH)
    page.scripts(False)
    page.open(office.at(record), width=320)
    submit(page, act, arguments='{"amount": 40}')
    page.until("document.title.startsWith('Say it again')")
    assert "40" in page.evaluate("document.querySelector('[aria-labelledby=instead-h]').innerText")
    assert office.now(record).progress.settles_at is None
    page.evaluate("document.querySelector('.again button').click()")
    page.until("document.querySelector('#undo')")
    assert office.now(record).progress.settles_at is not None


def test_without_scripts_what_is_serious_is_said_twice(office: Office, page: Page) -> None:
    record = office.ask(risk=RiskLevel.CRITICAL)
    page.scripts(False)
    page.open(office.at(record))
    assert "Without scripts, press what is to be held: you are asked once more." in page.evaluate(
        "document.body.innerText"
    )
    page.evaluate("document.querySelector('#approve').click()")
    page.until("document.title.startsWith('Say it again')")
    assert office.now(record).progress.settles_at is None
    page.evaluate("document.querySelector('.again button').click()")
    page.until("document.querySelector('#undo')")
    assert office.now(record).progress.settles_at is not None


def test_a_batch_item_by_item(office: Office, page: Page) -> None:
    record = office.ask(items=tuple(BatchItem(item_id=n, arguments=b"{}") for n in "abc"))
    page.open(office.at(record))
    page.until(READY)
    for item in ("a", "c"):
        page.click(f"input[name=item][value={item}]")
    page.click("form[action$='/items'] button")
    page.until("document.querySelector('.outcome-line')")
    assert office.now(record).progress.approved_items == ("a", "c")
    assert "May be done: a, c. Not: b." in page.evaluate("document.querySelector('.outcome-line').innerText")


def test_who_only_decides_lands_on_the_approvals(office: Office, page: Page) -> None:
    """given a human without any role / when they sign in / then they see what waits for them, and no refusal."""
    page.open(f"{office.url}/")
    assert page.evaluate("location.pathname") == "/approvals"
    page.open(f"{office.url}/", width=320)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_who_has_approved_is_not_asked_to_approve_again(office: Office, page: Page) -> None:
    record = office.ask({"n": 1}, office.two)
    office.vote(record, "alice")
    page.open(office.at(record))
    assert (
        page.evaluate("[...document.querySelectorAll('#approve, #deny, #undo')].map((e) => e.id).join()") == "undo,deny"
    )


def test_for_a_while_and_in_somebody_elses_hands(office: Office, page: Page) -> None:
    record, other = office.ask({"n": 1}), office.ask({"n": 2})
    page.open(office.at(record))
    page.until(READY)
    page.click("#approve-for summary")
    for field, value in (("minutes", "10"), ("uses", "3")):
        page.evaluate(f"document.getElementById('{field}').value = {value}")
    page.click("#approve-for button")
    page.until("document.querySelector('.outcome-line')")
    grants = office.served.run(office.oversight.grants(office.tenant))
    assert [one.uses_max for one in grants if one.request_id == record.ask.request_id] == [3]
    page.open(office.at(other))
    page.until(READY)
    page.click("#delegate summary")
    page.evaluate(f"document.getElementById('to').value = {json.dumps(office.ids['bob'])}")
    page.click("#delegate button")
    page.until("location.pathname === '/approvals' && document.getElementById('told').textContent === 'Done.'")
    (delegation,) = office.oversight.delegations(office.tenant)
    assert delegation.policies == (office.one.policy_id,)
    assert "bob decides in your place" in page.evaluate("document.querySelector('.away').innerText")
    page.open(office.at(other), width=320)
    assert "not for you to see" in page.evaluate("document.querySelector('h1').innerText")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.open(f"{office.url}/approvals", width=320)
    page.click(".away button")
    page.until("!document.querySelector('.away')")
    assert office.oversight.delegations(office.tenant) == ()


def test_calls_are_approved_in_advance(office: Office, page: Page) -> None:
    """given Alice's proposal / when she approves its card / then the agent's calls within it pass, until she ends it."""
    office.ask({"amount": 7})  # bot-7 is known to her
    page.open(f"{office.url}/grants", width=320)
    page.screenshot("grants-320.png", whole=True)
    values = {"policy": office.one.policy_id, "agent": office.bot, "action": "funds.transfer", "resource": "account:7",
              "limits": "amount < 40", "minutes": "30", "uses": "3", "why": "A busy day."}  # fmt: skip
    for field, value in values.items():
        page.evaluate(f"document.getElementById({json.dumps(field)}).value = {json.dumps(value)}")
    page.click("form[action='/grants'] button")
    page.until("document.querySelector('.bad[role=alert]')")
    assert page.evaluate("document.getElementById('resource').value") == "account:7"
    page.evaluate("document.getElementById('limits').value = 'amount <= 40'")
    page.click("form[action='/grants'] button")
    page.until("document.querySelector('article#card')")
    assert "alice proposes: bot-7 may transfer money without asking" in page.evaluate(
        "document.querySelector('#effect').innerText"
    )
    assert page.evaluate("document.querySelector('#edit, #propose, #approve-for')") is None
    page.screenshot("grants-card-320.png", whole=True)
    assert office.state(office.ask({"amount": 40})) is RequestState.PENDING
    page.until(READY)
    page.evaluate("document.getElementById('approve').focus()")
    page.press(" ", held_ms=1_400)
    page.until("document.querySelector('.outcome-line')")
    assert office.state(office.ask({"amount": 40})) is RequestState.APPROVED
    assert office.state(office.ask({"amount": 41})) is RequestState.PENDING
    page.open(f"{office.url}/grants", width=1280)
    page.screenshot("grants-1280.png", whole=True)
    assert "used 1 of 3" in page.evaluate("document.querySelector('.keys-list').innerText")
    page.scripts(False)
    ends = "document.querySelectorAll('form[action$=\"/end\"]').length"
    before = page.evaluate(ends)  # the newest stands first; another test may have left one
    page.click("form[action$='/end'] button")
    page.until(f"{ends} === {before - 1}")
    assert office.state(office.ask({"amount": 39})) is RequestState.PENDING


def test_together_only_what_one_policy_asks_and_shown_whole(office: Office, page: Page) -> None:
    first, second, other = office.ask({"of": 1}), office.ask({"of": 2}), office.ask({"of": 3}, office.two)
    page.open(f"{office.url}/approvals")
    page.until(READY)
    page.click(f"input[value='{first.ask.request_id}']")
    assert page.evaluate(f"document.querySelector(\"input[value='{other.ask.request_id}']\").disabled")
    page.click(f"input[value='{second.ask.request_id}']")
    page.click("#ticked button[value=approve]")
    page.until("document.title.startsWith('Decide together')")
    assert page.evaluate("[...document.querySelectorAll('.union li')].length") == 2
    assert page.evaluate("[...document.querySelectorAll('.arg dd')].map(e => e.innerText.trim()).sort()") == ["1", "2"]
    page.screenshot("approvals-together.png", whole=True)
    assert office.now(first).progress.settles_at is None
    page.click(".again button")
    page.until("document.title && document.querySelectorAll('.votes .approve').length === 2")
    assert office.now(first).progress.settles_at is not None
    assert office.now(second).progress.settles_at is not None
    mixed = f"/approvals/together?id={first.ask.request_id}&id={other.ask.request_id}"
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        answer = client.get(mixed)
    assert answer.status_code == 400
    assert "one policy" in answer.text


def test_together_what_somebody_else_decided_meanwhile_is_told_and_the_rest_counts(office: Office, page: Page) -> None:
    """given two that are shown to be approved / when bob denies one of them / then the other is approved, and the page says who denied."""
    first, second = office.ask({"of": 1}), office.ask({"of": 2})
    page.open(f"{office.url}/approvals/together?id={first.ask.request_id}&id={second.ask.request_id}&verdict=approve")
    office.vote(first, "bob", Verdict.DENY)
    page.click(".again button")
    page.until("document.querySelector('.votes .approve')")
    assert page.evaluate("document.querySelector('.votes .waits').innerText").endswith("not counted. Denied by bob.")
    assert office.state(first) is RequestState.DENIED
    assert office.now(second).progress.settles_at is not None


def test_together_nothing_is_ticked(office: Office, page: Page) -> None:
    office.ask()
    page.open(f"{office.url}/approvals")
    page.click("#ticked button[value=approve]")
    page.until("document.querySelector('[role=alert]')")
    assert page.evaluate("document.querySelector('[role=alert]').innerText") == "nothing is ticked"


def test_ticks_last_while_the_keyboard_goes_on(office: Office, page: Page) -> None:
    """given J and X again and again / then all that was ticked is decided together; what is decided by itself says so."""
    office.ask({"of": 1}, risk=RiskLevel.HIGH)
    wanted = [office.ask({"of": n}).ask.request_id for n in (2, 3)]
    page.open(f"{office.url}/approvals")
    page.until(READY)
    page.press("j")
    page.until("document.querySelector('article#card')")
    page.press("x")
    page.until("document.getElementById('told').textContent === 'It is decided by itself.'")
    for request_id in wanted:
        page.press("j")
        page.until(f"document.querySelector('article#card')?.dataset.request === {json.dumps(request_id)}")
        page.press("x")
    ticked = page.evaluate("[...document.querySelectorAll('#ticked input:checked')].map(e => e.value)")
    assert ticked == wanted


def test_what_has_not_changed_is_not_said_to_have(office: Office, page: Page) -> None:
    """given a reason that is being typed / when the line for news comes up again, and news of nothing / then nothing is said;
    when bob decides / then that is said where one looks."""
    record = office.ask({"n": 1})
    page.open(office.at(record), width=320)
    page.until(READY)
    page.evaluate(
        "window.looks = 0; const was = fetch; window.fetch = (...all) => { const done = was(...all); done.then((a) => a.clone().text()).then(() => setTimeout(() => { window.looks += 1; }, 50)); return done; };"
    )
    page.press("r")
    page.until("document.activeElement.id === 'reason'")
    office.served.run(
        office.served.app.parts.store.write(lambda tx: tx.signal(MOVED, f"{office.tenant}/{record.ask.request_id}"))
    )
    page.until("window.looks")
    assert page.evaluate("document.getElementById('changed').hidden")
    office.vote(record, "bob", Verdict.DENY)
    page.until("!document.getElementById('changed').hidden")
    assert page.evaluate("document.getElementById('changed').innerText").startswith("Denied by bob.")
    top, bottom, height = page.evaluate(
        "(() => { const r = document.getElementById('changed').getBoundingClientRect(); return [r.top, r.bottom, innerHeight]; })()"
    )
    assert 0 <= top < bottom <= height
    page.click("#deny form button[type=submit]")
    page.until("document.querySelector('.bad[role=alert]')")
    told = page.evaluate("document.querySelector('.bad[role=alert]').innerText")
    assert re.fullmatch(r"That came too late, and changed nothing: Denied by bob\. \S+ \S+ UTC", told)


@pytest.mark.parametrize("arguments", ['{"n": 1}', '{"n": 2}', "no JSON"])
def test_whatever_came_too_late_is_told_to_have(office: Office, arguments: str) -> None:
    record = office.ask({"n": 1})
    at = f"/approvals/{record.ask.request_id}"
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        form = hidden(client.get(at).text)
        office.vote(record, "bob", Verdict.DENY)
        answer = client.post(f"{at}/edit", data=form | {"arguments": arguments})
    assert answer.status_code >= 400
    assert "That came too late, and changed nothing: Denied by bob." in answer.text


def test_who_is_signed_out_keeps_what_they_wrote(office: Office, page: Page) -> None:
    """given a session that ended while a reason was typed / when it is sent / then it stays, and the page says so and where to sign in."""
    record = office.ask()
    page.open(office.at(record))
    page.until(READY)
    page.press("r")
    page.until("document.activeElement.id === 'reason'")
    page.type("because of this and that")
    page.call("Network.clearBrowserCookies")
    page.click("#deny form button[type=submit]")
    page.until("document.querySelector('#deny .bad[role=alert]')")
    assert page.evaluate("document.getElementById('reason').value") == "because of this and that"
    assert (
        page.evaluate("document.querySelector('#deny .bad a').pathname + document.querySelector('#deny .bad a').search")
        == f"/login?next=/approvals/{record.ask.request_id}"
    )
    assert office.state(record) is RequestState.PENDING


def test_who_signed_in_again_elsewhere_keeps_what_they_wrote(office: Office, page: Page) -> None:
    """given a session that another one has replaced / when the form of the first is sent / then what was written stays."""
    record = office.ask()
    page.open(office.at(record))
    page.until(READY)
    page.press("r")
    page.until("document.activeElement.id === 'reason'")
    page.type("because")
    office.sign_in(page, "alice")
    page.click("#deny form button[type=submit]")
    page.until("document.querySelector('#deny .bad[role=alert]')")
    assert page.evaluate("document.getElementById('reason').value") == "because"
    page.scripts(False)
    page.open(office.at(record))
    office.sign_in(page, "alice")
    page.click("#approve")
    page.until("document.querySelector('h1').innerText === 'the form is not of this session'")


def test_who_is_signed_out_and_goes_on_comes_to_the_whole_sign_in(office: Office, page: Page) -> None:
    """given a session that ended / when another request is chosen / then nobody's name stands above the sign-in."""
    record = office.ask()
    page.open(f"{office.url}/approvals")
    page.until(READY)
    page.call("Network.clearBrowserCookies")
    page.click(f"#row-{record.ask.request_id}")
    page.until("location.pathname === '/login' && document.getElementById('sign-in')")
    assert page.evaluate("document.querySelector('.who')") is None


def test_a_click_that_reaches_nobody_is_said_to(office: Office, page: Page) -> None:
    record = office.ask()
    page.open(office.at(record))
    page.until(READY)
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.call("Network.emulateNetworkConditions", offline=True, **offline)
    try:
        page.click("#approve")
        page.until("document.querySelector('#approve-form .bad[role=alert]')")
    finally:
        page.call("Network.emulateNetworkConditions", offline=False, **offline)
    assert office.now(record).progress.settles_at is None
    page.said.clear()
    page.click("#approve")
    page.until("document.querySelector('#undo')")


def test_where_a_form_was_sent_leads_back_to_its_card(office: Office) -> None:
    """By the address alone, and by the sign-in of who had no session any more."""
    record = office.ask()
    card = f"/approvals/{record.ask.request_id}"
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        assert client.get(f"{card}/edit").headers["location"] == card
    with httpx2.Client(base_url=office.url) as client:
        assert client.post(f"{card}/deny").headers["location"] == f"/login?next={card}"


def test_live_what_others_do_shows(office: Office, page: Page) -> None:
    record = office.ask({"n": 1}, office.two)
    page.open(office.at(record))
    page.until(READY)
    new = office.ask({"n": 2})
    page.until(f"document.getElementById('row-{new.ask.request_id}')")
    office.vote(record, "bob")
    page.until("document.querySelector('.votes .approve')")
    page.press("r")
    page.until("document.activeElement.id === 'reason'")
    page.type("because")
    office.served.run(office.oversight.comment(office.tenant, record.ask.request_id, "hm", by=office.ids["carol"]))
    page.until("!document.getElementById('changed').hidden")
    assert page.evaluate("document.getElementById('reason').value") == "because"


def test_what_moves_before_the_line_is_up_shows_too(office: Office, page: Page) -> None:
    """given a page whose line for news comes up late / when a request comes in before it does / then it is in the list all the same."""
    late = "const Line = EventSource; window.EventSource = function (url) { const line = new EventTarget(); setTimeout(() => { const real = new Line(url); ['open', 'moved'].forEach((name) => real.addEventListener(name, (e) => line.dispatchEvent(new MessageEvent(name, { data: e.data })))); }, 1500); line.close = () => {}; return line; };"
    script = page.call("Page.addScriptToEvaluateOnNewDocument", source=late)["identifier"]
    try:
        page.open(office.at(office.ask({"n": 1})))
        new = office.ask({"n": 2})
        page.until(f"document.getElementById('row-{new.ask.request_id}')")
    finally:
        page.call("Page.removeScriptToEvaluateOnNewDocument", identifier=script)


def test_what_was_on_the_screen_is_what_is_approved(office: Office, page: Page) -> None:
    """given a card that was edited meanwhile / when its old form is sent / then nothing is approved and the page says why."""
    record = office.ask({"amount": 50}, office.two)
    page.scripts(False)
    page.open(office.at(record))
    office.vote(record, "bob", arguments=b'{"amount":60}')
    page.evaluate("document.querySelector('#approve').click()")
    page.until("document.querySelector('.bad[role=alert]')")
    assert "edited" in page.evaluate("document.querySelector('.bad[role=alert]').innerText")
    assert len(office.served.run(office.oversight.case(office.tenant, record.ask.request_id)).votes) == 1


@pytest.mark.parametrize(
    "act",
    [
        "approve",
        "approve-for",
        "edit",
        "propose",
        "deny",
        "items",
        "undo",
        "ask",
        "comment",
        "claim",
        "extend",
        "snooze",
        "delegate",
        "revoke",
        "none",
        "%00",
        "approve/ballot",
        "none/ballot",
    ],
)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "minutes": "x",
            "uses": "-1",
            "hours": "1e9",
            "until": "tomorrow",
            "to": "nobody",
            "arguments": "{",
            "text": "x" * 5_000,
            "reason": "x" * 5_000,
        },
        {
            "minutes": "1",
            "uses": "1",
            "hours": "1",
            "until": "9999-12-31",
            "to": "agent:nhi:ed25519:x",
            "arguments": '{"a":1,"a":2}',
            "delivery": "\x00\ud7ff\n",
        },
        {"credential": "AQ", "authenticator": "AQ", "client": "e30", "signature": "AQ", "arguments": "[]"},
        {"credential": "====", "client": "é"},
    ],
)
def test_forms_that_are_none(office: Office, act: str, fields: dict[str, str]) -> None:
    """Anything that a form may hold is answered by a page that says what is wrong; nothing is decided."""
    record = office.ask()
    at = f"/approvals/{record.ask.request_id}"
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        form = {k: v for k, v in hidden(client.get(at).text).items() if k != "seen" or "credential" in fields} | fields
        answer = client.post(f"{at}/{act}", data=form)
        assert answer.status_code < 500, answer.text
        assert client.post(f"/approvals/req-none/{act}", data=form).status_code in (303, 400, 403, 404)
    assert office.now(record).progress.settles_at is None


@pytest.mark.parametrize(
    "path",
    [
        "/approvals/req-none",
        "/approvals/%00",
        "/approvals/" + "x" * 3_000,
        "/approvals/together",
        "/approvals/together?id=x",
        "/approvals/req-none/decision",
        "/approvals?decided=x",
        "/login?next=//evil.example&link=x",
    ],
)
def test_addresses_that_are_none(office: Office, path: str) -> None:
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        answer = client.get(path)
    assert answer.status_code < 500
    assert "//evil.example" not in answer.text


# Passkeys


@contextmanager
def authenticator(page: Page) -> Iterator[None]:
    """A device that verifies its human, as a phone or a laptop does."""
    page.call("WebAuthn.enable")
    device = page.call(
        "WebAuthn.addVirtualAuthenticator",
        options={"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
                 "isUserVerified": True, "automaticPresenceSimulation": True},
    )["authenticatorId"]  # fmt: skip
    try:
        yield
    finally:
        page.call("WebAuthn.removeVirtualAuthenticator", authenticatorId=device)
        page.call("WebAuthn.disable")


def enrol(office: Office, page: Page) -> None:
    page.open(f"{office.url}/passkeys")
    page.evaluate("document.getElementById('name').value = 'laptop'")
    before = page.evaluate("document.querySelectorAll('.keys-list li').length")
    page.click("#enrol button")
    page.until(f"document.querySelectorAll('.keys-list li').length > {before}")


def test_a_passkey_decides_and_proves_it(office: Office, page: Page, served: Layer) -> None:
    with authenticator(page):
        record = office.ask(ARGUMENTS, office.own_key, risk=RiskLevel.HIGH)
        page.open(office.at(record))
        assert "Add a passkey" in page.evaluate("document.querySelector('#card').innerText")
        enrol(office, page)
        page.open(office.at(record))
        page.until(READY)
        page.click("#approve")
        page.until("document.querySelector('.outcome-line')")
        data = office.served.run(office.oversight.decision_file(office.tenant, record.ask.request_id))
        vote = DecisionFile.decode(data).votes[0].signed
        assert (vote.ballot.args_hash, vote.ballot.display_hash) == (record.args_hash, record.display_hash)
        service, layer = office.oversight.service_id, office.oversight.service_key.to_bytes()
        own = Principal(key=layer, kind=PrincipalKind.SERVICE, person=PersonId(service), layer=True)
        verdict = verify_file(data, Keys(agents={service: own}))
        assert verdict.details["assurance"] == ["passkey"]
        denied = office.ask({"n": 1}, office.own_key)
        page.open(office.at(denied))
        page.until(READY)
        page.press("r")
        page.type("no")
        page.click("#deny button[type=submit]")
        page.until("document.querySelector('.outcome-line')")
        assert office.state(denied) is RequestState.DENIED


def test_a_passkey_signs_in_and_lands_on_the_request(office: Office, page: Page) -> None:
    """given a passkey and a session that ended / when a request's link is opened / then the passkey signs in, by keyboard, and its human decides."""
    record = office.ask()
    with authenticator(page):
        enrol(office, page)
        page.call("Network.clearBrowserCookies")
        page.open(office.at(record))
        page.until("document.querySelector('#with-passkey')?.checkVisibility()")
        assert page.evaluate("document.activeElement.tagName") == "BODY"
        for stop in ("skip", "brand", ""):
            page.press("Tab")
            assert page.evaluate("document.activeElement.className") == stop
        assert page.evaluate("document.activeElement.id") == "with-passkey"
        page.press("Enter")
        page.until("document.querySelector('article#card')")
        assert page.evaluate("location.pathname") == f"/approvals/{record.ask.request_id}"
        assert page.evaluate("document.querySelector('.who .name').textContent") == "alice"
        cookies = {one["name"]: one for one in page.call("Network.getCookies", urls=[f"{office.url}/login"])["cookies"]}
        assert cookies.keys() == {"creto_session"}
        assert (cookies["creto_session"]["httpOnly"], cookies["creto_session"]["sameSite"]) == (True, "Strict")
        page.until(READY)
        page.click("#approve")
        page.until("document.querySelector('.outcome-line')")
        assert office.state(record) is RequestState.APPROVED


def test_who_signs_in_by_passkey_goes_on_with_what_they_wrote(office: Office, page: Page) -> None:
    """given a session that ended while a reason was typed / when the passkey signs in on the spot / then it is still there, and is sent."""
    record = office.ask(policy=office.two)
    with authenticator(page):
        enrol(office, page)
        page.open(office.at(record))
        page.until(READY)
        page.press("r")
        page.until("document.activeElement.id === 'reason'")
        page.type("because of this and that")
        page.call("Network.clearBrowserCookies")
        page.click("#deny form button[type=submit]")
        page.until("document.querySelector('#deny .bad button')")
        page.screenshot("approvals-signed-out.png", whole=True)
        page.click("#deny .bad button")
        page.until("!document.querySelector('#deny .bad')")
        assert "signed in again" in page.evaluate("document.getElementById('told').textContent")
        assert page.evaluate("document.getElementById('reason').value") == "because of this and that"
        assert page.evaluate("document.activeElement.textContent") == "Deny"
        assert office.now(record).progress.settles_at is None
        page.press("Enter")
        page.until("document.querySelector('#undo')")
        (vote,) = office.served.run(office.oversight.case(office.tenant, record.ask.request_id)).votes
        assert vote.signed.ballot.reason == "because of this and that"


def test_what_was_written_stays_where_nothing_is_left_to_decide(office: Office, page: Page) -> None:
    """given a request that was decided while its human was signed out / when they sign in on the spot / then that is said, and their words stay."""
    record = office.ask()
    with authenticator(page):
        enrol(office, page)
        page.open(office.at(record))
        page.until(READY)
        page.press("r")
        page.until("document.activeElement.id === 'reason'")
        page.type("because")
        page.call("Network.clearBrowserCookies")
        page.click("#deny form button[type=submit]")
        page.until("document.querySelector('#deny .bad button')")
        office.vote(record, "bob", Verdict.DENY)
        page.click("#deny .bad button")
        page.until("document.querySelector('#deny .bad').innerText.includes('nothing left here')")
        assert page.evaluate("document.getElementById('reason').value") == "because"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_who_has_no_passkey_is_told_and_has_the_link(office: Office, page: Page, axe: str, width: int, scheme: str) -> None:  # fmt: skip
    page.call("Network.clearBrowserCookies")
    with authenticator(page):
        page.open(f"{office.url}/login?next=/approvals", width=width, scheme=scheme)
        page.until("document.querySelector('#with-passkey')?.checkVisibility()")
        page.screenshot(f"sign-in-{width}-{scheme}.png", whole=True)
        page.click("#with-passkey")
        page.until("document.querySelector('#trouble').checkVisibility()")
        assert page.evaluate("document.querySelector('#trouble').textContent").startswith("No passkey signed you in.")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert violations(page, axe) == []
        page.screenshot(f"sign-in-none-{width}-{scheme}.png", whole=True)
        page.click("#with-passkey")
        page.until("!document.querySelector('#with-passkey').dataset.busy")
        assert page.evaluate("document.querySelector('#sign-in').checkVisibility()")


def test_where_there_are_no_passkeys_the_page_says_so(office: Office, page: Page) -> None:
    """given a browser without scripts, or an address that is a number / then the login link is what is offered, and why."""
    page.call("Network.clearBrowserCookies")
    page.scripts(False)
    page.open(f"{office.url}/login")
    assert "needs JavaScript" in page.evaluate("document.body.innerText")
    assert not page.evaluate("document.querySelector('#with-passkey').checkVisibility()")
    assert page.evaluate("document.querySelector('#sign-in button').checkVisibility()")
    page.scripts(True)
    page.requested.clear()
    page.open(f"{office.served.rest}/login")
    page.until("document.querySelector('#no-passkeys').checkVisibility()")
    assert not page.evaluate("document.querySelector('#with-passkey').checkVisibility()")
    page.requested.clear()  # of the other address


# Who may, and how


def test_get_decides_nothing_and_a_foreign_form_neither(office: Office) -> None:
    record = office.ask()
    at = f"/approvals/{record.ask.request_id}"
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        form = hidden(client.get(at).text)
        for act in ("approve", "deny", "claim", "undo"):
            assert client.get(f"{at}/{act}", params=form).headers["location"] == at
        for wrong in (form | {"token": "x"}, {k: v for k, v in form.items() if k != "token"}):
            assert client.post(f"{at}/approve", data=wrong).status_code == 403
        elsewhere = {"Sec-Fetch-Site": "cross-site"}
        assert client.post(f"{at}/approve", data=form, headers=elsewhere).status_code == 403
        assert office.now(record).progress.settles_at is None
        assert client.post(f"{at}/approve", data=form).status_code == 303
        assert client.post(f"{at}/approve", data=form).status_code == 303  # the same form again is the same vote
        assert len(office.served.run(office.oversight.case(office.tenant, record.ask.request_id)).votes) == 1
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("bob")}) as other:
        assert other.post(f"{at}/approve", data=form).status_code == 403
    assert httpx2.post(f"{office.url}{at}/approve", data=form).headers["location"] == f"/login?next={at}"
    assert httpx2.get(f"{office.url}/approvals/live").status_code == 204


def test_a_link_from_a_mail_lands_on_its_card(office: Office, page: Page, served: Layer) -> None:
    """given a link with its code behind the # / when it is opened, the code goes nowhere; a click signs in and shows the request."""
    record = office.ask()
    page.call("Network.clearBrowserCookies")
    secret = served.run(served.app.parts.nhi.login_token(office.tenant, office.ids["alice"], scopes=("*",)))
    page.open(f"{office.at(record)}#{secret}")
    page.until("document.getElementById('how')")
    assert page.evaluate("location.href").endswith(f"/login?next=/approvals/{record.ask.request_id}")
    assert not any(secret in url.split("#")[0] for url in page.requested)
    page.click("#sign-in button")
    page.until("document.querySelector('article#card')")
    assert page.evaluate("location.pathname").endswith(record.ask.request_id)
    assert office.now(record).progress.settles_at is None
    page.open(f"{office.url}/login?next=/approvals/{record.ask.request_id}")  # as a link from elsewhere arrives
    page.until("document.querySelector('article#card')")


def test_a_forwarded_link_shows_and_decides_nothing(office: Office, page: Page, served: Layer) -> None:
    """given the link of a mail and no session / when it is opened / then that one request is shown, with nothing to press."""
    record = office.ask(ARGUMENTS)
    page.call("Network.clearBrowserCookies")
    parts, links = served.app.parts, served.app.parts.channels.links
    until = ConsensusTimestamp(parts.clock.now() + 3_600 * SECOND)
    code = links.token(office.tenant, record.ask.request_id, PersonId(office.ids["alice"]), until)
    page.open(f"{office.at(record)}#{code}")
    page.until("document.title.includes('transfer money')")
    assert "sent to alice" in page.evaluate("document.querySelector('.notice').innerText")
    assert page.evaluate("document.querySelectorAll('form').length") == 0
    assert "hunter2" not in page.evaluate("document.documentElement.outerHTML")
    assert not any(code in url.split("#")[0] for url in page.requested)
    page.screenshot("approvals-look.png", whole=True)
    stale = links.token(office.tenant, record.ask.request_id, PersonId(office.ids["alice"]), ConsensusTimestamp(1))
    for wrong in (stale, code[:-2] + "AA", "x", "é"):
        assert httpx2.post(f"{office.url}/login", data={"link": wrong}).status_code == 401


# For everybody


@pytest.fixture(scope="module")
def axe() -> str:
    script = WEB / "node_modules" / "axe-core" / "axe.min.js"
    with (WEB / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another worker may be installing it: a file that stands need not be whole
        if not (WEB / "node_modules" / ".package-lock.json").exists():  # npm writes it last
            npm = engines.find("npm")
            if npm is None:
                engines.missing("npm")
            done = subprocess.run(
                [str(npm), "ci", "--ignore-scripts", "--no-audit"],
                cwd=WEB,
                capture_output=True,
                timeout=120,
                check=False,
            )
            if done.returncode:
                engines.missing("axe-core (npm ci)")
    return script.read_text()


def violations(page: Page, axe: str) -> object:
    """By every rule of axe that is on by default, with all that can be opened open."""
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    page.evaluate(axe)
    return page.evaluate("axe.run().then((r) => r.violations.map((v) => [v.id, v.nodes.map((n) => n.html)]))", promise=True)  # fmt: skip


def gone_through(office: Office, page: Page, width: int, scheme: str) -> Iterator[str]:
    """Every page that there is, one after the other, each by the template that makes it."""
    size: dict[str, Any] = {"width": width, "scheme": scheme}
    for name, path in (("login", "/login?link=creto1.x"), ("problem", "/approvals/req-none"), ("approvals", "/approvals")):  # fmt: skip
        page.open(office.url + path, **size)  # nothing waits
        yield name
    for url in [f"{office.url}/approvals", *furnished(office).values()]:
        page.open(url, **size)
        yield "approvals"
    for name in ("passkeys", "grants", "login"):
        page.open(f"{office.url}/{name}", **size)
        yield name
    page.open(office.at(office.ask({"undo": 1})), **size)
    page.until(READY)
    page.click("#approve")
    page.until("document.querySelector('#undo')")
    yield "approvals"
    ids = "&".join(f"id={office.ask({'of': n}).ask.request_id}" for n in range(2))
    page.open(f"{office.url}/approvals/together?{ids}", **size)
    yield "together"
    critical = office.ask(risk=RiskLevel.CRITICAL)
    page.scripts(False)
    page.open(office.at(critical), **size)
    page.evaluate("document.querySelector('#approve').click()")
    page.until("document.title.startsWith('Say it again')")
    page.scripts(True)
    yield "again"
    page.call("Network.clearBrowserCookies")
    parts = office.served.app.parts
    until = ConsensusTimestamp(parts.clock.now() + 3_600 * SECOND)
    person = PersonId(office.ids["alice"])
    page.open(f"{office.at(critical)}#{parts.channels.links.token(office.tenant, critical.ask.request_id, person, until)}", **size)  # fmt: skip
    page.until("document.title.includes('transfer money')")
    yield "look"
    issued = office.served.run(parts.nhi.exchange_login(office.served.run(parts.nhi.login_token(office.tenant, office.served.app.operator, scopes=("*",)))))  # fmt: skip
    page.call("Network.setCookie", name="creto_session", value=issued.token, url=office.url, httpOnly=True)
    page.open(f"{office.url}/", **size)
    yield "home"


# Each width and each scheme; each with each in depth.
LOOKS = [(320, "dark"), (1280, "light"), *([(320, "light"), (1280, "dark")] if fuzz.is_deep else [])]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_axe_finds_nothing(office: Office, page: Page, axe: str, width: int, scheme: str) -> None:
    seen = set()
    for name in gone_through(office, page, width, scheme):
        assert violations(page, axe) == [], (name, page.evaluate("location.href"))
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        seen.add(f"{name}.html")
    assert seen | {"base.html", "parts.html"} == {file.name for file in (HERE / "templates").glob("*.html")}


def test_axe_would_find_something(office: Office, page: Page, axe: str) -> None:
    page.open(f"{office.url}/approvals")
    page.evaluate("document.querySelector('main').append(document.createElement('input'))")
    assert violations(page, axe) != []


# What stands on another page, laid out and drawn by this one: all but its scripts and styles, which are the same.
SHOW = """fetch({path}).then((answer) => answer.text()).then((text) => {{
  document.getElementById('main').replaceWith(new DOMParser().parseFromString(text, 'text/html').getElementById('main')); }})"""


def test_no_spoof_hides_an_argument(office: Office, page: Page, deep: bool) -> None:
    """Each text as a value beside another argument, seen as a person sees it: drawn, in the window, with nothing over it, and made visible."""
    page.open(
        f"{office.url}/approvals?decided=1", width=768
    )  # which follows no news: they would swap what is looked at
    for text, _ in SPOOFS:
        record = office.ask({"drop": "secret-db", "z": text}, description=text[-OVERSIGHT_TEXT_CHARS_MAX:])
        if deep:
            page.open(office.at(record), width=768)
        else:
            page.evaluate(SHOW.format(path=json.dumps(office.at(record).removeprefix(office.url))), promise=True)
        seen = page.evaluate(
            "(() => { const all = [...document.querySelectorAll('.arg')]; return all.map((row) => { const dd = row.querySelector('dd');"
            " dd.scrollIntoView({block: 'start'}); const r = dd.getBoundingClientRect(); const hit = document.elementFromPoint(r.x + 20, r.y + 14);"
            " return [row.querySelector('dt').innerText, dd.textContent.trim(), r.width > 100 && r.height > 10, dd.contains(hit)]; }); })()"
        )
        shown = render(record.ask)
        assert seen == [["drop", '"secret-db"', True, True], ["z", shown.arguments[1].value, True, True]], text
        care = page.evaluate("document.querySelector('main').innerText")
        assert all(warning in care for warning in shown.warnings), text
        assert shown.warnings, text
        assert page.evaluate("document.querySelectorAll('script').length") == 3
        office.served.run(office.oversight.cancel(office.tenant, record.ask.request_id, by=office.bot))


def submit(page: Page, act: str, **fields: str) -> None:
    """As a person without scripts: open, write, press the button."""
    form = f"document.querySelector(\"form[action$='/{act}']\")"
    for name, value in fields.items():
        page.evaluate(f"{form}.elements[{json.dumps(name)}].value = {json.dumps(value)}")
    page.evaluate(f"{form}.querySelector('button').click()")


def hidden(html: str) -> dict[str, str]:
    """The fields of the form that approves."""
    form = html.split('id="approve-form"')[1].split("</form>")[0]
    return {
        part.split('"')[1]: part.split('value="')[1].split('"')[0]
        for part in (field.split("name=")[1] for field in form.split("<input")[1:])
    }


def test_what_is_decided_is_read_page_by_page(office: Office) -> None:
    """None of it is out of reach; what is voted on and still open stands under what is open."""
    records = [office.ask({"number": number}) for number in range(52)]
    for record in records:
        office.vote(record, "carol", Verdict.DENY)
    waiting = office.ask({"number": 52}, office.two)
    office.vote(waiting, "carol")
    seen: list[str] = []
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("carol")}) as client:
        at = "/approvals?decided=1"
        for count in (50, 2):
            html = client.get(at).text
            rows = re.findall(r'id="row-(req-[^"]+)" href="([^"]+)"', html)
            assert len(rows) == count
            seen += [row for row, _ in rows]
            assert "less urgent" not in html
            assert f'id="row-{seen[-1]}"' in client.get(rows[-1][1].replace("&amp;", "&")).text  # still beside its card
            older = re.search(r'href="([^"]+)">Older than these 50<', html)
            at = older[1].replace("&amp;", "&") if older else ""
        assert at == ""
        assert client.get("/approvals?decided=1&before=%00").status_code == 400
    assert seen == [record.ask.request_id for record in reversed(records)]


def test_an_edit_into_something_riskier_is_as_deliberate_as_that(office: Office) -> None:
    """given an edit that Cedar calls high risk / when it is sent with a click / then it is asked once more, and nothing has happened."""
    with Creto.connect(office.served.rest, token=office.served.token) as creto:
        creto.policies.upload(text=RISKY % ((office.one.policy_id,) * 2), activate=True)
        try:
            record = office.ask({"amount": 5}, action="code.deploy")
            with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
                at = f"/approvals/{record.ask.request_id}"
                html = client.get(at).text
                fields = {name: re.search(f'name="{name}" value="([^"]*)"', html) for name in ("token", "seen")}
                form = {name: found[1] for name, found in fields.items() if found}
                headers = {"Origin": office.url}
                again = client.post(f"{at}/edit", data={**form, "arguments": '{"amount":5000}'}, headers=headers)
                assert again.status_code == 200
                assert 'name="confirmed"' in again.text
                assert office.now(record).ask.round == 1
                less = client.post(f"{at}/edit", data={**form, "arguments": '{"amount":4}'}, headers=headers)
                assert less.status_code == 303, less.text
                assert office.now(record).ask.round == 2
        finally:
            creto.policies.activate(version=0)


def test_the_page_tells_what_counts_no_more_and_whom_nobody_told(office: Office) -> None:
    """given a first vote and an edit, and a channel that is not configured / when another approver looks / then both are said."""
    contact = Contact(channel=Channel.MESSAGING, address=f"m-{office.suffix}", person=office.ids["carol"])
    office.served.run(office.oversight.link(office.tenant, contact, by=office.served.app.operator))
    record = office.ask({"amount": 400}, office.two)
    office.vote(record, "carol")
    office.vote(record, "bob", arguments=b'{"amount":40}')
    with httpx2.Client(base_url=office.url, cookies={"creto_session": office.session("alice")}) as client:
        html = client.get(f"/approvals/{record.ask.request_id}").text
    office.served.run(
        office.oversight.unlink(office.tenant, contact.channel, contact.address, by=office.served.app.operator)
    )
    assert re.search(r"<s><b>carol</b>\s+approved</s>.*counts no more: the arguments were edited since", html)
    assert "changed amount: 400 → 40" in html
    assert "could not be yet (messaging)" in html
