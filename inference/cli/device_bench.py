"""``lanai bench device``: speed of a model in this process, beside the memory's own speed."""

import importlib.util
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from inference.catalog import Catalog, InstalledModel
from inference.catalog.installed import weight_files
from inference.device_speed import (
    Plan,
    Runs,
    TorchRuns,
    large_pages_mb,
    measure,
    memory_reader,
    resident_mb,
)
from inference.openmp import set_openmp_here
from lanai.cli.output import emit_json, json_option
from lanai.errors import UsageError
from lanai.folders import Folders
from lanai.settings import Settings

if TYPE_CHECKING:
    from inference.decoder import LanguageModel

__all__ = ["device", "path_of"]


@click.command()
@click.option("--model", "name", help="default: the device model of the settings")
@click.option(
    "--threads", type=click.IntRange(1, 256), help="default: device_threads of the settings"
)
@click.option("--against", type=click.Choice(["llama.cpp"]), help="measure a peer in turns")
@click.option(
    "--against-file",
    "against_files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="GGUF file of the peer; default: the model's own. More of them are measured beside",
)
@click.option("--prompt-tokens", type=click.IntRange(16), default=512, show_default=True)
@click.option("--new-tokens", type=click.IntRange(4), default=64, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@json_option
def device(
    name: str | None,
    threads: int | None,
    against: str | None,
    against_files: tuple[Path, ...],
    prompt_tokens: int,
    new_tokens: int,
    rounds: int,
    as_json: bool,
) -> None:
    """Prompt and decode speed, memory bandwidth and its share used, resident memory, loading.

    Medians over rounds that measure everything in turn. The share is of what one token must read.
    """
    if against and importlib.util.find_spec("llama_cpp") is None:
        raise UsageError(
            "llama.cpp is not installed here", hint="pip install llama-cpp-python, or no --against"
        )
    settings = Settings.load().settings
    threads = threads or settings.device_threads
    model = Catalog(Folders.standard().models).find(name or settings.device_model)
    plan = Plan(prompt_tokens=prompt_tokens, new_tokens=new_tokens, rounds=rounds)
    row = _measure(model, threads, plan, _peer_files(model, against, against_files))
    if as_json:
        emit_json(row)
    else:
        _print(row)


def _peer_files(
    model: InstalledModel, against: str | None, files: tuple[Path, ...]
) -> tuple[Path, ...]:
    if against is None:
        return ()
    if not files and model.format != "gguf":
        raise UsageError(
            f"{model.name} is no GGUF file, which llama.cpp needs", hint="--against-file FILE.gguf"
        )
    return files or (weight_files(model.path, model.file)[0],)


def _measure(
    model: InstalledModel, threads: int, plan: Plan, peers: tuple[Path, ...]
) -> dict[str, Any]:
    context = plan.prompt_tokens + plan.new_tokens
    set_openmp_here(threads)
    import torch

    torch.set_num_threads(threads)
    from inference.decoder import load_decoder

    before, began = resident_mb(), time.perf_counter()
    decoder = load_decoder(model.path, context_tokens=context)
    load_s = time.perf_counter() - began
    ours = TorchRuns(decoder)
    ours.step(0)
    first_s = time.perf_counter() - began
    runs: dict[str, Runs] = {"ours": ours}
    ours.step(1)
    rss, large = resident_mb() - before, large_pages_mb()
    for number, file in enumerate(peers):
        from inference.llamacpp import LlamaCppRuns

        runs[f"peer {number}"] = LlamaCppRuns(file, context_tokens=context, threads=threads)
    rates, bandwidth = measure(
        runs, memory_reader(threads), plan, vocabulary=decoder.config.vocabulary
    )
    used = rates["ours"]["decode_tok_s"] * model.bytes / 1e9
    row: dict[str, Any] = {
        "name": model.name,
        "threads": threads,
        "path": path_of(decoder, packed=model.format == "packed"),
        **rates["ours"],
        "bandwidth_gb_s": bandwidth,
        "bandwidth_share": round(used / bandwidth, 3),
        "file_mb": round(model.bytes / 1e6, 1),
        "rss_mb": round(rss, 1),
        "large_pages_mb": round(large, 1),
        "load_s": round(load_s, 3),
        "first_token_s": round(first_s, 3),
        "other_load": round(os.getloadavg()[0], 1),
    }
    found: list[dict[str, Any]] = [
        {"name": "llama.cpp", "file": file.name, **rates[f"peer {number}"]}
        for number, file in enumerate(peers)
    ]
    if found:
        row["against"] = found[0]
        row["ratio"] = {
            part: round(rates["ours"][f"{part}_tok_s"] / found[0][f"{part}_tok_s"], 3)
            for part in ("prefill", "decode")
        }
    if found[1:]:
        row["beside"] = found[1:]
    return row


def path_of(decoder: "LanguageModel", *, packed: bool) -> str:
    """What computes: the kernels with their instruction set, or torch, and why."""
    from inference.kernels import load_kernels

    if (isa := getattr(decoder, "isa", None)) is not None:
        return f"kernels, {isa}"
    return "torch, for want of compiled kernels" if packed and not load_kernels() else "torch"


def _print(row: dict[str, Any]) -> None:
    width = max(map(len, row))
    for key, value in row.items():
        for each in value if isinstance(value, list) else [value]:
            click.echo(f"{key:<{width}}  {_shown(each)}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return str(value)
