"""What the router is told. Built by the device agent; nothing here is content."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from router.vocabulary import DataClass, Mode

__all__ = [
    "CloudFacts",
    "DecodeObservation",
    "DeviceFacts",
    "PrefillObservation",
    "RequestFacts",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFacts:
    ready: bool
    context_tokens: int
    """Prompt and answer together."""
    model: str
    """Catalog name, for the estimator to match."""
    weights_sha256: str | None = None
    """Hex; where known, the estimator matches by it instead of the name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudFacts:
    configured: bool
    reachable: bool = False
    verified_nodes: int = 0
    tokens_left: bool = True
    """A token is in the wallet, or the issuer may give one."""
    context_tokens: int = 0
    model: str | None = None
    weights_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    mode: Mode
    data_class: DataClass
    consent: bool | None
    """May this request leave the device, sealed, to a verified node? ``True``: the user said yes.
    ``False``: the user said no, and nothing overrides it. ``None``: not asked, the policy says."""
    input_tokens: int
    max_output_tokens: int
    device: DeviceFacts
    cloud: CloudFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefillObservation:
    """Of the device model after the prompt. Logarithms are natural."""

    input_tokens: int
    entropy: float
    margin: float
    top_probability: float
    hidden_state: NDArray[np.float32] | None = None  # shape (width,)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeObservation:
    """Of the buffered draft so far: one entry per token, shapes (tokens,)."""

    ids: NDArray[np.int64]
    entropy: NDArray[np.float64]
    margin: NDArray[np.float64]
    finished: bool = False
