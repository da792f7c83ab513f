"""What a caller may ask of one answer. Values out of range are errors; nothing is clamped."""

from dataclasses import dataclass

from inference.engine import Sampling
from lanai.content import Content
from lanai.errors import UsageError

__all__ = ["Options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How one answer is generated, the same on the device and in the cloud.

    ``max_tokens`` ``None`` takes the setting ``max_output_tokens``. ``temperature`` 0 is greedy;
    ``top_p`` 1 and ``top_k`` 0 are off. ``stop`` holds strings that end the answer and are not
    part of it. ``adapter`` names an installed adapter; only the device has those. ``speculation``
    guesses what the answer copies: the same answer, sooner, on the device. Raises ``UsageError``
    for a value out of range.
    """

    max_tokens: int | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[Content, ...] = ()
    adapter: str | None = None
    speculation: bool = False

    def __post_init__(self) -> None:
        _require(self.max_tokens is None or self.max_tokens >= 1, "max_tokens", "at least 1")
        _require(0.0 <= self.temperature <= 5.0, "temperature", "between 0 and 5")
        _require(0.0 < self.top_p <= 1.0, "top_p", "above 0, at most 1")
        _require(self.top_k >= 0, "top_k", "0 (off) or more")
        _require(self.seed is None or 0 <= self.seed < 2**63, "seed", "between 0 and 2^63-1")
        _require(not isinstance(self.stop, str), "stop", "a tuple of strings")
        _require(all(self.stop), "stop", "strings of at least one character")
        object.__setattr__(self, "stop", tuple(map(Content, self.stop)))
        if self.adapter is not None:
            from inference.adapters import check_name

            check_name(self.adapter)

    @property
    def sampling(self) -> Sampling:
        """The same choice in the engine's words."""
        return Sampling(
            temperature=self.temperature, top_p=self.top_p, top_k=self.top_k, seed=self.seed
        )


def _require(holds: bool, name: str, wanted: str) -> None:
    if not holds:
        raise UsageError(f"option {name} is out of range", hint=f"{name}: {wanted}")
