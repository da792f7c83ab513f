"""The weights of ``HarmCheck``: logistic regression over hashed words, as a small JSON file.

Fitted by ``lanai bench guardrails`` on prompts of public sets, never on anybody's own.
"""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.guardrails.harm_features import BUCKETS, hashed, windows
from lanai.errors import ConfigError
from router.strict import Fields, Malformed

__all__ = ["SCHEMA", "HarmModel", "shipped_harm_model"]

SCHEMA = "lanai.harm/1"
LARGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HarmModel:
    """P(harmful) of a text is σ(bias + w · x), x the weighted n-grams at length one.

    ``threshold``: of that logit, above which a text is refused. ``measurement``: how it was fitted
    and what it was found to do; carried and shown, never computed with.
    """

    rarity: NDArray[np.float32]  # shape (BUCKETS,)
    weights: NDArray[np.float32]  # shape (BUCKETS,)
    bias: float
    threshold: float
    measurement: Mapping[str, Any] = field(default_factory=dict)

    def logit(self, text: str) -> float:
        """Of the most harmful stretch of the text."""
        return max(map(self._logit, windows(text)))

    def refuses(self, text: str) -> bool:
        return self.logit(text) > self.threshold

    def probability(self, text: str) -> float:
        return 1.0 / (1.0 + math.exp(-max(min(self.logit(text), 60.0), -60.0)))

    def _logit(self, text: str) -> float:
        buckets, counts = hashed(text)
        weighted = counts * self.rarity[buckets]
        length = float(np.linalg.norm(weighted)) or 1.0
        return self.bias + float(weighted @ self.weights[buckets]) / length

    def to_json_dict(self) -> dict[str, Any]:
        """Weights as float16, little endian, in base64: half the size, and no rank changes."""
        return {
            "schema": SCHEMA,
            "bias": self.bias,
            "threshold": self.threshold,
            "rarity": _packed(self.rarity),
            "weights": _packed(self.weights),
            "measurement": dict(self.measurement),
        }

    @classmethod
    def parse(cls, text: str, *, name: str = "harm model") -> "HarmModel":
        """From JSON text. Raises ``ConfigError`` naming the key at fault."""
        try:
            return _read(json.loads(text[: LARGEST + 1]))
        except (json.JSONDecodeError, RecursionError):
            raise ConfigError(f"{name} is not JSON of at most {LARGEST} bytes") from None
        except Malformed as error:
            raise ConfigError(f"{name}: {error}") from None

    @classmethod
    def load(cls, path: Path) -> "HarmModel":
        try:
            with path.open(encoding="utf-8") as file:
                return cls.parse(file.read(LARGEST + 1), name=str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the harm model {path}") from error


def shipped_harm_model() -> HarmModel:
    """The one that ``lanai bench guardrails`` fitted."""
    text = resources.files("device_agent.guardrails").joinpath("default_harm.json")
    return HarmModel.parse(text.read_text("utf-8"), name="the shipped harm model")


def _read(value: object) -> HarmModel:
    fields = Fields(value)
    if fields.text("schema") != SCHEMA:
        raise Malformed("schema", f"must be {SCHEMA}")
    model = HarmModel(
        rarity=_unpacked(fields, "rarity"),
        weights=_unpacked(fields, "weights"),
        bias=fields.number("bias"),
        threshold=fields.number("threshold"),
        measurement=fields.mapping("measurement"),
    )
    fields.done()
    return model


def _packed(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f2").tobytes()).decode("ascii")


def _unpacked(fields: Fields, name: str) -> NDArray[np.float32]:
    try:
        raw = base64.b64decode(fields.text(name), validate=True)
    except ValueError:
        raise Malformed(name, "is not base64") from None
    if len(raw) != 2 * BUCKETS:
        raise Malformed(name, f"must be {BUCKETS} numbers")
    values = np.frombuffer(raw, dtype="<f2").astype(np.float32)
    if not np.isfinite(values).all():
        raise Malformed(name, "holds a number that is not finite")
    return values
