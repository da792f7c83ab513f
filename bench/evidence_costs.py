"""Times the verification of evidence, per sample: the samples `bench.evidence_flips` damages.

    python -m bench.evidence_costs [--kind sev_snp] [--runs 300]

Prints JSON: kind, sample, bytes of the payload, and the median and fastest verification in µs.
"""

import json
import os
import statistics
from pathlib import Path
from time import perf_counter

import click

from bench.evidence_flips import DATA, KINDS, load
from bench.flips.sample import FlipSample


@click.command()
@click.option("--kind", "kinds", type=click.Choice(sorted(KINDS)), multiple=True)
@click.option("--runs", default=300, show_default=True, type=click.IntRange(3, 100_000))
@click.option("--data", type=click.Path(path_type=Path), envvar="LANAI_DATA", default=DATA)
def main(kinds: tuple[str, ...], runs: int, data: Path) -> None:
    """Verify every sample of the kinds given, or of all kinds, over and over."""
    samples = [sample for kind in kinds or sorted(KINDS) for sample in load(kind, data)]
    rows = [_timed(sample, runs) for sample in samples]
    print(json.dumps({"cores": os.cpu_count(), "runs": runs, "samples": rows}, indent=2))


def _timed(sample: FlipSample, runs: int) -> dict[str, object]:
    times = []
    for _ in range(runs):
        started = perf_counter()
        sample.verify(sample.payload)
        times.append((perf_counter() - started) * 1e6)
    return {
        "kind": sample.kind,
        "sample": sample.name,
        "bytes": len(sample.payload),
        "median_us": round(statistics.median(times), 1),
        "fastest_us": round(min(times), 1),
    }


if __name__ == "__main__":
    main()
