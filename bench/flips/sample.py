"""One piece of evidence to damage, and what its damage led to."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter

from lanai.errors import TrustError

__all__ = ["FlipResult", "FlipSample", "chosen_bits", "flip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipSample:
    """Bytes that ``verify`` accepts as they are, and must refuse with any one bit changed.

    ``verify`` raises ``TrustError`` to refuse; what it returns is not looked at. A run of chosen
    bits always takes the first ``header_bytes`` whole.
    """

    kind: str
    name: str
    payload: bytes = field(repr=False)
    verify: Callable[[bytes], object]
    header_bytes: int = 64

    @property
    def bits(self) -> int:
        return len(self.payload) * 8


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipResult:
    """Counts of one run. Positions are bits: byte ``position // 8``, value ``1 << position % 8``.

    ``accepted`` must be empty, and so must ``escaped``: positions where something else than a
    ``TrustError`` came out, with the name of its type.
    """

    bits: int
    reasons: Counter[str]
    accepted: tuple[int, ...]
    escaped: tuple[tuple[int, str], ...]
    seconds: float

    @property
    def refused(self) -> int:
        return self.reasons.total()


def chosen_bits(sample: FlipSample, count: int) -> list[int]:
    """Every bit of the header and ``count`` of the others, the same ones in each run."""
    header = min(sample.header_bytes * 8, sample.bits)
    rest = range(header, sample.bits)
    drawn = random.Random(f"{sample.kind}/{sample.name}").sample(rest, min(count, len(rest)))  # noqa: S311
    return [*range(header), *sorted(drawn)]


def flip(sample: FlipSample, bits: Iterable[int]) -> FlipResult:
    """Verify ``sample`` once for each of ``bits``, with that bit alone flipped."""
    reasons: Counter[str] = Counter()
    accepted, escaped = [], []
    started = perf_counter()
    for bit in bits:
        damaged = bytearray(sample.payload)
        damaged[bit // 8] ^= 1 << bit % 8
        try:
            sample.verify(bytes(damaged))
        except TrustError as refusal:
            reasons[refusal.reason.value] += 1
        except Exception as error:  # noqa: BLE001  finding these is the point of the run
            escaped.append((bit, type(error).__name__))
        else:
            accepted.append(bit)
    return FlipResult(
        bits=reasons.total() + len(accepted) + len(escaped),
        reasons=reasons,
        accepted=tuple(accepted),
        escaped=tuple(escaped),
        seconds=perf_counter() - started,
    )
