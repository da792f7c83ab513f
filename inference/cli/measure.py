"""``lanai models perplexity | score``: the model runs in this process; torch is imported here."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TextIO

import click

from inference import scoring
from inference.catalog import Catalog, InstalledModel
from inference.openmp import set_openmp_here
from inference.text import load_text_model
from lanai.cli.output import emit_json, json_option
from lanai.errors import UsageError
from lanai.folders import Folders
from lanai.settings import Settings

if TYPE_CHECKING:
    from inference.decoder import LanguageModel

__all__ = ["perplexity", "score"]

Precision = Literal["auto", "bfloat16", "float32"]
Input = click.File("r", encoding="utf-8", errors="strict")

precision_option = click.option(
    "--precision",
    type=click.Choice(["auto", "bfloat16", "float32"]),
    default="auto",
    help="number format of the weights while running",
)


@click.command()
@click.argument("name")
@click.option("--text", "source", type=Input, required=True, help="text file; - reads stdin")
@click.option("--window", type=click.IntRange(4), default=512, show_default=True)
@click.option("--chunks", type=click.IntRange(1), default=30, show_default=True)
@precision_option
@json_option
def perplexity(
    name: str, source: TextIO, window: int, chunks: int, precision: Precision, as_json: bool
) -> None:
    """Perplexity of NAME on a text: windows do not overlap, the second half of each is scored.

    The text is tokenized without control tokens; a model whose sequences begin with a BOS token
    gets it at the head of every window.
    """
    model = _found(name)
    text = load_text_model(model.path)
    ids = text.encode(_read(source))
    decoder = _decoder(model, window, precision)
    result = scoring.perplexity(decoder, ids, window=window, chunks=chunks, bos_id=text.bos_id)
    if as_json:
        emit_json(
            {
                "name": model.name,
                "perplexity": result.perplexity,
                "tokens": result.tokens,
                "window": window,
                "chunks": chunks,
                "bos": text.bos_id is not None,
                "precision": precision,
            }
        )
    else:
        click.echo(f"perplexity {result.perplexity:.3f} over {result.tokens} tokens")


@click.command()
@click.argument("name")
@click.option("--choices", "source", type=Input, required=True, help="JSONL file; - reads stdin")
@click.option("--shots", type=click.IntRange(0), default=0, show_default=True)
@click.option("--limit", type=click.IntRange(1), help="score the first N questions only")
@precision_option
@json_option
def score(
    name: str,
    source: TextIO,
    shots: int,
    limit: int | None,
    precision: Precision,
    as_json: bool,
) -> None:
    """Accuracy of NAME on questions with choices, by length-normalized log-likelihood.

    With --shots N the first N rows become examples before each question and are not scored.
    """
    model = _found(name)
    questions = scoring.parse_questions(_lines(source))
    wanted = questions if limit is None else questions[: shots + limit]
    prepared = scoring.prepare(wanted, load_text_model(model.path), shots=shots)
    decoder = _decoder(model, scoring.longest(prepared), precision)
    result = scoring.score(decoder, prepared)
    if as_json:
        facts = {"accuracy": result.accuracy, "n": result.n}
        emit_json({"name": model.name, **facts, "shots": shots, "precision": precision})
    else:
        click.echo(f"accuracy {result.accuracy:.3f} over {result.n} questions")


def _found(name: str) -> InstalledModel:
    return Catalog(Folders.standard().models).find(name)


def _decoder(model: InstalledModel, context_tokens: int, precision: Precision) -> "LanguageModel":
    threads = Settings.load().settings.device_threads
    set_openmp_here(threads)
    import torch

    from inference.decoder import load_decoder

    torch.set_num_threads(threads)
    return load_decoder(model.path, context_tokens=context_tokens, precision=precision)


def _read(source: TextIO) -> str:
    try:
        return source.read()
    except UnicodeDecodeError:
        raise UsageError(
            f"{Path(source.name).name} is not UTF-8 text", hint="save it as UTF-8"
        ) from None


def _lines(source: TextIO) -> Iterator[str]:
    # Split on line feeds only: some texts hold other separators.
    return iter(_read(source).split("\n"))
