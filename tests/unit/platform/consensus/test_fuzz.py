"""Any bytes into the decoders: a value or a documented error, never anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz import examples
from tests.unit.platform.consensus.fakes import ToyKey
from tests.unit.platform.consensus.quorums import cluster
from tests.unit.platform.consensus.test_certificate import TRUST, VALID

from creto.common.errors import EnablementError, InvalidInput
from creto.common.limits import DECISION_CERTIFICATE_BYTES_MAX, TIME_FRAME_BYTES_MAX
from creto.platform.consensus import Cluster, DecisionCertificate, Trust
from creto.platform.consensus.node import TimeNode, read_frame
from creto.platform.consensus.reading import Question, decode_question, decode_reading
from creto.platform.consensus.rounds import Round
from creto.platform.consensus.testing import MANUAL_START

NODE = TimeNode(ToyKey(1), clock=lambda: MANUAL_START)
_, PEERS = cluster(4, lambda: MANUAL_START)


def asked() -> Round:
    return Round(tuple(PEERS), Cluster(), bytes(32))


VALID_BYTES = [VALID.encode(), asked().request, NODE.answer(asked().request)]


@st.composite
def almost_valid(draw: st.DrawFn) -> bytes:
    """Something valid with a few bytes changed, cut out or put in."""
    data = bytearray(draw(st.sampled_from(VALID_BYTES)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 8))] = draw(st.binary(max_size=8))
    return bytes(data)


anything = st.one_of(st.binary(max_size=300), almost_valid())


@settings(max_examples=examples(100), deadline=None)
@given(anything)
def test_certificate(data: bytes) -> None:
    with suppress(EnablementError):
        certificate = DecisionCertificate.decode(data)
        assert certificate.encode() == data
        certificate.verify(TRUST)
        assert data == VALID.encode(), "changed, and still valid"


@settings(max_examples=examples(100), deadline=None)
@given(anything)
def test_question_and_reading(data: bytes) -> None:
    for decode in (decode_question, decode_reading, NODE.answer):
        with suppress(EnablementError):
            decode(data)


@settings(max_examples=examples(100), deadline=None)
@given(anything)
def test_an_answer_of_any_bytes_only_costs_the_node_its_voice(data: bytes) -> None:
    round = asked()
    round.offer(round.peers[0], data, 0, 10)
    assert round.result() is None
    assert round.states(None)[0].node == round.peers[0].node


@settings(max_examples=examples(50), deadline=None)
@given(st.binary(max_size=64))
def test_frame(data: bytes) -> None:
    async def read() -> bytes:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await read_frame(reader)

    with suppress(EnablementError, asyncio.IncompleteReadError):
        assert asyncio.run(read()) == data[4 : 4 + int.from_bytes(data[:4])]


@pytest.mark.parametrize(
    ("decode", "limit"),
    [(decode_question, TIME_FRAME_BYTES_MAX), (DecisionCertificate.decode, DECISION_CERTIFICATE_BYTES_MAX)],
)
def test_more_bytes_than_the_limit_are_not_looked_at(decode: Callable[[bytes], object], limit: int) -> None:
    with pytest.raises(InvalidInput, match=f"at most {limit} bytes"):
        decode(b" " * (limit + 1))


@given(st.integers(-(2**70), 2**70))
def test_any_time(now: int) -> None:
    with suppress(EnablementError):
        VALID.verify(Trust.of(TRUST.cluster, list(TRUST.humans.values())), now=now)


def test_a_question_is_bounded() -> None:
    assert len(asked().request) < 200
    assert isinstance(decode_question(asked().request), Question)
