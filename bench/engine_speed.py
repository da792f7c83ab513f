"""Times the engine as apps use it: through its child process and the pipe.

    python bench/engine_speed.py [--model NAME] [--threads 2] [--runs 5]

Prints JSON: medians over the runs. Random token ids; nothing is decoded to text.
"""

import asyncio
import json
import statistics
import time

import click
import numpy as np

from inference.catalog import Catalog
from inference.engine import Finished, GenerateOptions, Prefilled
from inference.process import ProcessEngine
from lanai.folders import Folders


@click.command()
@click.option("--model", default="smollm2-135m-instruct", show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--runs", default=5, show_default=True)
@click.option("--prompt-tokens", default=512, show_default=True)
@click.option("--new-tokens", default=128, show_default=True)
def main(model: str, threads: int, runs: int, prompt_tokens: int, new_tokens: int) -> None:
    """Start the engine, prefill and decode."""
    click.echo(json.dumps(asyncio.run(_measure(model, threads, runs, prompt_tokens, new_tokens))))


async def _measure(
    model: str, threads: int, runs: int, prompt_tokens: int, new_tokens: int
) -> dict[str, float]:
    began = time.perf_counter()
    engine = await ProcessEngine.start(
        Catalog(Folders.standard().models).find(model).path,
        context_tokens=prompt_tokens + new_tokens,
        threads=threads,
    )
    load_s = time.perf_counter() - began
    prefill, decode = [], []
    try:
        for run in range(runs + 1):
            ids = np.random.default_rng(run).integers(300, 40_000, prompt_tokens).tolist()
            async for event in engine.submit(ids, GenerateOptions(max_tokens=new_tokens)):
                if isinstance(event, Prefilled) and run:
                    prefill.append(prompt_tokens / event.prefill_s)
                if isinstance(event, Finished) and run:
                    decode.append(event.output_tokens / event.decode_s)
    finally:
        await engine.close()
    return {
        "load_s": round(load_s, 2),
        "prefill_tok_s": round(statistics.median(prefill), 1),
        "decode_tok_s": round(statistics.median(decode), 1),
    }


if __name__ == "__main__":
    main()
