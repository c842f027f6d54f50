"""Text from an agent, made visible: nothing in it can hide, reorder, imitate or disappear.

>>> visible("pay\u202e001 to \u0440aypal").text
'pay⟦U+202E⟧001 to ⟦U+0440 CYRILLIC SMALL LETTER ER⟧aypal'

It is a list of what may be shown, not of what is bad: printable ASCII, and letters of living scripts, in words of one script that cannot be
mistaken for ASCII. All else is shown as its code point between ⟦ and ⟧, which stand for themselves nowhere.

INVARIANT: two different texts never look the same: the visible form gives the original back.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum

import msgspec

MARKS_MAX = 2  # combining marks of a script on one letter; more is a tower that covers its neighbours
SPACES_MAX = 2  # more in a row push what follows out of sight
PROSE = frozenset("–—‘’“”„…•·×÷°§€£¥«»¿¡")  # punctuation that people write and no program reads
# Letters of other scripts that are drawn like an ASCII letter.
LOOK_ALIKES = frozenset(
    "аеорсухіјѕһԁԛԝӏвкмнтгзбАВЕКМНОРСТХУІЈЅԌԚԜҮҺӀЗЬ"
    "αορνυικτγηωχεΑΒΕΖΗΙΚΜΝΟΡΤΥΧϲϳϹ"
    "օսոհցզյկգքԱՍՏՕՈԼ"
    "ІіΟοՕⲟⲞⲤⲥᎪᏴᏟᎠᎬᎢᏚᎳᎻᎷᏢᏙᏃᏞᏒᎥᏎᏦᏀꓐꓚꓓꓰꓝꓖꓧꓲꓙꓗꓡꓟꓠꓳꓑꓣꓢꓔꓴꓦꓪꓫꓬꓜ"
    "ഠଠဝ"
)
# Where the letters of living scripts are that are read as what they are. Whatever is elsewhere (phonetic and small capitals, syllabics, dead
# scripts, mathematical alphabets) is shown as its code point: nobody writes it to be read by an approver.
KNOWN = (
    (0x00C0, 0x0130), (0x0132, 0x0137), (0x0139, 0x013E), (0x0141, 0x0148), (0x014A, 0x017E), (0x0218, 0x021B), (0x1EA0, 0x1EF9),  # Latin
    (0x0386, 0x03CE), (0x1F00, 0x1FFC), (0x0400, 0x045F), (0x0490, 0x0493), (0x0531, 0x0587),  # Greek, Cyrillic, Armenian
    (0x0620, 0x064A), (0x0671, 0x06D3), (0x05D0, 0x05EA),  # Arabic, Hebrew: in prose
    (0x0904, 0x0DC6), (0x0E01, 0x0EC6), (0x0F40, 0x0F6C), (0x1000, 0x103F), (0x10D0, 0x10F0), (0x1200, 0x135A), (0x1780, 0x17B3),
    (0x3041, 0x30FE), (0x3105, 0x312F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0x20000, 0x323AF),
)  # fmt: skip
DOT_BELOW = "\u0323"  # under a letter of its own it is as good as nothing
NO_SHAPE = frozenset("\u115f\u1160\u3164\uffa0\u17b4\u17b5\u034f\u2800")  # letters and marks without a picture
MARKUP = re.compile(r"<[A-Za-z!/@#]|&(?:#|[A-Za-z])|\]\(|```|\*\*|\bjavascript:|\x1b|\\u[0-9a-fA-F]{4}|%[0-9a-fA-F]{2}")
SYSTEM = re.compile(
    r"(?i)\b(?:system|admin(?:istrator)?|creto|policy engine|security team|compliance)\b\s*[:\]>)-]"
    r"|\b(?:pre|already|auto)[- ]?(?:approved|authori[sz]ed|verified)\b|\b(?:click|press|tap|hit)\s+(?:on\s+)?[\"']?approve"
    r"|\bignore (?:all |the |any )?(?:previous|above|other)\b|\[(?:approved|verified|safe)\]|\brisk\s*[:=]\s*(?:none|low)\b"
)
LONG_CHARS = 400  # a value longer than a few lines has a tail that nobody reads by accident


class Trick(StrEnum):
    """What was made visible, in words for the approver."""

    HIDDEN = "hidden or control characters"
    DIRECTION = "characters that change the reading direction"
    LOOK_ALIKE = "characters that look like others"
    MARKS = "piled-up marks"
    SPACES = "runs of spaces, or spaces at an end"
    MARKUP = "markup or encoded characters"
    SYSTEM = "words that imitate the system or press for approval"
    LONG = "a long value: read it to its end"


class Visible(msgspec.Struct, frozen=True):
    text: str
    tricks: tuple[Trick, ...] = ()


def visible(text: str, *, prose: bool = False) -> Visible:
    """The text with everything doubtful spelled out. `prose` lets typographic marks stand, for what no program reads."""
    tricks: set[Trick] = set()
    out = [word_shown(part, prose, tricks) for part in re.split(r"([\x20]+)", text) if part]
    out = edges_shown(out, tricks)
    plain = "".join(out)
    folded = unicodedata.normalize("NFKC", text)
    if MARKUP.search(folded):
        tricks.add(Trick.MARKUP)
    if SYSTEM.search(folded):
        tricks.add(Trick.SYSTEM)
    if len(text) > LONG_CHARS:
        tricks.add(Trick.LONG)
    return Visible(plain, tuple(trick for trick in Trick if trick in tricks))


def word_shown(word: str, prose: bool, tricks: set[Trick]) -> str:
    if word.isascii() and word.isprintable():
        return word
    scripts = {script(c) for c in word if c.isalpha()}
    mixed = len(scripts) > 1
    alike = all(c in LOOK_ALIKES or c.isascii() for c in word if c.isalpha())
    out, marks = [], 0
    for i, c in enumerate(word):
        marks = marks + 1 if unicodedata.category(c) in ("Mn", "Mc", "Me") else 0
        trick = doubt(c, word[i - 1] if i else "", marks, prose)
        if trick is None and not c.isascii() and c.isalpha() and imitates(c, mixed, alike):
            trick = Trick.LOOK_ALIKE
        if trick is None:
            out.append(c)
        else:
            tricks.add(trick)
            out.append(code_point(c))
    return "".join(out)


def imitates(c: str, mixed: bool, alike: bool) -> bool:
    """Whether a letter passes for another in its word: a Latin double always, another script's in a mixed or wholly look-alike word."""
    if not any(low <= ord(c) <= high for low, high in KNOWN):
        return True
    if script(c) == "LATIN":
        return unicodedata.normalize("NFD", c)[1:] == DOT_BELOW
    return mixed or alike


