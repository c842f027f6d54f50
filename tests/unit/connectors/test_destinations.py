"""Where a connector connects: nothing special, nothing private, and only what was checked."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import ConnectionFailed, EnablementError, InvalidInput, Timeout, Unauthorized
from creto.common.limits import WEBHOOK_ANSWER_BYTES_MAX
from creto.common.timestamps import SECOND
from creto.connectors.destinations import Destinations, checked_url, retry_after_s
from tests.receivers import Receiver, Say
from tests.unit.connectors.certificates import server_tls

HERE = ("127.0.0.0/8",)


def answering(*addresses: str) -> tuple[list[str], Destinations]:
    """Destinations whose resolver gives these addresses, and what it was asked."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return addresses

    return asked, Destinations(resolve=resolve)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "168.63.129.16", "100.100.100.200",
        "224.0.0.1", "255.255.255.255", "192.0.0.192", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "240.0.0.1",
        "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1",
        "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::1", "2001:0:1::1",
    ],
)  # fmt: skip
async def test_special_addresses_are_refused(address: str) -> None:
    _, destinations = answering(address)
    with pytest.raises(Unauthorized) as caught:
        await destinations.find("https://hooks.example/in")
    assert caught.value.code == "PL-940"
    assert address.partition("%")[0] not in str(caught.value)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
async def test_public_addresses_are_taken(address: str) -> None:
    _, destinations = answering(address)
    place = await destinations.find("https://hooks.example/in?x=1")
    assert (place.addresses, place.authority, place.target) == ((address,), "hooks.example", "/in?x=1")


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    _, destinations = answering("8.8.8.8", "10.0.0.1")
    with pytest.raises(Unauthorized):
        await destinations.find("https://hooks.example/")


@pytest.mark.parametrize("url", ["http://8.8.8.8/", "http://hooks.example/"])
async def test_plain_http_goes_to_allowed_networks_only(url: str) -> None:
    _, destinations = answering("8.8.8.8")
    with pytest.raises(Unauthorized):
        await destinations.find(url)


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example", "ftp://hooks.example/", "file:///etc/passwd", "https://", "https:///x", "https://u:p@hooks.example/",
        "https://hooks.example@10.0.0.1/", "https://hooks.example/#x", "https://hooks.example:0/", "https://hooks.example:99999/",
        "https://hooks.example\\@10.0.0.1/", "https://hooks example/", "https://hööks.example/", "https://hooks.example/\r\nx: y",
        "https://[fe80::1%25eth0]/", "https://[::1/", "https://-/" + "x" * 3_000, "https://a..b/", "gopher://x/",
    ],
)  # fmt: skip
def test_what_parsers_could_read_in_two_ways_is_no_address(url: str) -> None:
    with pytest.raises(InvalidInput):
        checked_url(url)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_documented_error(text: str) -> None:
    for url in (text, f"https://{text}", f"https://hooks.example/{text}"):
        try:
            checked_url(url)
        except EnablementError as error:
            assert error.code == "PL-400"


async def test_numbers_in_disguise_are_resolved_before_they_are_judged() -> None:
    for url in (
        "https://2130706433/",
        "https://0x7f.1/",
        "https://127.1/",
        "https://localhost/",
        "https://[::ffff:127.0.0.1]/",
    ):
        with pytest.raises(EnablementError) as caught:
            await Destinations().find(url)
        assert caught.value.code in ("PL-940", "PL-503")


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    """A name whose second answer would be another: it is asked once."""
    asked: list[str] = []

    async def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ("127.0.0.1",) if len(asked) == 1 else ("169.254.169.254",)

    async with Receiver.open() as receiver:
        destinations = Destinations(allowed_networks=HERE, resolve=rebinding)
        reply = await destinations.post(receiver.url(host="hooks.example"), {}, b"{}")
        assert (reply.status, asked) == (200, ["hooks.example"])
        assert receiver.taken[0].headers["host"] == f"hooks.example:{receiver.port}"


