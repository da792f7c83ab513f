"""The errors of adapters, each with the hint that goes with it."""

from lanai.errors import AdapterError, AdapterFault

__all__ = ["damaged", "fault_error"]

_SAID = {
    AdapterFault.NOT_FOUND: ("no adapter of that name is installed", "`lanai adapters list`"),
    AdapterFault.DAMAGED: ("the adapter's files are damaged", "fetch the adapter again"),
    AdapterFault.PICKLE: (
        "the adapter's weights are a pickle, which runs code when it is read",
        "save it as safetensors: PEFT's save_pretrained does so",
    ),
    AdapterFault.TOO_LARGE: (
        "the adapter is larger than any that fits this model",
        "an adapter holds low-rank matrices only",
    ),
    AdapterFault.NOT_FINITE: (
        "the adapter holds numbers that are not finite",
        "its training diverged: train it again",
    ),
    AdapterFault.UNSUPPORTED: (
        "the adapter is of a kind that is not built here",
        "built: plain LoRA without bias, on the matrices of the layers",
    ),
    AdapterFault.WRONG_BASE: (
        "the adapter was made for another base model",
        "name the model it was made for: `lanai adapters add FOLDER --base MODEL`",
    ),
    AdapterFault.RANK: (
        "the adapter's rank is none that is built here",
        "ranks of 1 to 256 are, the same in settings and weights",
    ),
    AdapterFault.SHAPE: (
        "the adapter's matrices do not have the shapes of this model's",
        "it was made for another base model",
    ),
    AdapterFault.TARGET: (
        "the adapter changes modules that cannot be changed here",
        "q, k, v, o, gate, up and down `_proj` can",
    ),
}


def fault_error(fault: AdapterFault, message: str | None = None) -> AdapterError:
    """The error of ``fault``; ``message`` says it more closely. Neither holds content."""
    said, hint = _SAID[fault]
    return AdapterError(message or said, fault=fault, hint=hint)


def damaged(message: str) -> AdapterError:
    return fault_error(AdapterFault.DAMAGED, message)
