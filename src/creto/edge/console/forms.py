"""From a form of the page to what its human says: the act in the address, the fields beside it.

vote = vote_of(Act.APPROVE_FOR, form, ask)
check_seen(form, record)                         # OV-409: not what was on the screen
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from creto.common.errors import InvalidInput
from creto.edge.console.editing import restored
from creto.edge.console.site import Form
from creto.oversight.ballots import changed
from creto.oversight.display import is_secret_place
from creto.oversight.edits import check_verdicts, counter
from creto.oversight.store import Record
from creto.oversight.types import Ask, Bound, GrantWish, Verdict
from creto.platform.crypto.jose import b64url_decode
from creto.platform.crypto.webauthn import Assertion


class Act(StrEnum):
    """The acts that are votes, as the addresses name them."""

    APPROVE = "approve"
    APPROVE_FOR = "approve-for"
    EDIT = "edit"
    DENY = "deny"
    PROPOSE = "propose"
    ITEMS = "items"


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """What the approver says."""

    verdict: Verdict
    reason: str = ""
    items: dict[str, Verdict] = {}
    wish: GrantWish | None = None
    arguments: bytes | None = None
    counter: tuple[Bound, ...] = ()

    @property
    def permits(self) -> bool:
        """Whether something may be done because of it: an approval, and a proposal of something else."""
        return self.verdict is Verdict.APPROVE or bool(self.counter)


def vote_of(act: Act, form: Form, ask: Ask) -> Vote:
    reason = form.text("reason").strip()
    if act is Act.DENY:
        return Vote(verdict=Verdict.DENY, reason=reason)
    if act is Act.APPROVE_FOR:
        wish = GrantWish(ttl_s=form.whole("minutes") * 60, uses=form.whole("uses"))
        return Vote(verdict=Verdict.APPROVE, reason=reason, wish=wish)
    if act is Act.EDIT:
        return Vote(verdict=Verdict.APPROVE, reason=reason, arguments=edited(form, ask))
    if act is Act.PROPOSE:
        return Vote(verdict=Verdict.DENY, reason=reason, counter=proposal_of(form, ask))
    if act is Act.ITEMS:
        return vote_on_items(form, ask, reason)
    return Vote(verdict=Verdict.APPROVE, reason=reason)


def edited(form: Form, ask: Ask) -> bytes:
    return restored(form.text("arguments").encode(), ask.arguments)


def proposal_of(form: Form, ask: Ask) -> tuple[Bound, ...]:
    """Not this, but that: from the arguments as they were changed. A secret is no proposal, as the agent is told what was proposed."""
    if ask.fixed:
        raise InvalidInput.of("arguments", got="a proposal in its place", expected="a decision on it as it is", code="OV-400")  # fmt: skip
    bounds = counter(ask.arguments, edited(form, ask))
    secret = next((one.path for one in bounds if is_secret_place(one.path)), None)
    if secret is not None:
        raise InvalidInput.of("arguments", got=f"another {secret}", expected="no change of a secret", code="OV-400")
    return bounds


def vote_on_items(form: Form, ask: Ask, reason: str) -> Vote:
    """The ticked items are approved and the others denied; nothing ticked is a denial of all."""
    ticked = form.all("item")
    check_verdicts(ask, ticked)
    items = {item.item_id: Verdict.APPROVE if item.item_id in ticked else Verdict.DENY for item in ask.items}
    verdict = Verdict.APPROVE if ticked else Verdict.DENY
    return Vote(verdict=verdict, reason=reason, items=items)


def check_seen(form: Form, record: Record) -> None:
    """What was on the screen is what stands here: otherwise the human has to look again."""
    if form.text("seen") != record.display_hash.hex():
        raise changed(record.ask)


def assertion_of(form: Form) -> tuple[bytes, Assertion] | None:
    """The passkey's answer, if the page has one: which passkey, and what it signed."""
    if not form.text("credential"):
        return None
    data = {
        name: b64url_decode(form.text(name), name) for name in ("credential", "authenticator", "client", "signature")
    }
    assertion = Assertion(
        authenticator_data=data["authenticator"], client_data=data["client"], signature=data["signature"]
    )
    return data["credential"], assertion


def act_named(name: str) -> Act | None:
    return Act(name) if name in list(Act) else None


def chosen(form: Form, count_max: int) -> dict[str, str]:
    """The requests of a list that were ticked, each with what was seen of it, as `<request>:<display hash>`."""
    found = dict(one.partition(":")[::2] for one in form.all("seen"))
    if not 1 <= len(found) <= count_max:
        raise InvalidInput.of("seen", got=f"{len(found)} requests", expected=f"1 to {count_max}", code="PL-400")
    return found