async def test_tls_proves_the_name_though_the_connection_goes_to_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, authority = server_tls(tmp_path, "hooks.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))

    async def here(host: str, port: int) -> Sequence[str]:
        return ("127.0.0.1",)

    async with Receiver.open(tls) as receiver:
        destinations = Destinations(allowed_networks=HERE, resolve=here)
        assert (await destinations.post(receiver.url(host="hooks.example"), {}, b"{}")).status == 200
        with pytest.raises(ConnectionFailed):
            await destinations.post(receiver.url(host="other.example"), {}, b"{}")
        assert len(receiver.taken) == 1


async def test_a_redirect_is_an_answer() -> None:
    async with Receiver.open() as receiver, Receiver.open() as elsewhere:
        receiver.answers.append(Say(307, {"location": elsewhere.url()}))
        reply = await Destinations(allowed_networks=HERE).post(receiver.url(), {}, b"{}")
        assert (reply.status, elsewhere.taken) == (307, [])


async def test_the_next_address_is_tried_when_nobody_is_there() -> None:
    async def two(host: str, port: int) -> Sequence[str]:
        return ("127.0.0.2", "127.0.0.1")

    async with Receiver.open() as receiver:
        destinations = Destinations(allowed_networks=HERE, resolve=two)
        assert (await destinations.post(receiver.url(host="hooks.example"), {}, b"{}")).status == 200


@pytest.mark.parametrize(
    "say", [Say(cut=True), Say(200, body=b"\x00", headers={"bad header": "x"})], ids=["cut", "garbage"]
)
async def test_a_broken_answer_is_told_apart_from_a_status(say: Say) -> None:
    async with Receiver.open() as receiver:
        receiver.answers.append(say)
        with pytest.raises(ConnectionFailed):
            await Destinations(allowed_networks=HERE).post(receiver.url(), {}, b"{}")
        assert len(receiver.taken) == 1  # it may have been taken: no other address is tried


async def test_silence_ends() -> None:
    async with Receiver.open() as receiver:
        receiver.answers.append(Say(hang=True))
        with pytest.raises(Timeout) as caught:
            await Destinations(allowed_networks=HERE).post(receiver.url(), {}, b"{}", timeout_s=0.2)
        assert caught.value.code == "PL-504"


async def test_an_endless_answer_is_read_to_its_limit() -> None:
    async with Receiver.open() as receiver:
        receiver.answers.append(Say(endless=True))
        reply = await Destinations(allowed_networks=HERE).post(receiver.url(), {}, b"{}")
        assert len(reply.body) == WEBHOOK_ANSWER_BYTES_MAX


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Receiver.open() as receiver, Receiver.open() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url(""))
        monkeypatch.setenv("ALL_PROXY", proxy.url(""))
        await Destinations(allowed_networks=HERE).post(receiver.url(), {}, b"{}")
        assert (len(receiver.taken), len(proxy.taken)) == (1, 0)


def test_networks_are_networks() -> None:
    with pytest.raises(InvalidInput):
        Destinations(allowed_networks=("10.0.0.1/8",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None), ("7", 7.0), (" 7 ", 7.0), ("99999", 3_600.0), ("-1", None), ("soon", None), ("1e9", None), ("", None),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0), ("9" * 400, None),
    ],
)  # fmt: skip
def test_retry_after(text: str | None, expected: float | None) -> None:
    assert retry_after_s(text, 100 * SECOND, 3_600.0) == expected


def test_the_tls_context_checks_names() -> None:
    assert Destinations()._tls.verify_mode is ssl.CERT_REQUIRED
    assert Destinations()._tls.check_hostname


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "[::1]"])
def test_this_machine_is_refused_before_anything_is_sent(host: str) -> None:
    with pytest.raises(Unauthorized, match="PL-940"):
        Destinations().check(f"https://{host}/x")
    Destinations(allowed_networks=("127.0.0.0/8", "::1/128")).check(f"http://{host}/x")
    Destinations().check("https://localhost.example/x")
