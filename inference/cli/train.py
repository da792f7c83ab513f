"""``lanai adapters train``: a low-rank adapter from examples, trained in this process."""

from pathlib import Path
from typing import Any, Final, TextIO

import click

from inference.adapters import AdapterManifest
from inference.cli.adapter_making import (
    base_of,
    begun_with,
    bounds,
    finish,
    found,
    prepare_torch,
    refuse_existing,
    say_point,
    settings_of,
)
from inference.text import ChatMessage, TextModel, load_text_model
from lanai.cli.output import say
from lanai.content import Content
from lanai.errors import UsageError

__all__ = ["train"]

LAST_ANSWER: Final = "\n\n"


@click.command()
@click.argument("data", type=click.File("r", encoding="utf-8", errors="strict"))
@click.option("--base", required=True, help="model to adapt: a name or a path")
@click.option(
    "--longest",
    type=click.IntRange(16),
    default=512,
    show_default=True,
    help="tokens of an example; a longer one is left out",
)
@click.option("--license", "license_", default="", help="of what the adapter was made of")
@bounds
def train(
    data: TextIO,
    base: str,
    longest: int,
    license_: str,
    out: Path,
    begin_with: Path | None,
    as_json: bool,
    **chosen: Any,
) -> None:
    """Train an adapter of BASE on DATA, JSONL: {"prompt", "answer"} or {"messages": […]}.

    A twentieth of the examples is held out. Training ends when the loss on those has not fallen for
    --patience evaluations, or when time is over; the best adapter is kept.
    """
    refuse_existing(out)
    model = found(base)
    prepare_torch()
    from inference import training

    text = load_text_model(model.path)
    settings = settings_of(chosen, rate=5e-4)
    examples = training.parse_examples(
        _lines(data), text, end=_end_of_answer(text), longest=longest
    )
    say(f"{len(examples)} examples")
    decoder = training.TrainableDecoder.load(model.path)
    trained = training.train(
        decoder,
        examples,
        settings,
        changes=begun_with(begin_with, decoder, model),
        on_progress=say_point,
    )
    manifest = AdapterManifest(name=out.name, base=base_of(model), license=license_)
    finish(out, trained, manifest, 16, as_json, unit="nats a token of an answer")


def _end_of_answer(text: TextModel) -> str | int:
    """What closes an answer in this model's form: a stop token of its template, or a blank line."""
    if text.template is None:
        return LAST_ANSWER
    said = [ChatMessage(role=role, text=Content("x")) for role in ("user", "assistant", "user")]
    closing = [token for token in text.render(said) if token in text.stop_ids]
    return closing[-1] if closing else min(text.stop_ids)


def _lines(data: TextIO) -> list[str]:
    try:
        return data.read().split("\n")
    except UnicodeDecodeError:
        raise UsageError(
            f"{Path(data.name).name} is not UTF-8 text", hint="save it as UTF-8"
        ) from None
