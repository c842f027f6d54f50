"""Cards: how a letter and an answer look in Slack. Only layout; what is shown, oversight has rendered.

What others wrote (an agent's arguments, a human's reason) stands in rich text elements, which Slack shows letter by letter and never reads as
markup. The one text that it does read, the line of the notification, is escaped.

INVARIANT: action ids are distinct within a block (Slack refuses the whole message otherwise, and no library checks it).
INVARIANT: a button's value is the id of our notification and gives no right: the right is in where the message stands and who clicked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from creto.common.limits import SLACK_CARD_CHARS_MAX, SLACK_MODAL_CHARS_MAX, SLACK_TEXT_CHARS_MAX
from creto.oversight.display import SAYS, Display, summary
from creto.oversight.eligibility import channel_assurance
from creto.oversight.letters import Letter
from creto.oversight.policies import assurance_needed
from creto.oversight.store import Record
from creto.oversight.types import Channel, NotificationKind, OversightPolicy

APPROVE, DENY, DETAILS, EXTEND, OPEN = (
    "creto_approve",
    "creto_deny",
    "creto_details",
    "creto_extend",
    "creto_open",
)
REASON = "creto_reason"
REPLACED = "This card was sent twice: nothing is recorded from it, the other one counts."
ELSEWHERE = "Its policy asks for more than Slack can vouch for: decide it on the page."
TOO_LONG = "Not all of it fits here: decide it on the page."
CONTINUED = "⟦continued⟧ "  # these brackets stand in no text of others
Block = dict[str, Any]


def escaped(text: str) -> str:
    """For a text that Slack reads as mrkdwn: no mention, no link (Slack, "Formatting text", escaping)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def notice(letter: Letter) -> str:
    """The line that a phone shows; nothing in it can ping or link."""
    return escaped(bounded(f"{letter.heading}: {letter.shown.effect}", SLACK_TEXT_CHARS_MAX // 6))


def card(letter: Letter) -> list[Block]:
    """The request, with buttons while it can be decided."""
    head, lines = letter.heading if letter.open else letter.decision.partition(" ")[0], of_letter(letter)
    blocks = [header(head), prose(letter.shown.effect, bold=True), *fenced(lines), prose(letter.standing)]
    elsewhere = undecidable(letter.record, lines, SLACK_CARD_CHARS_MAX) if letter.open else ""
    if elsewhere:
        return [*blocks, prose(elsewhere), *linked(letter)]
    return [*blocks, *(buttons(letter) if letter.open else linked(letter))]


def undecidable(record: Record, lines: Sequence[str], chars_max: int) -> str:
    """Why it is not decided here: a button that is always refused is none, and neither is one beside half of what it approves."""
    if assurance_needed(record.ask.policy, record.ask.risk) > channel_assurance(Channel.SLACK):
        return ELSEWHERE
    return TOO_LONG if len("\n".join(lines)) > chars_max else ""


def unpressable(letter: Letter) -> list[Block]:
    """For a conversation that many read and that tells us of no click: what, and where to decide."""
    head = letter.heading if letter.open else letter.decision.partition(" ")[0]
    return [
        header(head),
        prose(letter.shown.effect, bold=True),
        *fenced(of_letter(letter)),
        prose(letter.standing),
        *linked(letter),
    ]


def of_letter(letter: Letter) -> list[str]:
    return [*facts(letter.shown, letter.digest, full=letter.full), *letter.notes]


def facts(shown: Display, digest: str, *, full: bool) -> list[str]:
    """In the order of the page: who and what, risk, arguments or their digest, warnings, and last what the agent says."""
    lines = [*shown.who, f"Risk: {shown.risk}", *shown.risks, f"Asked by the policy: {shown.policy}"]
    if full:
        lines += ["Arguments:", *(f"  {line}" for line in shown.brief() or ("none",))]
        if shown.edited:
            lines += ["Since the agent asked, by an approver's edit:", *(f"  {line}" for line in shown.edited)]
        lines += ["Since the last similar approved call:", *(f"  {line}" for line in shown.changes)]
    lines.append(f"Digest of the exact arguments: {digest[:16]}")
    lines += [*shown.reach, *shown.facts, *shown.warnings]
    if full and shown.says:
        lines += [SAYS, *(f"| {line}" for line in summary(shown.says))]
    return lines


def buttons(letter: Letter) -> list[Block]:
    one = letter.notification
    found = [
        button(APPROVE, "Approve", one.notification_id, style="primary", confirm=True),
        button(DENY, "Deny", one.notification_id, style="danger"),
        button(DETAILS, "Details", one.notification_id),
    ]
    if one.kind is NotificationKind.WARNED:
        found.append(button(EXTEND, "Five more minutes", one.notification_id))
    return [{"type": "actions", "block_id": "creto", "elements": found + open_link(letter.link)}]


def linked(letter: Letter) -> list[Block]:
    links = open_link(letter.link)
    return [{"type": "actions", "block_id": "creto", "elements": links}] if links else []


def open_link(link: str) -> list[Block]:
    if not link.startswith(("https://", "http://")):
        return []  # no page is configured
    return [{"type": "button", "action_id": OPEN, "text": plain("Open the request"), "url": link}]


def button(action_id: str, text: str, value: str, *, style: str = "", confirm: bool = False) -> Block:
    found: Block = {"type": "button", "action_id": action_id, "text": plain(text), "value": value}
    if style:
        found["style"] = style
    if confirm:
        found["confirm"] = {
            "title": plain("Approve?"), "text": plain("The act is executed once, exactly as shown."),
            "confirm": plain("Approve"), "deny": plain("Back"),
        }  # fmt: skip
    return found


# Modals


def reason_modal(letter: Letter, reference: str) -> Block:
    """Why it is denied. Closing it decides nothing."""
    policy: OversightPolicy = letter.record.ask.policy
    ask = {
        "type": "input", "block_id": REASON, "optional": not policy.reason_required, "label": plain("Reason"),
        "element": {"type": "plain_text_input", "action_id": REASON, "multiline": True, "max_length": 3_000},
    }  # fmt: skip
    return {
        "type": "modal", "callback_id": DENY, "private_metadata": reference, "title": plain("Deny"), "submit": plain("Deny"),
        "close": plain("Back"), "blocks": [prose(letter.shown.effect), ask],
    }  # fmt: skip


def details_modal(letter: Letter) -> Block:
    lines = [*letter.shown.text().split("\n"), *letter.notes] if letter.full else of_letter(letter)
    return text_modal("Details", [*lines, "", letter.standing, letter.link])


def text_modal(title: str, lines: Sequence[str]) -> Block:
    return {
        "type": "modal",
        "title": plain(title),
        "close": plain("Close"),
        "blocks": fenced(lines, SLACK_MODAL_CHARS_MAX),
    }


# Pieces


def header(text: str) -> Block:
    return {"type": "header", "text": plain(bounded(text, 140))}


def plain(text: str) -> Block:
    return {"type": "plain_text", "text": text, "emoji": False}


def prose(text: str, *, bold: bool = False) -> Block:
    """Text shown letter by letter."""
    element: Block = {"type": "text", "text": bounded(text, SLACK_TEXT_CHARS_MAX)}
    if bold:
        element["style"] = {"bold": True}
    return {"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [element]}]}


def fenced(lines: Iterable[str], chars_max: int = SLACK_CARD_CHARS_MAX) -> list[Block]:
    """Lines in a fence that no text can leave; in as many blocks as they need."""
    return [
        {"type": "rich_text", "elements": [{"type": "rich_text_preformatted", "elements": [{"type": "text", "text": part}]}]}
        for part in parted(bounded("\n".join(lines), chars_max), SLACK_TEXT_CHARS_MAX)
    ]  # fmt: skip


def parted(text: str, chars_max: int) -> list[str]:
    """Between lines. One that is longer goes on behind a mark: where a block begins it must not look like a line of its own."""
    parts = [""]
    for line in text.split("\n"):
        while len(line) > chars_max:
            parts.append(line[:chars_max])
            line = CONTINUED + line[chars_max:]
        if parts[-1] and len(parts[-1]) + 1 + len(line) > chars_max:
            parts.append(line)
        else:
            parts[-1] = f"{parts[-1]}\n{line}" if parts[-1] else line
    return [part for part in parts if part]


def bounded(text: str, most: int) -> str:
    """Head and tail, and in words how much is missing between them: a cut never hides an end."""
    if len(text) <= most:
        return text
    half = (most - 60) // 2
    return f"{text[:half]}⟦{len(text) - 2 * half} characters left out: open the request⟧{text[-half:]}"
