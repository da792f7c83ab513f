"""``adapter_config.json`` of a PEFT folder: what is built here, and what is refused.

The keys are those of PEFT's ``LoraConfig`` (0.21); those that change nothing at run time are passed
over.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from inference.adapters.adapter import MAX_RANK
from inference.adapters.faults import damaged, fault_error
from inference.formats.files import read_json
from lanai.errors import AdapterFault, ModelFormatError

__all__ = ["CONFIG", "MODULES", "PeftSettings", "peft_values", "read_settings"]

N = TypeVar("N", int, float)
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
    "use_qalora",
    "use_bdlora",
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "modules_to_save",
    "fan_in_fan_out",
    "lora_bias",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
)
# Switches and tables that are of training, or told by the tensors. A key that is in no list and
# says true, or holds a table, may be a kind of adapter that came later: it is refused too.
_PASSED_OVER: Final = frozenset(
    {
        "auto_mapping",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_ga_config",
        "megatron_config",
        "runtime_config",
        "target_modules",
        "use_rslora",
        "velora_config",
        "rank_pattern",
        "alpha_pattern",
    }
)
# Others (PiSSA, OLoRA, CorDA, LoftQ) begin by changing the base's own weights.
_BEGINNINGS: Final = (None, True, False, "gaussian", "orthogonal", "eva")
_PLAIN_PATTERN: Final = re.compile(r"\^?[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeftSettings:
    """``rank``: the largest of all matrices; ``alpha / rank`` is the factor of each pair.

    Where matrices have ranks or alphas of their own, that factor is 1 and ``of`` tells theirs.
    """

    rank: int
    alpha: float
    base_name: str | None
    own: "Own | None" = None

    def of(self, module: str) -> tuple[int, float]:
        """Rank of the module's pair, and what B is multiplied by, beside ``alpha / rank``."""
        return (self.rank, 1.0) if self.own is None else self.own.of(module)


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """``rank_pattern`` and ``alpha_pattern``: by the end of a module's name, the first wins."""

    rank: int
    alpha: float
    ranks: Mapping[str, int]
    alphas: Mapping[str, float]
    stabilized: bool

    def of(self, module: str) -> tuple[int, float]:
        rank = _first(self.ranks, module, self.rank)
        return rank, _factor(_first(self.alphas, module, self.alpha), rank, self.stabilized)


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
    return _scaled(values, name if isinstance(name, str) and name else None)


def _scaled(values: Mapping[str, Any], base_name: str | None) -> PeftSettings:
    rank, alpha = _rank(values.get("r")), _alpha(values.get("lora_alpha"))
    stabilized = values.get("use_rslora") is True
    ranks = {key: _rank(value) for key, value in _patterns(values, "rank_pattern")}
    alphas = {key: _alpha(value) for key, value in _patterns(values, "alpha_pattern")}
    if not ranks and not alphas:
        alpha = _factor(alpha, rank, stabilized) * rank if stabilized else alpha
        return PeftSettings(rank=rank, alpha=alpha, base_name=base_name)
    own = Own(rank=rank, alpha=alpha, ranks=ranks, alphas=alphas, stabilized=stabilized)
    largest = max(rank, *ranks.values()) if ranks else rank
    return PeftSettings(rank=largest, alpha=float(largest), base_name=base_name, own=own)


def _check_kind(values: Mapping[str, Any]) -> None:
    if values.get("peft_type") != "LORA":
        raise fault_error(AdapterFault.UNSUPPORTED, "the adapter is not of PEFT's type LORA")
    for key in values:
        unknown = key not in _PASSED_OVER and isinstance(values[key], bool | dict | list)
        if values[key] and (unknown or key in _REFUSED):
            raise fault_error(
                AdapterFault.UNSUPPORTED, f"the adapter sets {key[:64]}, which is not built"
            )
    if values.get("bias", "none") != "none":
        raise fault_error(
            AdapterFault.UNSUPPORTED, "the adapter changes biases, which is not built"
        )
    if values.get("init_lora_weights") not in _BEGINNINGS:
        raise fault_error(
            AdapterFault.UNSUPPORTED,
            "the adapter began by changing the base's weights (init_lora_weights): have PEFT save "
            "it with path_initial_model_for_weight_conversion",
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


def _alpha(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise damaged(f"{CONFIG} names no lora_alpha, or one that is no number")
    return float(value)


def _factor(alpha: float, rank: int, stabilized: bool) -> float:
    # Rank-stabilized scaling (Kalajdzievski 2023) divides by the root of the rank instead.
    return alpha / (math.sqrt(rank) if stabilized else rank)


def _patterns(values: Mapping[str, Any], key: str) -> Iterable[tuple[str, Any]]:
    """PEFT takes each for a regular expression; those that are names are built."""
    given = values.get(key) or {}
    if not isinstance(given, dict):
        raise damaged(f"{CONFIG}: {key} is no table")
    for pattern in given:
        if _PLAIN_PATTERN.fullmatch(pattern) is None:
            raise fault_error(
                AdapterFault.UNSUPPORTED,
                f"{key} of the adapter holds a pattern; names of modules are built",
            )
    return given.items()


def _first(given: Mapping[str, N], module: str, otherwise: N) -> N:
    """Of the first key that is the end of ``module``; one with a ``^`` is the whole of it."""
    parts = module.split(".")
    ends = {".".join(parts[at:]) for at in range(len(parts))} | {f"^{module}"}
    return next((value for key, value in given.items() if key in ends), otherwise)


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
