"""``lanai bench shape``: what somebody at the relay guesses of a question from sizes and times.

1. Ask prompts of two topics through a real cloud (relay, gateway, node, engine on loopback), in
   both shapes; the relay notes sizes and times of the answers' frames.
2. Attack three views: ``unpadded`` (the padded answers with their text frames' own sizes, as a
   control: this attack works), ``padded`` and ``constant``. An AUC of 0.5 is chance.
3. Say what each view costs: bytes of an answer, time to the first text and to the end.

The device, the cloud and the engine share this machine's cores: what they do to each other's timing
shows whole, where parties on machines of their own would not.
"""

import asyncio
import json
import os
import statistics
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.table import Table

from bench.stream_shape_attack import Trace, attack
from bench.stream_shape_capture import Order, Seen, capture
from bench.stream_shape_prompts import Topics, prompts
from inference.catalog import Catalog
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import UsageError
from lanai.folders import Folders

__all__ = ["shape"]

VIEWS: Final[dict[str, tuple[str, Callable[[Seen], Trace]]]] = {
    "unpadded": ("padded", lambda seen: seen.unpadded),
    "padded": ("padded", lambda seen: seen.trace),
    "constant": ("constant", lambda seen: seen.trace),
}


@click.command()
@click.option("--model", default="gemma-3-270m", show_default=True, help="catalog name or file")
@click.option(
    "--topics",
    type=click.Choice([str(pair) for pair in Topics]),
    default=str(Topics.LAUNDERING),
    show_default=True,
    help="what is to be told apart",
)
@click.option("--repeats", default=3, show_default=True, help="times each prompt is asked constant")
@click.option("--padded-repeats", default=1, show_default=True, help="times it is asked padded")
@click.option("--max-tokens", default=40, show_default=True, help="of each answer")
@click.option("--lanes", default=4, show_default=True, help="devices asking at once")
@click.option("--seconds", default=540.0, show_default=True, help="when to stop asking")
@click.option(
    "--raw",
    type=click.Path(path_type=Path),
    help="file for what was seen, numbers only; if it is there, it is attacked and nobody asked",
)
@json_option
def shape(
    model: str,
    topics: str,
    repeats: int,
    padded_repeats: int,
    max_tokens: int,
    lanes: int,
    seconds: float,
    raw: Path | None,
    as_json: bool,
) -> None:
    """Guess a question's topic from the stream's sizes and times."""
    # gRPC's C core writes lines of its own about what is closed.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    # 1
    if raw is not None and raw.exists():
        seen = [Seen.from_json(json.loads(line)) for line in raw.read_text().splitlines()]
    else:
        shapes = {"padded": padded_repeats, "constant": repeats}
        orders = _orders(Topics(topics), shapes, max_tokens)
        seen = asyncio.run(_capture(orders, model, lanes, seconds))
    if raw is not None and not raw.exists():
        raw.write_text("".join(json.dumps(each.to_json()) + "\n" for each in seen))
    # 2, 3
    result = _result(seen)
    if as_json:
        emit_json(result)
    else:
        _print(result)


def _orders(topics: Topics, repeats: dict[Any, int], max_tokens: int) -> list[Order]:
    return [
        Order(prompt=prompt, shape=shape, seed=1000 * repeat + number, max_tokens=max_tokens)
        for shape, count in repeats.items()
        for repeat in range(count)
        for number, prompt in enumerate(prompts(topics))
    ]


async def _capture(orders: Sequence[Order], model: str, lanes: int, seconds: float) -> list[Seen]:
    path = Catalog(Folders.standard().models).find(model).path
    say(f"asking {len(orders)} times, for {seconds:.0f} s at most")
    with tempfile.TemporaryDirectory(prefix="lanai-bench-") as folder:
        seen = capture(orders, path, Path(folder), lanes=lanes, seconds=seconds)
        return [each async for each in seen]


def _result(seen: Sequence[Seen]) -> dict[str, Any]:
    views = {name: _view(seen, shape, look) for name, (shape, look) in VIEWS.items()}
    return {"views": views, "added_by_constant_ms": _added(seen)}


def _view(seen: Sequence[Seen], shape: str, look: Callable[[Seen], Trace]) -> dict[str, Any]:
    answers = [each for each in seen if each.shape == shape]
    if not answers:
        raise UsageError(f"nothing was seen of the shape {shape}", hint="ask at least once")
    traces = [look(each) for each in answers]
    return {
        "answers": len(answers),
        "guesses": [asdict(guess) for guess in attack(traces)],
        "frames": dict(Counter(len(trace.sizes) for trace in traces).most_common(4)),
        "bytes": _median(sum(trace.sizes) for trace in traces),
        "first_text_ms": _median(1000 * each.first_s for each in answers),
        "end_ms": _median(1000 * each.total_s for each in answers),
    }


def _added(seen: Sequence[Seen]) -> dict[str, float]:
    """Medians of (constant - padded) over the same prompt and seed."""
    padded = {each.seed: each for each in seen if each.shape == "padded"}
    pairs = [
        (each, padded[each.seed])
        for each in seen
        if each.shape == "constant" and each.seed in padded
    ]
    return {
        "first_text": _median(1000 * (c.first_s - p.first_s) for c, p in pairs),
        "end": _median(1000 * (c.total_s - p.total_s) for c, p in pairs),
    }


def _median(values: Any) -> float:
    return float(round(statistics.median(values), 1))


def _print(result: dict[str, Any]) -> None:
    console = Console()
    table = Table("view", "answers", "AUC, linear", "AUC, trees", "bytes", "first text", "end")
    for name, view in result["views"].items():
        guesses = [f"{g['auc']:.2f} ({g['low']:.2f} to {g['high']:.2f})" for g in view["guesses"]]
        times = (f"{view['first_text_ms']:.0f} ms", f"{view['end_ms']:.0f} ms")
        table.add_row(name, str(view["answers"]), *guesses, f"{view['bytes']:.0f}", *times)
    console.print(table)
    added = result["added_by_constant_ms"]
    console.print(
        f"constant adds {added['first_text']:.0f} ms to the first text, "
        f"{added['end']:.0f} ms to the end"
    )


if __name__ == "__main__":
    shape()
