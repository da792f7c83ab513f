"""Flips bits of evidence, one at a time, and counts what is refused.

    python -m bench.evidence_flips [--kind sev_snp] [--exhaustive] [--jobs 2]

Prints a table: kind, sample, bits flipped, refused, accepted and escaped positions, seconds. Ends
with 1 if a single flipped bit was accepted, or led to anything but a ``TrustError``.
"""

import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import click

from bench.flips import nvidia, sev_snp, tdx, tpm2
from bench.flips.sample import FlipResult, FlipSample, chosen_bits, flip

__all__ = ["CHOSEN", "DATA", "KINDS", "load"]

CHOSEN = 400
"""Bits of each sample that a run draws which is not exhaustive, beside the header's."""
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
KINDS: dict[str, Callable[[Path], Sequence[FlipSample]]] = {
    "nvidia": nvidia.samples,
    "sev_snp": sev_snp.samples,
    "tdx": tdx.samples,
    "tpm2": tpm2.samples,
    "unsafe_swtpm": tpm2.unsafe_samples,
}
_SHOWN = 8


def load(kind: str, data: Path) -> Sequence[FlipSample]:
    """The samples of a kind, each accepted as it is. Raises its refusal otherwise."""
    samples = KINDS[kind](data)
    for sample in samples:
        sample.verify(sample.payload)
    return samples


@click.command()
@click.option("--kind", "kinds", type=click.Choice(sorted(KINDS)), multiple=True)
@click.option("--exhaustive", is_flag=True, help="Flip every bit, not a drawn few hundred.")
@click.option("--jobs", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--data", type=click.Path(path_type=Path), envvar="LANAI_DATA", default=DATA)
def main(kinds: tuple[str, ...], exhaustive: bool, jobs: int, data: Path) -> None:
    """Flip bits of every sample of the kinds given, or of all kinds."""
    columns = "{:<12} {:<28} {:>8} {:>8} {:>9} {:>8} {:>8}  {}"
    heads = ("kind", "sample", "bits", "refused", "accepted", "escaped", "seconds", "reasons")
    click.echo(columns.format(*heads))
    clean = True
    for kind in kinds or sorted(KINDS):
        for sample in load(kind, data):
            bits = range(sample.bits) if exhaustive else chosen_bits(sample, CHOSEN)
            result = _flip_in(jobs, sample, bits)
            clean = clean and result.refused == result.bits
            click.echo(columns.format(kind, sample.name, *_row(result)))
    raise SystemExit(0 if clean else 1)


def _row(result: FlipResult) -> tuple[object, ...]:
    found = [*result.accepted, *result.escaped]
    notes = " ".join(f"{word}={count}" for word, count in result.reasons.most_common())
    if found:
        notes += f"  NOT REFUSED at {found[:_SHOWN]}" + (" ..." if len(found) > _SHOWN else "")
    counts = (result.bits, result.refused, len(result.accepted), len(result.escaped))
    return (*counts, f"{result.seconds:.1f}", notes)


def _flip_in(jobs: int, sample: FlipSample, bits: Sequence[int]) -> FlipResult:
    """`flip`, shared out to ``jobs`` processes."""
    if jobs == 1:
        return flip(sample, bits)
    # Forked, because a sample's check is a closure over keys made in this process.
    context = multiprocessing.get_context("fork")
    parts: list[FlipResult] = []
    started = []
    for job in range(jobs):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_send, args=(sender, sample, bits[job::jobs]))
        process.start()
        sender.close()
        started.append((process, receiver))
    for process, receiver in started:
        parts.append(receiver.recv())
        process.join()
    return FlipResult(
        bits=sum(part.bits for part in parts),
        reasons=sum((part.reasons for part in parts), Counter()),
        accepted=tuple(sorted(bit for part in parts for bit in part.accepted)),
        escaped=tuple(sorted(found for part in parts for found in part.escaped)),
        seconds=max(part.seconds for part in parts),
    )


def _send(sender: Connection, sample: FlipSample, bits: Sequence[int]) -> None:
    sender.send(flip(sample, bits))
    sender.close()


if __name__ == "__main__":
    main()
