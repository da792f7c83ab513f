"""``adapter_config.json`` of a PEFT folder: what is built here, and what is refused.

The keys are those of PEFT's ``LoraConfig``; those that change nothing at run time are passed over.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from inference.adapters.adapter import MAX_RANK
from inference.adapters.faults import damaged, fault_error
from inference.formats.files import read_json
from lanai.errors import AdapterFault, ModelFormatError

__all__ = ["CONFIG", "MODULES", "PeftSettings", "peft_values", "read_settings"]

CONFIG: Final = "adapter_config.json"
MAX_BYTES: Final = 1 << 20
MODULES: Final[Mapping[str, str]] = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "output",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
}
# Keys that change what an adapter computes, in ways that are not built; with any of these set to
# something it would be run wrongly.
_REFUSED: Final = (
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "modules_to_save",
    "fan_in_fan_out",
    "lora_bias",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftSettings:
    """``alpha``: such that ``alpha / rank`` is the factor, whichever rule the file names."""

    rank: int
    alpha: float
    base_name: str | None


def read_settings(folder: Path) -> PeftSettings:
    """Raises ``AdapterError``."""
    path = folder / CONFIG
    try:
        if path.stat().st_size > MAX_BYTES:
            raise fault_error(AdapterFault.TOO_LARGE, f"{path} is larger than {MAX_BYTES} bytes")
        values = read_json(path)
    except FileNotFoundError:
        raise damaged(f"{folder} is no adapter: it holds no {CONFIG}") from None
    except (OSError, ModelFormatError) as error:
        raise damaged(f"{path} cannot be read as JSON") from error
    _check_kind(values)
    _check_targets(values.get("target_modules"))
    name = values.get("base_model_name_or_path")
    rank = _rank(values.get("r"))
    return PeftSettings(
        rank=rank,
        alpha=_alpha(values, rank),
        base_name=name if isinstance(name, str) and name else None,
    )


def _check_kind(values: Mapping[str, Any]) -> None:
    if values.get("peft_type") != "LORA":
        raise fault_error(AdapterFault.UNSUPPORTED, "the adapter is not of PEFT's type LORA")
    for key in _REFUSED:
        if values.get(key):
            raise fault_error(
                AdapterFault.UNSUPPORTED, f"the adapter sets {key}, which is not built"
            )
    if values.get("bias", "none") != "none":
        raise fault_error(
            AdapterFault.UNSUPPORTED, "the adapter changes biases, which is not built"
        )


def _check_targets(targets: object) -> None:
    """A text is a pattern or ``all-linear``: the tensors say what it came to."""
    if isinstance(targets, str):
        return
    if not isinstance(targets, list) or not targets:
        raise damaged(f"{CONFIG} names no target_modules")
    if unknown := [one for one in targets if str(one).rpartition(".")[2] not in MODULES]:
        raise fault_error(AdapterFault.TARGET, f"the adapter changes {str(unknown[0])[:64]!r}")


def _rank(value: object) -> int:
    if type(value) is not int or not 1 <= value <= MAX_RANK:
        raise fault_error(AdapterFault.RANK, f"the adapter's rank is not within 1 to {MAX_RANK}")
    return value


def _alpha(values: Mapping[str, Any], rank: int) -> float:
    alpha = values.get("lora_alpha")
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise damaged(f"{CONFIG} names no lora_alpha")
    # Rank-stabilized scaling (Kalajdzievski 2023) divides by the root of the rank instead.
    return alpha * math.sqrt(rank) if values.get("use_rslora") is True else float(alpha)


def peft_values(rank: int, alpha: float, parts: set[str], base_name: str) -> dict[str, Any]:
    """The settings PEFT reads such an adapter with."""
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": sorted(name for name, part in MODULES.items() if part in parts),
    }
