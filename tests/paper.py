"""What stands on a page: the text of a PDF, and the ink of a picture of it. Enough for what typst writes, and no more.

text_of(pdf)            # one string for each page, lines as they are read
ink(png)                # width, height, and the box that holds everything that is not white
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

OBJECT = re.compile(rb"(\d+) 0 obj\b(.*?)endobj", re.S)
TOKEN = re.compile(rb"/[^\s/()<>\[\]]+|<[0-9A-Fa-f]*>|[-+.\d]+|[A-Za-z*']+|.", re.S)
ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|(.))", re.S)
PLAIN = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}
HEX = re.compile(rb"<([0-9A-Fa-f]+)>")


def objects(pdf: bytes) -> dict[int, bytes]:
    """All objects by number, those in object streams too; streams inflated."""
    found = {}
    for number, body in OBJECT.findall(pdf):
        head, mark, rest = body.partition(b"stream")
        if mark and b"FlateDecode" in head:
            data = zlib.decompressobj().decompress(rest.lstrip(b"\r\n"))
            body = head + b"stream\n" + data
            if b"/ObjStm" in head:
                found |= unpacked(head, data)
        found[int(number)] = body
    return found


def unpacked(head: bytes, data: bytes) -> dict[int, bytes]:
    first = int(re.search(rb"/First (\d+)", head)[1])  # type: ignore[index]
    numbers = [int(n) for n in data[:first].split()]
    places = [*numbers[1::2], len(data) - first]
    return {
        number: data[first + start : first + end]
        for number, start, end in zip(numbers[::2], places, places[1:], strict=True)
    }


def text_of(pdf: bytes) -> list[str]:
    """The words of each page in the order in which they are drawn."""
    known = objects(pdf)
    maps = {number: cmap(body) for number, body in known.items() if b"beginbfchar" in body or b"beginbfrange" in body}
    pages = [body for _, body in sorted(known.items()) if re.search(rb"/Type ?/Page\b", body)]
    return [page_text(page, known, maps) for page in pages]


def cmap(body: bytes) -> dict[int, str]:
    found = {}
    for block in re.findall(rb"beginbfchar(.*?)endbfchar", body, re.S):
        codes = HEX.findall(block)
        found |= {int(code, 16): utf16(text) for code, text in zip(codes[::2], codes[1::2], strict=True)}
    for block in re.findall(rb"beginbfrange(.*?)endbfrange", body, re.S):
        codes = HEX.findall(block)
        for low, high, text in zip(codes[::3], codes[1::3], codes[2::3], strict=True):
            for place, code in enumerate(range(int(low, 16), int(high, 16) + 1)):
                found[code] = chr(ord(utf16(text)) + place)
    return found


def utf16(text: bytes) -> str:
    return bytes.fromhex(text.decode()).decode("utf-16-be")


def page_text(page: bytes, known: dict[int, bytes], maps: dict[int, dict[int, str]]) -> str:
    resources = referenced(page, b"Resources", known)
    fonts = dict(re.findall(rb"/(\w+) (\d+) 0 R", referenced(resources, b"Font", known)))
    by_name = {}
    for name, number in fonts.items():
        unicode_map = re.search(rb"/ToUnicode (\d+) 0 R", known.get(int(number), b""))
        by_name[name] = maps.get(int(unicode_map[1]), {}) if unicode_map else {}
    content = b"".join(known[int(n)].partition(b"stream\n")[2] for n in contents_of(page))
    font: dict[int, str] = {}
    words: list[str] = []
    pending = [b""]
    for token in tokens(content):
        if token[:1] in b"(<":
            codes = raw(token)
            words.append("".join(font.get(int.from_bytes(codes[i : i + 2]), "") for i in range(0, len(codes), 2)))
        elif token == b"Tf":
            font = by_name[next(t for t in reversed(pending) if t[:1] == b"/")[1:]]
        elif token in (b"Tm", b"Td"):
            words.append(" ")
        pending = [*pending[-3:], token]
    return " ".join("".join(words).split())


def tokens(content: bytes) -> Iterator[bytes]:
    """Names, numbers, operators and whole strings; parentheses nest within strings."""
    at = 0
    while at < len(content):
        if content[at : at + 1] == b"(":
            end, depth = at + 1, 1
            while depth:
                step = content[end : end + 1]
                depth += {b"(": 1, b")": -1}.get(step, 0)
                end += 2 if step == b"\\" else 1
            yield content[at:end]
        else:
            found = TOKEN.match(content, at)
            assert found is not None
            end = found.end()
            yield found[0]
        at = end


def raw(string: bytes) -> bytes:
    """The bytes that a string in a PDF stands for."""
    if string.startswith(b"<"):
        return bytes.fromhex(string[1:-1].decode())

    def plain(found: re.Match[bytes]) -> bytes:
        return bytes([int(found[1], 8)]) if found[1] else PLAIN.get(found[2], found[2])

    return ESCAPE.sub(plain, string[1:-1])


def contents_of(page: bytes) -> list[bytes]:
    found = re.search(rb"/Contents ?(?:\[(.*?)\]|(\d+) 0 R)", page, re.S)
    assert found is not None
    return re.findall(rb"(\d+) 0 R", found[1]) if found[1] else [found[2]]


def referenced(body: bytes, name: bytes, known: dict[int, bytes]) -> bytes:
    """A dictionary, where it stands or where it is referred to."""
    found = re.search(rb"/" + name + rb" ?(?:(\d+) 0 R|<<(.*?)>>)", body, re.S)
    if found is None:
        return b""
    return known[int(found[1])] if found[1] else found[2]


def ink(png: bytes) -> tuple[int, int, tuple[int, int, int, int]]:
    """Width and height, and left, top, right and bottom of what is not white. RGBA with 8 bits, as typst writes."""
    width, height, depth, color = struct.unpack(">IIBB", png[16:26])
    assert (png[:8], depth, color) == (b"\x89PNG\r\n\x1a\n", 8, 6)
    rows = unfiltered(zlib.decompress(b"".join(chunks(png))), width * 4, height)
    white = b"\xff" * 4
    marked = [y for y, row in enumerate(rows) if row != white * width]
    lefts = [next(x for x in range(width) if rows[y][x * 4 : x * 4 + 4] != white) for y in marked]
    rights = [next(x for x in range(width - 1, -1, -1) if rows[y][x * 4 : x * 4 + 4] != white) for y in marked]
    return width, height, (min(lefts), marked[0], max(rights), marked[-1])


def chunks(png: bytes) -> list[bytes]:
    found, at = [], 8
    while at < len(png):
        size, name = struct.unpack(">I4s", png[at : at + 8])
        if name == b"IDAT":
            found.append(png[at + 8 : at + 8 + size])
        at += size + 12
    return found


def unfiltered(data: bytes, stride: int, height: int) -> list[bytes]:
    """PNG's filters, undone."""
    rows: list[bytes] = []
    above = bytes(stride)
    for y in range(height):
        kind, row = data[y * (stride + 1)], bytearray(data[y * (stride + 1) + 1 : (y + 1) * (stride + 1)])
        if kind:
            for x in range(stride):
                left = row[x - 4] if x >= 4 else 0
                corner = above[x - 4] if x >= 4 else 0
                row[x] = (row[x] + predicted(kind, left, above[x], corner)) & 0xFF
        above = bytes(row)
        rows.append(above)
    return rows


def predicted(kind: int, left: int, up: int, corner: int) -> int:
    if kind == 1:
        return left
    if kind == 2:
        return up
    if kind == 3:
        return (left + up) // 2
    near = left + up - corner
    return min((left, up, corner), key=lambda v: (abs(near - v), (left, up, corner).index(v)))
