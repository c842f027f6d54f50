"""ML-DSA-65 as FIPS 204 writes it, slow and plain: to check vectors the library has no door for (expanded keys, fixed randomness).

Never for real keys: nothing here runs in constant time.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import shake_128, shake_256

Q, N, D = 8380417, 256, 13
K, L, ETA, TAU, OMEGA = 6, 5, 4, 49, 55
GAMMA1, GAMMA2, BETA = 1 << 19, (Q - 1) // 32, 196
Poly = list[int]


def bit_reversed(value: int, bits: int) -> int:
    return int(f"{value:0{bits}b}"[::-1], 2)


ZETAS = [pow(1753, bit_reversed(i, 8), Q) for i in range(N)]


def ntt(poly: Sequence[int]) -> Poly:
    w, m, length = list(poly), 0, 128
    while length:
        for start in range(0, N, 2 * length):
            m += 1
            zeta = ZETAS[m]
            for j in range(start, start + length):
                t = zeta * w[j + length] % Q
                w[j + length] = w[j] - t
                w[j] = w[j] + t
        length //= 2
    return [x % Q for x in w]


def inverse_ntt(poly: Sequence[int]) -> Poly:
    w, m, length = list(poly), N, 1
    while length < N:
        for start in range(0, N, 2 * length):
            m -= 1
            zeta = -ZETAS[m]
            for j in range(start, start + length):
                t = w[j]
                w[j] = t + w[j + length]
                w[j + length] = zeta * (t - w[j + length]) % Q
        length *= 2
    return [x * 8347681 % Q for x in w]


def unpack(data: bytes, bits: int) -> Poly:
    number, mask = int.from_bytes(data, "little"), (1 << bits) - 1
    return [number >> (bits * i) & mask for i in range(len(data) * 8 // bits)]


def pack(values: Sequence[int], bits: int) -> bytes:
    number = sum(value << (bits * i) for i, value in enumerate(values))
    return number.to_bytes(len(values) * bits // 8, "little")


def centered(value: int, modulus: int) -> int:
    value %= modulus
    return value - modulus if value > modulus // 2 else value


def norm(polys: Sequence[Poly]) -> int:
    return max(abs(centered(x, Q)) for poly in polys for x in poly)


def expand_a(rho: bytes) -> list[list[Poly]]:
    def sample(seed: bytes) -> Poly:
        stream, out = shake_128(seed).digest(1680), []
        for i in range(0, len(stream), 3):
            value = int.from_bytes(stream[i : i + 3], "little") & 0x7FFFFF
            if value < Q:
                out.append(value)
        return out[:N]

    return [[sample(rho + bytes((s, r))) for s in range(L)] for r in range(K)]


def expand_s(seed: bytes) -> list[Poly]:
    out = []
    for r in range(K + L):
        halves = [h for b in shake_256(seed + r.to_bytes(2, "little")).digest(640) for h in (b & 15, b >> 4)]
        out.append([ETA - h for h in halves if h < 9][:N])
    return out


def times(a: Sequence[Sequence[Poly]], v: Sequence[Poly]) -> list[Poly]:
    return [
        inverse_ntt([sum(x * y for x, y in zip(xs, ys, strict=True)) % Q for xs, ys in zip(zip(*row, strict=True), zip(*v, strict=True), strict=True)])
        for row in a
    ]  # fmt: skip


def decompose(r: int) -> tuple[int, int]:
    r %= Q
    low = centered(r, 2 * GAMMA2)
    return (0, low - 1) if r - low == Q - 1 else ((r - low) // (2 * GAMMA2), low)


def keygen(seed: bytes) -> tuple[bytes, bytes]:
    """Algorithm 6: the public and the expanded private key."""
    wide = shake_256(seed + bytes((K, L))).digest(128)
    rho, rho_s, key = wide[:32], wide[32:96], wide[96:]
    s = expand_s(rho_s)
    s1, s2 = s[:L], s[L:]
    t = times(expand_a(rho), [ntt(p) for p in s1])
    t = [[(x + y) % Q for x, y in zip(a, b, strict=True)] for a, b in zip(t, s2, strict=True)]
    t0 = [[centered(x, 1 << D) for x in p] for p in t]
    t1 = [[(x - y) >> D for x, y in zip(a, b, strict=True)] for a, b in zip(t, t0, strict=True)]
    public = rho + b"".join(pack(p, 10) for p in t1)
    private = rho + key + shake_256(public).digest(64)
    private += b"".join(pack([ETA - x for x in p], 4) for p in s)
    return public, private + b"".join(pack([(1 << (D - 1)) - x for x in p], 13) for p in t0)


def representative(private: bytes, message: bytes, context: bytes) -> bytes:
    """mu, of Algorithms 2 and 7."""
    return shake_256(private[64:128] + bytes((0, len(context))) + context + message).digest(64)


class Signer:
    """An expanded private key, unpacked; ValueError if it is not one (Algorithm 25)."""

    def __init__(self, private: bytes) -> None:
        if len(private) != 4032:
            raise ValueError("private key length")
        self.rho, self.key = private[:32], private[32:64]
        packed = [private[128 + 128 * i : 256 + 128 * i] for i in range(K + L)]
        s = [[ETA - x for x in unpack(p, 4)] for p in packed]
        if any(abs(x) > ETA for p in s for x in p):
            raise ValueError("private key out of range")
        t0 = [[(1 << (D - 1)) - x for x in unpack(private[1536 + 416 * i : 1952 + 416 * i], 13)] for i in range(K)]
        self.s1, self.s2, self.t0 = ([ntt(p) for p in v] for v in (s[:L], s[L:], t0))
        self.a = expand_a(self.rho)

    def mask(self, mu: bytes, random: bytes, kappa: int) -> list[Poly]:
        """y, Algorithm 34."""
        seed = shake_256(self.key + random + mu).digest(64)
        return [mask_poly(seed, kappa + r) for r in range(L)]

    def sign(self, mu: bytes, random: bytes = bytes(32)) -> bytes:
        """Algorithm 7, all rounds."""
        kappa = 0
        while True:
            signature = self.round(mu, self.mask(mu, random, kappa))
            if signature is not None:
                return signature
            kappa += L

    def round(self, mu: bytes, y: list[Poly]) -> bytes | None:
        w = times(self.a, [ntt(p) for p in y])
        w1 = b"".join(pack([decompose(x)[0] for x in p], 4) for p in w)
        c_tilde = shake_256(mu + w1).digest(48)
        c = ntt(sample_in_ball(c_tilde))
        cs1, cs2 = product(c, self.s1), product(c, self.s2)
        z = [[(a + b) % Q for a, b in zip(p, r, strict=True)] for p, r in zip(y, cs1, strict=True)]
        if norm(z) >= GAMMA1 - BETA:
            return None
        wcs2 = [[(a - b) % Q for a, b in zip(p, r, strict=True)] for p, r in zip(w, cs2, strict=True)]
        if max(abs(decompose(x)[1]) for p in wcs2 for x in p) >= GAMMA2 - BETA:
            return None
        ct0 = product(c, self.t0)
        hints = [
            [int(decompose(x + t)[0] != decompose(x)[0]) for x, t in zip(p, r, strict=True)]
            for p, r in zip(wcs2, ct0, strict=True)
        ]
        if norm(ct0) >= GAMMA2 or sum(map(sum, hints)) > OMEGA:
            return None
        return c_tilde + pack_z(z) + pack_hints(hints)

    def rounds_of(self, signature: bytes, mu: bytes, random: bytes = bytes(32), rounds_max: int = 1000) -> int:
        """In which round a deterministic signer would have drawn this signature's mask; ValueError if in none."""
        c = ntt(sample_in_ball(signature[:48]))
        z = [[GAMMA1 - x for x in unpack(signature[48 + 640 * i : 688 + 640 * i], 20)] for i in range(L)]
        y = [[(a - b) % Q for a, b in zip(p, r, strict=True)] for p, r in zip(z, product(c, self.s1), strict=True)]
        seed = shake_256(self.key + random + mu).digest(64)
        for i in range(rounds_max):
            if all(y[r] == [x % Q for x in mask_poly(seed, i * L + r)] for r in range(L)):
                return i + 1
        raise ValueError("no round draws this mask")


def mask_poly(seed: bytes, kappa: int) -> Poly:
    return [GAMMA1 - x for x in unpack(shake_256(seed + kappa.to_bytes(2, "little")).digest(640), 20)]


def product(c: Poly, v: Sequence[Poly]) -> list[Poly]:
    return [inverse_ntt([a * b % Q for a, b in zip(c, p, strict=True)]) for p in v]


def sample_in_ball(c_tilde: bytes) -> Poly:
    stream = shake_256(c_tilde).digest(1024)
    signs, c, at = int.from_bytes(stream[:8], "little"), [0] * N, 8
    for i in range(N - TAU, N):
        while stream[at] > i:
            at += 1
        j, at = stream[at], at + 1
        c[i], c[j] = c[j], -1 if signs >> (i + TAU - N) & 1 else 1
    return c


def pack_z(z: Sequence[Poly]) -> bytes:
    return b"".join(pack([GAMMA1 - centered(x, Q) for x in p], 20) for p in z)


def pack_hints(hints: Sequence[Poly]) -> bytes:
    places, ends = [], []
    for p in hints:
        places += [i for i, h in enumerate(p) if h]
        ends.append(len(places))
    return bytes(places) + bytes(OMEGA - len(places)) + bytes(ends)
