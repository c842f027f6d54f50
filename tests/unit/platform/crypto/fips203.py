"""ML-KEM-768 as FIPS 203 writes it, slow and plain: to check vectors the library has no door for (fixed randomness, expanded keys).

Never for real keys: nothing here runs in constant time.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha3_256, sha3_512, shake_128, shake_256

from tests.unit.platform.crypto.fips204 import bit_reversed, pack, unpack

Q, N, K, DU, DV = 3329, 256, 3, 10, 4
Poly = list[int]
ZETAS = [pow(17, bit_reversed(i, 7), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * bit_reversed(i, 7) + 1, Q) for i in range(128)]


def ntt(poly: Sequence[int]) -> Poly:
    f, i, length = list(poly), 0, 128
    while length >= 2:
        for start in range(0, N, 2 * length):
            i += 1
            for j in range(start, start + length):
                t = ZETAS[i] * f[j + length]
                f[j + length], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        length //= 2
    return f


def inverse_ntt(poly: Sequence[int]) -> Poly:
    f, i, length = list(poly), 128, 2
    while length <= 128:
        for start in range(0, N, 2 * length):
            i -= 1
            for j in range(start, start + length):
                t = f[j]
                f[j], f[j + length] = (t + f[j + length]) % Q, ZETAS[i] * (f[j + length] - t) % Q
        length *= 2
    return [x * 3303 % Q for x in f]


def multiplied(f: Poly, g: Poly) -> Poly:
    out: Poly = []
    for i, gamma in enumerate(GAMMAS):
        a0, a1, b0, b1 = f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]
        out += [(a0 * b0 + a1 * b1 * gamma) % Q, (a0 * b1 + a1 * b0) % Q]
    return out


def added(*polys: Poly) -> Poly:
    return [sum(xs) % Q for xs in zip(*polys, strict=True)]


def dot(row: Sequence[Poly], v: Sequence[Poly]) -> Poly:
    return added(*(multiplied(a, b) for a, b in zip(row, v, strict=True)))


def matrix(rho: bytes) -> list[list[Poly]]:
    def sample(seed: bytes) -> Poly:
        stream, out = shake_128(seed).digest(4096), []
        for i in range(0, 4095, 3):
            a, b, c = stream[i : i + 3]
            out += [x for x in (a + 256 * (b & 15), (b >> 4) + 16 * c) if x < Q]
        return out[:N]

    return [[sample(rho + bytes((j, i))) for j in range(K)] for i in range(K)]


def noise(seed: bytes, counter: int) -> Poly:
    bits = unpack(shake_256(seed + bytes((counter,))).digest(128), 1)
    return [(bits[4 * i] + bits[4 * i + 1] - bits[4 * i + 2] - bits[4 * i + 3]) % Q for i in range(N)]


def compress(poly: Poly, d: int) -> Poly:
    return [((x << d) + Q // 2) // Q % (1 << d) for x in poly]


def decompress(poly: Poly, d: int) -> Poly:
    return [(x * Q + (1 << (d - 1))) >> d for x in poly]


def keygen(seed: bytes) -> tuple[bytes, bytes]:
    """Algorithms 13 and 16: encapsulation and decapsulation key from d and z."""
    wide = sha3_512(seed[:32] + bytes((K,))).digest()
    rho, sigma = wide[:32], wide[32:]
    s = [ntt(noise(sigma, i)) for i in range(K)]
    e = [ntt(noise(sigma, K + i)) for i in range(K)]
    t = [added(dot(row, s), e[i]) for i, row in enumerate(matrix(rho))]
    ek = b"".join(pack(p, 12) for p in t) + rho
    return ek, b"".join(pack(p, 12) for p in s) + ek + sha3_256(ek).digest() + seed[32:]


def encrypt(ek: bytes, m: bytes, r: bytes) -> bytes:
    """Algorithm 14."""
    t = [unpack(ek[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    a = matrix(ek[-32:])
    y = [ntt(noise(r, i)) for i in range(K)]
    u = [added(inverse_ntt(dot([a[j][i] for j in range(K)], y)), noise(r, K + i)) for i in range(K)]
    v = added(inverse_ntt(dot(t, y)), noise(r, 2 * K), decompress(unpack(m, 1), 1))
    return b"".join(pack(compress(p, DU), DU) for p in u) + pack(compress(v, DV), DV)


def encapsulate(ek: bytes, m: bytes) -> tuple[bytes, bytes]:
    """Algorithm 17: secret and ciphertext. ValueError as 7.2 demands."""
    if len(ek) != 1184 or any(x >= Q for x in unpack(ek[:1152], 12)):
        raise ValueError("encapsulation key")
    wide = sha3_512(m + sha3_256(ek).digest()).digest()
    return wide[:32], encrypt(ek, m, wide[32:])


def decapsulate(dk: bytes, c: bytes) -> bytes:
    """Algorithm 18. ValueError as 7.3 demands."""
    ek, h, z = dk[1152:2336], dk[2336:2368], dk[2368:]
    if len(dk) != 2400 or len(c) != 1088 or sha3_256(ek).digest() != h:
        raise ValueError("decapsulation key or ciphertext")
    u = [ntt(decompress(unpack(c[320 * i : 320 * (i + 1)], DU), DU)) for i in range(K)]
    s = [unpack(dk[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    v = decompress(unpack(c[960:], DV), DV)
    m = pack(compress(added(v, [-x for x in inverse_ntt(dot(s, u))]), 1), 1)
    wide = sha3_512(m + h).digest()
    return wide[:32] if encrypt(ek, m, wide[32:]) == c else shake_256(z + c).digest(32)
