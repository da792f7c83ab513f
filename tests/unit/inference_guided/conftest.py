"""Text models without weights: single bytes, and a few pieces in SentencePiece's spelling."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers

from inference.guided import Guide, GuidedAnswer
from inference.sampling import allowed_tokens
from inference.testing import write_tiny_model
from inference.text import TextModel, ToolCall, load_text_model
from inference.text.vocabulary import Vocabulary

Pick = Callable[[NDArray[np.intp]], int]
"""Chooses the next token among those allowed."""


@pytest.fixture(scope="session")
def byte_text(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    """Byte-level, with a chat template that knows no tools."""
    return load_text_model(write_tiny_model(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="session")
def piece_text() -> TextModel:
    """SentencePiece-like with byte fallback, in the few-shot form."""
    control = {"<pad>": 0, "<eos>": 1, "<unk>": 2}
    pieces = [*control, *(f"<0x{byte:02X}>" for byte in range(256))]
    pieces += [*'▁abcdefghijklmnopqrstuvwxyz0123456789{}[]":,.-', '{"', '":', "▁the", "\n\n", "to"]
    ids = {piece: at for at, piece in enumerate(dict.fromkeys(pieces))}
    merges = [("{", '"'), ('"', ":"), ("t", "o")]
    tokenizer = Tokenizer(models.BPE(ids, merges, byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.ByteFallback()
    tokens = Vocabulary(
        tokenizer=tokenizer,
        size=len(ids),
        control=control,
        added=frozenset(control),
        byte_level=False,
    )
    return TextModel(tokens=tokens, template=None, bos_id=None, stop_ids=frozenset({1}))


@pytest.fixture(scope="session", params=["byte_text", "piece_text"])
def guided_text(request: pytest.FixtureRequest) -> TextModel:
    text: TextModel = request.getfixturevalue(request.param)
    return text


@pytest.fixture(scope="session")
def guide(guided_text: TextModel) -> Guide:
    return Guide.of(guided_text)


Write = Callable[..., tuple[str, list[ToolCall], bool]]


@pytest.fixture(scope="session")
def write(guided_text: TextModel) -> Write:
    """Plays an engine: picks among the allowed tokens until a stop id; text, calls, whole?"""

    def play(
        answer: GuidedAnswer, pick: Pick, *, max_tokens: int = 4000
    ) -> tuple[str, list[ToolCall], bool]:
        pieces = list(tokens_read(answer, guided_text, pick, max_tokens))
        calls = [piece for piece in pieces if isinstance(piece, ToolCall)]
        shown = "".join(piece for piece in pieces if not isinstance(piece, ToolCall))
        return shown, calls, answer.complete

    return play


def tokens_read(
    answer: GuidedAnswer, text: TextModel, pick: Pick, max_tokens: int
) -> Iterator[str | ToolCall]:
    constraint, generated = answer.constraint, list[int]()
    while len(generated) < max_tokens and not answer.stopped:
        assert constraint is not None
        allowed = np.flatnonzero(allowed_tokens(constraint.allowed(generated), text.vocabulary))
        assert allowed.size, "an empty mask"
        token = pick(allowed)
        if token in text.stop_ids:
            break
        generated.append(token)
        yield from answer.push(token)
    yield from answer.finish()
