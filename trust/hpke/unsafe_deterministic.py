"""Encapsulation with given randomness: for test vectors, and for nothing else.

`cryptography` takes no randomness for ML-KEM, and rightly so: the same randomness twice, or known
to somebody, gives the shared secret away. Published vectors and our own generated ones need it. So
ML-KEM-768's encapsulation stands here in plain Python (FIPS 203, algorithms 14 and 17), slow and
not constant time, checked against the published vectors. Nothing of the product imports it.
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

from cryptography.hazmat.primitives.asymmetric import x25519

from trust.hpke.dh_kem import DhKem
from trust.hpke.kem import Encapsulated
from trust.hpke.refusals import bad_key
from trust.hpke.x_wing import MLKEM_PUBLIC_BYTES, XWing, combined, load_public_key

__all__ = ["UnsafeDeterministicDh", "UnsafeDeterministicXWing", "unsafe_mlkem768_encapsulate"]

Q: Final = 3329
N: Final = 256
K: Final = 3
ETA: Final = 2
D_U: Final = 10
D_V: Final = 4
HALF_INVERSE: Final = 3303  # 128^-1 mod q

Polynomial = list[int]


class UnsafeDeterministicDh(DhKem):
    """A DHKEM whose ephemeral key is given."""

    __slots__ = ("_ephemeral",)

    def __init__(self, kem_id: int, ephemeral: bytes) -> None:
        super().__init__(kem_id)
        self._ephemeral = ephemeral

    def encapsulate(self, public_key: bytes) -> Encapsulated:
        return self.encapsulate_from(self.private_key(self._ephemeral), public_key)


class UnsafeDeterministicXWing(XWing):
    """X-Wing with 64 given bytes: ML-KEM's message and X25519's ephemeral key."""

    __slots__ = ("_randomness",)

    def __init__(self, randomness: bytes) -> None:
        self._randomness = randomness

    def encapsulate(self, public_key: bytes) -> Encapsulated:
        classical = load_public_key(public_key).classical
        message, ephemeral = self._randomness[:32], self._randomness[32:]
        secret, enc = unsafe_mlkem768_encapsulate(public_key[:MLKEM_PUBLIC_BYTES], message)
        key = x25519.X25519PrivateKey.from_private_bytes(ephemeral)
        return combined(secret, enc, key, classical)


def unsafe_mlkem768_encapsulate(public_key: bytes, message: bytes) -> tuple[bytes, bytes]:
    """``ML-KEM.Encaps_internal``: shared secret and ciphertext for 32 given bytes.

    Raises ``EnvelopeRejected`` (``MALFORMED``) for a key of another size or with a coefficient out
    of range.
    """
    if len(public_key) != MLKEM_PUBLIC_BYTES:
        raise bad_key("an ML-KEM-768 public key")
    seeds = hashlib.sha3_512(message + hashlib.sha3_256(public_key).digest()).digest()
    return seeds[:32], _encrypt(public_key, message, seeds[32:])


def _encrypt(public_key: bytes, message: bytes, seed: bytes) -> bytes:
    """``K-PKE.Encrypt``."""
    key = [_decode(public_key[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    if any(value >= Q for value in chain.from_iterable(key)):
        raise bad_key("an ML-KEM-768 public key")
    matrix_seed = public_key[384 * K :]
    noise = [_noise(seed, number) for number in range(2 * K + 1)]
    secret = [_ntt(polynomial) for polynomial in noise[:K]]
    u = []
    for i in range(K):
        column = [_uniform(matrix_seed + bytes([i, j])) for j in range(K)]
        u.append(_sum([_inverse(_dot(column, secret)), noise[K + i]]))
    lifted = [(Q + 1) // 2 * bit for bit in _decode(message, 1)]
    v = _sum([_inverse(_dot(key, secret)), noise[2 * K], lifted])
    return b"".join(_compressed(polynomial, D_U) for polynomial in u) + _compressed(v, D_V)


def _uniform(seed: bytes) -> Polynomial:
    """``SampleNTT``."""
    stream = hashlib.shake_128(seed).digest(3 * N * 2)
    values: Polynomial = []
    for low, middle, high in zip(stream[::3], stream[1::3], stream[2::3], strict=True):
        pair = (low + ((middle & 15) << 8), (middle >> 4) + (high << 4))
        values += [value for value in pair if value < Q]
    return values[:N]


def _noise(seed: bytes, number: int) -> Polynomial:
    """``SamplePolyCBD`` of ``PRF``, eta 2."""
    bits = _decode(hashlib.shake_256(seed + bytes([number])).digest(64 * ETA), 1)
    groups = (bits[i : i + 2 * ETA] for i in range(0, len(bits), 2 * ETA))
    return [(sum(group[:ETA]) - sum(group[ETA:])) % Q for group in groups]


def _zeta(index: int) -> int:
    return pow(17, int(f"{index:07b}"[::-1], 2), Q)


def _ntt(polynomial: Sequence[int]) -> Polynomial:
    values, index, length = list(polynomial), 1, N // 2
    while length >= 2:
        for start in range(0, N, 2 * length):
            zeta, index = _zeta(index), index + 1
            for j in range(start, start + length):
                step = zeta * values[j + length]
                values[j], values[j + length] = (values[j] + step) % Q, (values[j] - step) % Q
        length //= 2
    return values


def _inverse(polynomial: Sequence[int]) -> Polynomial:
    values, index, length = list(polynomial), N // 2 - 1, 2
    while length <= N // 2:
        for start in range(0, N, 2 * length):
            zeta, index = _zeta(index), index - 1
            for j in range(start, start + length):
                low, high = values[j], values[j + length]
                values[j], values[j + length] = (low + high) % Q, zeta * (high - low) % Q
        length *= 2
    return [value * HALF_INVERSE % Q for value in values]


def _dot(left: Sequence[Polynomial], right: Sequence[Polynomial]) -> Polynomial:
    return _sum(list(map(_product, left, right)))


def _product(left: Polynomial, right: Polynomial) -> Polynomial:
    """``MultiplyNTTs``."""
    values: Polynomial = []
    for i in range(0, N, 2):
        gamma = pow(17, 2 * int(f"{i // 2:07b}"[::-1], 2) + 1, Q)
        (a, b), (c, d) = left[i : i + 2], right[i : i + 2]
        values += [(a * c + b * d * gamma) % Q, (a * d + b * c) % Q]
    return values


def _sum(polynomials: Iterable[Polynomial]) -> Polynomial:
    return [sum(values) % Q for values in zip(*polynomials, strict=True)]


def _compressed(polynomial: Polynomial, bits: int) -> bytes:
    packed = sum(
        (((value << bits) + Q // 2) // Q % (1 << bits)) << (bits * i)
        for i, value in enumerate(polynomial)
    )
    return packed.to_bytes(N * bits // 8, "little")


def _decode(data: bytes, bits: int) -> Polynomial:
    """``ByteDecode``."""
    packed = int.from_bytes(data, "little")
    return [packed >> at & ((1 << bits) - 1) for at in range(0, 8 * len(data), bits)]
