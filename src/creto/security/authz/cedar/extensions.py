"""Cedar's extension types: decimal, ipaddr, datetime, duration. What the engine refuses is refused here too.

INVARIANT: every number stays within 64 bits; an overflow is an error, never a wrap.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache

import msgspec

from creto.security.authz.cedar.values import (
    LONG_MAX,
    LONG_MIN,
    EvaluationError,
    Value,
    mistyped,
    type_name,
)

DAY_MS = 86_400_000
IP_CHARS_MAX = 43  # the longest IPv6 address with its prefix


def within_long(number: int, what: str) -> int:
    if not LONG_MIN <= number <= LONG_MAX:
        raise EvaluationError(f"overflows when {what}")
    return number


class Decimal(msgspec.Struct, frozen=True, order=True):
    """Four decimal places, as an integer number of ten-thousandths."""

    units: int


class Ipaddr(msgspec.Struct, frozen=True):
    """An address and a prefix. The bits behind the prefix count for equality, as in Cedar."""

    version: int
    address: int
    prefix: int

    @property
    def bits(self) -> int:
        return 32 if self.version == 4 else 128

    def range(self) -> tuple[int, int]:
        hosts = (1 << (self.bits - self.prefix)) - 1
        return self.address & ~hosts, self.address | hosts


class Datetime(msgspec.Struct, frozen=True, order=True):
    ms: int


class Duration(msgspec.Struct, frozen=True, order=True):
    ms: int


DECIMAL = re.compile(r"(-?)([0-9]+)\.([0-9]+)")


def decimal(text: str) -> Decimal:
    match = DECIMAL.fullmatch(text)
    if match is None or len(text) > 64:
        raise EvaluationError(f"`{text[:64]}` is not a well-formed decimal value")
    sign, whole, fraction = match.groups()
    if len(fraction) > 4:
        raise EvaluationError("too many digits after the decimal, at most 4 are supported")
    units = int(whole) * 10_000 + int(fraction.ljust(4, "0"))
    return Decimal(within_long(-units if sign else units, "parsing a decimal"))


@lru_cache(maxsize=4096)
def ip(text: str) -> Ipaddr:
    if len(text) > IP_CHARS_MAX or (":" in text and "." in text) or "%" in text or not text.isascii():
        raise EvaluationError(f"invalid IP address: {text[:64]}")
    address, slash, prefix = text.partition("/")
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError as error:
        raise EvaluationError(f"invalid IP address: {text[:64]}") from error
    bits = 32 if parsed.version == 4 else 128
    return Ipaddr(parsed.version, int(parsed), ip_prefix(prefix, bits) if slash else bits)


def ip_prefix(text: str, bits: int) -> int:
    if not text or len(text) > len(str(bits)) or not text.isdigit() or (text[0] == "0" and text != "0"):
        raise EvaluationError(f"error parsing prefix `{text[:8]}`")
    if int(text) > bits:
        raise EvaluationError(f"error parsing prefix `{text[:8]}`: at most {bits}")
    return int(text)


DATETIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{3}))?(?:Z|([+-])([0-9]{2})([0-9]{2})))?"
)


def datetime(text: str) -> Datetime:
    match = DATETIME.fullmatch(text)
    if match is None:
        raise EvaluationError("invalid datetime pattern")
    year, month, day, hour, minute, second, milli, sign, off_hours, off_minutes = match.groups()
    days = epoch_days(int(year), int(month), int(day))
    h, m, s, ms = int(hour or 0), int(minute or 0), int(second or 0), int(milli or 0)
    if h > 23 or m > 59 or s > 59:
        raise EvaluationError(f"invalid hour/minute/second: {h}:{m}:{s}")
    if int(off_hours or 0) > 23 or int(off_minutes or 0) > 59:
        raise EvaluationError("invalid offset range")
    offset = (int(off_hours or 0) * 60 + int(off_minutes or 0)) * 60_000
    at = days * DAY_MS + ((h * 60 + m) * 60 + s) * 1000 + ms
    return Datetime(at + offset if sign == "-" else at - offset)


def epoch_days(year: int, month: int, day: int) -> int:
    """Days since 1970. Cedar takes the year 0000, Python does not: it has the calendar of 2000, 730,485 days later."""
    try:
        shifted = date(year or 2000, month, day).toordinal()
    except ValueError as error:
        raise EvaluationError(f"invalid date: {year:04}-{month:02}-{day:02}") from error
    days_from_year_0_to_2000 = 730_485
    return shifted - date(1970, 1, 1).toordinal() - (0 if year else days_from_year_0_to_2000)


DURATION = re.compile(r"(-?)(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?(?:([0-9]+)ms)?")
UNIT_MS = (DAY_MS, 3_600_000, 60_000, 1000, 1)


def duration(text: str) -> Duration:
    match = DURATION.fullmatch(text)
    if match is None or not any(match.groups()[1:]) or len(text) > 128:
        raise EvaluationError("invalid duration pattern")
    sign = -1 if match[1] else 1
    total = 0
    for digits, unit in zip(match.groups()[1:], UNIT_MS, strict=True):
        part = within_long(sign * int(digits or 0), "parsing a duration")
        total = within_long(total + within_long(part * unit, "parsing a duration"), "parsing a duration")
    return Duration(total)


CONSTRUCTORS: dict[str, Callable[[str], Value]] = {
    "decimal": decimal,
    "ip": ip,
    "datetime": datetime,
    "duration": duration,
}


def need(value: Value, kind: type) -> None:
    if type(value) is not kind:
        raise mistyped(value, kind.__name__.lower())


def compared(test: Callable[[int, int], bool]) -> Callable[[Value, Value], bool]:
    def run(a: Value, b: Value) -> bool:
        need(a, Decimal)
        need(b, Decimal)
        return test(a.units, b.units)

    return run


def is_loopback(value: Value) -> bool:
    need(value, Ipaddr)
    if value.version == 4:
        return bool(value.address >> 24 == 127 and value.prefix >= 8)
    return bool(value.address == 1 and value.prefix == 128)


def is_multicast(value: Value) -> bool:
    need(value, Ipaddr)
    if value.version == 4:
        return bool(value.address >> 28 == 0xE and value.prefix >= 4)
    return bool(value.address >> 120 == 0xFF and value.prefix >= 8)


def is_version(version: int) -> Callable[[Value], bool]:
    def run(value: Value) -> bool:
        need(value, Ipaddr)
        return bool(value.version == version)

    return run


def is_in_range(value: Value, other: Value) -> bool:
    need(value, Ipaddr)
    need(other, Ipaddr)
    if value.version != other.version:
        return False
    first, last = value.range()
    low, high = other.range()
    return bool(low <= first and last <= high)


def offset(at: Value, by: Value) -> Datetime:
    need(at, Datetime)
    need(by, Duration)
    return Datetime(within_long(at.ms + by.ms, "adding a duration to a datetime"))


def duration_since(at: Value, other: Value) -> Duration:
    need(at, Datetime)
    need(other, Datetime)
    return Duration(within_long(at.ms - other.ms, "computing a duration between datetimes"))


def to_date(at: Value) -> Datetime:
    need(at, Datetime)
    return Datetime(within_long(at.ms // DAY_MS * DAY_MS, "computing a date"))


def to_time(at: Value) -> Duration:
    need(at, Datetime)
    return Duration(at.ms % DAY_MS)


def in_units(unit_ms: int) -> Callable[[Value], int]:
    def run(value: Value) -> int:
        need(value, Duration)
        count: int = abs(value.ms) // unit_ms  # towards zero, as Rust divides
        return count if value.ms >= 0 else -count

    return run


METHODS: dict[str, tuple[int, Callable[..., Value]]] = {
    "lessThan": (2, compared(int.__lt__)),
    "lessThanOrEqual": (2, compared(int.__le__)),
    "greaterThan": (2, compared(int.__gt__)),
    "greaterThanOrEqual": (2, compared(int.__ge__)),
    "isIpv4": (1, is_version(4)),
    "isIpv6": (1, is_version(6)),
    "isLoopback": (1, is_loopback),
    "isMulticast": (1, is_multicast),
    "isInRange": (2, is_in_range),
    "offset": (2, offset),
    "durationSince": (2, duration_since),
    "toDate": (1, to_date),
    "toTime": (1, to_time),
    "toMilliseconds": (1, in_units(1)),
    "toSeconds": (1, in_units(1000)),
    "toMinutes": (1, in_units(60_000)),
    "toHours": (1, in_units(3_600_000)),
    "toDays": (1, in_units(DAY_MS)),
}


def construct(name: str, argument: Value) -> Value:
    if type(argument) is not str:
        raise EvaluationError(f"type error: expected string, got {type_name(argument)}")
    return CONSTRUCTORS[name](argument)
