"""Lets a model write the text that packing is calibrated with.

    python bench/calibration_text.py --model smollm2-135m-instruct-source OUT.txt

Documents are sampled from the model alone, so that no evaluation text can be
among them. Same seed, same machine: same text. A document ends at ``--length`` tokens.
"""

from pathlib import Path

import click
import numpy as np
import torch

from inference.catalog import Catalog
from inference.decoder import LanguageModel, load_decoder
from inference.engine import Sampling
from inference.sampling import Sampler
from inference.text import TextModel, load_text_model
from inference.text.stream import TextStream
from lanai.folders import Folders

OPENINGS = ("<|endoftext|>", "<|im_start|>")


@click.command()
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", default="smollm2-135m-instruct-source", show_default=True)
@click.option("--documents", default=64, show_default=True)
@click.option("--length", default=512, show_default=True)
@click.option("--temperature", default=1.0, show_default=True)
@click.option("--threads", default=2, show_default=True)
def main(
    out: Path, model: str, documents: int, length: int, temperature: float, threads: int
) -> None:
    """Write OUT, one document after the other, an empty line between them."""
    torch.set_num_threads(threads)
    path = Catalog(Folders.standard().models).find(model).path
    decoder, text = load_decoder(path, context_tokens=length), load_text_model(path)
    with out.open("w", encoding="utf-8") as opened:
        for seed in range(documents):
            sampling = Sampling(temperature=temperature, seed=seed)
            opened.write(write_document(decoder, text, length, sampling).strip() + "\n\n")
            opened.flush()


def write_document(decoder: LanguageModel, text: TextModel, length: int, sampling: Sampling) -> str:
    """Three of four documents begin as web text does, every fourth as a conversation."""
    first = text.tokens.control[OPENINGS[(sampling.seed or 0) % 4 == 3]]
    sampler = Sampler(sampling)
    cache = decoder.new_cache(length)
    stream: TextStream = text.decoder()
    written, token = [], first
    for _ in range(length - 1):
        out = decoder.forward(torch.tensor([token]), cache)
        logits = out.logits[0].numpy()
        logits[list(text.stop_ids)] = -np.inf  # a document is as long as asked
        token = sampler.draw(logits)
        written.append(stream.push(token))
    return "".join(written) + stream.finish()


if __name__ == "__main__":
    main()
