"""Words: from a text to what is indexed, and from a word to the digest that stands for it in the index.

A word is folded (case, accents, width), a plural s is dropped, stop words are left out; runs of Chinese, Japanese and Korean
characters become pairs. In the index a word is a digest under the agent's own key.

INVARIANT: the index holds no word of any text, and two agents' digests of one word have nothing in common.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from creto.common.limits import INDEX_TOKENS_MAX, SEARCH_TOKENS_MAX
from creto.platform.crypto import MacSuite, mac

WORD = re.compile(r"[^\W_]+")
CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
CJK = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af]+")
WORD_CHARS_MAX = 64
DIGEST_BYTES = 8
# Letters only: engines parse digits in ways of their own.
LETTERS = str.maketrans("0123456789", "ghijklmnop")
STOP_WORDS = frozenset(
    """a about after all also am an and any are as at be been but by can could did do does for from had has have he her
    him his how i if in into is it its just me more my no not of on or our out she should so some than that the their
    them then there these they this to too up us was we were what when where which who why will with would you your
    """.split()  # noqa: SIM905 - a list of words reads as words
)


def folded(text: str) -> str:
    """One spelling for case, accents and width: É, e and Ｅ are one letter."""
    decomposed = unicodedata.normalize("NFKD", CAMEL.sub(" ", text)).casefold()
    bare = "".join(c for c in decomposed if not unicodedata.combining(c))
    return unicodedata.normalize("NFC", bare)


def singular(word: str) -> str:
    """Harman's S-stemmer: the weakest there is, and it never joins words that differ in more than a plural."""
    if len(word) < 4 or not word.endswith("s"):
        return word
    if word.endswith("ies") and not word.endswith(("eies", "aies")):
        return word[:-3] + "y"
    if word.endswith("es") and not word.endswith(("aes", "ees", "oes")):
        return word[:-1]
    return word if word.endswith(("us", "ss")) else word[:-1]


def words_of(text: str) -> Iterable[str]:
    for word in WORD.findall(folded(text)):
        if CJK.match(word):
            yield from (word[at : at + 2] for at in range(max(1, len(word) - 1)))
        elif word not in STOP_WORDS:
            yield singular(word[:WORD_CHARS_MAX])


def blind(key: bytes, word: str) -> str:
    return mac(key, word.encode(), MacSuite.BLAKE2S_256)[:DIGEST_BYTES].hex().translate(LETTERS)


def indexed(key: bytes, text: str) -> str:
    """The words of a text as the index keeps them, repeated as often as they occur, up to a limit."""
    known: dict[str, str] = {}
    out: list[str] = []
    for word in words_of(text):
        if len(out) == INDEX_TOKENS_MAX:
            break
        digest = known.get(word)
        if digest is None:
            digest = known[word] = blind(key, word)
        out.append(digest)
    return " ".join(out)


def queried(key: bytes, query: str) -> list[str]:
    """The words of a query, each once."""
    return [blind(key, word) for word in list(dict.fromkeys(words_of(query)))[:SEARCH_TOKENS_MAX]]
