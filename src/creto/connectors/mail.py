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
PAGE = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
    '<title>{title}</title></head><body style="font-family:system-ui,sans-serif;max-width:42rem;margin:1rem auto;padding:0 1rem">{body}</body></html>'
)
PRE = '<pre style="white-space:pre-wrap;overflow-wrap:anywhere;font-family:ui-monospace,monospace">{}</pre>'


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
        found.append(("Since the agent asked, by an approver's edit", list(shown.edited)))
        found.append(("Since the last similar approved call", list(shown.changes)))
    else:
        found.append(("Arguments", ["They are shown on the page.", digest]))
    found += [("Reach", list(shown.reach)), ("Known", list(shown.facts)), ("Take care", list(shown.warnings))]
    if letter.full:
        found.append((SAYS, [*(f"| {line}" for line in shown.says), *([shown.says_note] if shown.says_note else [])]))
        found.append(("Questions and comments", list(letter.notes)))
    return [(head, lines) for head, lines in found if lines]


def as_text(blocks: Sequence[Block], url: str) -> str:
    text = "\n\n".join("\n".join([head, *(f"  {line}" for line in lines)]) for head, lines in blocks)
    return f"{text}\n\nOpen the request: {url}\n" if url else f"{text}\n"


def as_html(letter: Letter, blocks: Sequence[Block], url: str) -> str:
    body = "".join(
        f"<h2>{html.escape(head)}</h2>{PRE.format(html.escape(chr(10).join(lines)))}" for head, lines in blocks
    )
    link = f'<p><a href="{html.escape(url)}">Open the request</a></p>' if url else ""
    return PAGE.format(title=html.escape(subject(letter)), body=body + link)


def checked_address(text: str) -> str:
    """One plain address, without display name, comment or quotes: what several parsers could read in several ways is none."""
    if not ADDRESS.fullmatch(text) or len(text) > ADDRESS_CHARS_MAX:
        raise InvalidInput.of("address", got=text, expected="a mail address, as ann@corp.example")
    return text
