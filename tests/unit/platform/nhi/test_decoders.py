"""Any bytes into any decoder give a value or a documented error, never another exception."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable

import pytest

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput
from creto.common.limits import CHAIN_BYTES_MAX, TOKEN_BYTES_MAX
from creto.platform.crypto.x509 import new_request
from creto.platform.nhi import (
    DelegationChain,
    Prekey,
    PrekeyKind,
    decode_bundle,
    decode_upload,
    request_proof,
    seal_bundle,
)
from tests.unit.platform.nhi.test_prekeys import first_keys
from tests.unit.platform.nhi.town import TENANT, Town, chain_of

Decoder = Callable[[bytes], object]


def mutations(rng: random.Random, sample: bytes, count: int) -> list[bytes]:
    """Bits flipped, bytes cut, doubled and replaced, and pure noise."""
    found = [b"", b"\0", b"{}", b"[]", b"null", b'"' * 50, b"[" * 5_000, rng.randbytes(200)]
    while len(found) < count:
        data = bytearray(sample)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(data) or 1)
            act = rng.randrange(5)
            if act == 0 and data:
                data[at] ^= 1 << rng.randrange(8)
            elif act == 1:
                del data[at : at + rng.randrange(1, 40)]
            elif act == 2:
                data[at:at] = data[at : at + rng.randrange(1, 40)]
            elif act == 3:
                data[at : at + 4] = rng.choice([b"null", b"-1.5", b"9" * 30, b'"\\ud800"', b"[]", b"\xff\xfe"])
            else:
                data = data[:at] or bytearray(b"x")
        found.append(bytes(data))
    return found


def only_documented_errors(decode: Decoder, samples: list[bytes]) -> int:
    refused = 0
    for sample in samples:
        try:
            decode(sample)
        except EnablementError:
            refused += 1
    return refused


async def test_chains(town: Town, deep: bool) -> None:
    people = await town.line(2)
    chain = chain_of(people)
    samples = mutations(random.Random(1), chain.to_bytes(), 50_000 if deep else 1_000)

    def decode(data: bytes) -> object:
        return town.nhi.validate(DelegationChain.from_bytes(data), tenant=TENANT)

    decode(chain.to_bytes())
    assert only_documented_errors(decode, samples) == len(samples)


async def test_tokens(town: Town, deep: bool) -> None:
    agent = await town.agent()
    token = (await town.nhi.issue_token(TENANT, agent.nhi, scopes=("a:*",))).token
    samples = mutations(random.Random(2), token.encode(), 100_000 if deep else 3_000)
    assert town.nhi.verify_token(token).agent == agent.nhi
    texts = [sample.decode("latin-1") for sample in samples]
    refused = sum(
        only_documented_errors(lambda data: town.nhi.verify_token(data.decode()), [t.encode()]) for t in texts
    )
    assert refused == sum(text != token for text in texts)


@pytest.mark.filterwarnings(
    "ignore:Parsed a serial number"
)  # the library warns of some hostile bytes before we refuse them
async def test_certificates(town: Town, deep: bool) -> None:
    agent = await town.agent()
    _, request = new_request()
    proof = request_proof(agent.key, request, tenant=TENANT)
    pem = (await town.nhi.issue_certificate(TENANT, agent.nhi, request, proof=proof)).certificate_pem
    caller = town.nhi.verify_certificate(pem)
    count = 20_000 if deep else 1_000
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    samples = [*mutations(random.Random(3), pem, count), *mutations(random.Random(4), der, count)]

    def decode(data: bytes) -> object:
        assert town.nhi.verify_certificate(data) == caller  # PEM ignores what stands around the block
        return caller

    assert only_documented_errors(decode, samples) > len(samples) // 2


def test_certificate_requests(deep: bool) -> None:
    from creto.platform.crypto.x509 import requested_key

    count = 20_000 if deep else 1_000
    samples = mutations(random.Random(5), new_request()[1], count)
    assert only_documented_errors(requested_key, samples) > count * 0.99


async def test_bundles(town: Town, deep: bool) -> None:
    agent = await town.agent()
    keys = [*first_keys(), Prekey(PrekeyKind.ONE_TIME_DH, 1, b"x" * 33)]
    upload = seal_bundle(agent.key, keys, tenant=TENANT, batch=1)
    await town.nhi.publish_bundle(TENANT, agent.nhi, upload)
    bundle = await town.nhi.get_key_bundle(TENANT, agent.nhi)
    data = wire.encode(bundle)
    assert decode_bundle(data) == bundle
    samples = mutations(random.Random(5), data, 20_000 if deep else 500)
    assert only_documented_errors(decode_bundle, samples) > len(samples) * 0.9
    assert decode_upload(wire.encode(upload)) == upload
    only_documented_errors(decode_upload, mutations(random.Random(6), wire.encode(upload), 500))


def test_sizes_are_looked_at_first() -> None:
    with pytest.raises(InvalidInput, match="PL-129"):
        DelegationChain.from_bytes(b"[" * (CHAIN_BYTES_MAX + 1))
    from creto.platform.nhi.tokens import Token

    with pytest.raises(EnablementError, match="PL-107"):
        Token.from_text("creto1." + "A" * TOKEN_BYTES_MAX)


async def test_a_chain_has_one_spelling(town: Town) -> None:
    chain = chain_of(await town.line(1))
    data = chain.to_bytes()
    assert DelegationChain.from_bytes(data) == chain
    for other in (b" " + data, data.replace(b'"v":1', b'"v": 1'), data[:-1] + b',"x":1}', data[:-1] + b',"v":1}'):
        with pytest.raises(InvalidInput, match="PL-129"):
            DelegationChain.from_bytes(other)


@pytest.mark.parametrize("cursor", ["", "x", "!!", "W10", "WzEsMl0", "9" * 5_000])
async def test_cursors(town: Town, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        await town.nhi.list(TENANT, cursor=cursor)
