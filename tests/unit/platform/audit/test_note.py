"""Notes, checkpoints and their keys: what is accepted, what is refused, and that nothing else happens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.platform.audit import Checkpoint, CosignerEd25519, CosignerMlDsa44, Note, NoteKey, NoteSignature
from creto.platform.audit.keys import Ed25519Signer, HybridSigner, NoteSigner, NoteType, log_signers
from creto.platform.audit.note import to_base64
from creto.platform.crypto import SignatureSuite, SigningKey
from tests.fuzz import examples
from tests.unit.platform.audit.logs import KEY, ORIGIN, START

ED = SigningKey.from_seed(SignatureSuite.ED25519, bytes(32))
SIGNERS: list[NoteSigner] = [
    Ed25519Signer(ORIGIN, KEY),
    HybridSigner(ORIGIN, KEY),
    CosignerEd25519("witness.example/w1", ED),
    CosignerMlDsa44("witness.example/w2", bytes(32)),
]
HEAD = Checkpoint(ORIGIN, 42, bytes(range(32)))


def test_a_note_keeps_its_bytes() -> None:
    data = "a\n\nb\n\n— name AAAAAAA=\n— other/name AAAAAQE=\n".encode()
    note = Note.parse(data)
    assert note.text == "a\n\nb\n"
    assert [s.name for s in note.signatures] == ["name", "other/name"]
    assert note.encode() == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        "text\n\n— name AAAAAAA=".encode(),
        b"text\n\n- name AAAAAAA=\n",
        "text\n\n— na+me AAAAAAA=\n".encode(),
        "text\n\n— name AAAAAAA\n".encode(),
        "text\n\n— name AAAAAAB=\n".encode(),  # base64 with bits set that mean nothing
        "text\n\n— name AAAAAA==\n".encode(),  # a key id without a signature
        "text\n\n— name  AAAAAAA=\n".encode(),
        "text\r\n\n— name AAAAAAA=\n".encode(),
        b"\xff\n\n\xe2\x80\x94 name AAAAAAA=\n",
        b"text\n\n" + "— name AAAAAAA=\n".encode() * 65,
    ],
)
def test_a_note_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="PL-610"):
        Note.parse(data)


@pytest.mark.parametrize("text", ["", "o\n", "o\n1\n", "o\n01\nr\n", "o\n-1\nr\n", "o\n١\nr\n", f"o\n1\n{to_base64(bytes(31))}\n", f"o\n9223372036854775808\n{to_base64(bytes(32))}\n", f"o\n1\n{to_base64(bytes(32))}\n\nx\n"])  # fmt: skip
def test_a_checkpoint_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="PL-610"):
        Checkpoint.parse_text(text)


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda s: s.key.type.name)
def test_every_type_of_key_signs_and_verifies(signer: NoteSigner) -> None:
    signed = HEAD.signed(signer.sign(HEAD, START))
    again = Checkpoint.parse(signed.encode())
    assert again == signed
    key = NoteKey.parse(signer.key.vkey)
    seconds = key.verify(again, again.signatures[0])
    assert seconds == (START // 10**9 if key.type.is_witness else 0)


@pytest.mark.parametrize("signer", SIGNERS, ids=lambda s: s.key.type.name)
@pytest.mark.parametrize("change", ["origin", "size", "root", "signature", "name", "cut"])
def test_a_signature_covers_everything(signer: NoteSigner, change: str) -> None:
    signature = signer.sign(HEAD, START)
    head, raw, key = HEAD, signature.signature, signer.key
    if change == "origin":
        head = Checkpoint("example.com/other", 42, HEAD.root)
    elif change == "size":
        head = Checkpoint(ORIGIN, 43, HEAD.root)
    elif change == "root":
        head = Checkpoint(ORIGIN, 42, bytes(32))
    elif change == "signature":
        raw = raw[:-1] + bytes([raw[-1] ^ 1])
    elif change == "cut":
        raw = raw[:7]
    elif change == "name":
        # A name is bound by the key id everywhere, and signed by the ML-DSA-44 cosignature alone.
        renamed = NoteKey("witness.example/w9", key.type, key.public)
        assert not renamed.made(signature)
        return
    with pytest.raises(SignatureVerificationFailed, match="PL-606"):
        key.verify(head, NoteSignature(signature.name, signature.key_id, raw))


def test_key_ids_are_those_of_the_specification() -> None:
    vkey = "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx"
    key = NoteKey.parse(vkey)
    assert (key.type, key.key_id.hex(), key.vkey) == (NoteType.ED25519, "33d7b496", vkey)


@pytest.mark.parametrize("change", [lambda v: v[:-4] + "AAAA", lambda v: v.replace("+", "+0", 1), lambda v: v.split("+")[0], lambda v: v + "=", lambda v: "x" + v])  # fmt: skip
def test_a_changed_vkey_is_refused(change: object) -> None:
    vkey = Ed25519Signer(ORIGIN, KEY).key.vkey
    with pytest.raises(InvalidInput):
        NoteKey.parse(change(vkey))  # type: ignore[operator]


def test_a_hybrid_key_signs_twice_so_that_standard_tools_can_read_it() -> None:
    assert [s.key.type for s in log_signers(ORIGIN, KEY)] == [NoteType.ED25519, NoteType.HYBRID]
    assert [s.key.type for s in log_signers(ORIGIN, ED)] == [NoteType.ED25519]


@settings(max_examples=examples(100), deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_checkpoint_or_a_documented_error(data: bytes) -> None:
    try:
        checkpoint = Checkpoint.parse(data)
    except EnablementError as error:
        assert error.code == "PL-610"
    else:
        assert checkpoint.encode() == data


@settings(max_examples=examples(100), deadline=None)
@given(st.data())
def test_a_mutated_checkpoint_is_read_as_itself_or_refused(data: st.DataObject) -> None:
    good = bytearray(HEAD.signed(SIGNERS[0].sign(HEAD, START)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    test_any_bytes_are_a_checkpoint_or_a_documented_error.hypothesis.inner_test(bytes(good))  # type: ignore[attr-defined]


@settings(max_examples=examples(100), deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_a_vkey_or_a_documented_error(text: str) -> None:
    try:
        assert NoteKey.parse(text).vkey == text
    except EnablementError as error:
        assert error.code in ("PL-610", "PL-216")
