"""``lanai bench shape``: what its relay notes of real answers in both shapes."""

from pathlib import Path

from bench.stream_shape_capture import Order, Seen, capture
from bench.stream_shape_prompts import Topics, prompts
from device_agent.cloud_seam import StreamShape
from inference.testing import write_tiny_model
from trust.envelope import SMALLEST_TOTAL

NONCE, END = 1, 1
SHAPES: tuple[StreamShape, ...] = ("padded", "constant", "constant")
TOKENS = (8, 4, 16)


async def test_the_relay_sees_what_the_shapes_promise(tmp_path: Path) -> None:
    """Through the real worker: padded shows the count, constant one size and one total."""
    model = write_tiny_model(tmp_path / "tiny")
    orders = [
        Order(prompt=prompt, shape=shape, seed=number, max_tokens=tokens)
        for number, (prompt, shape, tokens) in enumerate(
            zip(prompts(Topics.LAUNDERING), SHAPES, TOKENS, strict=False)
        )
    ]
    seen = {each.seed: each async for each in capture(orders, model, tmp_path, lanes=3, seconds=60)}
    padded, *constant = (seen[number] for number in range(len(orders)))
    assert len(answer_sizes(padded)) == len(padded.pieces) + 1
    for each in constant:
        assert len(answer_sizes(each)) == SMALLEST_TOTAL
    assert len({size for each in constant for size in answer_sizes(each)[:-1]}) == 1


def answer_sizes(seen: Seen) -> list[int]:
    """Sizes of the answer's frames: without the nonce, and the outer seal's end where it came."""
    sizes = [size for _, size in seen.frames[NONCE:]]
    whole = max(sizes)
    return [size for size in sizes if 2 * size > whole]
