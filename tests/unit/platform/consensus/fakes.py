"""What the simulated world is made of: a machine's clocks, and keys that cost next to nothing."""

from __future__ import annotations

from creto.common.errors import SignatureVerificationFailed
from creto.common.fingerprint import fingerprint
from creto.platform.consensus.testing import MANUAL_START


class FakeLocal:
    """A machine whose clocks move when told; the wall clock can be set apart from elapsed time."""

    def __init__(self, *, wall: int = MANUAL_START, elapsed: int = 10**12, boot: str = "boot-1") -> None:
        self.boot = boot
        self.elapsed_ns = elapsed
        self.wall_offset_ns = wall - elapsed

    def elapsed(self) -> int:
        return self.elapsed_ns

    def wall(self) -> int:
        return self.elapsed_ns + self.wall_offset_ns

    def pass_time(self, ns: int) -> None:
        self.elapsed_ns += ns

    def step_wall(self, ns: int) -> None:
        self.wall_offset_ns += ns

    def pause(self, seconds: float) -> None:
        self.pass_time(int(seconds * 1e9) + 1)


class ToyPublic:
    """Verifies what its ToyKey signed. Only simulations, which sign a million times, use it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.ed25519 = fingerprint(b"public" + secret)[1:]

    def verify(self, message: bytes, signature: bytes, context: bytes = b"") -> None:
        if signature != fingerprint(self._secret + context + b"\0" + message):
            raise SignatureVerificationFailed("PL-210")


class ToyKey:
    def __init__(self, seed: int) -> None:
        self._secret = seed.to_bytes(16)
        self.public = ToyPublic(self._secret)

    def sign(self, message: bytes, context: bytes = b"") -> bytes:
        return fingerprint(self._secret + context + b"\0" + message)