def doubt(c: str, before: str, marks: int, prose: bool) -> Trick | None:
    """Why a character cannot stand as it is, judged alone; None if it can."""
    if c.isascii():
        return None if c.isprintable() else Trick.HIDDEN
    if c in "⟦⟧":
        return Trick.SYSTEM
    category, direction = unicodedata.category(c), unicodedata.bidirectional(c)
    if c in NO_SHAPE or category in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"):
        return Trick.DIRECTION if category == "Cf" and direction in BIDI_CONTROLS else Trick.HIDDEN
    if direction in ("R", "AL", "AN") and not prose:
        return Trick.DIRECTION  # the letters themselves reorder the digits and signs beside them
    if unicodedata.normalize("NFKC", c) != c:
        return Trick.LOOK_ALIKE  # another spelling of a common character: full-width, mathematical, superscript, Kelvin
    if marks:
        own_script = (
            before and (before.isalpha() or marks > 1) and unicodedata.name(c, "").split(" ")[0] == script(before)
        )
        return None if category != "Me" and marks <= MARKS_MAX and own_script else Trick.MARKS
    if c.isalpha() or (prose and c in PROSE):
        return None
    return Trick.LOOK_ALIKE


BIDI_CONTROLS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI", "R", "AL", "L"})


def edges_shown(parts: list[str], tricks: set[Trick]) -> list[str]:
    """Runs of spaces, and spaces where nobody sees them, as their number."""
    out = []
    for i, part in enumerate(parts):
        blank = not part.strip(" ")
        if blank and (len(part) > SPACES_MAX or i in (0, len(parts) - 1)):
            tricks.add(Trick.SPACES)
            out.append("⟦1 space⟧" if len(part) == 1 else f"⟦{len(part)} spaces⟧")
        else:
            out.append(part)
    return out


def script(c: str) -> str:
    """The script of a letter, as its name says it; close relatives that one word mixes by custom are one."""
    name = unicodedata.name(c, "UNKNOWN").split(" ")[0]
    return RELATED.get(name, name)


RELATED = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "KATAKANA-HIRAGANA": "CJK", "HANGUL": "CJK", "BOPOMOFO": "CJK"}


def code_point(c: str) -> str:
    name = unicodedata.name(c, "")
    return f"⟦U+{ord(c):04X} {name}⟧" if c.isalpha() and name else f"⟦U+{ord(c):04X}⟧"


HEX = re.compile(r"⟦(?:U\+([0-9A-F]{4,6})[^⟧]*|(\d+) spaces?)⟧")


def original(shown: str) -> str:
    """What a visible form stands for."""
    return HEX.sub(lambda m: chr(int(m[1], 16)) if m[1] else " " * int(m[2]), shown)
