"""Mails: a letter as text and HTML, in a thread that closes itself. Only layout; what is shown, oversight has rendered.

    mail = composed(letter, sender="creto <approvals@corp.example>", url=url)

The text part and the HTML part say the same: both are made from the same lines, the HTML by escaping each. Nothing in a mail decides: the link
opens the request, a human does the rest there. There is no List-Unsubscribe: a client or a scanner would end an approver's duty with it.

INVARIANT: the Message-ID is the notification's: a mail that is sent twice is recognised as one.
INVARIANT: a header is one line, whatever an agent wrote.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from creto.common.errors import InvalidInput
from creto.common.limits import MAIL_SUBJECT_CHARS_MAX
from creto.common.timestamps import SECOND
from creto.oversight.display import SAYS
from creto.oversight.letters import Letter
from creto.oversight.types import Notification

Block = tuple[str, list[str]]
ADDRESS = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*"
)
ADDRESS_CHARS_MAX = 254  # RFC 5321 4.5.3.1.3
EDITED, CHANGES, NOTES = (
    "Since the agent asked, by an approver's edit",
    "Since the last similar approved call",
    "Questions and comments",
)
# Mailers know styles of elements alone. No colour of a text or ground is set but the button's, so that a dark mailer stays readable.
PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    '<meta name="color-scheme" content="light dark"><title>{title}</title></head><body style="font:16px/1.5 system-ui,'
    'sans-serif;overflow-wrap:anywhere;max-width:42rem;margin:1rem auto;padding:0 1rem">{body}</body></html>'
)
HEAD = '<p style="margin:0;font-size:14px;font-weight:600;opacity:.75">{}</p><h1 style="margin:0;font-size:22px;line-height:1.3">{}</h1>'
BLOCK = '<h2 style="margin:24px 0 4px;font-size:16px">{}</h2><div style="white-space:pre-wrap;{}">{}</div>'
PLAIN = "font-size:15px"
EXACT = "font:14px/1.6 ui-monospace,monospace;border-left:3px solid #8886;padding-left:12px"
QUOTED = "font-size:15px;font-style:italic;border:1px dashed #8888;border-radius:6px;padding:8px 12px"
STYLES = {"Arguments": EXACT, EDITED: EXACT, CHANGES: EXACT, SAYS: QUOTED, NOTES: QUOTED}
BUTTON = (
    '<p style="margin:28px 0"><a style="display:inline-block;padding:10px 20px;border-radius:6px;background:#3353d1;color:#fff;'
    'font-weight:600;text-decoration:none" href="{}">Open the request</a></p>'
)


def composed(letter: Letter, *, sender: str, url: str, now: int) -> EmailMessage:
    one = letter.notification
    blocks = parts(letter)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = checked_address(one.address)
    mail["Subject"] = subject(letter)
    mail["Date"] = format_datetime(datetime.fromtimestamp(now // SECOND, UTC))
    mail["Message-ID"] = message_id(one, sender)
    earlier = [card.reference for card in letter.cards if card.reference]
    if earlier:
        mail["In-Reply-To"] = earlier[-1]
        mail["References"] = " ".join([earlier[0], *earlier[-1:]] if len(earlier) > 1 else earlier)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Auto-Response-Suppress"] = "All"
    mail.set_content(as_text(blocks, url))
    mail.add_alternative(as_html(letter, blocks, url), subtype="html")
    return mail


def subject(letter: Letter) -> str:
    """The same words through the thread, so that mailers keep it together; the heading stands in the body."""
    text = " ".join(f"Approval: {letter.shown.effect}".split())
    return text if len(text) <= MAIL_SUBJECT_CHARS_MAX else f"{text[: MAIL_SUBJECT_CHARS_MAX - 3]}⟦…⟧"


def message_id(one: Notification, sender: str) -> str:
    domain = parseaddr(sender)[1].rpartition("@")[2]
    return f"<{one.notification_id}@{domain}>"


def parts(letter: Letter) -> list[Block]:
    """In the order of the page."""
    shown = letter.shown
    found: list[Block] = [
        (letter.heading, [shown.effect, letter.standing]),
        ("Who", list(shown.who)),
        (f"Risk: {shown.risk}", [*shown.risks, f"Asked by the policy: {shown.policy}"]),
    ]
    digest = f"Digest of the exact arguments: {letter.digest}"
    if letter.full:
        found.append(("Arguments", [*([str(line) for line in shown.arguments] or ["none"]), digest]))
        found.append((EDITED, list(shown.edited)))
        found.append((CHANGES, list(shown.changes)))
    else:
        found.append(("Arguments", ["They are shown on the page.", digest]))
    found += [("Reach", list(shown.reach)), ("Known", list(shown.facts)), ("Take care", list(shown.warnings))]
    if letter.full:
        found.append((SAYS, [*(f"| {line}" for line in shown.says), *([shown.says_note] if shown.says_note else [])]))
        found.append((NOTES, list(letter.notes)))
    return [(head, lines) for head, lines in found if lines]


def as_text(blocks: Sequence[Block], url: str) -> str:
    text = "\n\n".join("\n".join([head, *(f"  {line}" for line in lines)]) for head, lines in blocks)
    return f"{text}\n\nOpen the request: {url}\n" if url else f"{text}\n"


def as_html(letter: Letter, blocks: Sequence[Block], url: str) -> str:
    (heading, (effect, *standing)), *rest = blocks
    body = HEAD.format(html.escape(heading), html.escape(effect))
    body += "".join(f"<p>{html.escape(line)}</p>" for line in standing)
    for head, lines in rest:
        body += BLOCK.format(html.escape(head), STYLES.get(head, PLAIN), html.escape("\n".join(lines)))
    return PAGE.format(title=html.escape(subject(letter)), body=body + (BUTTON.format(html.escape(url)) if url else ""))


def checked_address(text: str) -> str:
    """One plain address, without display name, comment or quotes: what several parsers could read in several ways is none."""
    if not ADDRESS.fullmatch(text) or len(text) > ADDRESS_CHARS_MAX:
        raise InvalidInput.of("address", got=text, expected="a mail address, as ann@corp.example")
    return text
